"""What is known of one endpoint between two observations. Derived facts (verdict, weight) are never stored here.

A record holds statistics by source. Those that trip (`probes`) and those that make weights (`weighing`) stand apart, so that
a policy may change without moving a weight, and the other way round.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

import msgspec
from msgspec.structs import replace

from monitor.core.outcome import FailureClass, Outcome, Phases, StaleAnswer


class Breaker(StrEnum):
    """State of a breaker: CLOSED lets traffic through, OPEN does not, HALF_OPEN is tried by probes."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


DRAINED = "drained by an operator"
"""The reason of a drain for which nobody gave one."""


class Override(StrEnum):
    """What an operator has said; it beats the breaker until it is taken back."""

    FORCED_OPEN = "FORCED_OPEN"
    FORCED_CLOSED = "FORCED_CLOSED"
    DISABLED = "DISABLED"
    METRICS_ONLY = "METRICS_ONLY"
    DRAIN = "DRAIN"


class OverrideRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's word and the reason for it; kept as JSON (store.keys: ovr)."""

    override: Override
    reason: str
    at_ms: int
    by: str = ""
    """The person or program that said it."""


class Verdict(StrEnum):
    """What the results say of an endpoint, in one word for people; derived when it is needed, never stored (core/verdict)."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNHEALTHY = "UNHEALTHY"
    UNKNOWN = "UNKNOWN"


class Transition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change with its reason, and with its actor where a person made it. `kind` is breaker, override, flapping, pool or registry, or
    metrics_only: what would have happened to a breaker that an operator lets only count."""

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
    source: str = ""
    policy: str = ""
    rule: str = ""
    """Of a breaker's transition, as in BreakerState."""


class Source(StrEnum):
    """Whose evidence moves a breaker."""

    ACTIVE = "active"
    """Probes."""
    PASSIVE = "passive"
    """What consumers report."""


class UserTrials(msgspec.Struct, frozen=True):
    """Who may try a HALF_OPEN endpoint whose trials are users' requests: `permitted` in all, at most `concurrent` at a time, each within
    its lease. At `until_ms` it opens again, whatever became of them."""

    permitted: int
    concurrent: int
    lease_ms: int
    until_ms: int


class BreakerState(msgspec.Struct, frozen=True, omit_defaults=True):
    """A breaker between two observations. `since_ms` is when the state began, `open_until_ms` when trials may begin."""

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
    source: str = ""
    """Whose evidence decided (Source)."""
    policy: str = ""
    rule: str = ""
    """The policy that decided, and its rule."""
    hard: bool = False
    """OPEN for a reason that probes can see, so that their success may end it."""
    trials: UserTrials | None = None
    """HALF_OPEN: whom it admits; None where probes try it."""


class LastResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest result, with its outcome as it was judged; `at_ms` 0 before the first.

    `failure`, `status` and the certificate are those of the newest conclusive one, also after others: rules know them.
    """

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
    stale: StaleAnswer | None = None
    """Of the newest conclusive one too."""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What weights are made of: exponentially decayed counts and a peak-sensitive latency (see core/evidence)."""

    ok: float = 0.0
    total: float = 0.0
    latency_ms: float = 0.0
    latency_n: float = 0.0
    at_ms: int = 0
    recent_ms: float = 0.0
    earlier_ms: float = 0.0
    """The last two successful durations, for the median of three."""


class ProbeStatistics(msgspec.Struct, frozen=True, omit_defaults=True):
    """What probes have shown: all that a trip policy and the verdict look at."""

    run_outcome: Outcome | None = None
    run_length: int = 0
    run_since_ms: int = 0
    last: LastResult = LastResult()
    last_success_ms: int = 0
    last_failure_ms: int = 0
    last_failure_text: str = ""
    changes: int = 0
    """The last 21 conclusive outcomes as bits, newest lowest, for flapping."""
    results: int = 0
    """Conclusive outcomes seen so far, counted up to 21."""
    flapping: bool = False
    flapping_since_ms: int = 0


class ActiveMemory(msgspec.Struct, frozen=True):
    """What a policy of another kind than `consecutive` remembers of an endpoint's probes: JSON that only it reads."""

    kind: str
    memory: msgspec.Raw


class Standing(IntEnum):
    """What the time since the newest observation counts as, until the next one."""

    UNKNOWN = 0
    UP = 1
    DOWN = 2
    PAUSED = 3


class Rollup(msgspec.Struct, frozen=True, omit_defaults=True):
    """The current minute, hour or day; written out when the next one begins (see core/history)."""

    start_ms: int = 0
    ok: int = 0
    failed: int = 0
    inconclusive: int = 0
    up_ms: int = 0
    down_ms: int = 0
    paused_ms: int = 0
    buckets: dict[int, int] = {}
    """Logarithmic latency bucket -> successful results in it."""


