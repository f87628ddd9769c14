"""A key that holds another type than its own, by a hand in Redis: everybody goes on, and it is put right."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint
from monitor.store import keys
from monitor.store.queues import QUEUES as QUEUES_OF
from monitor.store.queues import Queue
from monitor.store.redis.store import RedisStore
from tests.registering import register
from workers.broker import SHAPES
from workers.journey.dispatch import REALIGN_MS, Dispatcher

QUEUES = (keys.GROUPS, keys.DELIVERIES, *(keys.in_slot(0, name) for name in ("alerts", "reevaluate", "dirty", "due", "plan")))


@pytest.mark.parametrize("key", [*QUEUES, keys.ALIVE])
def test_endpoints_are_probed_and_the_key_is_put_right(redis_url: str, key: str) -> None:
    async def story() -> None:
        store, clock = RedisStore(redis_url), FakeClock()
        await store.open(create=True)
        dispatcher = Dispatcher(store, clock, batch_size=10, claim_limit=100, waiting=lambda _: 0)

        async def claimed() -> set[str]:
            clock.advance(1_000)
            return {name for message in await dispatcher.tick() if message.task == "probe_batch" for name, _, _ in message.args[2]}

        async def new(name: str) -> None:
            await register(store, [Endpoint(id=name, url="http://127.0.0.1:1/", pool="shop", interval_ms=500)], [], [])

        await new("a")
        assert await claimed() == {"a"}
        await new("b")
        foreign = ("RPUSH", key, "x") if key == keys.ALIVE else ("SET", key, "x")
        await store._wire.execute(("DEL", key), foreign)
        if key not in (keys.in_slot(0, "due"), keys.in_slot(0, "plan")):
            assert "b" in await claimed()
        clock.advance(REALIGN_MS)
        await dispatcher.tick()
        await new("c")
        assert "c" in await claimed()
        assert await store.alive() == []
        assert await store.drop_foreign() == []
        await store.close()

    asyncio.run(story())


@pytest.mark.parametrize("queue", [Queue.TRAFFIC, Queue.DIRTY])
def test_a_name_that_is_no_text_and_a_time_before_all_time_harm_nothing_that_is_due_beside_them(redis_url: str, queue: Queue) -> None:
    async def story() -> None:
        store, key = RedisStore(redis_url), keys.REPORTS if queue is Queue.TRAFFIC else keys.in_slot(0, "dirty")
        await store.open(create=True)
        dispatcher = Dispatcher(store, FakeClock(), batch_size=10, claim_limit=100, waiting=lambda _: 0)
        await store._wire.execute(("ZADD", key, "0", b"\xff\xfe", "-1e300", "shop", "-inf", "other"))
        messages = [one for one in await dispatcher.tick() if one.task == QUEUES_OF[queue].task]
        assert {item[0] for one in messages for item in one.args[1]} == {"shop", "other"}
        for one in messages:
            msgspec.convert(json.loads(json.dumps(one.args)), SHAPES[one.task])
        assert await store._wire.execute(("ZSCORE", key, b"\xff\xfe")) == [None]
        await store.close()

    asyncio.run(story())
