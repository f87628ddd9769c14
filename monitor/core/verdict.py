"""One word about an endpoint, derived whenever it is needed and never stored."""

from __future__ import annotations

from monitor.core.outcome import Outcome
from monitor.core.record import Breaker, Record, Verdict

_OPEN, _HALF_OPEN = Breaker.OPEN, Breaker.HALF_OPEN
_FAILURE = Outcome.FAILURE


def verdict(record: Record, *, no_data: bool) -> Verdict:
    """UNKNOWN before the first conclusive result or when results stopped coming; UNHEALTHY while OPEN;
    DEGRADED in trials, in a failing run, while flapping, or where its name alone is not resolved any more; else HEALTHY."""
    probes = record.probes
    if no_data or not probes.results:
        return Verdict.UNKNOWN
    breaker = record.breaker.state
    if breaker is _OPEN:
        return Verdict.UNHEALTHY
    if breaker is _HALF_OPEN or probes.run_outcome is _FAILURE or probes.flapping:
        return Verdict.DEGRADED
    stale = probes.last.stale
    if stale is not None and not stale.ours:
        return Verdict.DEGRADED
    return Verdict.HEALTHY
