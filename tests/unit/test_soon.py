"""Work at its time, by whoever made it due; beat has what is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from monitor.core.errors import StoreError
from monitor.store.memory.store import MemoryStore
from monitor.store.port import AssertedAlert, Lease, Membership, SubjectAssertion
from monitor.store.queues import QUEUES, Queue
from tests.simulation.virtual import VirtualLoop, run
from workers.journey import soon
from workers.journey.hints import AGAIN_S, listen
from workers.journey.soon import AHEAD_MAX_MS, Soon


class LoopClock:
    """The loop's time as the shared timeline."""

    tilted = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return 1_700_000_000_000 + self.monotonic_ms()

    def monotonic_ms(self) -> int:
        return int(self._loop.time() * 1000)


class Process:
    """A process on a store in memory and in virtual time; it remembers what it did and when."""

    def __init__(self, loop: VirtualLoop, store: MemoryStore | None = None, handler: Callable[[], Awaitable[None]] | None = None) -> None:
        self.clock = LoopClock(loop)
        self.store = store or MemoryStore(self.clock)
        self.began_ms = self.clock.now_ms()
        self.done: list[tuple[int, str]] = []
        """(ms after the beginning, member) of each piece of work."""
        self.claims = 0
        self._handler = handler
        self.soon = Soon(store=self.store, clock=self.clock)
        self.soon.handle(Queue.GROUPS, self.flush)

    async def flush(self, slot: int, leases: Sequence[Lease]) -> None:
        assert slot == 0
        self.claims += 1
        self.done += [(self.clock.now_ms() - self.began_ms, lease.member) for lease in leases]
        if self._handler is not None:
            await self._handler()
        for lease in leases:
            await self.store.finish(Queue.GROUPS, 0, lease.member, lease.token_ms, None)

    async def put(self, group: str, after_ms: int) -> None:
        due_ms = self.began_ms + after_ms
        member = Membership(fingerprint=group, group=group, meta=b"m", first_flush_ms=due_ms)
        alert = AssertedAlert(fingerprint=group, alert=b"a", starts_ms=1, groups=(member,))
        await self.store.assert_alerts([SubjectAssertion(subject=group, ver=1, at_ms=1, expires_ms=due_ms + 600_000, alerts=(alert,))])

    async def soon_at(self, group: str, after_ms: int) -> None:
        await self.put(group, after_ms)
        self.soon.at(Queue.GROUPS, 0, group, self.began_ms + after_ms)


def live(story: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop()
    run(story(loop), loop)


def test_each_member_is_served_at_its_time_and_those_of_one_moment_together() -> None:
    async def story(loop: VirtualLoop) -> None:
        process = Process(loop)
        for group, after_ms in (("b", 2_000), ("now", 0), ("a", 1_000), ("c", 2_000)):
            await process.soon_at(group, after_ms)
        await asyncio.sleep(10)
        assert process.done == [(0, "now"), (1_000, "a"), (2_000, "b"), (2_000, "c")]
        assert process.claims == 3
        assert len(process.soon._timers) == 0

    live(story)


def test_the_earliest_of_several_times_counts() -> None:
    async def story(loop: VirtualLoop) -> None:
        process = Process(loop)
        await process.put("g", 1_000)
        for after_ms in (5_000, 1_000, 3_000):
            process.soon.at(Queue.GROUPS, 0, "g", process.began_ms + after_ms)
        assert len(process.soon._timers) == 1
        await asyncio.sleep(10)
        assert process.done == [(1_000, "g")]

    live(story)


def test_what_another_has_taken_or_put_off_is_left_alone() -> None:
    async def story(loop: VirtualLoop) -> None:
        first = Process(loop)
        second = Process(loop, first.store)
        await first.soon_at("g", 1_000)
        second.soon.at(Queue.GROUPS, 0, "g", first.began_ms + 1_000)
        await first.put("later", 9_000)
        first.soon.at(Queue.GROUPS, 0, "later", first.began_ms + 2_000)
        await asyncio.sleep(5)
        assert sorted(first.done + second.done) == [(1_000, "g")]

    live(story)


def test_a_bounded_number_of_timers_is_kept_and_beat_has_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soon, "TIMERS_MAX", 3)

    async def story(loop: VirtualLoop) -> None:
        process = Process(loop)
        for number in range(5):
            await process.soon_at(f"g{number}", 1_000)
        await process.soon_at("far", AHEAD_MAX_MS + 2)
        process.soon.at(Queue.DELIVERIES, 0, "nobody handles this here", process.began_ms)
        assert len(process.soon._timers) == 3
        await asyncio.sleep(2)
        assert sorted(group for _, group in process.done) == ["g0", "g1", "g2"]
        left = await process.store.claim(Queue.GROUPS, 0, 9, QUEUES[Queue.GROUPS].lease_ms)
        assert sorted(lease.member for lease in left) == ["g3", "g4"]

    live(story)


