"""The policy `envoy`: Envoy's outlier detection.

Counters of failures in a row eject a host the moment that they reach their number. At the end of an interval every host whose ejection is
over returns and its counts begin anew (`tick`); then hosts are compared by the interval that has just ended (`compare`): by success rate
and failure percentage of what they answered, then by the same two of what was found locally. Nothing is tried: an ejection ends at an
interval's end, or by a successful active check.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from monitor.core.breaker import Event, enter
from monitor.core.durations import format_duration
from monitor.core.overlay import OVERLAYS
from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.envoy_comparison import (
    LOCAL_RULES,
    Outlier,
    awaits_judgement,
    enforced,
    find_outlier,
    has_room,
    interval_of,
    judge,
    may_be_ejected,
)
from monitor.core.policies.envoy_state import Gathered, Memory, Settings
from monitor.core.policies.options import SettingError
from monitor.core.policies.policy import Change, IllegalError, Member, Shown, Step, Trials, spread
from monitor.core.record import Breaker

_CLOSED, _OPEN = Breaker.CLOSED, Breaker.OPEN
_SUCCESS, _TIMEOUT = CallOutcome.SUCCESS, CallOutcome.TIMEOUT
_COUNTED: Final = frozenset((_SUCCESS, CallOutcome.FAILURE, _TIMEOUT))
_GATEWAY_CODES: Final = frozenset((502, 503, 504))
_LOCAL_FAILURES: Final = "consecutive_local_origin_failure"
HARD_RULES: Final = LOCAL_RULES | {_LOCAL_FAILURES}
"""They eject for what was found locally: no connection, no answer in time."""


class Detector(NamedTuple):
    """A counter of failures in a row. `field` is where Memory holds it."""

    rule: str
    field: str
    saw: str
    threshold: int
    enforcing: int


class Envoy:
    """Envoy's outlier detection (core/policies/policy.Policy)."""

    name = "envoy"
    settings = Settings
    memory = Memory
    relative = True
    counts_runs = True

    def check(self, settings: Settings) -> None:
        """The longest ejection is at least the first one."""
        if settings.longest_ms < settings.base_ejection_time_ms:
            raise SettingError(
                "max_ejection_time_ms",
                str(settings.max_ejection_time_ms),
                f"it is below base_ejection_time_ms, {settings.base_ejection_time_ms}",
                f"write {settings.base_ejection_time_ms} or more",
            )

    def begin(self, settings: Settings, now_ms: int) -> Memory:  # noqa: ARG002 - the same for all policies
        """No calls yet."""
        return Memory(seen_ms=now_ms)

    def observe(self, settings: Settings, member: Member[Memory], call: Call, gathered: Gathered, now_ms: int) -> Step[Memory]:
        """Count calls; eject at once where failures in a row have reached their number."""
        code, locally = _meaning(call, split=settings.split_external_local_origin_errors)
        if code is None and locally is None:
            return Step(member)
        if member.mode and not OVERLAYS[member.mode].records:
            return Step(member)
        memory, count = member.memory, call.count
        detectors: tuple[Detector, ...] = ()
        if code is not None:
            bad = 500 <= code < 600
            memory = replace(memory, total=memory.total + count, good=memory.good if bad else memory.good + count, seen_ms=now_ms)
            memory, detectors = _answers(settings, memory, code, count) if bad else (replace(memory, in_row_5xx=0, in_row_gateway=0), ())
        if locally is not None:
            good = count if locally else 0
            memory = replace(memory, local_total=memory.local_total + count, local_good=memory.local_good + good, seen_ms=now_ms)
            memory, detectors = (replace(memory, in_row_local=0), detectors) if locally else _local_failures(settings, memory, count)
        if not detectors or member.breaker.state is not _CLOSED:
            return Step(replace(member, memory=memory))
        member, outlier = _count_failures(settings, replace(member, memory=memory), detectors, count, gathered)
        return _eject(settings, member, outlier, gathered, now_ms) if outlier else Step(member)

    def acquire(self, settings: Settings, member: Member[Memory], now_ms: int) -> Step[Memory]:  # noqa: ARG002
        """Permitted while it is not ejected."""
        if OVERLAYS[member.mode].permits if member.mode else member.breaker.state is _CLOSED:
            return Step(member, permitted=True)
        return Step(replace(member, memory=replace(member.memory, refused=member.memory.refused + 1)), permitted=False)

    def release(self, settings: Settings, member: Member[Memory], now_ms: int) -> Step[Memory]:  # noqa: ARG002
        """Permits are not counted."""
        return Step(member)

    def probe(self, settings: Settings, member: Member[Memory], success: bool, now_ms: int) -> Step[Memory]:  # noqa: ARG002
        """A successful active check ends an ejection."""
        if not success or member.breaker.state is _CLOSED:
            return Step(member)
        return _readmit(member, "active_check", "an active check succeeded", now_ms)

    def override(self, settings: Settings, member: Member[Memory], word: str, now_ms: int) -> Step[Memory]:  # noqa: ARG002
        """There are none."""
        raise IllegalError(f"the policy envoy knows no overrides (seen: {word}); an ejection ends by itself or by a successful probe")

    def due_ms(self, settings: Settings, member: Member[Memory]) -> int:
        """The end of the current interval; of a host that nothing has happened to, none, or the one that ends its ejection."""
        memory, breaker, interval_ms = member.memory, member.breaker, settings.interval_ms
        next_ms = (memory.seen_ms // interval_ms + 1) * interval_ms
        if memory.total or memory.local_total or memory.last_total or memory.last_local_total:
            return next_ms
        if breaker.state is _OPEN:
            return max(next_ms, -(-breaker.open_until_ms // interval_ms) * interval_ms)
        return next_ms if memory.backoff or breaker.state is not _CLOSED else 0

    def tick(self, settings: Settings, member: Member[Memory], now_ms: int) -> Step[Memory]:  # noqa: ARG002
        """An interval ends: an ejection that is over ends with it, and the next interval's counts begin."""
        memory, breaker = member.memory, member.breaker
        over = breaker.state is not _CLOSED and breaker.open_until_ms <= now_ms
        memory = replace(
            memory,
            total=0,
            good=0,
            local_total=0,
            local_good=0,
            last_total=memory.total,
            last_good=memory.good,
            last_local_total=memory.local_total,
            last_local_good=memory.local_good,
            seen_ms=now_ms,
            rolled_ms=now_ms,
            judged=breaker.state is not _CLOSED and not over,
        )
        member = replace(member, memory=memory)
        if not over:
            return Step(member)
        return _readmit(member, "ejection_over", f"its ejection is over, after {format_duration(now_ms - breaker.since_ms)}", now_ms)

    def gather(self, settings: Settings, members: Iterable[Member[Memory]], now_ms: int) -> Gathered:
        """Count the pool, and make its rates of the interval that ended last."""
        pool, ended_ms = list(members), now_ms - now_ms % settings.interval_ms
        ejected = sum(member.breaker.state is not _CLOSED for member in pool)
        if not any(awaits_judgement(member.memory, ended_ms) for member in pool):
            return Gathered(len(pool), ejected)
        intervals = [interval for member in pool if (interval := interval_of(settings, member, ended_ms)) is not None]
        return judge(settings, intervals, len(pool), ejected)

    def compare(self, settings: Settings, member: Member[Memory], gathered: Gathered, now_ms: int) -> Step[Memory]:
        """Eject an outlier of the last interval; forgive one ejection where a whole interval has been healthy."""
        memory, breaker = member.memory, member.breaker
        if memory.judged:
            return Step(member)
        interval = interval_of(settings, member, memory.rolled_ms)
        member = replace(member, memory=replace(memory, judged=True))
        if breaker.state is not _CLOSED:
            return Step(member)
        outlier = find_outlier(settings, interval, gathered) if interval else None
        if outlier is not None:
            return _eject(settings, member, outlier, gathered, now_ms)
        if memory.backoff and memory.rolled_ms - breaker.since_ms >= settings.interval_ms:
            member = replace(member, memory=replace(member.memory, backoff=memory.backoff - 1))
        return Step(member)

    def trials(self, settings: Settings, member: Member[Memory]) -> Trials | None:  # noqa: ARG002
        """Nothing is tried."""
        return None

    def slow_ms(self, settings: Settings, member: Member[Memory]) -> float:  # noqa: ARG002
        """It knows no slow calls."""
        return 0.0

    def shows(self, settings: Settings, member: Member[Memory], now_ms: int) -> Shown:  # noqa: ARG002
        """The last full interval, of what the host answered."""
        memory = member.memory
        total, good = memory.last_total, memory.last_good
        return Shown(
            failure_rate=100.0 - good * 100.0 / total if total >= settings.volume else -1,
            calls=total,
            failures=total - good,
            not_permitted=memory.refused,
            ejections=memory.ejections + (member.breaker.state is _OPEN),
        )


def _meaning(call: Call, *, split: bool) -> tuple[int | None, bool | None]:
    """The HTTP status that a call counts as, and whether it was good as seen locally; None: it does not count there."""
    code, outcome = call.code, call.outcome
    local = split and call.local_origin
    if code is not None:
        return (None, not 500 <= code < 600) if local else (code, None)
    if outcome not in _COUNTED:
        return None, None
    good = outcome is _SUCCESS
    if local:
        return None, good
    if good:
        return (None, None) if call.local_origin else (200, True if split else None)
    if outcome is _TIMEOUT:
        return 504, None
    return 503 if call.local_origin else 500, None


def _local_failures(settings: Settings, memory: Memory, count: int) -> tuple[Memory, tuple[Detector, ...]]:
    """Lengthen the run of local errors; where it reaches its number, name its detector instead, which counts them."""
    in_row = memory.in_row_local + count
    if in_row < settings.consecutive_local_origin_failure:
        return replace(memory, in_row_local=in_row), ()
    number, enforcing = settings.consecutive_local_origin_failure, settings.enforcing_consecutive_local_origin_failure
    return memory, (Detector(_LOCAL_FAILURES, "in_row_local", "errors of local origin", number, enforcing),)


def _answers(settings: Settings, memory: Memory, code: int, count: int) -> tuple[Memory, tuple[Detector, ...]]:
    """The same of 5xx; a 5xx that no gateway makes ends the run of those that one makes."""
    of_gateway = code in _GATEWAY_CODES
    in_row, in_row_gateway = memory.in_row_5xx + count, memory.in_row_gateway + count if of_gateway else 0
    if in_row < settings.consecutive_5xx and (not of_gateway or in_row_gateway < settings.consecutive_gateway_failure):
        return replace(memory, in_row_5xx=in_row, in_row_gateway=in_row_gateway), ()
    number, enforcing = settings.consecutive_5xx, settings.enforcing_consecutive_5xx
    any_5xx = Detector("consecutive_5xx", "in_row_5xx", "answers of 5xx", number, enforcing)
    if not of_gateway:
        return replace(memory, in_row_gateway=0), (any_5xx,)
    number, enforcing = settings.consecutive_gateway_failure, settings.enforcing_consecutive_gateway_failure
    return memory, (Detector("consecutive_gateway_failure", "in_row_gateway", "answers of 502, 503 or 504", number, enforcing), any_5xx)


def _count_failures(
    settings: Settings, member: Member[Memory], detectors: Sequence[Detector], count: int, gathered: Gathered
) -> tuple[Member[Memory], Outlier | None]:
    """Count equal failures, from one counter that reaches its number to the next. A counter begins anew with each attempt to eject,
    whatever comes of it."""
    memory = member.memory
    room = may_be_ejected(member) and has_room(settings, gathered.hosts, gathered.ejected)
    counters = [min(getattr(memory, one.field), max(0, one.threshold - 1)) for one in detectors]
    live = [place for place, one in enumerate(detectors) if room and one.threshold and one.enforcing]
    attempts, tripped = memory.attempts, None
    while count and tripped is None:
        ahead = min(count, *(detectors[place].threshold - counters[place] for place in live)) if live else count
        count -= ahead
        counters = [(at + ahead) % one.threshold if one.threshold else 0 for at, one in zip(counters, detectors, strict=True)]
        for place in live:
            if counters[place] == 0 and tripped is None:
                attempts += 1
                tripped = detectors[place] if enforced(member, detectors[place].enforcing, str(attempts)) else None
    fields = {one.field: at for one, at in zip(detectors, counters, strict=True)}
    member = replace(member, memory=replace(memory, attempts=attempts, **fields))
    if tripped is None:
        return member, None
    return member, Outlier(tripped.rule, f"{tripped.threshold} {tripped.saw} in a row", {"failures": tripped.threshold})


def _eject(settings: Settings, member: Member[Memory], outlier: Outlier, gathered: Gathered, now_ms: int) -> Step[Memory]:
    """All that an ejection leaves behind is in the breaker: where it is not to be, nothing was."""
    memory, breaker = member.memory, member.breaker
    base_ms, longest_ms, backoff = settings.base_ejection_time_ms, settings.longest_ms, memory.backoff
    if base_ms * backoff < longest_ms + base_ms:
        backoff += 1
    lasts_ms = min(base_ms * backoff, longest_ms)
    if settings.max_ejection_time_jitter_ms:
        lasts_ms += int(spread(f"{member.id}:jitter", breaker.gen, member.seed) * (settings.max_ejection_time_jitter_ms + 1))
    ejected = gathered.ejected + 1
    reason = f"{outlier.rule}: {outlier.saw}; ejected for {format_duration(lasts_ms)}, as {ejected} of {gathered.hosts} hosts"
    evidence = outlier.evidence | {"ejected_ms": lasts_ms, "backoff": backoff, "ejected": ejected, "hosts": gathered.hosts}
    after = enter(
        breaker,
        Event.TRIP,
        now_ms=now_ms,
        rule=outlier.rule,
        reason=reason,
        evidence=evidence,
        open_until_ms=now_ms + lasts_ms,
        opens=backoff,
        hard=outlier.rule in HARD_RULES,
    )
    memory = replace(memory, seen_ms=now_ms)
    change = Change(now_ms, "closed", "open", outlier.rule, reason, evidence, after.hard)
    return Step(replace(member, breaker=after, memory=memory), (change,))


def _readmit(member: Member[Memory], rule: str, reason: str, now_ms: int) -> Step[Memory]:
    """The ejection ends, and with it what its failures have left in the counters."""
    memory, breaker = member.memory, member.breaker
    after = enter(breaker, Event.READMITTED, now_ms=now_ms, rule=rule, reason=reason)
    memory = replace(
        memory,
        in_row_5xx=0,
        in_row_gateway=0,
        in_row_local=0,
        seen_ms=now_ms,
        backoff=breaker.opens,
        ejections=memory.ejections + (breaker.state is _OPEN),
    )
    change = Change(now_ms, breaker.state.value.lower(), "closed", rule, reason)
    return Step(replace(member, breaker=after, memory=memory), (change,))
