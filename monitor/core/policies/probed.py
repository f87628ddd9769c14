"""What `decide` consults about probes: the policy `consecutive`, whose rule is in consecutive.py, with the sentences of probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.core.breaker import Event
from monitor.core.durations import format_duration
from monitor.core.endpoint import INTERVAL_MAX_MS, INTERVAL_MIN_MS, THRESHOLD_MAX
from monitor.core.outcome import Outcome
from monitor.core.policies.consecutive import next_event
from monitor.core.policies.seen import Policy, PolicyOption, Ruling, Scope, Seen

_SUCCESS = Outcome.SUCCESS
_TRIP, _TRIAL, _TRIAL_FAILED = Event.TRIP, Event.TRIAL, Event.TRIAL_FAILED

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
        endpoint = seen.endpoint
        success = seen.run_outcome is _SUCCESS
        event = next_event(
            seen.breaker,
            success,
            seen.run_length,
            failure_threshold=endpoint.failure_threshold,
            success_threshold=endpoint.success_threshold,
            now_ms=seen.now_ms,
        )
        if event is None:
            return None
        if event is _TRIP:
            return self._trip(seen)
        if event is _TRIAL:
            return self._trial(seen)
        if event is _TRIAL_FAILED:
            return Ruling(event, f"a trial probe failed: {_saw(seen)}", _facts(seen))
        return self._close(seen)

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


PROBE_POLICIES: Final[Mapping[str, Policy]] = {policy.name: policy for policy in (Consecutive(),)}
