"""The simulation itself: what it says of kills, of the network and of time is so, and faults that are put back are found."""

from __future__ import annotations

import asyncio
import logging
import random  # noqa: TID251 - a seeded generator makes the weather.
from collections.abc import Iterator
from typing import Any

import pytest

from monitor.core.errors import StoreError
from monitor.store.memory.store import MemoryStore
from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.network import Link, Network
from tests.simulation.server import ServerTime
from tests.simulation.virtual import Life, VirtualLoop, run
from tests.simulation.weather import Weather


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class World:
    def __init__(self, **weather: Any) -> None:
        self.loop = VirtualLoop()
        self.store = MemoryStore(ServerTime(self.loop))
        self.network = Network(self.loop, self.store, random.Random(1), Weather(**weather))

    def process(self, name: str = "worker") -> tuple[Life, Any]:
        life = Life(name, self.loop)
        return life, Link(self.network, life)


def test_a_killed_process_runs_nothing_more() -> None:
    """Neither `finally` nor `except` of it reaches the store, while it dies or when it is taken apart; nor does a timer."""
    world = World()
    ran: list[str] = []

    async def main(link: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(2, ran.append, "timer")
        child = asyncio.ensure_future(asyncio.sleep(2))
        try:
            await link.count({"began": 1})
            await child
        except BaseException:
            await link.count({"except": 1})
            raise
        finally:
            await link.count({"finally": 1})
            ran.append("finally")

    async def story() -> None:
        life, link = world.process()
        life.start(main(link))
        await asyncio.sleep(1)
        life.kill()
        await asyncio.sleep(10)
        assert ran == []

    run(story(), world.loop)
    assert asyncio.run(world.store.counters()) == {"began": 1}
    assert "timer" not in ran


def test_what_a_process_sent_before_it_died_is_done() -> None:
    world = World()

    async def story() -> None:
        life, link = world.process()
        life.start(link.count({"sent": 1}))
        await asyncio.sleep(0)
        life.kill()
        await asyncio.sleep(1)

    run(story(), world.loop)
    assert asyncio.run(world.store.counters()) == {"sent": 1}


@pytest.mark.parametrize(
    ("weather", "done"),
    [({"store_refusal": 1.0}, 0), ({"store_silence": 1.0}, 1), ({"store_late": 1.0}, 1)],
    ids=["refused", "answer lost", "done after it was given up"],
)
def test_of_a_call_that_failed_nobody_knows_whether_it_was_done(weather: dict[str, float], done: int) -> None:
    world = World(**weather)

    async def story() -> None:
        life, link = world.process()
        with pytest.raises(StoreError):
            await life.start(link.count({"n": 1}))
        await asyncio.sleep(60)

    run(story(), world.loop)
    assert asyncio.run(world.store.counters()) == ({"n": done} if done else {})


def test_a_server_that_hangs_answers_nobody_and_does_some_of_it_afterwards() -> None:
    world = World()
    failed: list[str] = []

    async def ask(link: Any) -> None:
        try:
            await link.count({"n": 1})
        except StoreError as error:
            failed.append(str(error))

    async def story() -> None:
        world.network.hang(30)
        for _ in range(40):
            life, link = world.process()
            life.start(ask(link))
        await asyncio.sleep(29)
        assert len(failed) == 40
        assert await world.store.counters() == {}
        await asyncio.sleep(5)

    run(story(), world.loop)
    assert 5 < asyncio.run(world.store.counters())["n"] < 35


def test_time_passes_only_when_nothing_is_left_to_do() -> None:
    loop = VirtualLoop()

    async def story() -> float:
        await asyncio.sleep(86_400)
        return loop.time()

    assert run(story(), loop) == 86_400


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_fault_that_is_put_back_is_found(mutation: Mutation) -> None:
    assert mutation.found(), mutation.fault
