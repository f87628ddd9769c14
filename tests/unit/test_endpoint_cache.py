"""What a worker knows of endpoints follows the registry's revision, whichever way it moves."""

from __future__ import annotations

import asyncio

import pytest

from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint, Pool
from monitor.probes.catalog import prepare
from monitor.store.memory.store import MemoryStore
from tests.registering import register
from workers.journey.endpoint_cache import EndpointCache


@pytest.mark.parametrize("rev", [6, 4])
def test_an_endpoint_is_read_again_when_the_revision_has_moved(rev: int) -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    cache = EndpointCache(store, clock, prepare)

    async def url_after(path: str, rev: int) -> str:
        await register(store, [Endpoint(id="a", url=f"http://h/{path}", pool="p")], [], [])
        return (await cache.ready(0, rev, ["a"]))["a"].endpoint.url

    async def story() -> None:
        await store.open(create=True)
        assert await url_after("one", 5) == "http://h/one"
        assert await url_after("two", 5) == "http://h/one"  # The revision of a claim moves with every change: this one is late.
        assert await url_after("three", rev) == "http://h/three"

    asyncio.run(story())


class SlowStore(MemoryStore):
    """Answers with the pools as they were when it was asked, once `answer` is set."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.answer = asyncio.Event()

    async def pools(self) -> dict[str, Pool]:
        found = await super().pools()
        await self.answer.wait()
        return found


def test_pools_that_were_read_before_a_revision_came_are_read_again_after_it() -> None:
    clock = FakeClock()
    store = SlowStore(clock)
    cache = EndpointCache(store, clock, prepare)

    async def story() -> None:
        await store.open(create=True)
        reading = asyncio.ensure_future(cache.pool("p"))
        await asyncio.sleep(0)
        await register(store, [], [], [Pool(name="p", max_ejection_percent=7)])
        await cache.ready(0, 5, [])
        store.answer.set()
        await reading
        assert (await cache.pool("p")).max_ejection_percent == 7

    asyncio.run(story())
