"""One timeline: every process's time is the server's, whatever its own clock says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.clock import LEARN_ATTEMPTS, ROUND_TRIP_MAX_MS, FakeClock, ServerClock
from monitor.core.errors import StoreError
from monitor.core.tilt import JUMP_MS, TILT_MS

SERVER_MS = 1_800_000_000_000


class Machine:
    """A monotonic clock, a server's time beside it, and readings of one by the other."""

    def __init__(self) -> None:
        self.monotonic_ms = 5_000
        self.server_ms = SERVER_MS
        self.meanwhile: Callable[[], object] = lambda: None
        """What another thread does while the monotonic clock is asked."""
        self.clock = ServerClock(self._ask)

    def _ask(self) -> int:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return self.monotonic_ms

    def passes(self, ms: int) -> None:
        self.monotonic_ms += ms
        self.server_ms += ms

    def reads(self, *, there_ms: int = 0, back_ms: int = 0) -> bool:
        """Read the server's time over a network with these delays."""
        asked_ms = self.monotonic_ms
        self.passes(there_ms)
        read_ms = self.server_ms
        self.passes(back_ms)
        return self.clock.observe(read_ms, asked_ms, self.monotonic_ms)

    @property
    def error_ms(self) -> int:
        return self.clock.now_ms() - self.server_ms


def test_before_the_first_reading_there_is_no_time() -> None:
    machine = Machine()
    assert not machine.clock.known
    with pytest.raises(StoreError):
        machine.clock.now_ms()
    assert machine.reads()
    assert machine.clock.known
    assert machine.error_ms == 0


def test_between_readings_the_monotonic_clock_carries_the_time() -> None:
    machine = Machine()
    machine.reads(there_ms=3, back_ms=3)
    machine.passes(3_600_000)
    assert machine.error_ms == 0
    assert not machine.clock.tilted


def test_the_quickest_of_the_last_readings_counts() -> None:
    machine = Machine()
    machine.reads(there_ms=1, back_ms=1)
    machine.passes(1_000)
    machine.reads(there_ms=900, back_ms=20)
    assert machine.error_ms == 0


def test_an_old_quick_reading_does_not_count_for_ever() -> None:
    machine = Machine()
    machine.reads()
    for _ in range(8):
        machine.passes(1_000)
        machine.server_ms += 100  # The server's clock runs faster than ours.
        machine.reads(there_ms=2, back_ms=2)
    assert machine.error_ms == 0


def test_an_answer_that_took_too_long_is_not_believed() -> None:
    machine = Machine()
    assert not machine.reads(there_ms=ROUND_TRIP_MAX_MS, back_ms=1)
    assert not machine.clock.known
    machine.reads()
    machine.server_ms += 3_600_000
    assert not machine.reads(there_ms=ROUND_TRIP_MAX_MS, back_ms=1)
    assert not machine.clock.tilted


@pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000, JUMP_MS + 1, -JUMP_MS - 1, 86_400_000, -86_400_000])
def test_a_step_of_the_servers_time_is_followed_at_once_and_tilts_for_half_a_minute(step_ms: int) -> None:
    machine = Machine()
    machine.reads()
    machine.passes(1_000)
    machine.server_ms += step_ms
    machine.reads(there_ms=4, back_ms=4)
    assert machine.error_ms == 0
    assert machine.clock.tilted
    machine.passes(TILT_MS - 5)
    machine.reads()
    assert machine.clock.tilted
    machine.passes(5)
    assert not machine.clock.tilted


def test_a_step_back_that_is_learnt_while_another_thread_asks_is_not_lost() -> None:
    machine = Machine()
    machine.reads()
    machine.passes(1_000)
    assert machine.error_ms == 0
    machine.server_ms -= 3_600_000
    machine.meanwhile = machine.reads
    machine.clock.now_ms()
    assert machine.error_ms == 0
    machine.passes(1_000)
    assert machine.error_ms == 0


def test_a_small_correction_never_lets_time_go_back() -> None:
    machine = Machine()
    machine.reads(there_ms=1, back_ms=1)
    before_ms = machine.clock.now_ms()
    machine.server_ms -= 500
    machine.reads()
    assert machine.clock.now_ms() == before_ms
    assert not machine.clock.tilted
    machine.passes(499)
    assert machine.clock.now_ms() == before_ms
    machine.passes(10)
    assert machine.error_ms == 0


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(0, 5_000)), min_size=1, max_size=30))
def test_time_never_goes_back_and_errs_by_no_more_than_half_a_round_trip(readings: list[tuple[int, int, int]]) -> None:
    machine = Machine()
    last_ms = 0
    for there_ms, back_ms, pause_ms in readings:
        assert machine.reads(there_ms=there_ms, back_ms=back_ms)
        assert machine.clock.now_ms() >= last_ms
        assert abs(machine.error_ms) <= 400
        last_ms = machine.clock.now_ms()
        machine.passes(pause_ms)
        assert not machine.clock.tilted


def test_learning_asks_again_while_answers_are_slow_and_gives_up_in_the_end() -> None:
    machine = Machine()
    delays = [ROUND_TRIP_MAX_MS + 1, 5]
    asked: list[int] = []

    async def server_now_ms() -> int:
        asked.append(machine.server_ms)
        machine.passes(delays.pop(0) if delays else ROUND_TRIP_MAX_MS + 1)
        return machine.server_ms

    assert asyncio.run(machine.clock.learn(server_now_ms))
    assert len(asked) == 2
    assert not asyncio.run(machine.clock.learn(server_now_ms))
    assert len(asked) == 2 + LEARN_ATTEMPTS


def test_the_fake_clock_tilts_when_its_timeline_is_moved_alone() -> None:
    clock = FakeClock()
    clock.advance(3_600_000)
    assert not clock.tilted
    clock.jump(-JUMP_MS - 1)
    assert clock.tilted
    clock.advance(TILT_MS)
    assert not clock.tilted
