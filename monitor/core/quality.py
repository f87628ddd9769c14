"""How good an endpoint is, compared with the others of its pool: q = h * l * sigma.

h = clamp(S / S_ref, 0, 1)^2, success. S = (s + k * m) / (n + k) is shrunk towards the others by k = 10 imagined results; both m
and S_ref are the median success rate of the others. (Shrinking towards the median leaves the median where it is.)
l = clamp(L_ref / L, 0.1, 1), latency of successes, shrunk towards L_ref, the median of the others, by n / (n + 20). Latencies
below LATENCY_FLOOR_MS are raised to it before they are compared.
sigma = Envoy's slow start with aggression 1: from 10 % to 1 over the pool's warm-up, linear in time.

Every reference leaves the endpoint itself out. So what it does cannot move what it is measured against, worse evidence lowers
its own q and never another's, and where all fail alike nobody is worse.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from monitor.core.endpoint import Pool
from monitor.core.evidence import LATENCY_FLOOR_MS, SHRINK
from monitor.core.state import Evidence

LATENCY_SHRINK: Final = 20.0
LATENCY_FACTOR_MIN: Final = 0.1
WARM_UP_MIN: Final = 0.1


class Quality(msgspec.Struct, frozen=True):
    h: float
    l: float  # noqa: E741 - h, l and sigma are the names of the formula.
    sigma: float
    q: float


class Measured(Protocol):
    @property
    def evidence(self) -> Evidence: ...

    @property
    def warm_up_since_ms(self) -> int: ...


def qualities(pool: Pool, members: Sequence[Measured], out: Sequence[bool], now_ms: int) -> list[Quality]:
    """The quality of each member; those that are `out` serve nobody as a reference."""
    present = [member.evidence for member, is_out in zip(members, out, strict=True) if not is_out]
    rates = sorted(evidence.ok / evidence.total for evidence in present if evidence.total)
    latencies = sorted(max(evidence.latency_ms, LATENCY_FLOOR_MS) for evidence in present if evidence.latency_n)
    qualities = []
    for member, is_out in zip(members, out, strict=True):
        evidence = member.evidence
        h = _success(evidence, rates, not is_out)
        l = _latency(evidence, latencies, not is_out)  # noqa: E741
        sigma = warm_up(pool.warm_up_ms, member.warm_up_since_ms, now_ms)
        qualities.append(Quality(h, l, sigma, h * l * sigma))
    return qualities


def warm_up(window_ms: int, since_ms: int, now_ms: int) -> float:
    """Envoy's slow start factor. A start that lies ahead by more than the window is a clock that jumped, not a start."""
    if not since_ms:
        return 1.0
    elapsed_ms = now_ms - since_ms
    if elapsed_ms >= window_ms or elapsed_ms < -window_ms:
        return 1.0
    return max(WARM_UP_MIN, elapsed_ms / window_ms)


def _success(evidence: Evidence, rates: Sequence[float], counted: bool) -> float:
    if not evidence.total:
        return 1.0
    reference = _median_without(rates, evidence.ok / evidence.total if counted else None)
    if not reference:
        return 1.0
    shrunk = (evidence.ok + SHRINK * reference) / (evidence.total + SHRINK)
    return min(shrunk / reference, 1.0) ** 2


def _latency(evidence: Evidence, latencies: Sequence[float], counted: bool) -> float:
    if not evidence.latency_n:
        return 1.0
    own = max(evidence.latency_ms, LATENCY_FLOOR_MS)
    reference = _median_without(latencies, own if counted else None)
    if not reference:
        return 1.0
    shrunk = reference + (own - reference) * evidence.latency_n / (evidence.latency_n + LATENCY_SHRINK)
    return min(max(reference / shrunk, LATENCY_FACTOR_MIN), 1.0)


def _median_without(ordered: Sequence[float], own: float | None) -> float | None:
    """The median of sorted values with one occurrence of `own` left out; None when nothing remains."""
    n = len(ordered)
    skip = n
    if own is not None:
        skip = bisect_left(ordered, own)
        n -= 1
    if not n:
        return None
    low, high = (n - 1) // 2, n // 2
    return (ordered[low + (low >= skip)] + ordered[high + (high >= skip)]) / 2
