"""The policy `consecutive`: runs of equal outcomes, as HAProxy's rise and fall, Kubernetes' thresholds, gobreaker and pybreaker count them.

CLOSED trips when a run of failures reaches `failure_threshold`. OPEN ends after its cooldown, when somebody asks for a permit or a probe
succeeds. HALF_OPEN gives `half_open_max_calls` permits; one failed trial opens again, `success_threshold` good ones close.

What ends while OPEN changes nothing: it is of an earlier life (gobreaker's generation). `next_event` is the rule, for calls and for the
probes that `decide` judges alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from monitor.core.breaker import TRANSITIONS, Event, cooled_down, enter, forgive
from monitor.core.durations import format_duration
from monitor.core.endpoint import THRESHOLD_MAX
from monitor.core.overlay import OVERLAYS
from monitor.core.policies.by_hand import overridden
from monitor.core.policies.call import COUNT_MAX, FAILED, Call, CallOutcome
from monitor.core.policies.opening import OpeningSettings, check_opening, opened
from monitor.core.policies.options import Limits
from monitor.core.policies.policy import CONCURRENT_MAX, Change, Member, Shown, Step, Trials
from monitor.core.record import Breaker, BreakerState

RULE: Final = "consecutive"

_CLOSED, _OPEN, _HALF_OPEN = Breaker.CLOSED, Breaker.OPEN, Breaker.HALF_OPEN


def next_event(
    breaker: BreakerState, success: bool, run_length: int, *, failure_threshold: int, success_threshold: int, now_ms: int
) -> Event | None:
    """The event of a run of equal outcomes that has come to `run_length`, or None.

    In OPEN only those are asked about who may end it: probes. The trials that HALF_OPEN has seen succeed are in the breaker.
    """
    state = breaker.state
    if state is _CLOSED:
        return Event.TRIP if not success and run_length >= failure_threshold else None
    if state is _OPEN:
        return Event.TRIAL if success and cooled_down(breaker, now_ms) else None
    if not success:
        return Event.TRIAL_FAILED
    return Event.TRIALS_PASSED if breaker.trial_successes >= success_threshold else None


class ConsecutiveSettings(OpeningSettings, frozen=True, kw_only=True):
    """As a pool of calls has them; a pool's probes have those of the manifest."""

    failure_threshold: Annotated[
        int,
        Limits(
            1, THRESHOLD_MAX, "Failures in a row that open the breaker.", "HAProxy `fall`, Kubernetes failureThreshold, pybreaker fail_max"
        ),
    ] = 5
    success_threshold: Annotated[
        int,
        Limits(
            1, THRESHOLD_MAX, "Trials in a row that close it.", "HAProxy `rise`, Kubernetes successThreshold, pybreaker success_threshold"
        ),
    ] = 1
    half_open_max_calls: Annotated[
        int, Limits(1, THRESHOLD_MAX, "Permits of one half-open period, not those in flight.", "gobreaker MaxRequests")
    ] = 1


