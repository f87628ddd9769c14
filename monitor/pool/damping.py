"""Damping: an endpoint falls at once, and rises back to its base share by no more than 10 % of it per second.

What a rising endpoint does not take yet goes to the others in proportion, within their caps. Where nobody else can take it,
the rise is immediate: traffic has to go somewhere. An endpoint at or above its base share was healthy already, and takes what
others drop without delay, for otherwise those could not fall. So that small shares rise too, a step is never less than
one unit of weight per second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from monitor.pool.filling import EPSILON, fill
from monitor.pool.snapshot import WEIGHT_SUM

RISE_PER_SECOND: Final = 0.10
_UNIT: Final = 1.0 / WEIGHT_SUM


def damp(
    *,
    before: Sequence[float],
    targets: Sequence[float],
    bases: Sequence[float],
    wants: Sequence[float],
    caps: Sequence[float],
    tiers: Sequence[int],
    elapsed_ms: int,
) -> tuple[list[float], bool]:
    """Return the shares to give now, and whether a rise is still going on."""
    shares = list(targets)
    limits = list(caps)
    rising = []
    for i, target in enumerate(targets):
        if before[i] >= bases[i] - _UNIT:
            continue
        limit = before[i] + max(RISE_PER_SECOND * bases[i], _UNIT) * elapsed_ms / 1000
        limits[i] = min(limit, caps[i])
        if target > limit + _UNIT:  # Less than a unit short is there: rounding alone must not keep a rise going.
            shares[i] = limit
            rising.append(i)
    if not rising:
        return shares, False

    left = sum(targets[i] - shares[i] for i in rising)
    held = set(rising)
    spare = [max(0.0, limit - share) for limit, share in zip(limits, shares, strict=True)]
    for tier in sorted({tiers[i] for i in range(len(tiers)) if targets[i] > 0.0}):
        left = fill(left, [i for i, its in enumerate(tiers) if its == tier and i not in held and targets[i] > 0.0], wants, spare, shares)
        if left <= EPSILON:
            return shares, True
    gaps = [target - share for target, share in zip(targets, shares, strict=True)]
    missing = sum(gaps[i] for i in rising)
    for i in rising:
        shares[i] += gaps[i] * min(1.0, left / missing)
    return shares, missing - left > _UNIT
