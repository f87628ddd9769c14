"""One unreadable item harms itself alone: it is kept aside, counted and told, and its subject starts afresh."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from monitor.store.keys import ASIDE_BYTES_MAX, ASIDE_MAX
from monitor.store.names import printable
from monitor.store.port import SetAside, Store, digest
from workers.journey.counters import Counters

T = TypeVar("T")
TELL_EVERY_S = 60.0
"""Of one key no more than one line is logged in this time, whatever its writer goes on to write; all is counted."""

log = logging.getLogger(__name__)


class Quarantine:
    """One guard for everything that a process decodes; of one value that stays unreadable it speaks once.

    `flush` keeps what could not be read aside in the store, before anything overwrites it; while the store does not answer, as much
    waits as the store would keep.
    """

    def __init__(self, store: Store, counters: Counters) -> None:
        self._store = store
        self._counters = counters
        self._told: dict[tuple[str, str], str] = {}
        """Digests of what was spoken of."""
        self._logged_s: dict[tuple[str, str], float] = {}
        self._waiting: dict[tuple[str, str], SetAside] = {}

    def read(self, kind: str, key: str, data: bytes, decode: Callable[[bytes], T]) -> T | None:
        """Return what `decode` makes of the data, or None where it raises; then the data waits for `flush`."""
        try:
            return decode(data)
        except Exception as error:  # Whatever a decoder raises, the data is what it could not read.
            self.set_aside(kind, key, data, f"{type(error).__name__}: {error}")
            return None

    def set_aside(self, kind: str, key: str, data: bytes, why: str) -> None:
        """Let data that cannot be worked with, for a reason that its reader has found, wait for `flush`."""
        key, seen = printable(key), digest(data)
        if self._told.get((kind, key)) == seen:
            return
        if len(self._told) >= ASIDE_MAX:
            self._told.clear()
            self._logged_s.clear()
        self._told[kind, key] = seen
        self._counters.add("unreadable")
        now_s = monotonic()
        if now_s - self._logged_s.get((kind, key), -TELL_EVERY_S) >= TELL_EVERY_S:
            self._logged_s[kind, key] = now_s
            log.warning("the %s of %s cannot be read and is set aside: %s", kind, key, why)
        if len(self._waiting) < ASIDE_MAX or (kind, key) in self._waiting:
            self._waiting[kind, key] = SetAside(kind, key, data[:ASIDE_BYTES_MAX], why)

    async def flush(self) -> None:
        """Keep aside what could not be read. Raises StoreError, and then goes on holding it."""
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            try:
                await self._store.set_aside(list(waiting.values()))
            except BaseException:
                self._waiting = waiting | self._waiting
                raise
