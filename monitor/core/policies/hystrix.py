"""The policy `hystrix`: Netflix Hystrix 1.5, HystrixCircuitBreaker over a HealthCountsStream.

Calls fall into buckets of `snapshot_interval_ms`. At the end of each bucket a snapshot of the last whole ones is judged: from
`request_volume_threshold` calls on, an error percentage of `error_threshold_percentage` or more opens a breaker that is CLOSED. Between
two snapshots nothing is judged, so a breaker may open long after the call that was one too many, and never if it has left the window.

OPEN ends when somebody asks later than `sleep_window_ms` after it began: he alone may try. His success closes it and begins a new window,
in which that success is the first call (the source tells the breaker before it counts the command); anything else opens it again for a
whole sleep window, also a bad request, a cancelled call, or a permit that comes back unused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
from msgspec.structs import replace

from monitor.core.breaker import Event, enter
from monitor.core.overlay import OVERLAYS
from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.options import TIME_MAX_MS, Limits, SettingError
from monitor.core.policies.policy import Change, IllegalError, Member, Shown, Step, Trials
from monitor.core.record import Breaker, BreakerState, Override

BUCKETS_MAX: Final = 10_000
"""The most buckets that a window may have."""
VOLUME_MAX: Final = 1_000_000
_BAD: Final = frozenset({CallOutcome.FAILURE, CallOutcome.TIMEOUT, CallOutcome.REJECTED})
_UNDECIDED: Final = frozenset({CallOutcome.IGNORED, CallOutcome.CANCELLED})
"""They count nowhere, but a trial that ends so was no success."""
_COVERS: Final = {"forced_open": Override.FORCED_OPEN, "forced_closed": Override.FORCED_CLOSED}
_ALLOWED: Final = "forced_open, forced_closed, auto, reset"

Bucket = tuple[int, int, int]
"""A bucket's number since the stream began, its calls and its errors."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What Hystrix calls circuitBreaker.* and metrics.*."""

    request_volume_threshold: Annotated[
        int, Limits(1, VOLUME_MAX, "Fewer calls in the window open nothing.", "Hystrix circuitBreaker.requestVolumeThreshold")
    ] = 20
    error_threshold_percentage: Annotated[
        int,
        Limits(0, 100, "Error percentage, without its fraction, from which it opens.", "Hystrix circuitBreaker.errorThresholdPercentage"),
    ] = 50
    sleep_window_ms: Annotated[
        int, Limits(0, TIME_MAX_MS, "How long nobody may try after it has opened.", "Hystrix circuitBreaker.sleepWindowInMilliseconds")
    ] = 5_000
    rolling_window_ms: Annotated[
        int, Limits(1, TIME_MAX_MS, "How far back a snapshot looks.", "Hystrix metrics.rollingStats.timeInMilliseconds")
    ] = 10_000
    rolling_buckets: Annotated[
        int, Limits(1, BUCKETS_MAX, "Buckets of metrics; decides nothing.", "Hystrix metrics.rollingStats.numBuckets")
    ] = 10
    snapshot_interval_ms: Annotated[
        int,
        Limits(1, TIME_MAX_MS, "How often it is judged; the length of a bucket.", "Hystrix metrics.healthSnapshot.intervalInMilliseconds"),
    ] = 500

    @property
    def buckets(self) -> int:
        """Whole buckets in the window."""
        return self.rolling_window_ms // self.snapshot_interval_ms


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stream: its buckets of `interval_ms` are numbered from `anchor_ms`. `bucket`, `calls` and `errors` are of the newest one with
    calls, `past` are those before it that had calls, oldest first; `seen_calls` and `seen_errors` are of all of these, the last snapshot.
    `gen` is the breaker's: a breaker that somebody else has closed begins a new stream. `refused` are those who asked in vain since then.

    At most rolling_window_ms / snapshot_interval_ms buckets of some 15 bytes each: 20 by default, BUCKETS_MAX at most.
    """

    interval_ms: int
    anchor_ms: int = 0
    past: tuple[Bucket, ...] = ()
    bucket: int = 0
    calls: int = 0
    errors: int = 0
    seen_calls: int = 0
    seen_errors: int = 0
    gen: int = 0
    refused: int = 0


class Hystrix:
    """Judges at intervals; see the module."""

    name = "hystrix"
    settings = Settings
    memory = Memory
    relative = False
    counts_runs = False

    def check(self, settings: Settings) -> None:
        """Refuse a window of no whole bucket, or of more than BUCKETS_MAX."""
        if not 1 <= settings.buckets <= BUCKETS_MAX:
            raise SettingError(
                "snapshot_interval_ms",
                str(settings.snapshot_interval_ms),
                f"rolling_window_ms {settings.rolling_window_ms} has {settings.buckets:,} whole buckets of it",
                f"write an interval of which the window has 1 to {BUCKETS_MAX:,}",
            )

    def begin(self, settings: Settings, now_ms: int) -> Memory:
        """Snapshots are at whole multiples of the interval."""
        return Memory(settings.snapshot_interval_ms)

    def gather(self, settings: Settings, members: Iterable[Member[Memory]], now_ms: int) -> None:
        """It looks at no other member."""

    def observe(self, settings: Settings, member: Member[Memory], call: Call, gathered: Any, now_ms: int) -> Step[Memory]:
        """Count the call; in HALF_OPEN it decides too."""
        if member.mode is not None and not OVERLAYS[member.mode].records:
            return Step(member)
        breaker, memory = member.breaker, _kept(settings, member)
        outcome = call.outcome
        good, bad = outcome is CallOutcome.SUCCESS, outcome in _BAD
        changes: tuple[Change, ...] = ()
        if breaker.state is Breaker.HALF_OPEN and (good or bad or outcome in _UNDECIDED):
            if good:
                breaker, changes = _moved(breaker, Event.TRIALS_PASSED, now_ms, rule="trial", reason="the trial succeeded")
                memory = Memory(settings.snapshot_interval_ms, now_ms)
            else:
                breaker, changes = _moved(
                    breaker,
                    Event.TRIAL_FAILED,
                    now_ms,
                    rule="trial",
                    reason=f"the trial ended with {outcome}",
                    open_until_ms=now_ms + settings.sleep_window_ms,
                )
        memory = memory if memory.gen == breaker.gen else replace(memory, gen=breaker.gen)
        if good or bad:
            memory = _counted(settings, memory, call.count, call.count if bad else 0, now_ms)
        return Step(Member(member.id, breaker, memory, member.mode, member.seed), changes)

    def acquire(self, settings: Settings, member: Member[Memory], now_ms: int) -> Step[Memory]:
        """A forced word answers first; the one who asks first after the sleep window tries."""
        if member.mode is not None:
            return Step(member, permitted=True) if OVERLAYS[member.mode].permits else _refused(member)
        breaker = member.breaker
        if breaker.state is Breaker.CLOSED:
            return Step(member, permitted=True)
        if breaker.state is not Breaker.OPEN or now_ms <= breaker.open_until_ms:
            return _refused(member)
        reason = f"somebody asks after {now_ms - breaker.since_ms} ms, later than the sleep window of {settings.sleep_window_ms} ms"
        breaker, changes = _moved(breaker, Event.TRIAL, now_ms, rule="sleep_window_ms", reason=reason)
        memory = replace(_kept(settings, member), gen=breaker.gen)
        return Step(Member(member.id, breaker, memory, member.mode, member.seed), changes, permitted=True)

    def release(self, settings: Settings, member: Member[Memory], now_ms: int) -> Step[Memory]:
        """A trial that is given back has ended as one that is cancelled: there is no other way back from HALF_OPEN."""
        return self.observe(settings, member, Call(CallOutcome.CANCELLED), None, now_ms)

    def probe(self, settings: Settings, member: Member[Memory], success: bool, now_ms: int) -> Step[Memory]:
        """Active checks decide nothing."""
        return Step(member)

    def override(self, settings: Settings, member: Member[Memory], word: str, now_ms: int) -> Step[Memory]:
        """Forced words lie over the machine, `auto` uncovers it, `reset` makes it anew."""
        if word not in {*_COVERS, "auto", "reset"}:
            raise IllegalError(f"hystrix knows no override {word}; allowed: {_ALLOWED}")
        breaker, memory, mode = member.breaker, _kept(settings, member), _COVERS.get(word)
        if word == "reset":
            memory = Memory(settings.snapshot_interval_ms, now_ms)
            if breaker.state is not Breaker.CLOSED:
                breaker = enter(breaker, Event.READMITTED, now_ms=now_ms, rule="override", reason="an operator resets it")
        memory = replace(memory, gen=breaker.gen)
        after = Member(member.id, breaker, memory, mode, member.seed)
        changed = after.state != member.state
        return Step(after, (Change(now_ms, member.state, after.state, "override", f"an operator says {word}"),) if changed else ())

    def due_ms(self, settings: Settings, member: Member[Memory]) -> int:
        """The next snapshot that differs from the last one: when the newest bucket ends, or the oldest leaves the window."""
        memory = member.memory
        anchor_ms, interval_ms, past = memory.anchor_ms, memory.interval_ms, memory.past
        ends = anchor_ms + (memory.bucket + 1) * interval_ms if memory.calls else 0
        if not past:
            return ends
        leaves = anchor_ms + (past[0][0] + settings.buckets + 1) * interval_ms
        return min(ends, leaves) if ends else leaves

    def tick(self, settings: Settings, member: Member[Memory], now_ms: int) -> Step[Memory]:
        """Take the snapshot and judge it."""
        breaker, memory = member.breaker, _kept(settings, member)
        memory = _rolled(settings, memory, (now_ms - memory.anchor_ms) // memory.interval_ms)
        calls, errors = memory.seen_calls, memory.seen_errors
        percentage = _percentage(errors, calls)
        changes: tuple[Change, ...] = ()
        if (
            breaker.state is Breaker.CLOSED
            and (member.mode is None or OVERLAYS[member.mode].opens)
            and calls >= settings.request_volume_threshold
            and percentage >= settings.error_threshold_percentage
        ):
            breaker, changes = _moved(
                breaker,
                Event.TRIP,
                now_ms,
                rule="error_threshold_percentage",
                reason=f"{percentage} % of {calls} calls in the last {settings.buckets * memory.interval_ms} ms were errors, "
                f"at least {settings.error_threshold_percentage} %",
                open_until_ms=now_ms + settings.sleep_window_ms,
                evidence={"error_percentage": percentage, "calls": calls, "errors": errors},
            )
        memory = memory if memory.gen == breaker.gen else replace(memory, gen=breaker.gen)
        return Step(Member(member.id, breaker, memory, member.mode, member.seed), changes)

    def compare(self, settings: Settings, member: Member[Memory], gathered: Any, now_ms: int) -> Step[Memory]:
        """It looks at no other member."""
        return Step(member)

    def trials(self, settings: Settings, member: Member[Memory]) -> Trials:
        """One."""
        return Trials(1, 1)

    def slow_ms(self, settings: Settings, member: Member[Memory]) -> float:
        """It knows no slow calls."""
        return 0.0

    def shows(self, settings: Settings, member: Member[Memory], now_ms: int) -> Shown:
        """The last snapshot."""
        memory = member.memory
        calls, errors = memory.seen_calls, memory.seen_errors
        enough = calls >= settings.request_volume_threshold
        rate = _percentage(errors, calls) if enough else -1
        return Shown(failure_rate=rate, calls=calls, failures=errors, not_permitted=memory.refused)


def _refused(member: Member[Memory]) -> Step[Memory]:
    memory = replace(member.memory, refused=member.memory.refused + 1)
    return Step(Member(member.id, member.breaker, memory, member.mode, member.seed), permitted=False)


def _kept(settings: Settings, member: Member[Memory]) -> Memory:
    """The memory, or a new one where the interval has changed, or somebody else has closed the breaker."""
    memory = member.memory
    if memory.interval_ms != settings.snapshot_interval_ms:
        return Memory(settings.snapshot_interval_ms, gen=member.breaker.gen)
    if memory.gen < member.breaker.gen and member.breaker.state is Breaker.CLOSED:
        return Memory(settings.snapshot_interval_ms, member.breaker.since_ms, gen=member.breaker.gen)
    return memory


def _counted(settings: Settings, memory: Memory, calls: int, errors: int, now_ms: int) -> Memory:
    bucket = (now_ms - memory.anchor_ms) // memory.interval_ms
    if memory.calls and bucket > memory.bucket:
        memory = _rolled(settings, memory, bucket)
    bucket = max(memory.bucket, bucket)
    return replace(memory, bucket=bucket, calls=memory.calls + calls, errors=memory.errors + errors)


def _rolled(settings: Settings, memory: Memory, number: int) -> Memory:
    """The memory at the beginning of bucket `number`: what has ended is seen, what has left the window is not."""
    past, bucket, calls, errors = memory.past, memory.bucket, memory.seen_calls, memory.seen_errors
    ended = memory.calls > 0 and bucket < number
    if ended:
        past = (*past, (bucket, memory.calls, memory.errors))
        calls, errors, bucket = calls + memory.calls, errors + memory.errors, number
    gone, oldest = 0, number - settings.buckets
    for began, of_calls, of_errors in past:
        if began >= oldest:
            break
        gone, calls, errors = gone + 1, calls - of_calls, errors - of_errors
    now_calls, now_errors = (0, 0) if ended else (memory.calls, memory.errors)
    past = past[gone:] if gone else past
    return Memory(memory.interval_ms, memory.anchor_ms, past, bucket, now_calls, now_errors, calls, errors, memory.gen, memory.refused)


def _percentage(errors: int, calls: int) -> int:
    return int(errors / calls * 100) if calls else 0


def _moved(
    breaker: BreakerState,
    event: Event,
    now_ms: int,
    *,
    rule: str,
    reason: str,
    open_until_ms: int = 0,
    evidence: dict[str, int | float | str] | None = None,
) -> tuple[BreakerState, tuple[Change, ...]]:
    after = enter(breaker, event, now_ms=now_ms, rule=rule, reason=reason, evidence=evidence, open_until_ms=open_until_ms)
    return after, (Change(now_ms, breaker.state.lower(), after.state.lower(), rule, reason, evidence or {}),)
