"""How good an endpoint is, compared with the others of its pool: q = h * l * sigma.

h = clamp(S / S_ref, 0, 1)^2, success. S = (s + k * m) / (n + k) is shrunk towards the others by k = 10 imagined results; both m
and S_ref are the median success rate of the others. (Shrinking towards the median leaves the median where it is.)
l = clamp(L_ref / L, 0.1, 1), latency of successes, shrunk towards L_ref, the median of the others, by n / (n + 20). Latencies
below LATENCY_FLOOR_MS are raised to it before they are compared.
sigma = Envoy's slow start with aggression 1: from 10 % to 1 over the pool's warm-up, linear in time.

Probes and consumers' own requests are two sources, and each has its own references: a probe is not compared with a request. Of the two
factors that they give the smaller one counts.

Every reference leaves the endpoint itself out. So what it does cannot move what it is measured against, worse evidence lowers
its own q and never another's, and where all fail alike nobody is worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from monitor.core.endpoint import Pool
from monitor.core.evidence import LATENCY_FLOOR_MS, SHRINK
from monitor.core.medians import Medians, medians
from monitor.core.record import Evidence

LATENCY_SHRINK: Final = 20.0
LATENCY_FACTOR_MIN: Final = 0.1
WARM_UP_MIN: Final = 0.1
RATE_MIN: Final = 1e-9
"""Success rates below this are nothing: counts fade without end, and their proportions are no evidence."""


class Quality(msgspec.Struct, frozen=True):
    """An endpoint's factors, 0 to 1: success `h`, latency `l` and warm-up `sigma`; `q` is their product. `h_traffic` and `l_traffic` are
    what consumers' requests alone say, 1 where they say nothing; `h` and `l` are not above them."""

    h: float
    l: float  # noqa: E741 - h, l and sigma are the names of the formula.
    sigma: float
    q: float
    h_traffic: float = 1.0
    l_traffic: float = 1.0


class Measured(Protocol):
    """What quality is made of."""

    @property
    def evidence(self) -> Evidence:
        """Decayed counts and latency, from probes."""

    @property
    def traffic(self) -> Evidence:
        """As `evidence`, from consumers' requests."""

    @property
    def warm_up_since_ms(self) -> int:
        """When its warm-up began; 0 where it needs none."""


def qualities(pool: Pool, members: Sequence[Measured], out: Sequence[bool], now_ms: int) -> list[Quality]:
    """The quality of each member; those that are `out` serve nobody as a reference."""
    probed = _by_source([member.evidence for member in members], out)
    used = _by_source([member.traffic for member in members], out) if any(member.traffic.total for member in members) else None
    found = []
    for n, member in enumerate(members):
        h, l = probed[n]  # noqa: E741
        since_ms = member.warm_up_since_ms
        sigma = warm_up(pool.warm_up_ms, since_ms, now_ms) if since_ms else 1.0
        if used is None:
            found.append(Quality(h, l, sigma, h * l * sigma))
            continue
        h_traffic, l_traffic = used[n]
        h, l = min(h, h_traffic), min(l, l_traffic)  # noqa: E741
        found.append(Quality(h, l, sigma, h * l * sigma, h_traffic, l_traffic))
    return found


def _by_source(evidences: Sequence[Evidence], out: Sequence[bool]) -> list[tuple[float, float]]:
    """Success and latency of each, as one source tells of them."""
    present = [evidence for evidence, is_out in zip(evidences, out, strict=True) if not is_out]
    rates = medians(evidence.ok / evidence.total for evidence in present if evidence.total)
    latencies = medians(max(evidence.latency_ms, LATENCY_FLOOR_MS) for evidence in present if evidence.latency_n)
    return [
        (
            _success(evidence, rates, is_out) if evidence.total else 1.0,
            _latency(evidence, latencies, is_out) if evidence.latency_n else 1.0,
        )
        for evidence, is_out in zip(evidences, out, strict=True)
    ]


def warm_up(window_ms: int, since_ms: int, now_ms: int) -> float:
    """Envoy's slow start factor."""
    if not since_ms or not window_ms:
        return 1.0
    elapsed_ms = now_ms - since_ms
    if elapsed_ms >= window_ms:
        return 1.0
    return max(WARM_UP_MIN, elapsed_ms / window_ms)


def _success(evidence: Evidence, rates: Medians, is_out: bool) -> float:
    rate = evidence.ok / evidence.total
    reference = rates.median if is_out else rates.without(rate)
    if rate >= reference or reference < RATE_MIN:
        return 1.0
    shrunk = (evidence.ok + SHRINK * reference) / (evidence.total + SHRINK)
    return (shrunk / reference) ** 2


def _latency(evidence: Evidence, latencies: Medians, is_out: bool) -> float:
    own = max(evidence.latency_ms, LATENCY_FLOOR_MS)
    reference = latencies.median if is_out else latencies.without(own)
    if own <= reference or not reference:
        return 1.0
    shrunk = reference + (own - reference) * evidence.latency_n / (evidence.latency_n + LATENCY_SHRINK)
    return max(reference / shrunk, LATENCY_FACTOR_MIN)
