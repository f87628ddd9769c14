"""Beat: what is claimed when, and when nothing is because nobody could begin with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint
from monitor.core.errors import StoreError, StoreRefusal
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Claim, Commit, Lease
from monitor.store.queues import ALERT_QUEUE, PROBE_QUEUE, Queue
from tests.registering import register
from workers.journey.dispatch import INTERVAL_KNOWN_MS, PROBE_TICK_MS, REALIGN_MS, WAITING_MAX, Dispatcher, TaskMessage

TICK_MS = 150
"""As often as beat ticks unless it is told otherwise."""
BEAT_AGE_MS = 10_000


class FailingStore(MemoryStore):
    """Raises what `failing` holds for a call: "ready", a slot whose probes are claimed, or a queue."""

    def __init__(self, clock: FakeClock, slots: int) -> None:
        super().__init__(clock, slots)
        self.failing: dict[str | int, StoreError] = {}

    def _fail(self, call: str | int) -> None:
        if error := self.failing.get(call):
            raise error

    async def ready(self) -> list[tuple[Queue, int]]:
        self._fail("ready")
        return await super().ready()

    async def claim_probes(self, slot: int, limit: int, horizon_ms: int) -> Claim:
        self._fail(slot)
        return await super().claim_probes(slot, limit, horizon_ms)

    async def claim(self, queue: Queue, slot: int, limit: int, lease_ms: int, members: Sequence[str] = ()) -> list[Lease]:
        self._fail(queue)
        return await super().claim(queue, slot, limit, lease_ms, members)


class House:
    """A beat on a store in memory, and a broker that keeps what it is given until a worker takes it."""

    def __init__(self, *, batch_size: int = 100, slots: int = 1) -> None:
        self.clock = FakeClock()
        self.store = FailingStore(self.clock, slots)
        self.broker: list[TaskMessage] = []
        self.taken: list[TaskMessage] = []
        self._results: list[tuple[int, Commit]] = []
        self.dispatcher = Dispatcher(self.store, self.clock, batch_size=batch_size, claim_limit=1_000, waiting=self.waiting)

    def waiting(self, queue: str) -> int:
        return sum(message.queue == queue for message in self.broker)

    async def register(self, count: int, interval_ms: int) -> None:
        endpoints = [Endpoint(id=f"e{i}", url="http://h/", pool="p", interval_ms=interval_ms) for i in range(count)]
        await register(self.store, endpoints, [], [])

    async def ticks(self, ms: int, *, after_ms: int = 0, take: Callable[[], bool] = lambda: True) -> None:
        """Tick for a while; a worker that takes messages commits each result `after_ms` after its due time or its message."""
        end_ms = self.clock.monotonic_ms() + ms
        while self.clock.monotonic_ms() < end_ms:
            self.broker += await self.dispatcher.tick()
            now_ms = self.clock.now_ms()
            if take():
                taken, self.broker = self.broker, []
                self.taken += taken
                for message in taken:
                    if message.task == "probe_batch":
                        self._results += [(max(due_ms, now_ms) + after_ms, _result(name, token)) for name, token, due_ms in message.args[2]]
            due = [commit for at_ms, commit in self._results if at_ms <= now_ms]
            self._results = [one for one in self._results if one[0] > now_ms]
            for commit in due:
                ver = (await self.store.load([commit.id]))[0].ver
                await self.store.commit([_result(commit.id, commit.token_ms or 0, ver)])
            self.clock.advance(TICK_MS)

    def probed(self) -> list[tuple[str, int, int]]:
        return [item for message in self.taken if message.task == "probe_batch" for item in message.args[2]]


def _result(name: str, token_ms: int, ver: int = 0) -> Commit:
    return Commit(id=name, token_ms=token_ms, ver=ver, next_ver=ver + 1, record=b"r", reevaluate_ms=None, pool="p")


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_every_slot_of_the_shortest_interval_is_claimed_before_it_begins() -> None:
    async def story() -> None:
        house = House()
        await house.register(50, 500)
        await house.ticks(1_000, after_ms=120)
        house.taken.clear()
        seconds = 20
        began_ms = house.clock.now_ms()
        await house.ticks(seconds * 1_000, after_ms=120)
        probed = house.probed()
        assert len(probed) >= 0.99 * 50 * 2 * seconds
        assert len({(name, due_ms) for name, _, due_ms in probed}) == len(probed)
        assert all(due_ms >= began_ms - 500 for _, _, due_ms in probed)

    play(story)


def test_a_step_back_of_the_servers_time_is_made_good_with_the_next_claim() -> None:
    async def story() -> None:
        house = House()
        await house.register(20, 1_000)
        await house.ticks(REALIGN_MS + 1_000)
        house.clock.jump(-3_600_000)
        house.taken.clear()
        await house.ticks(2_500)
        assert {name for name, _, _ in house.probed()} == {f"e{i}" for i in range(20)}

    play(story)


def test_long_intervals_are_looked_for_less_often_and_so_are_short_ones_that_are_gone() -> None:
    async def story() -> None:
        house = House()
        assert house.dispatcher.probe_tick_ms == PROBE_TICK_MS
        await house.register(5, 500)
        await house.ticks(1_000)
        assert house.dispatcher.probe_tick_ms == 125
        await register(house.store, [], [f"e{i}" for i in range(5)], [])
        await house.ticks(INTERVAL_KNOWN_MS + 2 * PROBE_TICK_MS)
        assert house.dispatcher.probe_tick_ms == PROBE_TICK_MS

    play(story)


def test_nothing_is_claimed_that_nobody_can_begin_with_and_everything_is_on_time_again_afterwards() -> None:
    async def story() -> None:
        house = House(batch_size=1)
        await house.register(400, 2_000)
        await house.ticks(2_000)
        await house.ticks(10_000, take=lambda: False)
        held = house.waiting(PROBE_QUEUE)
        assert held >= WAITING_MAX
        await house.ticks(60_000, take=lambda: False)
        assert house.waiting(PROBE_QUEUE) == held, "what nobody takes must not grow"
        assert house.waiting(ALERT_QUEUE) <= 2 * WAITING_MAX
        await house.ticks(8_000)
        house.taken.clear()
        await house.ticks(4_000)
        late = [house.clock.now_ms() - due_ms for _, _, due_ms in house.probed()]
        assert len(late) >= 2 * 400
        overdue, _ = await house.store.due_overdue()
        assert overdue == 0

    play(story)


def test_more_live_workers_may_leave_more_waiting() -> None:
    async def story() -> None:
        house = House(batch_size=1)
        await house.register(3 * WAITING_MAX, 10_000)
        for number in range(3):
            await house.store.heartbeat(f"worker:h:{number}", b"w")
        await house.store.heartbeat("alert-worker:h:9", b"a")
        await house.dispatcher.count_live(BEAT_AGE_MS)
        house.broker = [TaskMessage("probe_batch", PROBE_QUEUE, ())] * (3 * WAITING_MAX - 1)
        assert await claims_probes(house)
        house.broker = [TaskMessage("probe_batch", PROBE_QUEUE, ())] * (3 * WAITING_MAX)
        assert not await claims_probes(house)

    async def claims_probes(house: House) -> bool:
        house.clock.advance(10_000)
        return any(message.task == "probe_batch" for message in await house.dispatcher.tick())

    play(story)


def test_the_alerts_queues_wait_as_well_and_what_waits_there_stops_no_probe() -> None:
    async def story() -> None:
        house = House()
        await house.register(3, 10_000)
        house.broker = [TaskMessage("flush_groups", ALERT_QUEUE, (0, []))] * WAITING_MAX
        house.clock.advance(10_000)
        assert {message.task for message in await house.dispatcher.tick()} == {"probe_batch"}
        house.broker = []
        house.clock.advance(1_000)
        assert "weigh_pools" in {message.task for message in await house.dispatcher.tick()}

    play(story)


def test_what_was_claimed_before_the_store_failed_is_published() -> None:
    async def story() -> None:
        for call, error in (("ready", StoreError("gone")), (1, StoreError("gone")), (Queue.DIRTY, StoreError("gone"))):
            house = House(slots=3)
            await house.register(30, 10_000)
            house.clock.advance(10_000)
            house.store.failing = {call: error}
            assert "probe_batch" in {message.task for message in await house.dispatcher.tick()}, call

    play(story)


def test_a_store_that_is_away_is_told() -> None:
    async def story() -> None:
        house = House()
        await house.register(3, 10_000)
        house.clock.advance(10_000)
        house.store.failing = {0: StoreError("gone")}
        with pytest.raises(StoreError):
            await house.dispatcher.tick()

    play(story)


def test_what_the_store_refuses_of_one_slot_or_queue_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        house = House(slots=3)
        await house.register(30, 2_000)
        await house.ticks(10_000)
        await register(house.store, [Endpoint(id="a", url="http://h/", pool="q", interval_ms=2_000)], [], [])
        house.taken.clear()
        house.store.failing = {0: StoreRefusal("WRONGTYPE"), Queue.DIRTY: StoreRefusal("WRONGTYPE")}
        await house.ticks(20_000)
        assert {message.args[0] for message in house.taken if message.task == "probe_batch"} == {1, 2}
        assert "reevaluate_endpoints" in {message.task for message in house.taken}
        told = [record.message for record in caplog.records if "WRONGTYPE" in record.message]
        assert 1 < len(told) == len(set(told)), "each is told once in a while"

    play(story)
