"""What is known of a pool's traffic between two steps: a head for the pool, a field for each endpoint (store.keys: traffic)."""

from __future__ import annotations

from math import exp
from typing import Final

import msgspec

from monitor.core.evidence import TAU_MIN_MS
from monitor.core.history import Row, quantiles
from monitor.core.observation import TrafficRuling
from monitor.core.policies.call import FAILED, CallOutcome
from monitor.core.record import NO_EVIDENCE, BreakerState, Evidence
from monitor.core.reports import read_word

FADE_MS: Final = TAU_MIN_MS
"""Time constant with which what was reported fades."""
SUCCESS_CALLS_MIN: Final = 20.0
"""Below so many calls nothing is said of a pool's success."""
FADED: Final = 0.05
"""What is left of less than this is nothing."""
WEIGHING_MS: Final = 180_000
"""What was reported longer ago moves no weight, and is no evidence of a pool's success (gRPC's weight expiration period)."""
WEIGHT_QUANTILE: Final = 0.9
"""The latency that makes a weight: so many of the successful calls are at least as fast."""
NO_MEMORY: Final = msgspec.Raw()


class TrafficEvidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What consumers' calls have shown of an endpoint, each second counted less as time goes by: calls by word (core.reports), those that
    a consumer found slow, and successful calls by bucket of latency."""

    calls: dict[str, float] = {}
    slow: float = 0.0
    latency: dict[int, float] = {}
    at_ms: int = 0

    @property
    def ok(self) -> float:
        """Successful calls."""
        return sum(n for word, n in self.calls.items() if read_word(word)[0] is CallOutcome.SUCCESS)

    @property
    def failed(self) -> float:
        """Calls that speak against the endpoint: failures and timeouts."""
        return sum(n for word, n in self.calls.items() if read_word(word)[0] in FAILED)

    def quantiles_ms(self, *shares: float) -> list[float | None]:
        """Latencies of successful calls at or below which each share lies."""
        return quantiles({bucket: max(1, round(n * 100)) for bucket, n in self.latency.items()}, shares)

    def for_weights(self, now_ms: int) -> Evidence:
        """What the balancer makes a weight of; nothing where it is too old to move any."""
        if now_ms - self.at_ms > WEIGHING_MS:
            return NO_EVIDENCE
        kept = faded(self, now_ms)
        (latency_ms,) = kept.quantiles_ms(WEIGHT_QUANTILE)
        ok = kept.ok
        return Evidence(ok, ok + kept.failed, latency_ms or 0.0, sum(kept.latency.values()), now_ms)


class TrafficMinute(msgspec.Struct, frozen=True, omit_defaults=True):
    """An endpoint's calls in the present minute: `other` speak neither for it nor against it."""

    start_ms: int = 0
    ok: int = 0
    failed: int = 0
    other: int = 0
    latency: dict[int, int] = {}

    def row(self) -> Row:
        """What history keeps of it."""
        p50_ms, p90_ms, p99_ms = quantiles(self.latency, (0.5, 0.9, 0.99))
        counts = {"ok": self.ok, "failed": self.failed, "inconclusive": self.other}
        return Row(start_ms=self.start_ms, **counts, p50_ms=p50_ms, p90_ms=p90_ms, p99_ms=p99_ms)


