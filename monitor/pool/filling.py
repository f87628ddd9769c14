"""Dividing a whole: water-filling under caps, and integers by largest remainder."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Final

EPSILON: Final = 1e-9
"""Shares closer than this are equal: floating point is not evidence."""


def fill(rest: float, members: Sequence[int], wants: Sequence[float], spare: Sequence[float], shares: list[float]) -> float:
    """Add `rest` to the shares of `members` in proportion to their wants, nobody more than it has spare; return what is left.

    Whoever has least to spare for its want is full first; the others divide what remains.
    """
    order = sorted((i for i in members if wants[i] > 0.0), key=lambda i: spare[i] / wants[i])
    wanted = sum(wants[i] for i in order)
    for n, i in enumerate(order):
        level = rest / wanted
        if spare[i] >= level * wants[i]:
            for j in order[n:]:
                shares[j] += level * wants[j]
            return 0.0
        shares[i] += spare[i]
        rest -= spare[i]
        wanted -= wants[i]
        if wanted <= EPSILON * EPSILON:
            break
    return rest if rest > EPSILON else 0.0


def apportion(shares: Sequence[float], at_least_one: Sequence[bool], total: int) -> list[int]:
    """Whole parts of `total` in proportion to `shares`, by largest remainder; ties go to the earlier place.

    A place marked `at_least_one` that has a share gets 1 or more, unless there are more such places than parts.
    """
    units = [0] * len(shares)
    places = [i for i, share in enumerate(shares) if share > EPSILON * EPSILON]
    if not places:
        return units
    kept = [i for i in places if at_least_one[i]]
    small: set[int] = set()
    if len(kept) <= total:
        while True:
            whole = sum(shares[i] for i in places if i not in small)
            scale = (total - len(small)) / whole if whole else 0.0
            lifted = [i for i in kept if i not in small and shares[i] * scale < 1.0 - EPSILON]
            if not lifted:
                break
            small.update(lifted)
    for i in small:
        units[i] = 1
    rest = [i for i in places if i not in small]
    total -= len(small)
    whole = sum(shares[i] for i in rest)
    remainders = []
    for i in rest:
        exact = shares[i] / whole * total
        units[i] = floor(exact + EPSILON)
        remainders.append((round(units[i] - exact, 6), i))
    missing = total - sum(units[i] for i in rest)
    remainders.sort()
    for _, i in remainders[:missing]:
        units[i] += 1
    return units
