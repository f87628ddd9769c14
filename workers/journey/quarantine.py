"""What cannot be read harms itself alone: it is told and counted, and whoever wanted to read it goes on without it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from workers.journey.counters import Counters

T = TypeVar("T")

log = logging.getLogger(__name__)


class Quarantine:
    """One guard for everything that is decoded; of one value that stays unreadable it speaks once."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._told: dict[tuple[str, str], bytes] = {}

    def read(self, kind: str, key: str, data: bytes, decode: Callable[[bytes], T]) -> T | None:
        """What `decode` makes of the data, or None where it raises."""
        try:
            return decode(data)
        except Exception as error:  # Whatever a decoder raises, the data is what it could not read.
            if self._told.get((kind, key)) != data:
                self._told[kind, key] = data
                self._counters.add("unreadable")
                log.warning("the %s of %s cannot be read: %s", kind, key, error)
            return None
