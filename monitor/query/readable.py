"""Views go on without what cannot be read: the journey sets it aside and tells of it, a view shows the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from monitor.core.errors import DECODE_ERRORS

T = TypeVar("T")


def readable(decode: Callable[[bytes], T], data: bytes) -> T | None:
    """What `decode` makes of the data, or None where it cannot be read."""
    try:
        return decode(data)
    except DECODE_ERRORS:
        return None
