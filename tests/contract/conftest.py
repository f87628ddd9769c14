"""The stores that the contract is held against: memory, Valkey and Redis, each with one slot and with three.

A test here is a coroutine that takes `house`: an open, empty store with what a test needs around it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint
from monitor.store import keys
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Claimed, Commit, Committed, Lease, Store
from monitor.store.queues import Queue
from monitor.store.redis.store import RedisStore
from tests.registering import register

HORIZON_MS = 1_000_000
"""Reaches every endpoint of these tests."""


class House:
    """A store, time that passes, and short ways to endpoints and commits."""

    def __init__(self, url: str, slots: int) -> None:
        self.url = url
        self._clock = FakeClock()
        self.store: Store = RedisStore(url, slots=slots) if url else MemoryStore(self._clock, slots)

    @staticmethod
    def endpoint(endpoint_id: str, **settings: Any) -> Endpoint:
        return Endpoint(**{"id": endpoint_id, "url": "http://127.0.0.1:1/", "pool": "shop", "interval_ms": 10_000, **settings})

    @staticmethod
    def result(claimed: Claimed, ver: int = 0, **changes: Any) -> Commit:
        """The commit of a result; `token_ms=None` makes it a decision without one."""
        return Commit(
            **{
                "id": claimed.id,
                "token_ms": claimed.token_ms,
                "ver": ver,
                "next_ver": ver + 1,
                "record": b"r",
                "reevaluate_ms": 0,
                "pool": "shop",
                **changes,
            }
        )

    async def passes(self, ms: int) -> None:
        """Let time pass: at once on the fake clock, really on a server."""
        self._clock.advance(ms)
        if self.url:
            await asyncio.sleep((ms + 1) / 1_000)

    async def register(self, *endpoints: Endpoint) -> None:
        await register(self.store, endpoints, [], [])

    async def claim(self, limit: int = 1_000, horizon_ms: int = HORIZON_MS) -> dict[str, Claimed]:
        """Claim in every slot."""
        claims = [await self.store.claim_probes(slot, limit, horizon_ms) for slot in range(self.store.slots)]
        return {item.id: item for claim in claims for item in claim.items}

    async def claim_one(self, endpoint_id: str = "e", **settings: Any) -> Claimed:
        """Register one endpoint and claim it."""
        await self.register(self.endpoint(endpoint_id, **settings))
        return (await self.claim())[endpoint_id]

    async def commit(self, *items: Commit) -> list[Committed]:
        return await self.store.commit(items)

    async def version(self, endpoint_id: str) -> int:
        (loaded,) = await self.store.load([endpoint_id])
        return loaded.ver

    async def score(self, endpoint_id: str) -> int | None:
        """An endpoint's due time, or its token while claimed; None when it is in no due set."""
        if isinstance(self.store, MemoryStore):
            score = self.store._home(endpoint_id)[1].due.get(endpoint_id)
        else:
            assert isinstance(self.store, RedisStore)
            slot = keys.slot_of(endpoint_id, self.store.slots)
            score = await self.store._wire.execute_one("ZSCORE", keys.in_slot(slot, "due"), endpoint_id)
        return None if score is None else int(score)

    async def on_grid(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint is due at its place on its grid, rounded up to an even millisecond."""
        due_ms = await self.score(endpoint.id) or 1
        return due_ms % 2 == 0 and (due_ms - endpoint.phase_ms) % endpoint.interval_ms <= 1

    async def make_due(self, endpoint_id: str, at_ms: int) -> None:
        """Put an endpoint at another time of the due set, as if it had been registered then."""
        at_ms -= at_ms % 2
        if isinstance(self.store, MemoryStore):
            self.store._home(endpoint_id)[1].due[endpoint_id] = at_ms
        else:
            assert isinstance(self.store, RedisStore)
            slot = keys.slot_of(endpoint_id, self.store.slots)
            await self.store._wire.execute_one("ZADD", keys.in_slot(slot, "due"), at_ms, endpoint_id)

    async def spoil(self, endpoint_id: str, spec: bytes) -> None:
        """Replace an endpoint's entry by bytes that cannot be read."""
        if isinstance(self.store, MemoryStore):
            self.store.spoil(endpoint_id, spec)
        else:
            assert isinstance(self.store, RedisStore)
            slot = keys.slot_of(endpoint_id, self.store.slots)
            await self.store._wire.execute_one("HSET", keys.in_slot(slot, "spec"), endpoint_id, spec)

    async def spoil_pool(self, name: str, settings: bytes) -> None:
        if isinstance(self.store, MemoryStore):
            self.store.spoil_pool(name, settings)
        else:
            assert isinstance(self.store, RedisStore)
            await self.store._wire.execute_one("HSET", keys.REGISTRY_POOLS, name, settings)

    async def judged_until(self, slot: int, pool: str, until_ms: int) -> None:
        """Let a slot's results vouch for the pool until then and no longer."""
        if isinstance(self.store, MemoryStore):
            self.store._slots[slot].judged[pool] = until_ms
        else:
            assert isinstance(self.store, RedisStore)
            await self.store._wire.execute_one("ZADD", keys.in_slot(slot, "judged"), until_ms, pool)

    async def lose_assertion(self, subject: str) -> None:
        """Replace what a subject asserted last by bytes that cannot be read."""
        if isinstance(self.store, MemoryStore):
            self.store._asserted[subject] = (keys.UNREADABLE, [])
        else:
            assert isinstance(self.store, RedisStore)
            await self.store._wire.execute_one("HSET", keys.ASSERTED, subject, b"\xff")

    async def judged(self, pool: str) -> int | None:
        """Until when the pool counts as judged, over all slots; None where nobody vouches for it."""
        if isinstance(self.store, MemoryStore):
            found = [slot.judged.get(pool) for slot in self.store._slots]
        else:
            assert isinstance(self.store, RedisStore)
            commands = [("ZSCORE", keys.in_slot(slot, "judged"), pool) for slot in range(self.store.slots)]
            found = [None if score is None else int(score) for score in await self.store._wire.execute(*commands)]
        return max((until_ms for until_ms in found if until_ms is not None), default=None)

    async def expire(self, claimed: Claimed) -> Claimed:
        """Let a lease run out without waiting for it: as if it had been taken long ago."""
        token_ms = (await self.store.now_ms() - 1_000) | 1
        if isinstance(self.store, MemoryStore):
            self.store._home(claimed.id)[1].due[claimed.id] = token_ms
        else:
            assert isinstance(self.store, RedisStore)
            slot = keys.slot_of(claimed.id, self.store.slots)
            await self.store._wire.execute_one("ZADD", keys.in_slot(slot, "due"), token_ms, claimed.id)
        return Claimed(claimed.id, token_ms, claimed.due_ms)

    async def dirty(self) -> list[str]:
        """Claim the pools that are due for weighing and take them out."""
        return await self.drain(Queue.DIRTY)

    async def drain(self, queue: Queue) -> list[str]:
        names: list[str] = []
        for slot in range(self.store.slots if queue in (Queue.DIRTY, Queue.REEVALUATE) else 1):
            leases: Sequence[Lease] = await self.store.claim(queue, slot, 100, 60_000)
            for lease in leases:
                assert await self.store.finish(queue, slot, lease.member, lease.token_ms, None)
            names += [lease.member for lease in leases]
        return sorted(names)

    async def report(self, pool: str, *entries: bytes) -> None:
        """What a consumer does who reports."""
        for data in entries:
            if isinstance(self.store, MemoryStore):
                self.store.report(pool, data)
            else:
                assert isinstance(self.store, RedisStore)
                written = ("XADD", keys.reports(pool), "MAXLEN", "~", keys.REPORTS_LENGTH_MAX, "*", "r", data)
                await self.store._wire.execute(written, ("ZADD", keys.REPORTS, "NX", 0, pool))

    async def keys(self) -> set[str]:
        """Names of all keys on a real server; nothing in memory."""
        if not isinstance(self.store, RedisStore):
            return set()
        return {key.decode() for key in await self.store._wire.execute_one("KEYS", "*")}


@pytest.fixture(params=["memory", "valkey", "redis"])
def server(request: pytest.FixtureRequest) -> str:
    """The URL of an empty server, or "" for memory."""
    if request.param == "memory":
        return ""
    running = request.getfixturevalue("valkey" if request.param == "valkey" else "redis_server")
    running.flush()
    return str(running.url)


on_servers = pytest.mark.parametrize("server", ["valkey", "redis"], indirect=True)
"""For what the store in memory has not: keys of a type, text that a hand can spoil."""


@pytest.fixture(params=[1, 3], ids=["1slot", "3slots"])
def slots(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def house(runner: asyncio.Runner, server: str, slots: int) -> Iterator[House]:
    house = House(server, slots)
    runner.run(house.store.open(create=True))
    yield house
    runner.run(house.store.close())


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine on the loop that opened its store."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    pyfuncitem.funcargs["runner"].run(pyfuncitem.obj(**arguments))
    return True
