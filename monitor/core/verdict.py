"""One word about an endpoint, derived whenever it is asked for and never stored."""

from __future__ import annotations

from typing import Final

from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Outcome
from monitor.core.record import Breaker, EndpointState, Verdict

SILENT_INTERVALS: Final = 3
SILENT_SLACK_MS: Final = 5_000


def verdict(state: EndpointState, *, no_data: bool) -> Verdict:
    """UNKNOWN before the first conclusive result or when results stopped coming; UNHEALTHY while OPEN;
    DEGRADED in trials, in a failing run or while flapping; else HEALTHY."""
    if no_data or not state.results:
        return Verdict.UNKNOWN
    breaker = state.breaker.state
    if breaker is Breaker.OPEN:
        return Verdict.UNHEALTHY
    if breaker is Breaker.HALF_OPEN or state.run_outcome is Outcome.FAILURE or state.flapping:
        return Verdict.DEGRADED
    return Verdict.HEALTHY


def silent_after_ms(endpoint: Endpoint) -> int:
    """Time without a result after which an endpoint counts as having no data."""
    return SILENT_INTERVALS * endpoint.interval_ms + endpoint.attempts_budget_ms + SILENT_SLACK_MS
