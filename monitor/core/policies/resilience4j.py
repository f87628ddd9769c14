"""The policy `resilience4j`: its CircuitBreakerStateMachine, with count and time windows, slow calls and its own operator's states.

CLOSED judges each call as it is recorded: from the minimum number of calls on, a rate at or above its threshold opens it. OPEN ends when
somebody asks later than the wait (or, with the automatic transition, as soon as it is over). HALF_OPEN admits a number of calls and judges
a window of that size, perhaps before all have ended: a rate at or above its threshold opens again, anything else closes.

Each transition begins a new window, except one into OPEN: it keeps what led to it, so that late results and readers still find it. Rates
are held against their thresholds as floats of 32 bits, as in the source, and shown as doubles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import replace

from monitor.core.breaker import Event, enter
from monitor.core.overlay import OVERLAYS
from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.policy import CONCURRENT_MAX, Change, IllegalError, Member, Shown, Step, Trials, spread
from monitor.core.policies.resilience4j_state import (
    MACHINE,
    MODES,
    MOVES,
    SECOND_MS,
    Memory,
    Settings,
    begun,
    closed_window,
    met,
    minimum_of,
    target_of,
    wait_ms,
)
from monitor.core.policies.windows import FAILED, SLOW, CountWindow, first_met, rates
from monitor.core.record import Breaker, BreakerState, Override

EVENTS_MAX: Final = 10_000
"""The most equal events of one step that are told."""

_FAILED: Final = {CallOutcome.SUCCESS: 0, CallOutcome.FAILURE: FAILED, CallOutcome.TIMEOUT: FAILED}
_TOLD: Final = ("SUCCESS", "ERROR")
_EXCEEDED: Final[tuple[tuple[str, ...], ...]] = (
    (),
    ("FAILURE_RATE_EXCEEDED",),
    ("SLOW_CALL_RATE_EXCEEDED",),
    ("FAILURE_RATE_EXCEEDED", "SLOW_CALL_RATE_EXCEEDED"),
)
_OWN: Final = frozenset(MODES.values())
_SILENT: Final = frozenset({Override.FORCED_OPEN, Override.DISABLED})
"""They record nothing, and tell nothing but that they begin and end."""

_Member = Member[Memory]
_Step = Step[Memory]


class Resilience4j:
    """Judges each call; see the module."""

    name = "resilience4j"
    settings = Settings
    memory = Memory
    relative = False
    counts_runs = False

    def check(self, settings: Settings) -> None:
        """None do: a `wait_max_ms` below the first wait shortens it."""

    def begin(self, settings: Settings, now_ms: int) -> Memory:
        """CLOSED, and no call yet."""
        return Memory(closed_window(settings))

    def gather(self, settings: Settings, members: Iterable[_Member], now_ms: int) -> None:
        """It looks at no other member."""

    def observe(self, settings: Settings, member: _Member, call: Call, gathered: Any, now_ms: int) -> _Step:
        """Record the calls one by one. Where one decides, those after it meet the state that follows."""
        outcome = call.outcome
        if member.mode in _SILENT:
            return Step(member)
        member = _kept(settings, member)
        if outcome is CallOutcome.IGNORED:
            if _own(member) is None and member.breaker.state is Breaker.HALF_OPEN:
                member = _with(member, replace(member.memory, permits=member.memory.permits + call.count))
            return Step(member, events=_times("IGNORED_ERROR", call.count))
        failed = _FAILED.get(outcome)
        if failed is None:
            return Step(member)
        kind = failed | (SLOW if call.duration_ms > settings.slow_call_duration_threshold_ms else 0)
        step, left = _record(settings, member, kind, call.count, now_ms)
        while left:
            following, left = _record(settings, step.member, kind, left, now_ms)
            step = Step(following.member, step.changes + following.changes, step.events + following.events)
        return step

    def acquire(self, settings: Settings, member: _Member, now_ms: int) -> _Step:
        """HALF_OPEN lets pass as many as it has permits, OPEN nobody before its wait is over, FORCED_OPEN nobody; the others everybody."""
        member = _kept(settings, member)
        if member.mode is not None:
            return Step(member, permitted=True) if OVERLAYS[member.mode].permits else _refused(member)
        state = member.breaker.state
        if state is Breaker.CLOSED:
            return Step(member, permitted=True)
        if state is Breaker.OPEN and now_ms <= member.breaker.open_until_ms:
            return _refused(member)
        step = _half_opened(settings, member, now_ms, "somebody asks") if state is Breaker.OPEN else Step(member)
        memory = step.member.memory
        if memory.permits <= 0:
            return _refused(member)
        return Step(_with(step.member, replace(memory, permits=memory.permits - 1)), step.changes, step.events, permitted=True)

    def release(self, settings: Settings, member: _Member, now_ms: int) -> _Step:
        """Give a permit back; only HALF_OPEN counts them."""
        member = _kept(settings, member)
        if _own(member) is not None or member.breaker.state is not Breaker.HALF_OPEN:
            return Step(member)
        return Step(_with(member, replace(member.memory, permits=member.memory.permits + 1)))

    def probe(self, settings: Settings, member: _Member, success: bool, now_ms: int) -> _Step:
        """Active checks decide nothing."""
        return Step(member)

    def override(self, settings: Settings, member: _Member, word: str, now_ms: int) -> _Step:
        """A move that MOVES lists, or a reset."""
        member = _kept(settings, member)
        target, for_ms = target_of(word)
        old = member.state
        allowed = MOVES.get(old, MOVES["closed"])
        if target not in allowed:
            raise IllegalError(f"resilience4j does not move from {old} to {target}; allowed: {', '.join(allowed)}, auto, reset")
        memory, gen = member.memory, member.breaker.gen + 1
        opened = target in {"open", "forced_open"} and for_ms is None
        attempts = memory.attempts + opened if target in {"open", "half_open", "forced_open"} else 0
        open_until_ms = 0
        if target == "open":
            open_until_ms = now_ms + (wait_ms(settings, attempts, spread(member.id, gen, member.seed)) if for_ms is None else for_ms)
            memory = replace(memory, attempts=attempts, gen=gen)
        else:
            memory = replace(begun(settings, target), attempts=attempts, gen=gen)
        reason = f"an operator says {word}"
        breaker = BreakerState(
            state=MACHINE.get(target, Breaker.CLOSED),
            since_ms=now_ms,
            gen=gen,
            open_until_ms=open_until_ms,
            opens=attempts,
            reason=reason,
            rule="override",
        )
        changes = () if target == old else (Change(now_ms, old, target, "override", reason),)
        events = ("STATE_TRANSITION",) * len(changes) + ("RESET",) * (word == "reset")
        return Step(Member(member.id, breaker, memory, MODES.get(target), member.seed), changes, events)

    def due_ms(self, settings: Settings, member: _Member) -> int:
        """The end of the wait, where the transition is automatic; the end of the patience with trials, where it has one."""
        breaker = member.breaker
        if _own(member) is not None or breaker.state is Breaker.CLOSED:
            return 0
        if breaker.state is Breaker.OPEN:
            return breaker.open_until_ms if settings.automatic_transition_from_open_to_half_open_enabled else 0
        patience_ms = settings.max_wait_duration_in_half_open_state_ms
        return breaker.since_ms + patience_ms if patience_ms else 0

    def tick(self, settings: Settings, member: _Member, now_ms: int) -> _Step:
        """End the wait, or the patience."""
        member = _kept(settings, member)
        if member.breaker.state is Breaker.OPEN:
            return _half_opened(settings, member, now_ms, "the automatic transition is enabled")
        opens = settings.transition_to_state_after_wait_duration == "open"
        reason = f"its trials did not end within {settings.max_wait_duration_in_half_open_state_ms} ms"
        event = Event.TRIAL_FAILED if opens else Event.READMITTED
        return _moved(settings, member, event, now_ms, rule="max_wait_duration_in_half_open_state_ms", reason=reason)

    def compare(self, settings: Settings, member: _Member, gathered: Any, now_ms: int) -> _Step:
        """It looks at no other member."""
        return Step(member)

    def trials(self, settings: Settings, member: _Member) -> Trials:
        """As many as HALF_OPEN permits, at most four at a time."""
        permitted = settings.permitted_number_of_calls_in_half_open_state
        return Trials(permitted, min(permitted, CONCURRENT_MAX))

    def slow_ms(self, settings: Settings, member: Member[Memory]) -> float:
        """As it is set."""
        return float(settings.slow_call_duration_threshold_ms)

    def shows(self, settings: Settings, member: _Member, now_ms: int) -> Shown:
        """The window as it is now: seconds leave it while nothing happens."""
        memory = _kept(settings, member).memory
        if memory.window is None:
            return Shown(not_permitted=memory.not_permitted)
        window = memory.window.at(now_ms // SECOND_MS)
        failure_rate, slow_rate = rates(window, minimum_of(settings, window))
        return Shown(failure_rate, slow_rate, window.calls, window.failed, window.slow, memory.not_permitted)


def _record(settings: Settings, member: _Member, kind: int, count: int, now_ms: int) -> tuple[_Step, int]:
    """Record equal calls up to the first that decides; return what that led to, and how many are left."""
    memory, mode, state = member.memory, _own(member), member.breaker.state
    window, name, second = memory.window, _TOLD[kind & FAILED], now_ms // SECOND_MS
    if window is None:
        return Step(member, events=_times(name, count)), 0
    if mode is None and state is Breaker.OPEN:
        return Step(_with(member, replace(memory, window=window.pushed(kind, count, second))), events=_times(name, count)), 0
    minimum, untold = minimum_of(settings, window), ~memory.told
    if mode is None and state is Breaker.HALF_OPEN:
        taken = min(count, max(1, minimum - window.calls))
        window = window.pushed(kind, taken, second)
        over, decided = met(settings, window, minimum), window.calls >= minimum
        event, events = (Event.TRIAL_FAILED if over else Event.TRIALS_PASSED), _times(name, taken)
    else:
        if count == 1:
            taken, window = 1, window.pushed(kind, 1, second)
            over = met(settings, window, minimum) & untold
        else:
            taken, window, over = first_met(window, (kind, count, second), minimum, lambda one: met(settings, one, minimum) & untold)
        decided, event, events = over != 0, Event.TRIP, _times(name, taken) + _EXCEEDED[over]
    memory = replace(memory, window=window)
    if mode is not None or not decided:
        memory = replace(memory, told=memory.told | over) if over else memory
        return Step(_with(member, memory), events=events), count - taken
    rule = "slow_call_rate_threshold" if over == SLOW else "failure_rate_threshold"
    failure_rate, slow_rate = rates(window, minimum)
    step = _moved(
        settings,
        _with(member, memory),
        event,
        now_ms,
        rule=rule,
        reason=f"of {window.calls} {'trials' if memory.trial else 'calls'} {_said(settings, over, failure_rate, slow_rate)}",
        evidence={"failure_rate": failure_rate, "slow_rate": slow_rate, "calls": window.calls},
    )
    return Step(step.member, step.changes, events + step.events), count - taken


def _said(settings: Settings, over: int, failure_rate: float, slow_rate: float) -> str:
    said = []
    if over & FAILED:
        said.append(f"{failure_rate:.4g} % failed, at least {settings.failure_rate_threshold:g} %")
    if over & SLOW:
        longer_ms, least = settings.slow_call_duration_threshold_ms, settings.slow_call_rate_threshold
        said.append(f"{slow_rate:.4g} % took longer than {longer_ms} ms, at least {least:g} %")
    return " and ".join(said) or f"{failure_rate:.4g} % failed and {slow_rate:.4g} % were slow, which is below the thresholds"


def _times(event: str, count: int) -> tuple[str, ...]:
    return (event,) * min(count, EVENTS_MAX)


def _kept(settings: Settings, member: _Member) -> _Member:
    """The member with a memory that fits its breaker and its settings: both may have been changed by somebody else since, and a change
    that the memory already counts on may have been refused."""
    memory, breaker = member.memory, member.breaker
    window = memory.window
    if memory.gen != breaker.gen:
        refused = memory.gen > breaker.gen and window is not None and memory.trial is (breaker.state is Breaker.HALF_OPEN)
        kept = memory if refused or breaker.state is Breaker.OPEN else begun(settings, breaker.state.lower())
        attempts = 0 if breaker.state is Breaker.CLOSED else max(1, memory.attempts)
        return _with(member, replace(kept, attempts=attempts, gen=breaker.gen))
    if window is None:
        return member
    if memory.trial:
        size = settings.permitted_number_of_calls_in_half_open_state
    elif isinstance(window, CountWindow) is (settings.sliding_window_type == "count"):
        size = settings.sliding_window_size
    else:
        return _with(member, replace(memory, window=closed_window(settings)))
    return member if window.size == size else _with(member, replace(memory, window=window.resized(size)))


def _own(member: _Member) -> Override | None:
    """The state of its own that an operator's word has put it into; another word that lies over it moves nothing underneath."""
    return member.mode if member.mode in _OWN else None


