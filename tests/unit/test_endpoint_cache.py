"""What a worker knows of endpoints follows the registry's revision, whichever way it moves."""

from __future__ import annotations

import asyncio

import pytest

from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint, Pool
from monitor.probes.catalog import PROBERS, prepare
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Entry, Epoch, Publication
from monitor.store.queues import Queue
from tests.registering import register
from workers.journey.counters import Counters
from workers.journey.endpoint_cache import EndpointCache
from workers.journey.quarantine import Quarantine


@pytest.mark.parametrize("rev", [6, 4])
def test_an_endpoint_is_read_again_when_the_revision_has_moved(rev: int) -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    cache = EndpointCache(store, clock, prepare, Quarantine(store, Counters()))

    async def url_after(path: str, rev: int) -> str:
        await register(store, [Endpoint(id="a", url=f"http://h/{path}", pool="p")], [], [])
        prepared = (await cache.ready(0, rev, ["a"]))["a"]
        assert prepared is not None
        return prepared.endpoint.url

    async def story() -> None:
        await store.open(create=True)
        assert await url_after("one", 5) == "http://h/one"
        assert await url_after("two", 5) == "http://h/one"  # The revision of a claim moves with every change: this one is late.
        assert await url_after("three", rev) == "http://h/three"

    asyncio.run(story())


class SlowStore(MemoryStore):
    """Answers the first time with the pools as they were when it was asked, once `answer` is set."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.answer = asyncio.Event()
        self.asked = 0

    async def pool_entries(self) -> dict[str, Entry[Pool]]:
        found = await super().pool_entries()
        self.asked += 1
        if self.asked == 1:
            await self.answer.wait()
        return found


def test_pools_that_were_read_before_a_revision_came_are_read_again_after_it() -> None:
    clock = FakeClock()
    store = SlowStore(clock)
    cache = EndpointCache(store, clock, prepare, Quarantine(store, Counters()))

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


class House:
    """A store in memory and a cache of what is registered there."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.counters = Counters()
        self.cache = EndpointCache(self.store, self.clock, prepare, Quarantine(self.store, self.counters))

    async def aside(self) -> list[tuple[str, str]]:
        return [(item.kind, item.key) for item in await self.store.aside()]


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://h/", {"expect_status": ["2xx", "3xx"]}),
        ("http://h/", {"headers": ["x"]}),
        ("http://h/", {"body": {"text": "x"}}),
        ("https://h/", {"expect_headers": 5}),
        ("tcp://h:1", {"send": ["x"]}),
        ("tcp://h:1", {"send": {"hex": "00"}}),
    ],
)
def test_options_of_a_shape_that_no_prober_knows_stop_no_other(url: str, options: dict[str, object]) -> None:
    async def story() -> None:
        house = House()
        kind = url.partition(":")[0]
        await register(
            house.store, [Endpoint(id="a", url=url, kind=kind, pool="p", options=options), Endpoint(id="b", url="http://h/", pool="p")]
        )
        found = await house.cache.ready(0, 1, ["a", "b"])
        a, b = found["a"], found["b"]
        assert b is not None
        assert b.probe is not None
        assert a is not None
        assert a.probe is None
        assert a.error.startswith(f"the {kind} prober of this release cannot read the options: ")
        assert await house.aside() == [("endpoint", "a")]

    asyncio.run(story())


def test_the_table_of_kinds_has_no_prober_whose_options_were_not_tried() -> None:
    assert set(PROBERS) == {"http", "https", "tcp"}


def test_an_entry_that_cannot_be_read_is_told_once_and_leaves_the_pool_that_publishes_it() -> None:
    async def story() -> None:
        house = House()
        await register(house.store, [Endpoint(id=name, url="http://h/", pool=f"of-{name}") for name in ("a", "b")])
        for name in ("a", "b"):
            snapshot = b'{"endpoints":[{"id":"%b"}]}' % name.encode()
            epoch = await house.store.epoch(Epoch(1))
            await house.store.publish(Publication(pool=f"of-{name}", epoch=epoch, ver=1, snapshot=snapshot, delta=b""))
        house.store._queue(Queue.DIRTY, 0).clear()
        house.store.spoil("a", b"{")
        due: list[str] = []
        for rev in (2, 2, 3):
            found = await house.cache.ready(0, rev, ["a", "b", "ghost"])
            assert found["a"] is None
            assert found["b"] is not None
            assert "ghost" not in found
            due += list(house.store._queue(Queue.DIRTY, 0))
            house.store._queue(Queue.DIRTY, 0).clear()
        assert due == ["of-a"]
        assert await house.aside() == [("endpoint", "a")]
        assert house.counters.take() == {"unreadable": 1}

    asyncio.run(story())


def test_settings_of_a_pool_that_cannot_be_read_are_told_by_whoever_judges_its_members() -> None:
    async def story() -> None:
        house = House()
        house.store.spoil_pool("p", b"{")
        for _ in range(3):
            assert await house.cache.pool("p") == Pool(name="p")
            house.clock.advance(2_000)
        await house.cache._quarantine.flush()
        assert await house.aside() == [("pool", "p")]
        assert house.counters.take() == {"unreadable": 1}

    asyncio.run(story())


def test_a_stored_pattern_that_is_too_costly_by_now_is_told_and_harms_nobody_else() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    cache = EndpointCache(store, clock, prepare, Quarantine(store, Counters()))
    costly = [
        Endpoint(id="http", url="http://h/", pool="p", options={"expect_body": r"\d.{0,1000}x"}),
        Endpoint(id="header", url="http://h/", pool="p", options={"expect_headers": {"server": r"\d.{0,1000}x"}}),
        Endpoint(id="tcp", url="tcp://h:1", kind="tcp", pool="p", options={"expect": r"\d.{0,1000}x"}),
    ]

    async def story() -> None:
        await store.open(create=True)
        await register(store, [*costly, Endpoint(id="plain", url="http://h/", pool="p")], [], [])
        ready = await cache.ready(0, 1, ["http", "header", "tcp", "plain"])
        for name in ("http", "header", "tcp"):
            one = ready[name]
            assert one is not None
            assert one.probe is None
            assert "is too costly to match" in one.error
        assert (plain := ready["plain"]) is not None
        assert plain.probe is not None

    asyncio.run(story())