class HistoryState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the history has got to: `until_ms` is the time up to which it is accounted for."""

    minute: Rollup = Rollup()
    hour: Rollup = Rollup()
    day: Rollup = Rollup()
    place: int = 0
    """Where the ring's next sample goes."""
    until_ms: int = 0
    standing: Standing = Standing.UNKNOWN
    stands_ms: int = 0
    """For how long after `until_ms` the newest observation stands; what comes later is unknown."""
    interval_ms: int = 0
    """The endpoint's interval at that time."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One endpoint between two observations. Whoever commits a decision writes all of it, fenced by its version."""

    breaker: BreakerState = BreakerState()
    probes: ProbeStatistics = ProbeStatistics()
    weighing: Evidence = Evidence()
    active: ActiveMemory | None = None
    """Of the policy that judges probes; `consecutive` has all that it needs in `probes`."""
    would_open: tuple[str, ...] = ()
    """The rules that would have opened it under METRICS_ONLY: each is told once."""
    traffic_seq: int = 0
    """The last ruling of the judge of traffic that counted; what is not larger was heard before."""
    history: HistoryState = HistoryState()
    override: Override | None = None
    """The operator's word that the last decision took into account."""
    silent: bool = False
    """Whether results had stopped coming at the last decision."""
    outdated: bool = False
    """Whether what probes told is from before a pause: since it began none has failed, and too few have succeeded to close the breaker."""
    warm_up_since_ms: int = 0
    """When the breaker last closed after a trip; 0 when the endpoint never needs to warm up."""
    since_ms: int = 0
    """When it began to be monitored: it was registered, or a pause ended."""
    decided_ms: int = 0
    """When the last decision was made."""
    renamed_from: str = ""
    """Its last name before this one: under it, it may still be published."""

    @property
    def conclusive_ms(self) -> int:
        """When something was last learnt about the target, or when it began to be monitored."""
        probes = self.probes
        return max(probes.last_success_ms, probes.last_failure_ms, self.since_ms)


EMPTY: Final = Record()
NO_EVIDENCE: Final = Evidence()
EVIDENCE_MAX: Final = 1e6
"""Far more results than decay ever leaves in `Evidence`."""

_decode_record = msgspec.json.Decoder(Record).decode
_decode_override = msgspec.json.Decoder(OverrideRecord).decode
encode_record = msgspec.json.Encoder().encode


def decode_record(data: bytes) -> Record:
    """Return the record, or an empty one for b"". Raises ValueError (msgspec's among them) for what cannot be read, and for evidence
    that no results can have left: weights are relative, so it would move those of all others in the pool."""
    if not data:
        return EMPTY
    record = _decode_record(data)
    if not 0.0 <= record.weighing.ok <= record.weighing.total <= EVIDENCE_MAX:
        raise ValueError(f"its evidence is of {record.weighing.ok:g} good results among {record.weighing.total:g}")
    return record


def decode_override(data: bytes) -> OverrideRecord | None:
    """Return the operator's word, or None for b"". Raises msgspec.DecodeError for what cannot be read."""
    return _decode_override(data) if data else None


def moved(record: Record, by_ms: int) -> Record:
    """The record with all of its times moved by so much; what is 0 never was. The history accounts for a step by itself, and
    an active policy, whose times nobody else knows, begins anew."""

    def by(ms: int) -> int:
        return ms + by_ms if ms else 0

    breaker, probes, weighing = record.breaker, record.probes, record.weighing
    return replace(
        record,
        active=None,
        breaker=replace(
            breaker,
            since_ms=by(breaker.since_ms),
            open_until_ms=by(breaker.open_until_ms),
            forgiven_ms=by(breaker.forgiven_ms),
            trials=replace(breaker.trials, until_ms=by(breaker.trials.until_ms)) if breaker.trials else None,
        ),
        probes=replace(
            probes,
            run_since_ms=by(probes.run_since_ms),
            last=replace(probes.last, at_ms=by(probes.last.at_ms)),
            last_success_ms=by(probes.last_success_ms),
            last_failure_ms=by(probes.last_failure_ms),
            flapping_since_ms=by(probes.flapping_since_ms),
        ),
        weighing=replace(weighing, at_ms=by(weighing.at_ms)),
        warm_up_since_ms=by(record.warm_up_since_ms),
        since_ms=by(record.since_ms),
        decided_ms=by(record.decided_ms),
    )


def next_version(ver: int, now_ms: int) -> int:
    """The version after `ver`: at least the time, so that a subject that begins anew goes on above its earlier life."""
    return max(ver + 1, now_ms)
