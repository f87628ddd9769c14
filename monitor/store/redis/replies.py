"""What the server's replies say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_DIGITS_MAX = 19
"""Of the server's numbers; Python refuses to read very many more."""


def to_ms(time: Sequence[bytes]) -> int:
    """The answer to TIME."""
    return int(time[0]) * 1_000 + int(time[1]) // 1_000


def number(held: bytes | None) -> int:
    """A count or a time; 0 for nothing, and for what is no number that the server could have counted."""
    return int(held) if held and held.isdigit() and len(held) <= _DIGITS_MAX else 0


def by(size: int, flat: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
    """A flat reply as rows of so many."""
    return zip(*[iter(flat)] * size, strict=True)
