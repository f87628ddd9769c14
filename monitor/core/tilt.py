"""Tilt: when the server's time steps, go on recording and stop judging.

After Redis Sentinel's TILT mode (src/sentinel.c, sentinelCheckTiltCondition): a process whose timeline moved by something
else than the time that passed must not conclude from timeouts and ages. Sentinel compares the gaps between its timer calls;
we compare the server's time with this machine's monotonic clock, so that a process that was merely stopped for a while is
not tilted by it.
"""

from __future__ import annotations

from typing import Final

import msgspec

JUMP_MS: Final = 2_000
TILT_MS: Final = 30_000
"""Sentinel's SENTINEL_TILT_TRIGGER and SENTINEL_TILT_PERIOD."""
SKEW_MAX_MS: Final = 2_000
"""Two processes know the server's time to within a few milliseconds; by more than this it is no skew, but a step."""


class Tilt(msgspec.Struct, frozen=True):
    """The last reading of the server's time and of the monotonic clock, and until when (monotonic) we distrust ourselves."""

    server_ms: int | None = None
    monotonic_ms: int = 0
    until_ms: int = 0

    @property
    def tilted(self) -> bool:
        """Whether the timeline had stepped lately at the last reading."""
        return self.monotonic_ms < self.until_ms

    def observe(self, server_ms: int, monotonic_ms: int) -> Tilt:
        """Return the detector after another reading of both clocks."""
        if self.server_ms is None:
            return Tilt(server_ms, monotonic_ms, self.until_ms)
        jump_ms = (server_ms - self.server_ms) - (monotonic_ms - self.monotonic_ms)
        if abs(jump_ms) > JUMP_MS:
            return Tilt(server_ms, monotonic_ms, monotonic_ms + TILT_MS)
        return Tilt(server_ms, monotonic_ms, self.until_ms)


def judging_ms(now_ms: int, *judged_ms: int) -> int:
    """The time (ms) at which a subject is judged now that was judged before at `judged_ms` (0: never).

    It does not go back where another process's clock is a little ahead. A time that lies further ahead was left by a step.
    """
    return max(now_ms, *(ms for ms in judged_ms if ms - now_ms <= SKEW_MAX_MS), 0)


def stepped_ms(judged_ms: int, now_ms: int, *, tilted: bool) -> int:
    """By how much (ms) the times that a subject remembers, judged last at `judged_ms` (0: never), move before it is judged now.

    While the timeline is tilted they move along with the present, in either direction: no time passes for the subject, whatever the
    step was. One that was judged later than now was judged before a step back, and moves back with it. Otherwise 0.
    """
    return now_ms - judged_ms if judged_ms and (tilted or judged_ms - now_ms > SKEW_MAX_MS) else 0
