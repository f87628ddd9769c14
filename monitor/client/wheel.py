"""Picking: a wheel of up to 1000 slots that turns one slot per pick.

Every endpoint owns as many slots as its weight, so any 1000 picks in a row hold the exact proportions. An endpoint of
weight w owns one slot in each w-th part of the wheel, at a random place inside that part: picks neither clump nor march in a
fixed rhythm that a pattern in the requests could fall in step with. Each wheel starts at a random slot, so that many
consumers do not move together.

`next()` on a wheel is one call into C that holds the interpreter's lock: threads share a wheel without a lock of their own.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

SLOTS = 1_000
Entropy = Callable[[int], bytes]
"""Gives as many random bytes as asked for, as os.urandom does."""
T = TypeVar("T")


def wheel(items: Sequence[tuple[T, int]], entropy: Entropy) -> Iterator[T]:
    """An endless iterator over the items in proportion to their weights; exhausted from the start when no weight is above 0."""
    items = [(item, weight) for item, weight in items if weight]
    if len(items) <= 1:
        return itertools.repeat(items[0][0]) if items else iter(())
    total = sum(weight for _, weight in items)
    places = iter(array("H", entropy(2 * (total + 1))))
    slots = sorted(((turn + next(places) / 65_536) / weight, index) for index, (_, weight) in enumerate(items) for turn in range(weight))
    start = next(places) % total
    return itertools.cycle([items[index][0] for _, index in slots[start:] + slots[:start]])


def gate(shed: float, entropy: Entropy) -> Iterator[bool]:
    """An endless iterator that is True for the fraction `shed` (0 to 1) of turns, spread in the same way."""
    refused = min(max(round(shed * SLOTS), 0), SLOTS)
    return wheel([(True, refused), (False, SLOTS - refused)], entropy)


def equal_weights(count: int) -> list[int]:
    """Weights as equal as whole numbers can be, summing to 1000; 1 each where there are more than 1000."""
    if count == 0:
        return []
    share, more = divmod(max(SLOTS, count), count)
    return [share + 1 if index < more else share for index in range(count)] if count <= SLOTS else [1] * count
