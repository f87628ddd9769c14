"""Deadlines of many short waits on one timer of the event loop.

Nearly every probe ends long before its deadline, so a timer of its own is made only to be cancelled. Here a
deadline is a place in a bucket of TICK_S, and one timer stands for the earliest bucket.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Protocol

TICKS_PER_S = 100
"""A deadline is noticed at most a tick late, never early."""


class Hurried(Protocol):
    """Whoever has a deadline."""

    def on_deadline(self) -> None:
        """The deadline has passed."""
        ...


class Deadlines:
    """Times are seconds on perf_counter's scale."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[Hurried]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0

    def add(self, deadline: float, who: Hurried) -> int:
        """Return the tick that `remove` wants back."""
        tick = int(deadline * TICKS_PER_S) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
            if self._timer is None or tick < self._next:
                self._arm(tick)
        bucket.add(who)
        return tick

    def remove(self, tick: int, who: Hurried) -> None:
        """Forget a deadline that was met; `tick` is what `add` returned."""
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.discard(who)
            if not bucket:
                del self._buckets[tick]

    def close(self) -> None:
        """Call nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, tick: int) -> None:
        self.close()
        self._next = tick
        self._timer = self._loop.call_later(max(0.0, tick / TICKS_PER_S - perf_counter()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = perf_counter() * TICKS_PER_S
        for tick in [tick for tick in self._buckets if tick <= now]:
            for who in self._buckets.pop(tick):
                who.on_deadline()
        if self._buckets and self._timer is None:
            self._arm(min(self._buckets))
