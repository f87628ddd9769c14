"""What `decide` consults about probes: the policy `consecutive`, whose rule is in consecutive.py, with the sentences of probes."""

from __future__ import annotations

from monitor.core.breaker import Course, Event
from monitor.core.durations import format_duration
from monitor.core.outcome import Outcome, Result
from monitor.core.policies.consecutive import ConsecutiveSettings, next_event
from monitor.core.record import BreakerState, ProbeStatistics, Source

_SUCCESS = Outcome.SUCCESS
_TRIP, _TRIAL, _TRIAL_FAILED = Event.TRIP, Event.TRIAL, Event.TRIAL_FAILED
_ACTIVE = Source.ACTIVE


def next_course(
    settings: ConsecutiveSettings, breaker: BreakerState, probes: ProbeStatistics, result: Result | None, now_ms: int
) -> Course | None:
    """What the run of outcomes says, which contains `result` (None: nothing came), or None. Called again after each change, until it has
    nothing more to say about this result.

    CLOSED trips when the run of failures reaches `failure_threshold`. OPEN ignores successes until its cooldown is over; the first one
    after that is trial 1. One failed trial opens again, `success_threshold` good ones close.
    """
    event = next_event(
        breaker,
        probes.run_outcome is _SUCCESS,
        probes.run_length,
        failure_threshold=settings.failure_threshold,
        success_threshold=settings.success_threshold,
        now_ms=now_ms,
    )
    if event is None:
        return None
    wanted, trials = settings.success_threshold, breaker.trial_successes
    if event is _TRIP:
        run = probes.run_length
        failed = f"{run} failed probes in a row" if run > 1 else "1 failed probe"
        facts = _facts(result) | {"run_length": run, "failure_threshold": settings.failure_threshold}
        return Course(event, _ACTIVE, "failure_threshold", f"{failed}: {_saw(result)}", facts, hard=True)
    if event is _TRIAL:
        open_ms = max(0, now_ms - breaker.since_ms)
        reason = f"a probe succeeded after {format_duration(open_ms)} open: trial 1 of {wanted}"
        return Course(event, _ACTIVE, "cooldown", reason, {"open_ms": open_ms, "success_threshold": wanted}, trial_successes=1)
    if event is _TRIAL_FAILED:
        return Course(event, _ACTIVE, "trial_failed", f"a trial probe failed: {_saw(result)}", _facts(result), hard=True)
    reason = f"{trials} trial probes succeeded in a row" if trials > 1 else "1 trial probe succeeded"
    return Course(event, _ACTIVE, "success_threshold", reason, {"trial_successes": trials, "success_threshold": wanted})


def _saw(result: Result | None) -> str:
    return (result.text or str(result.failure or "failed")) if result is not None else "failed"


def _facts(result: Result | None) -> dict[str, int | float | str]:
    if result is None:
        return {}
    facts: dict[str, int | float | str] = {"failure": str(result.failure or "")}
    return facts | {"status": result.status} if result.status else facts