def test_more_members_than_a_chunk_are_claimed_in_several_pieces() -> None:
    async def story(loop: VirtualLoop) -> None:
        process = Process(loop)
        size = QUEUES[Queue.GROUPS].chunk
        for number in range(size + 1):
            await process.soon_at(f"g{number:02}", 1_000)
        await asyncio.sleep(2)
        assert len(process.done) == size + 1
        assert process.claims == 2

    live(story)


@pytest.mark.parametrize("error", [StoreError("simulated"), RuntimeError("a bug of ours")])
def test_a_handler_that_fails_harms_nobody_else(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise error

    async def story(loop: VirtualLoop) -> None:
        process = Process(loop, handler=fails)
        await process.soon_at("first", 1_000)
        await process.soon_at("second", 2_000)
        await asyncio.sleep(5)
        assert process.done == [(1_000, "first"), (2_000, "second")]
        assert len(caplog.records) == 2

    live(story)


def test_a_closed_process_claims_nothing_more_and_ends_what_it_does() -> None:
    async def slow() -> None:
        await asyncio.sleep(2)

    async def story(loop: VirtualLoop) -> None:
        process = Process(loop, handler=slow)
        await process.soon_at("in flight", 0)
        await process.soon_at("g", 1_000)
        await asyncio.sleep(0.5)
        await process.soon_at("ripe", 0)
        loop.call_soon(process.soon.close)
        await asyncio.sleep(0)
        await process.soon_at("after", 1_000)
        await asyncio.sleep(5)
        assert process.done == [(0, "in flight")]
        left = await process.store.claim(Queue.GROUPS, 0, 9, 1_000)
        assert sorted(lease.member for lease in left) == ["after", "g", "ripe"], "what was in flight has ended"

    live(story)


class Deaf(MemoryStore):
    """A store whose connection for hints is lost whenever `lose` is called."""

    async def listen(self, heard: Callable[[int], None], listening: Callable[[], None]) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self._listeners.append(heard)
        listening()
        try:
            await self.lost
        finally:
            self._listeners.remove(heard)

    def lose(self) -> None:
        self.lost.set_exception(StoreError("simulated"))


def test_whoever_listens_hears_at_once_and_after_a_loss_of_what_was_missed() -> None:
    async def story(loop: VirtualLoop) -> None:
        store = Deaf(LoopClock(loop))
        heard: list[tuple[float, int]] = []
        task = asyncio.ensure_future(listen(store, lambda slot: heard.append((loop.time(), slot))))
        await asyncio.sleep(1)
        assert heard == []
        await store.commit_subject("system", 0, 1, b"s", alerts=[b"a"])
        assert heard == [(1.0, 0)]
        store.lose()
        await asyncio.sleep(AGAIN_S / 2)
        await store.commit_subject("system", 1, 2, b"s", alerts=[b"b"])
        assert len(heard) == 1
        await asyncio.sleep(AGAIN_S)
        assert heard == [(1.0, 0), (1.0 + AGAIN_S, 0)]
        task.cancel()

    live(story)