def _with(member: _Member, memory: Memory) -> _Member:
    return Member(member.id, member.breaker, memory, member.mode, member.seed)


def _refused(member: _Member) -> _Step:
    memory = member.memory
    events = () if member.mode in _SILENT else ("NOT_PERMITTED",)
    return Step(_with(member, replace(memory, not_permitted=memory.not_permitted + 1)), (), events, permitted=False)


def _half_opened(settings: Settings, member: _Member, now_ms: int, why: str) -> _Step:
    reason = f"{why} after {now_ms - member.breaker.since_ms} ms"
    return _moved(settings, member, Event.TRIAL, now_ms, rule="wait_duration_in_open_state_ms", reason=reason)


def _moved(
    settings: Settings,
    member: _Member,
    event: Event,
    now_ms: int,
    *,
    rule: str,
    reason: str,
    evidence: dict[str, int | float | str] | None = None,
) -> _Step:
    """Move the machine: into OPEN with the window as it is, into others with a new one."""
    old, memory = member.breaker, member.memory
    after = enter(old, event, now_ms=now_ms, rule=rule, reason=reason, evidence=evidence, opens=0)
    attempts, open_until_ms = memory.attempts, 0
    if after.state is Breaker.OPEN:
        attempts += 1
        open_until_ms = now_ms + wait_ms(settings, attempts, spread(member.id, after.gen, member.seed))
        memory = replace(memory, attempts=attempts, gen=after.gen)
    else:
        attempts = attempts if after.state is Breaker.HALF_OPEN else 0
        memory = replace(begun(settings, after.state.lower()), attempts=attempts, gen=after.gen)
    after = replace(after, open_until_ms=open_until_ms, opens=attempts)
    change = Change(now_ms, old.state.lower(), after.state.lower(), rule, reason, evidence or {})
    return Step(Member(member.id, after, memory, member.mode, member.seed), (change,), ("STATE_TRANSITION",))
