"""Sliding windows over calls: the newest N of them, or those of the last N seconds. Frozen, and JSON can hold them.

A kind of call is two bits: FAILED, SLOW, both or none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

FAILED: Final = 1
SLOW: Final = 2
_BYTES: Final = tuple(bytes([kind]) for kind in range(4))
PERCENT: Final = 100.0
Bucket = tuple[int, int, int, int]
"""A second's number, its calls, how many failed, how many were slow."""


class CountWindow(msgspec.Struct, frozen=True, omit_defaults=True, tag="count"):
    """The newest `size` calls: one byte each in a ring, whose next place is `place` once it is full. A push copies the ring, which costs
    less than 1 us up to 10,000 calls; JSON holds it as base64, 4/3 bytes a call."""

    size: int
    ring: bytes = b""
    place: int = 0
    failed: int = 0
    slow: int = 0

    @property
    def calls(self) -> int:
        """How many it holds."""
        return len(self.ring)

    def at(self, second: int) -> CountWindow:
        """The window at that time: it does not age."""
        return self

    def pushed(self, kind: int, count: int, second: int) -> CountWindow:
        """The window after `count` more calls of that kind."""
        size, ring, place = self.size, self.ring, self.place
        failed, slow = self.failed + (kind & FAILED) * count, self.slow + (kind >> 1) * count
        if len(ring) + count <= size:
            return CountWindow(size, ring + _BYTES[kind] * count, 0, failed, slow)
        if count == 1:
            gone = ring[place]
            ring = ring[:place] + _BYTES[kind] + ring[place + 1 :]
            return CountWindow(size, ring, place + 1 if place + 1 < size else 0, failed - (gone & FAILED), slow - (gone >> 1))
        if count >= size:
            return CountWindow(size, _BYTES[kind] * size, 0, (kind & FAILED) * size, (kind >> 1) * size)
        ring = ring[place:] + ring[:place]
        leaving = len(ring) + count - size
        gone_failed, gone_slow = _counted(ring[:leaving])
        return CountWindow(size, ring[leaving:] + _BYTES[kind] * count, 0, failed - gone_failed, slow - gone_slow)

    def resized(self, size: int) -> CountWindow:
        """The newest `size` of its calls."""
        ring = (self.ring[self.place :] + self.ring[: self.place])[-size:]
        return CountWindow(size, ring, 0, *_counted(ring))


class TimeWindow(msgspec.Struct, frozen=True, omit_defaults=True, tag="time"):
    """The calls of the last `size` whole seconds, the current one included: `past` seconds that had calls, oldest first, and the newest
    one in `second`, `calls_now`, `failed_now`, `slow_now`. The other counts are of all together. A push touches the newest second only;
    JSON holds about 20 bytes a second."""

    size: int
    past: tuple[Bucket, ...] = ()
    second: int = 0
    calls_now: int = 0
    failed_now: int = 0
    slow_now: int = 0
    calls: int = 0
    failed: int = 0
    slow: int = 0

    def at(self, second: int) -> TimeWindow:
        """The window in that second, which is none of the past: a second leaves it as a whole."""
        if second <= self.second:
            return self
        past = self.past
        if self.calls_now:
            past = (*past, (self.second, self.calls_now, self.failed_now, self.slow_now))
        calls, failed, slow = self.calls, self.failed, self.slow
        gone = 0
        for began, of_calls, of_failed, of_slow in past:
            if began > second - self.size:
                break
            gone += 1
            calls, failed, slow = calls - of_calls, failed - of_failed, slow - of_slow
        return TimeWindow(self.size, past[gone:], second, 0, 0, 0, calls, failed, slow)

    def pushed(self, kind: int, count: int, second: int) -> TimeWindow:
        """The window after `count` more calls of that kind in that second."""
        now = self.at(second)
        failed, slow = (kind & FAILED) * count, (kind >> 1) * count
        return TimeWindow(
            now.size,
            now.past,
            now.second,
            now.calls_now + count,
            now.failed_now + failed,
            now.slow_now + slow,
            now.calls + count,
            now.failed + failed,
            now.slow + slow,
        )

    def resized(self, size: int) -> TimeWindow:
        """The same calls, as far as a window of that size holds them."""
        return msgspec.structs.replace(self, size=size, second=0, past=_past(self), calls_now=0, failed_now=0, slow_now=0).at(self.second)


Window = CountWindow | TimeWindow


def rates(window: Window, minimum: int) -> tuple[float, float]:
    """The percentages of failed and of slow calls, -1 below the minimum number of calls."""
    calls = window.calls
    return (window.failed * PERCENT / calls, window.slow * PERCENT / calls) if calls >= minimum else (-1, -1)


def first_met(window: Window, pushed: tuple[int, int, int], minimum: int, met: Callable[[Window], int]) -> tuple[int, Window, int]:
    """Of equal calls pushed one by one (CountWindow.pushed), the first after which something is met: its number, the window after it and
    what is met; or all of them and 0. `met` compares rates, from `minimum` calls on.

    A rate only rises or only falls while equal calls follow each other: it is met where the minimum is reached, or can be searched.
    """
    kind, count, second = pushed
    after = window.pushed(kind, count, second)
    if count == 1:
        return 1, after, met(after)
    low, high = min(count, max(1, minimum - window.at(second).calls)), count
    first = window.pushed(kind, low, second)
    if over := met(first):
        return low, first, over
    if not met(after):
        return count, after, 0
    while high - low > 1:
        middle = (low + high) // 2
        if met(window.pushed(kind, middle, second)):
            high = middle
        else:
            low = middle
    after = window.pushed(kind, high, second)
    return high, after, met(after)


def _counted(ring: bytes) -> tuple[int, int]:
    both = ring.count(3)
    return ring.count(FAILED) + both, ring.count(SLOW) + both


def _past(window: TimeWindow) -> tuple[Bucket, ...]:
    if not window.calls_now:
        return window.past
    return (*window.past, (window.second, window.calls_now, window.failed_now, window.slow_now))