class ConsecutiveMemory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is counted since the state began. `run` is of failures, while CLOSED; `issued` are permits of HALF_OPEN."""

    run: int = 0
    calls: int = 0
    failures: int = 0
    not_permitted: int = 0
    issued: int = 0
    last_failure_ms: int = 0


_Member: TypeAlias = Member[ConsecutiveMemory]
_Step: TypeAlias = Step[ConsecutiveMemory]
Evidence: TypeAlias = dict[str, int | float | str]


class Consecutive:
    """The policy; see above."""

    name = "consecutive"
    settings = ConsecutiveSettings
    memory = ConsecutiveMemory
    relative = False
    counts_runs = True

    def check(self, settings: ConsecutiveSettings) -> None:
        check_opening(settings)

    def begin(self, settings: ConsecutiveSettings, now_ms: int) -> ConsecutiveMemory:
        del settings, now_ms
        return ConsecutiveMemory()

    def gather(self, settings: ConsecutiveSettings, members: Iterable[_Member], now_ms: int) -> None:
        """It looks at no other member."""

    def observe(self, settings: ConsecutiveSettings, member: _Member, call: Call, gathered: None, now_ms: int) -> _Step:
        del gathered
        if call.outcome is CallOutcome.SUCCESS or call.outcome in FAILED:
            return _ended(settings, member, call, now_ms, probe=False)
        return Step(_given_back(member, call.count)) if call.outcome is CallOutcome.IGNORED else Step(member)

    def acquire(self, settings: ConsecutiveSettings, member: _Member, now_ms: int) -> _Step:
        breaker, memory = member.breaker, member.memory
        if member.mode is not None:
            return Step(member, permitted=True) if OVERLAYS[member.mode].permits else _refused(member)
        if breaker.state is _CLOSED:
            return Step(member, permitted=True)
        if breaker.state is _OPEN:
            if not cooled_down(breaker, now_ms):
                return _refused(member)
            waited = format_duration(now_ms - breaker.since_ms)
            reason = f"asked for after {waited} open: trial 1 of {settings.success_threshold}"
            tried, change = _changed(settings, member, Event.TRIAL, now_ms, reason=reason, evidence={"open_ms": now_ms - breaker.since_ms})
            return Step(replace(tried, memory=replace(tried.memory, issued=1)), (change,), permitted=True)
        if memory.issued >= settings.half_open_max_calls:
            return _refused(member)
        return Step(replace(member, memory=replace(memory, issued=memory.issued + 1)), permitted=True)

    def release(self, settings: ConsecutiveSettings, member: _Member, now_ms: int) -> _Step:
        del settings, now_ms
        return Step(_given_back(member, 1))

    def probe(self, settings: ConsecutiveSettings, member: _Member, success: bool, now_ms: int) -> _Step:
        call = Call(CallOutcome.SUCCESS if success else CallOutcome.FAILURE)
        return _ended(settings, member, call, now_ms, probe=True)

    def override(self, settings: ConsecutiveSettings, member: _Member, word: str, now_ms: int) -> _Step:
        def moved(event: Event, reason: str) -> _Member:
            return _changed(settings, member, event, now_ms, reason=reason, evidence={})[0]

        return overridden(member, word, now_ms, ConsecutiveMemory(), moved)

    def due_ms(self, settings: ConsecutiveSettings, member: _Member) -> int:
        del settings, member
        return 0

    def tick(self, settings: ConsecutiveSettings, member: _Member, now_ms: int) -> _Step:
        del settings, now_ms
        return Step(member)

    def compare(self, settings: ConsecutiveSettings, member: _Member, gathered: Any, now_ms: int) -> _Step:
        del settings, gathered, now_ms
        return Step(member)

    def trials(self, settings: ConsecutiveSettings, member: _Member) -> Trials | None:
        del member
        return Trials(settings.half_open_max_calls, min(settings.half_open_max_calls, CONCURRENT_MAX))

    def slow_ms(self, settings: ConsecutiveSettings, member: _Member) -> float:  # noqa: ARG002
        """It knows no slow calls."""
        return 0.0

    def shows(self, settings: ConsecutiveSettings, member: _Member, now_ms: int) -> Shown:
        del settings, now_ms
        memory = member.memory
        rate = 100 * memory.failures / memory.calls if memory.calls else -1
        return Shown(failure_rate=rate, calls=memory.calls, failures=memory.failures, not_permitted=memory.not_permitted)


def _ended(settings: ConsecutiveSettings, member: _Member, call: Call, now_ms: int, *, probe: bool) -> _Step:
    """Calls have ended well or badly. As many are taken at once as change nothing but numbers."""
    overlay = OVERLAYS[member.mode] if member.mode is not None else None
    if overlay is not None and not overlay.records:
        return Step(member)
    opens = overlay is None or overlay.opens
    success, left = call.outcome is CallOutcome.SUCCESS, call.count
    changes: list[Change] = []
    while left and (member.breaker.state is not _OPEN or probe):
        if member.breaker.state is not _OPEN:
            taken = min(left, _until(settings, member, success)) if success or opens else left
            member, left = _counted(member, success, taken, now_ms), left - taken
        run = member.memory.run
        failure_threshold, success_threshold = settings.failure_threshold, settings.success_threshold
        event = next_event(
            member.breaker, success, run, failure_threshold=failure_threshold, success_threshold=success_threshold, now_ms=now_ms
        )
        if event is None and member.breaker.state is _OPEN:
            break
        if event is not None and (opens or TRANSITIONS[member.breaker.state, event] is not _OPEN):
            reason, evidence = _words(settings, member, event, call, now_ms)
            hard = probe or call.local_origin or call.outcome is CallOutcome.TIMEOUT
            member, change = _changed(settings, member, event, now_ms, reason=reason, evidence=evidence, hard=hard)
            changes.append(change)
    return Step(member, tuple(changes))


def _until(settings: ConsecutiveSettings, member: _Member, success: bool) -> int:
    """How many more such calls it takes until the machine may move: a very large number where it does not."""
    if member.breaker.state is _CLOSED:
        return COUNT_MAX if success else max(1, settings.failure_threshold - member.memory.run)
    return max(1, settings.success_threshold - member.breaker.trial_successes) if success else 1


def _counted(member: _Member, success: bool, taken: int, now_ms: int) -> _Member:
    breaker, memory = member.breaker, member.memory
    calls = memory.calls + taken
    if not success:
        failures, run = memory.failures + taken, memory.run + taken
        return replace(member, memory=replace(memory, run=run, calls=calls, failures=failures, last_failure_ms=now_ms))
    if breaker.state is _HALF_OPEN:
        breaker = replace(breaker, trial_successes=breaker.trial_successes + taken)
    elif breaker.opens:
        breaker = forgive(breaker, memory.last_failure_ms, now_ms)
    return replace(member, breaker=breaker, memory=replace(memory, run=0, calls=calls))


def _changed(
    settings: ConsecutiveSettings, member: _Member, event: Event, now_ms: int, *, reason: str, evidence: Evidence, hard: bool = False
) -> tuple[_Member, Change]:
    """The member after an event, and the change. What was counted begins anew with each state (gobreaker's generation)."""
    before = member.breaker
    if TRANSITIONS[before.state, event] is _OPEN:
        breaker = opened(settings, member, event, now_ms=now_ms, rule=RULE, reason=reason, evidence=evidence, hard=hard)
    else:
        breaker = enter(before, event, now_ms=now_ms, rule=RULE, reason=reason, evidence=evidence)
    memory = ConsecutiveMemory(last_failure_ms=member.memory.last_failure_ms)
    after = replace(member, breaker=breaker, memory=memory)
    change = Change(now_ms, before.state.value.lower(), breaker.state.value.lower(), RULE, reason, evidence, hard)
    return after, change


def _words(settings: ConsecutiveSettings, member: _Member, event: Event, call: Call, now_ms: int) -> tuple[str, Evidence]:
    """Why, for a person, and the numbers."""
    run, trials = member.memory.run, member.breaker.trial_successes
    if event is Event.TRIP:
        calls = f"{run} failures in a row" if run > 1 else "1 failure"
        return f"{calls}, the last a {call.outcome}", {"run_length": run, "failure_threshold": settings.failure_threshold}
    if event is Event.TRIAL_FAILED:
        return f"a trial failed: {call.outcome}", {"outcome": call.outcome.value}
    if event is Event.TRIAL:
        open_ms = now_ms - member.breaker.since_ms
        reason = f"a probe succeeded after {format_duration(open_ms)} open: trial 1 of {settings.success_threshold}"
        return reason, {"open_ms": open_ms, "success_threshold": settings.success_threshold}
    passed = f"{trials} trials succeeded in a row" if trials > 1 else "1 trial succeeded"
    return passed, {"trial_successes": trials, "success_threshold": settings.success_threshold}


def _given_back(member: _Member, permits: int) -> _Member:
    issued = member.memory.issued
    if member.breaker.state is not _HALF_OPEN or not issued:
        return member
    return replace(member, memory=replace(member.memory, issued=max(0, issued - permits)))


def _refused(member: _Member) -> _Step:
    memory = member.memory
    return Step(replace(member, memory=replace(memory, not_permitted=memory.not_permitted + 1)), permitted=False)
