"""How an opening that consumers' reports made ends: when, through whose trials, and what ends it early.

A reason that only users see (errors in what they ask for, slowness) is tried by users: probes were well all along. They still have a say,
because they cost nobody anything: an endpoint that they see down is not offered to users, and a reason that they can see as well is gone
once they have succeeded. Where nobody reports any more, nobody could end a trial, and probes are all there is.
"""

from __future__ import annotations

from typing import Final

import msgspec

from monitor.core.breaker import Course, Event, cooled_down
from monitor.core.durations import format_duration
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Outcome
from monitor.core.policies.policy import Trials
from monitor.core.record import Breaker, BreakerState, ProbeStatistics, Source, UserTrials

MIN_DWELL_MS: Final = 2_000
"""A breaker that has changed does not change again for so long, unless it opens: two evaluations of the judge of traffic. What one
observation leads to is one change, as the end of an opening and of its only trial are."""
REPORTS_MAX_AGE_MS: Final = 60_000
"""Where no consumer of a pool has reported anything for so long, none holds a trial."""
LEASE_TIMEOUTS: Final = 2
"""The lease of a trial, in timeouts of the endpoint."""
TRIALS_SLACK_MS: Final = 2_000
"""How much longer than the leases of all permits, one after the other, a HALF_OPEN lasts at most."""

TRIALS_LOST: Final = "trials_lost"
"""The rule of trials that nobody has ended."""

_SUCCESS, _FAILURE = Outcome.SUCCESS, Outcome.FAILURE


def by_reports(breaker: BreakerState, judged: bool, reported_ms: int | None, now_ms: int) -> bool:
    """Whether the present opening, or its trials, are the consumers' to end. `judged`: somebody judges their reports; `reported_ms`: when
    one of the pool last reported (0: never, None: that was not asked)."""
    if breaker.trials is not None:
        return True
    if breaker.state is not Breaker.OPEN or breaker.source != Source.PASSIVE:
        return False
    return judged and (reported_ms is None or now_ms - reported_ms <= REPORTS_MAX_AGE_MS)


def dwells(breaker: BreakerState, new: Breaker, now_ms: int) -> bool:
    """Whether it is too early for this change after the last one (MIN_DWELL_MS)."""
    return new is not Breaker.OPEN and breaker.gen > 0 and now_ms - breaker.since_ms < MIN_DWELL_MS


def count_probe(breaker: BreakerState, success: bool) -> BreakerState:
    """An opening for a reason that probes can see counts their successes in a row."""
    if not breaker.hard or breaker.state is not Breaker.OPEN or (not success and not breaker.trial_successes):
        return breaker
    return msgspec.structs.replace(breaker, trial_successes=breaker.trial_successes + 1 if success else 0)


def course(
    endpoint: Endpoint, breaker: BreakerState, probes: ProbeStatistics, terms: Trials | None, now_ms: int, *, silent: bool
) -> Course | None:
    """What time or a probe makes of an opening that is the consumers' to end; None: it stays. `terms` are those of the policy that judges
    them, None where it knows no trials and ends its openings itself; `silent`: probes tell nothing."""
    if breaker.state is Breaker.HALF_OPEN:
        return _tried(endpoint, breaker, probes, now_ms)
    if breaker.state is not Breaker.OPEN or endpoint.paused:
        return None
    if not cooled_down(breaker, now_ms):
        return _shortened(endpoint, breaker, terms) if breaker.hard and not silent else None
    agreed = probes.run_outcome is _SUCCESS and probes.run_length >= endpoint.success_threshold
    if terms is None or not (silent or agreed):
        return None
    open_ms = now_ms - breaker.since_ms
    says = "no probe tells how it is" if silent else f"{_probes(endpoint.success_threshold)} in a row have succeeded"
    reason = f"{format_duration(open_ms)} open, and {says}: users try it, {_trials(terms.permitted)} at most"
    return Course(Event.TRIAL, Source.PASSIVE, "cooldown", reason, {"open_ms": open_ms, "permitted": terms.permitted})


def user_trials(endpoint: Endpoint, terms: Trials, now_ms: int) -> UserTrials:
    """The terms of a HALF_OPEN that begins now."""
    lease_ms = LEASE_TIMEOUTS * endpoint.timeout_ms
    until_ms = now_ms + terms.permitted * lease_ms + TRIALS_SLACK_MS
    return UserTrials(terms.permitted, terms.concurrent, lease_ms, until_ms)


def due_ms(endpoint: Endpoint, breaker: BreakerState, now_ms: int) -> int:
    """When `course`, or the end of a dwelling, must be looked at although nothing comes; 0: never."""
    if breaker.trials is not None:
        return breaker.trials.until_ms
    dwelt_ms = breaker.since_ms + MIN_DWELL_MS
    if breaker.state is Breaker.HALF_OPEN:
        return dwelt_ms if breaker.trial_successes >= endpoint.success_threshold else 0
    if breaker.state is Breaker.OPEN and breaker.source == Source.PASSIVE:
        return next((ms for ms in (dwelt_ms, breaker.open_until_ms) if ms > now_ms), 0)
    return 0


def _tried(endpoint: Endpoint, breaker: BreakerState, probes: ProbeStatistics, now_ms: int) -> Course | None:
    trials = breaker.trials
    if trials is not None and now_ms >= trials.until_ms:
        reason = (
            f"users' trials have decided nothing within {format_duration(trials.until_ms - breaker.since_ms)}: lost, or never asked for"
        )
        return Course(Event.TRIAL_FAILED, Source.PASSIVE, TRIALS_LOST, reason, {"permitted": trials.permitted, "lease_ms": trials.lease_ms})
    failed = (
        probes.run_outcome is _FAILURE and probes.run_length >= endpoint.failure_threshold and probes.last_failure_ms >= breaker.since_ms
    )
    if failed:
        reason = f"{_probes(probes.run_length, 'failed ')} in a row while users tried it: {probes.last_failure_text or 'failed'}"
        evidence: dict[str, int | float | str] = {"run_length": probes.run_length, "failure_threshold": endpoint.failure_threshold}
        return Course(Event.TRIAL_FAILED, Source.ACTIVE, "failure_threshold", reason, evidence, hard=True)
    return None


def _shortened(endpoint: Endpoint, breaker: BreakerState, terms: Trials | None) -> Course | None:
    successes = breaker.trial_successes
    if successes < endpoint.success_threshold:
        return None
    reason = f"{_probes(successes)} in a row have succeeded since it opened, for a reason that probes can see"
    evidence: dict[str, int | float | str] = {"successes": successes, "success_threshold": endpoint.success_threshold}
    if terms is None:
        return Course(Event.READMITTED, Source.ACTIVE, "active_success", reason, evidence)
    return Course(Event.TRIAL, Source.ACTIVE, "active_success", f"{reason}: users try it", evidence)


def _trials(count: int) -> str:
    return f"{count} trials" if count > 1 else "1 trial"


def _probes(count: int, kind: str = "") -> str:
    return f"{count} {kind}probes" if count > 1 else f"1 {kind}probe"