class Ruling(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the judge said last of an endpoint, until its record shows it. `breaker` is the one that it leads to."""

    says: TrafficRuling
    breaker: BreakerState
    at_ms: int


class EndpointTraffic(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of an endpoint's traffic. `memory` is that of the policy `kind`, for the breaker's generation `gen`."""

    kind: str = ""
    memory: msgspec.Raw = NO_MEMORY
    gen: int = 0
    standing: tuple[int, int, int] = (0, 0, 0)
    """What the policy counts in the breaker itself: trial_successes, opens, forgiven_ms."""
    ruling: Ruling | None = None
    failing: tuple[tuple[str, int], ...] = ()
    """The last observers that saw it fail, or slow, and when; at most AGREEING_MAX."""
    held: str = ""
    """Why its policy would eject it and the judge does not."""
    evidence: TrafficEvidence = TrafficEvidence()
    minute: TrafficMinute = TrafficMinute()
    closed_gen: int = 0
    """The breaker's generation when its calls were last counted anew, because it had closed."""


class ObserverState(msgspec.Struct, frozen=True, array_like=True):
    """One observer: the largest `seq`, the 64 up to it as bits (newest lowest); the newest second, and the one in which its present life
    began; when it was first and last heard; how many endpoints it saw fail of how many, faded; since when it is quarantined, or 0."""

    high: int
    window: int
    newest_ms: int
    begun_ms: int
    since_ms: int
    seen_ms: int
    failing: float = 0.0
    reported: float = 0.0
    quarantined_ms: int = 0

    @property
    def share(self) -> float:
        """On which part of what it reports it fails."""
        return self.failing / self.reported if self.reported > FADED else 0.0


class TrafficHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pool's traffic. `judged_ms` is how far policies were played, `reported_ms` when a consumer last reported; `ok` and `failed` are the
    calls, faded, of its members whose breaker is CLOSED; `told` is what was last worth weighing the pool for, at `weighed_ms`."""

    at_ms: int = 0
    judged_ms: int = 0
    reported_ms: int = 0
    weighed_ms: int = 0
    told: str = ""
    ok: float = 0.0
    failed: float = 0.0
    observers: dict[str, ObserverState] = {}

    @property
    def success_percent(self) -> int:
        """Of the calls of all consumers that are sent where none was ejected; 100 where there are too few to tell."""
        total = self.ok + self.failed
        return int(100 * self.ok / total) if total >= SUCCESS_CALLS_MIN else 100

    @property
    def quarantined(self) -> tuple[str, ...]:
        """The observers whose word does not count, sorted."""
        return tuple(sorted(name for name, one in self.observers.items() if one.quarantined_ms))


NO_TRAFFIC: Final = EndpointTraffic()
NO_HEAD: Final = TrafficHead()

_head = msgspec.json.Decoder(TrafficHead).decode
_field = msgspec.json.Decoder(EndpointTraffic).decode
encode = msgspec.json.Encoder().encode


def decode_head(data: bytes) -> TrafficHead:
    """Return the pool's part, or an empty one for b"". Raises msgspec.MsgspecError where it cannot be read."""
    return _head(data) if data else NO_HEAD


def decode_field(data: bytes) -> EndpointTraffic:
    """Return an endpoint's part, or an empty one for b"". Raises ValueError (msgspec's among them) where it cannot be worked with."""
    if not data:
        return NO_TRAFFIC
    found = _field(data)
    for word, n in found.evidence.calls.items():
        if read_word(word) and not n >= 0.0:
            raise ValueError(f"it counts {n:g} calls of {word}")
    return found


def forgotten(field: EndpointTraffic) -> EndpointTraffic:
    """The field without what its policy remembers, and what that came to: only the statistics are kept."""
    return msgspec.structs.replace(field, kind="", memory=NO_MEMORY, gen=-1, ruling=None, held="")


def fade(since_ms: int, now_ms: int, tau_ms: int = FADE_MS) -> float:
    """What is left after that time; all of it where no time has passed."""
    return exp(-max(0, now_ms - since_ms) / tau_ms) if since_ms else 0.0


def faded(evidence: TrafficEvidence, now_ms: int) -> TrafficEvidence:
    """The evidence as it counts now."""
    keep = fade(evidence.at_ms, now_ms)
    if keep == 1.0:
        return evidence
    calls = {word: n * keep for word, n in evidence.calls.items() if n * keep > FADED}
    latency = {bucket: n * keep for bucket, n in evidence.latency.items() if n * keep > FADED}
    return TrafficEvidence(calls, evidence.slow * keep, latency, now_ms)
