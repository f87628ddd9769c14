"""Trip policies: each reads what was seen and names the machine's next event, or none. One rule, one class.

A policy holds no state. What it needs to know beyond the run of equal outcomes is a field of `Seen`,
folded from the results before the policy is asked; so a new policy adds evidence and a row to `POLICIES`, and the machine stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from monitor.core.breaker import Event, cooled_down
from monitor.core.durations import format_duration
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.outcome import Outcome, Result
from monitor.core.state import Breaker, BreakerState, Evidence

_CLOSED, _OPEN = Breaker.CLOSED, Breaker.OPEN
_SUCCESS, _FAILURE = Outcome.SUCCESS, Outcome.FAILURE


class Seen(msgspec.Struct, frozen=True):
    """What a policy judges: everything already contains the newest result."""

    endpoint: Endpoint
    pool: Pool
    breaker: BreakerState
    run_outcome: Outcome | None
    run_length: int
    evidence: Evidence
    result: Result
    now_ms: int


class Ruling(msgspec.Struct, frozen=True):
    """An event and why, in words for a person and in numbers for a program."""

    event: Event
    reason: str
    evidence: dict[str, int | float | str]


class Policy(Protocol):
    def judge(self, seen: Seen) -> Ruling | None:
        """Name the next event. Asked again after each change, until it has nothing more to say about this result."""


class Consecutive:
    """Runs of equal outcomes, for active probes: HAProxy's rise and fall, Kubernetes' thresholds.

    CLOSED trips when the run of failures reaches `failure_threshold`. OPEN ignores successes until its cooldown
    is over; the first one after that is trial 1. One failed trial opens again, `success_threshold` good ones close.
    """

    def judge(self, seen: Seen) -> Ruling | None:
        state = seen.breaker.state
        if state is _CLOSED:
            if seen.run_outcome is _FAILURE and seen.run_length >= seen.endpoint.failure_threshold:
                return self._trip(seen)
        elif state is _OPEN:
            if seen.run_outcome is _SUCCESS and cooled_down(seen.breaker, seen.now_ms):
                return self._trial(seen)
        elif seen.run_outcome is _FAILURE:
            return Ruling(Event.TRIAL_FAILED, f"a trial probe failed: {_saw(seen)}", _facts(seen))
        elif seen.breaker.trial_successes >= seen.endpoint.success_threshold:
            return self._close(seen)
        return None

    def _trip(self, seen: Seen) -> Ruling:
        probes = f"{seen.run_length} failed probes in a row" if seen.run_length > 1 else "1 failed probe"
        return Ruling(
            Event.TRIP,
            f"{probes}: {_saw(seen)}",
            _facts(seen) | {"run_length": seen.run_length, "failure_threshold": seen.endpoint.failure_threshold},
        )

    def _trial(self, seen: Seen) -> Ruling:
        open_ms = max(0, seen.now_ms - seen.breaker.since_ms)
        return Ruling(
            Event.TRIAL,
            f"a probe succeeded after {format_duration(open_ms)} open: trial 1 of {seen.endpoint.success_threshold}",
            {"open_ms": open_ms, "success_threshold": seen.endpoint.success_threshold},
        )

    def _close(self, seen: Seen) -> Ruling:
        trials = seen.breaker.trial_successes
        probes = f"{trials} trial probes succeeded in a row" if trials > 1 else "1 trial probe succeeded"
        return Ruling(
            Event.TRIALS_PASSED,
            probes,
            {"trial_successes": trials, "success_threshold": seen.endpoint.success_threshold},
        )


def _saw(seen: Seen) -> str:
    return seen.result.text or str(seen.result.failure or "failed")


def _facts(seen: Seen) -> dict[str, int | float | str]:
    facts: dict[str, int | float | str] = {"failure": str(seen.result.failure or "")}
    return facts | {"status": seen.result.status} if seen.result.status else facts


POLICIES: Final[Mapping[str, Policy]] = {"consecutive": Consecutive()}
