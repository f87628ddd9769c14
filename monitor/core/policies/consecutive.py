"""The policy `consecutive`: runs of equal outcomes of active probes."""

from __future__ import annotations

from typing import Final

from monitor.core.breaker import Event, cooled_down
from monitor.core.durations import format_duration
from monitor.core.endpoint import INTERVAL_MAX_MS, INTERVAL_MIN_MS, THRESHOLD_MAX
from monitor.core.outcome import Outcome
from monitor.core.policies.seen import PolicyOption, Ruling, Scope, Seen
from monitor.core.record import Breaker

_CLOSED, _OPEN = Breaker.CLOSED, Breaker.OPEN
_SUCCESS, _FAILURE = Outcome.SUCCESS, Outcome.FAILURE


OPTIONS: Final = (
    PolicyOption(
        name="failure_threshold",
        attribute="failure_threshold",
        scope=Scope.ENDPOINT,
        default=3,
        low=1,
        high=THRESHOLD_MAX,
        help="Failed probes in a row that open the breaker.",
        source="HAProxy `fall`, Kubernetes failureThreshold",
    ),
    PolicyOption(
        name="success_threshold",
        attribute="success_threshold",
        scope=Scope.ENDPOINT,
        default=2,
        low=1,
        high=THRESHOLD_MAX,
        help="Successful probes in a row that close it.",
        source="HAProxy `rise`, Kubernetes successThreshold",
    ),
    PolicyOption(
        name="open",
        attribute="open_ms",
        scope=Scope.POOL,
        default=5_000,
        low=INTERVAL_MIN_MS,
        high=INTERVAL_MAX_MS,
        unit="ms",
        help="First time that a breaker stays open.",
        source="Hystrix sleepWindowInMilliseconds, Finagle's failure accrual",
    ),
    PolicyOption(
        name="open_max",
        attribute="open_max_ms",
        scope=Scope.POOL,
        default=300_000,
        low=INTERVAL_MIN_MS,
        high=INTERVAL_MAX_MS,
        unit="ms",
        help="Longest, as `open` doubles.",
        source="Envoy outlier detection, max_ejection_time",
    ),
)


class Consecutive:
    """Runs of equal outcomes, for active probes: HAProxy's rise and fall, Kubernetes' thresholds.

    CLOSED trips when the run of failures reaches `failure_threshold`. OPEN ignores successes until its cooldown
    is over; the first one after that is trial 1. One failed trial opens again, `success_threshold` good ones close.
    """

    name = "consecutive"
    options = OPTIONS

    def judge(self, seen: Seen) -> Ruling | None:
        """The event of this run of outcomes, or None (Policy.judge)."""
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
