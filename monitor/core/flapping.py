"""Flapping: an endpoint whose outcome changes too often to be news each time (Icinga's formula).

Over the last 20 changes or non-changes, value = 100/20 * sum(changed_i * (0.80 + 0.02 * i)) percent, i = 0 the oldest.
It starts above the pool's `flapping_start_percent` and stops at or below its `flapping_stop_percent`.
"""

from __future__ import annotations

from typing import Final

from monitor.core.endpoint import Pool

OUTCOMES: Final = 21
"""Outcomes that are remembered: 20 places where two neighbours can differ."""

_MASK: Final = (1 << OUTCOMES) - 1
# The newest change is bit 0 and i = 19. In units of 1/20 percent the sum is a whole number, so bounds compare exactly.
_WEIGHTS: Final = tuple(80 + 2 * (OUTCOMES - 2 - bit) for bit in range(OUTCOMES - 1))


def remember(changes: int, success: bool) -> int:
    """Return the outcome bits with the newest one in the lowest place."""
    return (changes << 1 | success) & _MASK


def value_percent(changes: int, results: int) -> float:
    """Return Icinga's value; `results` is how many of the bits are real."""
    differ = (changes ^ (changes >> 1)) & ((1 << max(results - 1, 0)) - 1) & (_MASK >> 1)
    if not differ:
        return 0.0
    return sum(weight for bit, weight in enumerate(_WEIGHTS) if differ >> bit & 1) / 20


def is_flapping(was: bool, value: float, pool: Pool) -> bool:
    """Two bounds, so that an endpoint between them stays what it was; a start of 0 switches it off."""
    start_percent = pool.flapping_start_percent
    return start_percent > 0 and value > (pool.flapping_stop_percent if was else start_percent)
