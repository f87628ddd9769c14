"""What we know about one endpoint between two results. Derived facts (verdict, weight) are never stored here."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from monitor.core.outcome import FailureClass, Outcome, Phases


class Breaker(StrEnum):
    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class Override(StrEnum):
    """What an operator has said; it beats the breaker until it is taken back."""

    FORCED_OPEN = "FORCED_OPEN"
    FORCED_CLOSED = "FORCED_CLOSED"
    DISABLED = "DISABLED"
    DRAIN = "DRAIN"


class OverrideRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's word and the reason for it; kept as JSON (store.keys: ovr)."""

    override: Override
    reason: str
    at_ms: int
    by: str = ""
    """Who said it."""


class Verdict(StrEnum):
    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNHEALTHY = "UNHEALTHY"
    UNKNOWN = "UNKNOWN"


class Transition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change with its reason. `kind` is breaker, override, flapping, pool or registry; `actor` is the person behind it, if one is."""

    endpoint: str
    pool: str
    kind: str
    old: str
    new: str
    reason: str
    at_ms: int
    gen: int = 0
    evidence: dict[str, int | float | str] = {}
    actor: str = ""


class BreakerState(msgspec.Struct, frozen=True, omit_defaults=True):
    state: Breaker = Breaker.CLOSED
    since_ms: int = 0
    gen: int = 0
    """Grows by one at every change of state, so that consumers can tell two openings apart (gobreaker's generation)."""
    open_until_ms: int = 0
    opens: int = 0
    """Backoff exponent k: openings that have not yet been forgiven by healthy time."""
    trial_successes: int = 0
    forgiven_ms: int = 0
    """When `opens` was last lowered."""
    reason: str = ""
    evidence: dict[str, int | float | str] = {}


class LastResult(msgspec.Struct, frozen=True, omit_defaults=True):
    at_ms: int = 0
    outcome: Outcome = Outcome.INCONCLUSIVE
    failure: FailureClass | None = None
    text: str = ""
    status: int = 0
    duration_ms: float = 0.0
    attempts: int = 1
    phases: Phases = Phases()
    certificate_not_after_ms: int = 0
    ip: str = ""
    http_version: str = ""
    body_bytes: int = 0


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exponentially decayed counts that weights are made of (see core/evidence)."""

    ok: float = 0.0
    total: float = 0.0
    latency_ms: float = 0.0
    latency_n: float = 0.0
    at_ms: int = 0
    recent_ms: float = 0.0
    earlier_ms: float = 0.0
    """The last two successful durations, for the median of three."""


class Rollup(msgspec.Struct, frozen=True, omit_defaults=True):
    """Counts of the current minute, hour or day; written out when the next one begins (see core/history)."""

    start_ms: int = 0
    ok: int = 0
    failed: int = 0
    inconclusive: int = 0
    buckets: dict[int, int] = {}
    """Logarithmic latency bucket -> successful results in it."""


class EndpointState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of it is written by the holder of the probe's lease, in one commit."""

    breaker: BreakerState = BreakerState()
    run_outcome: Outcome | None = None
    run_length: int = 0
    run_since_ms: int = 0
    last: LastResult = LastResult()
    last_success_ms: int = 0
    last_failure_ms: int = 0
    last_failure_text: str = ""
    evidence: Evidence = Evidence()
    changes: int = 0
    """The last 21 conclusive outcomes as bits, newest lowest, for flapping."""
    results: int = 0
    """Conclusive outcomes seen so far, counted up to 21."""
    flapping: bool = False
    flapping_since_ms: int = 0
    warm_up_since_ms: int = 0
    """When the breaker last closed after a trip; 0 when the endpoint never needs to warm up."""
    minute: Rollup = Rollup()
    hour: Rollup = Rollup()
    day: Rollup = Rollup()


def next_version(ver: int, now_ms: int) -> int:
    """The version after `ver`: at least the time, so that a subject that begins anew goes on above its earlier life."""
    return max(ver + 1, now_ms)
