"""Medians of the others: each member of a pool is compared with the median that leaves itself out."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Medians(msgspec.Struct, frozen=True):
    """The median of all values, and those without one of them, in constant time and size: leaving one out can give only three
    different medians. A median of nothing is 0."""

    median: float = 0.0
    low: float = 0.0
    high: float = 0.0
    without_low: float = 0.0
    without_middle: float = 0.0
    without_high: float = 0.0

    def without(self, own: float) -> float:
        """The median without one occurrence of `own`, which must be among the values."""
        if own <= self.low:
            return self.without_low
        return self.without_middle if own <= self.high else self.without_high


def medians(values: Iterable[float]) -> Medians:
    """The medians of these values."""
    ordered = sorted(values)
    n = len(ordered)
    if n < 2:
        return Medians(median=ordered[0]) if n else Medians()
    low, high = (n - 2) // 2, (n - 1) // 2
    return Medians(
        median=(ordered[(n - 1) // 2] + ordered[n // 2]) / 2,
        low=ordered[low],
        high=ordered[high],
        without_low=(ordered[low + 1] + ordered[high + 1]) / 2,
        without_middle=(ordered[low] + ordered[high + 1]) / 2,
        without_high=(ordered[low] + ordered[high]) / 2,
    )
