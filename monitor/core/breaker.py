"""The circuit breaker: one machine for every policy.

                          TRIP
        +--------+ ------------------> +------+
        | CLOSED |                     | OPEN | <------+
        +--------+ <------------------ +------+        |
             ^          READMITTED         |           |
             |                             | TRIAL     | TRIAL_FAILED
             | TRIALS_PASSED               v           |
             | READMITTED            +-----------+     |
             +---------------------- | HALF_OPEN | ----+
                                     +-----------+

A policy (core/policies) reads the evidence and names the event; the machine alone knows where an event leads.
An event that the table does not list for a state is an error of ours and raises. A result that changes nothing is no event.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec.structs import replace

from monitor.core.record import Breaker, BreakerState, Source

FORGIVE_AFTER_MS: Final = 30_000
"""Healthy time after which one opening is forgiven."""


class Opening(msgspec.Struct, frozen=True):
    """How long a breaker stays open: `open_ms` at first, twice as long each time, up to `open_max_ms`, give or take `spread_percent`."""

    open_ms: int
    open_max_ms: int
    spread_percent: int = 0


class Event(StrEnum):
    """What a trip policy may say; the table TRANSITIONS alone knows where it leads."""

    TRIP = "TRIP"
    """The evidence says: stop sending."""
    TRIAL = "TRIAL"
    """The cooldown is over and a first success was seen."""
    TRIAL_FAILED = "TRIAL_FAILED"
    TRIALS_PASSED = "TRIALS_PASSED"
    READMITTED = "READMITTED"
    """It is let in again without trials: an ejection's time is over (Envoy), or an operator says so."""


class Course(msgspec.Struct, frozen=True):
    """What happens to a breaker next, and why, in words for a person and in numbers for a program. `source`, `rule` and `hard` are those of
    BreakerState; `trial_successes`: trials that have succeeded by then."""

    event: Event
    source: Source
    rule: str
    reason: str
    evidence: dict[str, int | float | str] = {}
    hard: bool = False
    trial_successes: int = 0


TRANSITIONS: Final[Mapping[tuple[Breaker, Event], Breaker]] = MappingProxyType(
    {
        (Breaker.CLOSED, Event.TRIP): Breaker.OPEN,
        (Breaker.OPEN, Event.TRIAL): Breaker.HALF_OPEN,
        (Breaker.OPEN, Event.READMITTED): Breaker.CLOSED,
        (Breaker.HALF_OPEN, Event.TRIAL_FAILED): Breaker.OPEN,
        (Breaker.HALF_OPEN, Event.TRIALS_PASSED): Breaker.CLOSED,
        (Breaker.HALF_OPEN, Event.READMITTED): Breaker.CLOSED,
    }
)


class UnlistedTransitionError(RuntimeError):
    """A policy named an event that the state does not know."""


def target(state: Breaker, event: Event) -> Breaker:
    """Return where `event` leads from `state`; raises UnlistedTransitionError when the table does not say."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise UnlistedTransitionError(f"{event} is no event of {state}") from None


def step(before: BreakerState, course: Course, *, endpoint_id: str, policy: str, times: Opening, now_ms: int) -> BreakerState:
    """Return the breaker after an event that `policy` names; its `gen` is one larger. Where it opens, `times` say for how long."""
    opens, open_until_ms = before.opens, 0
    if target(before.state, course.event) is Breaker.OPEN:
        opens = count_opening(before.opens, times)
        open_until_ms = now_ms + opening_ms(endpoint_id, before.gen + 1, opens, times)
    entered = enter(
        before,
        course.event,
        now_ms=now_ms,
        rule=course.rule,
        reason=course.reason,
        evidence=course.evidence,
        open_until_ms=open_until_ms,
        opens=opens,
        hard=course.hard,
    )
    return replace(entered, source=course.source, policy=policy, trial_successes=course.trial_successes)


def enter(
    before: BreakerState,
    event: Event,
    *,
    now_ms: int,
    rule: str,
    reason: str,
    evidence: dict[str, int | float | str] | None = None,
    open_until_ms: int = 0,
    opens: int | None = None,
    hard: bool = False,
) -> BreakerState:
    """Return the breaker after `event`, where the policy says how long it stays open and how it counts openings (None: as before)."""
    return BreakerState(
        state=target(before.state, event),
        since_ms=now_ms,
        gen=before.gen + 1,
        open_until_ms=open_until_ms,
        opens=before.opens if opens is None else opens,
        forgiven_ms=before.forgiven_ms,
        reason=reason,
        evidence=evidence or {},
        rule=rule,
        hard=hard,
    )


def opening_ms(endpoint_id: str, gen: int, opens: int, times: Opening, seed: int = 0) -> int:
    """How long opening k lasts: min(open_ms * 2^(k-1), open_max_ms), spread by a factor of 1 ± spread_percent/100.

    The spread comes from the id, the generation and the seed, so that a pool that tripped at once does not return at once
    and a replay opens for exactly as long.
    """
    base_ms = min(times.open_ms << min(opens - 1, 32), times.open_max_ms)
    draw = zlib.crc32(f"{endpoint_id}:{gen}:{seed}".encode() if seed else f"{endpoint_id}:{gen}".encode())
    per_mille = 1000 - 10 * times.spread_percent + draw % (20 * times.spread_percent + 1)
    return base_ms * per_mille // 1000


def count_opening(opens: int, times: Opening) -> int:
    """k grows until the duration has reached its maximum (Envoy's shape): what cannot lengthen the cooldown need not be forgiven."""
    return opens if opens and times.open_ms << min(opens - 1, 32) >= times.open_max_ms else opens + 1


def cooled_down(breaker: BreakerState, now_ms: int) -> bool:
    """Whether an OPEN breaker has waited long enough."""
    return now_ms >= breaker.open_until_ms


def count_trial(breaker: BreakerState) -> BreakerState:
    """Return a HALF_OPEN breaker with one more successful trial."""
    return _copy(breaker, breaker.opens, breaker.trial_successes + 1, breaker.forgiven_ms)


def forgive(breaker: BreakerState, last_failure_ms: int, now_ms: int) -> BreakerState:
    """Lower k by one for every FORGIVE_AFTER_MS spent CLOSED without a failure."""
    healthy_since_ms = max(breaker.since_ms, breaker.forgiven_ms, last_failure_ms)
    periods = min((now_ms - healthy_since_ms) // FORGIVE_AFTER_MS, breaker.opens)
    if periods <= 0:
        return breaker
    return _copy(breaker, breaker.opens - periods, 0, healthy_since_ms + periods * FORGIVE_AFTER_MS)


def _copy(breaker: BreakerState, opens: int, trial_successes: int, forgiven_ms: int) -> BreakerState:
    return replace(breaker, opens=opens, trial_successes=trial_successes, forgiven_ms=forgiven_ms)
