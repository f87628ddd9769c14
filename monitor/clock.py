"""The only place that reads a clock, and the one timeline that all processes share: the Redis server's time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from monitor.core.errors import StoreError
from monitor.core.tilt import Tilt

ROUND_TRIP_MAX_MS: Final = 1_000
"""A reading of the server's time that took longer says too little: it may be wrong by half of this."""
SAMPLES: Final = 8
"""How many of the latest readings the best is taken from: a quick one among the last few is better than the last."""
LEARN_ATTEMPTS: Final = 5
"""How often one call of `learn` reads the time while the answers are too slow to be used."""


class Clock(Protocol):
    """Whole milliseconds on the shared timeline for decisions and records; monotonic ones for measuring."""

    def now_ms(self) -> int:
        """The shared timeline, in whole milliseconds since the epoch."""

    def monotonic_ms(self) -> int:
        """A time of this process alone, which no step of any clock moves."""

    @property
    def tilted(self) -> bool:
        """Whether the timeline has stepped lately (core/tilt): go on recording, and conclude nothing from ages and timeouts."""
        ...


class _Sample(msgspec.Struct, frozen=True):
    round_trip_ms: int
    offset_ms: int


class _Timeline(msgspec.Struct, frozen=True):
    """The shared timeline over the monotonic clock, until the next reading. It has no state that asking moves, for every thread asks."""

    offset_ms: int
    from_ms: int
    """What was told already: it goes on from there, and stands still until it has caught up."""

    def at(self, monotonic_ms: int) -> int:
        return max(self.from_ms, monotonic_ms + self.offset_ms)


class ServerClock:
    """The server's time, held between two readings of it by this machine's monotonic clock.

    The machine's own wall clock plays no part: it may be wrong by a day. `learn` reads the server's time; until it has succeeded
    once `now_ms` raises StoreError, so that a process which knows no time does no work. A small correction never lets `now_ms` go
    back: it stands still until the time has caught up. A step of the server's time against the monotonic clock by more than
    tilt.JUMP_MS is followed at once, in either direction, and makes the clock `tilted` for tilt.TILT_MS.

    One thread learns; any may ask.
    """

    def __init__(self, monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000) -> None:
        self._monotonic_ms = monotonic_ms
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)
        self._timeline: _Timeline | None = None
        self._tilt = Tilt()

    @property
    def known(self) -> bool:
        """Whether the server's time has been learnt."""
        return self._timeline is not None

    @property
    def tilted(self) -> bool:
        """Whether the server's time has stepped within the last tilt.TILT_MS."""
        return self._monotonic_ms() < self._tilt.until_ms

    def now_ms(self) -> int:
        """The server's time as far as it is known here. Raises StoreError until it was learnt once."""
        timeline = self._timeline
        if timeline is None:
            raise StoreError("the server's time is not known yet")
        return timeline.at(self._monotonic_ms())

    def monotonic_ms(self) -> int:
        """This machine's monotonic clock."""
        return self._monotonic_ms()

    async def learn(self, server_now_ms: Callable[[], Awaitable[int]]) -> bool:
        """Read the server's time and correct ours; False when every answer came too late to be used. Raises what the call raises."""
        for _ in range(LEARN_ATTEMPTS):
            asked_ms = self._monotonic_ms()
            server_ms = await server_now_ms()
            if self.observe(server_ms, asked_ms, self._monotonic_ms()):
                return True
        return False

    def observe(self, server_ms: int, asked_ms: int, answered_ms: int) -> bool:
        """Take in one reading of the server's time, asked for and answered at these monotonic times; False when it took too long."""
        round_trip_ms = answered_ms - asked_ms
        if round_trip_ms > ROUND_TRIP_MAX_MS:
            return False
        read_ms = asked_ms + round_trip_ms // 2
        known_until_ms = self._tilt.until_ms
        self._tilt = self._tilt.observe(server_ms, read_ms)
        before = self._timeline
        if self._tilt.until_ms != known_until_ms:
            self._samples.clear()
            before = None
        self._samples.append(_Sample(round_trip_ms, server_ms - read_ms))
        offset_ms = min(reversed(self._samples), key=lambda sample: sample.round_trip_ms).offset_ms
        self._timeline = _Timeline(offset_ms, before.at(self._monotonic_ms()) if before else 0)
        return True


class SystemClock:
    """This machine's clocks, for what runs without a store: one probe from the command line, a consumer's ages."""

    tilted = False

    def now_ms(self) -> int:
        """This machine's wall clock."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """This machine's monotonic clock."""
        return time.monotonic_ns() // 1_000_000


class FakeClock:
    """A clock that moves only when told to; the shared timeline and monotonic time can be moved apart, which tilts it."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._wall_ms = now_ms
        self._monotonic_ms = 0
        self._tilt = Tilt().observe(now_ms, 0)

    @property
    def tilted(self) -> bool:
        """Whether it has jumped within the last tilt.TILT_MS of its monotonic time."""
        return self._monotonic_ms < self._tilt.until_ms

    def now_ms(self) -> int:
        """The time that it was moved to."""
        return self._wall_ms

    def monotonic_ms(self) -> int:
        """The sum of its advances."""
        return self._monotonic_ms

    def advance(self, ms: int) -> None:
        """Let time pass, on both clocks alike."""
        self._wall_ms += ms
        self._monotonic_ms += ms
        self._tilt = self._tilt.observe(self._wall_ms, self._monotonic_ms)

    def jump(self, ms: int) -> None:
        """Move the timeline alone, as a wrong NTP step of the server's clock does."""
        self._wall_ms += ms
        self._tilt = self._tilt.observe(self._wall_ms, self._monotonic_ms)
