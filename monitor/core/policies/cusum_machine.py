"""The moves of the policy `cusum`: what an endpoint is after an event, and how trials end.

A trial that succeeds takes as much from the odds as in the test, one that fails adds as much; `trial_closes_at` more successes than
failures close (as ln 2 each reach ln 0.05 at 5), 3 where what tripped it is hard. The second failure opens again. A failure asks for two
more trials, so that a verdict is always reached.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec.structs import replace

from monitor.core.breaker import TRANSITIONS, Event, enter
from monitor.core.durations import format_duration
from monitor.core.overlay import OVERLAYS
from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.cusum_score import LN_2, capped, height, runs
from monitor.core.policies.cusum_state import NO_RUN, Instant, Memory, Settings
from monitor.core.policies.opening import opened
from monitor.core.policies.policy import Change, Member, Step
from monitor.core.record import Breaker

RULE: Final = "cusum"
HARD_CLOSES_AT: Final = 3
"""Trials that close what tripped for a reason that probes see, too: such an endpoint fails every trial or none."""
FAILED_TRIALS_MAX: Final = 2
"""So many failed trials open it again."""

_OPEN: Final = Breaker.OPEN
_SUCCESS, _TIMEOUT = CallOutcome.SUCCESS, CallOutcome.TIMEOUT

CusumMember: TypeAlias = Member[Memory]
CusumStep: TypeAlias = Step[Memory]
Facts: TypeAlias = dict[str, int | float | str]


def changed(
    settings: Settings,
    member: CusumMember,
    event: Event,
    now_ms: int,
    *,
    reason: str,
    evidence: Facts,
    rule: str = RULE,
    hard: bool = False,
) -> tuple[CusumMember, Change]:
    """The member after an event, and the change. What was counted begins anew, except that OPEN shows what led to it."""
    before, memory = member.breaker, member.memory
    if TRANSITIONS[before.state, event] is _OPEN:
        breaker = opened(settings, member, event, now_ms=now_ms, rule=rule, reason=reason, evidence=evidence, hard=hard)
        memory = replace(restarted(memory), gen=breaker.gen, due_ms=0, trial_successes=0, trial_failures=0, issued=0)
    else:
        breaker = enter(before, event, now_ms=now_ms, rule=rule, reason=reason, evidence=evidence, hard=hard)
        slow_ms = memory.trial_slow_ms if event is Event.TRIAL else 0.0
        memory = Memory(breaker.gen, not_permitted=memory.not_permitted, trial_slow_ms=slow_ms)
    change = Change(now_ms, before.state.value.lower(), breaker.state.value.lower(), rule, reason, evidence, hard)
    return replace(member, breaker=breaker, memory=memory), change


def restarted(memory: Memory) -> Memory:
    """The memory without what its scores were made of."""
    return replace(memory, instant=Instant(memory.instant.at_ms), failing=NO_RUN, slowness=NO_RUN)


def closes_at(settings: Settings, hard: bool) -> int:
    """So many more good trials than failed ones close it."""
    return min(HARD_CLOSES_AT, settings.trial_closes_at) if hard else settings.trial_closes_at


def scored(settings: Settings, member: CusumMember) -> Facts:
    """The score, and the threshold that it is compared with: of the test that trips, or in HALF_OPEN of the trials, which bring it down."""
    breaker, memory = member.breaker, member.memory
    if memory.gen != breaker.gen:
        memory = Memory(breaker.gen)
    if breaker.state is Breaker.HALF_OPEN:
        return _trials_scored(closes_at(settings, breaker.hard), memory.trial_successes, memory.trial_failures)
    h = memory.past.threshold or height(0, settings.false_ejections_per_day)
    return {"score": round(max(map(capped, runs(memory))) * h, 3), "threshold": round(h, 3)}


def _trials_scored(needed: int, successes: int, failures: int) -> Facts:
    return {"score": round((failures - successes) * LN_2, 3), "threshold": round(-needed * LN_2, 3)}


def permits(settings: Settings, hard: bool, failures: int) -> int:
    """Permits of one half-open period in which so many trials have failed."""
    return closes_at(settings, hard) + 2 * failures


def half_opened(settings: Settings, member: CusumMember, now_ms: int, why: str) -> tuple[CusumMember, Change]:
    """It stays hard, if it was, so that probes and fewer trials still count for it."""
    open_ms, hard = now_ms - member.breaker.since_ms, member.breaker.hard
    needed = closes_at(settings, hard)
    reason = f"{why} after {format_duration(open_ms)} open: {needed} {'trial closes' if needed == 1 else 'trials close'} it"
    evidence: Facts = _trials_scored(needed, 0, 0) | {"open_ms": open_ms, "trial_closes_at": needed}
    return changed(settings, member, Event.TRIAL, now_ms, reason=reason, evidence=evidence, hard=hard)


def tried(settings: Settings, member: CusumMember, memory: Memory, call: Call, now_ms: int) -> CusumStep:
    """Trials have ended."""
    slow = call.outcome is _SUCCESS and 0.0 < memory.trial_slow_ms < call.duration_ms
    good, hard = call.outcome is _SUCCESS and not slow, call.outcome is _TIMEOUT or call.local_origin
    successes = memory.trial_successes + (call.count if good else 0)
    failures = memory.trial_failures + (0 if good else call.count)
    after = replace(member, memory=replace(memory, trial_successes=successes, trial_failures=failures))
    needed, opens = closes_at(settings, member.breaker.hard), member.mode is None or OVERLAYS[member.mode].opens
    evidence: Facts = _trials_scored(needed, successes, failures)
    evidence |= {"trial_successes": successes, "trial_failures": failures, "trial_closes_at": needed}
    if failures >= FAILED_TRIALS_MAX and opens:
        reason = f"{failures} of {successes + failures} trials failed, the last by {'a slow success' if slow else call.outcome.value}"
        event = Event.TRIAL_FAILED
    elif successes - failures >= needed:
        reason = f"{successes} of {successes + failures} trials succeeded"
        event, hard = Event.TRIALS_PASSED, False
    else:
        return Step(after)
    after, change = changed(settings, after, event, now_ms, reason=reason, evidence=evidence, hard=hard)
    return Step(after, (change,))
