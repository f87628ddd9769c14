"""A data set that begins anew, under consumers that are running: flushed, restored from an older backup, killed with its server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from alert_rules.files.rule_file import load_rules
from monitor.client import Freshness, HealthView
from monitor.clock import SystemClock
from monitor.core.endpoint import Endpoint
from monitor.core.errors import StoreError
from monitor.core.outcome import Outcome
from monitor.core.record import Breaker, BreakerState, ProbeStatistics, Record, encode_record
from monitor.store import keys
from monitor.store.port import Commit, Committed
from monitor.store.queues import Queue
from monitor.store.redis.store import RedisStore
from tests.conftest import RedisServer
from tests.registering import register
from workers.journey.counters import Counters
from workers.journey.publish import Publisher
from workers.journey.quarantine import Quarantine

ALL = {"a": 334, "b": 333, "c": 333}
WITHIN_S = 10.0
"""A heartbeat, a poll, and a busy machine."""


class Evaluator:
    """What a worker does for published pools: with each turn it renews the epoch, publishes what is due, and beats."""

    def __init__(self, url: str) -> None:
        self.clock = SystemClock()
        self.store = RedisStore(url)
        counters = Counters()
        self.publisher = Publisher(
            store=self.store,
            clock=self.clock,
            rules=load_rules(),
            route=lambda _: None,
            counters=counters,
            quarantine=Quarantine(self.store, counters),
            soon=lambda *_: None,
        )

    async def register(self) -> None:
        await register(self.store, [Endpoint(id=one, url=f"http://127.0.0.1/{one}", pool="shop") for one in ALL], [], [])
        for one in ALL:
            await self.become(one, Breaker.CLOSED)

    async def become(self, endpoint_id: str, breaker: Breaker) -> None:
        """Let a result change the endpoint's breaker."""
        (held,) = await self.store.load([endpoint_id])
        now_ms = self.clock.now_ms()
        probes = ProbeStatistics(Outcome.SUCCESS, 5, results=5, last_success_ms=now_ms)
        commit = Commit(
            id=endpoint_id,
            token_ms=None,
            ver=held.ver,
            next_ver=held.ver + 1,
            record=encode_record(Record(breaker=BreakerState(state=breaker), probes=probes, since_ms=1)),
            reevaluate_ms=0,
            pool="shop",
            dirty_at_ms=now_ms,
            vouched_ms=60_000,
        )
        assert await self.store.commit([commit]) == [Committed.OK]

    async def turn(self) -> None:
        await self.publisher.renew_epoch()
        await self.publisher.weigh_leased([(0, lease) for lease in await self.store.claim(Queue.DIRTY, 0, 100, 1_000)])
        await self.store.alive()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Work until the condition holds."""
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                with contextlib.suppress(StoreError):  # The server is coming back.
                    await self.turn()
                await asyncio.sleep(0.02)


def seen(view: HealthView) -> dict[str, int]:
    return {one.id: one.weight for one in view.endpoints("shop")}


def accepted(view: HealthView, weights: dict[str, int]) -> bool:
    return seen(view) == weights and view.freshness("shop").freshness is Freshness.FRESH


def published(url: str) -> list[tuple[int, int]]:
    """(epoch, version) of each entry of the log."""
    with redis.Redis.from_url(url) as client:
        entries = client.xrange(keys.log("shop"))
    return [tuple(map(int, entry.split(b"-"))) for entry, _ in entries]  # type: ignore[misc]


async def until_tripped(evaluator: Evaluator, view: HealthView) -> dict[str, int]:
    """Publish the pool as it was registered, then one endpoint's trip; return the weights after it."""
    await evaluator.until(lambda: accepted(view, ALL))
    await evaluator.become("a", Breaker.OPEN)
    await evaluator.until(lambda: seen(view)["a"] == 0)
    return seen(view)


def test_flushed_and_registered_again(any_redis_url: str) -> None:
    async def story() -> None:
        evaluator = Evaluator(any_redis_url)
        await evaluator.store.open(create=True)
        await evaluator.register()
        with HealthView(any_redis_url, poll_ms=200) as view:
            tripped = await until_tripped(evaluator, view)
            ((epoch, _), *_) = reversed(published(any_redis_url))
            with redis.Redis.from_url(any_redis_url) as client:
                client.flushall()
            for _ in range(3):
                await evaluator.turn()
            assert seen(view) == tripped, "a data set without the pool says nothing of it"
            await evaluator.register()
            await evaluator.until(lambda: accepted(view, ALL))
            ((new_epoch, _),) = published(any_redis_url)
            assert new_epoch > epoch
        await evaluator.store.close()

    asyncio.run(story())


def test_an_older_backup_loaded_into_the_running_server(any_redis_url: str) -> None:
    """Nothing restarts, so nothing but the count of publications tells that time went back."""

    async def story() -> None:
        evaluator = Evaluator(any_redis_url)
        await evaluator.store.open(create=True)
        await evaluator.register()
        with HealthView(any_redis_url, poll_ms=200) as view, redis.Redis.from_url(any_redis_url) as client:
            await evaluator.until(lambda: accepted(view, ALL))
            backup = {key: client.dump(key) for key in client.keys("*") if key != keys.ALIVE.encode()}
            await until_tripped(evaluator, view)
            pipeline = client.pipeline(transaction=True)
            pipeline.flushall()
            for key, value in backup.items():
                pipeline.restore(key, 0, value)
            pipeline.execute()
            await evaluator.until(lambda: accepted(view, ALL))
            ((epoch, _), (new_epoch, _)) = published(any_redis_url)[-2:]
            assert new_epoch > epoch
        await evaluator.store.close()

    asyncio.run(story())


def test_an_older_backup_under_a_restarted_server(new_server: Callable[..., RedisServer], tmp_path: Path) -> None:
    async def story() -> None:
        server = new_server(appendonly=True)
        evaluator = Evaluator(server.url)
        await evaluator.store.open(create=True)
        await evaluator.register()
        with HealthView(server.url, poll_ms=200) as view:
            await evaluator.until(lambda: accepted(view, ALL))
            server.kill(signal.SIGTERM)
            shutil.copytree(server.folder, tmp_path / "backup")
            server.start()
            await until_tripped(evaluator, view)
            server.kill()
            shutil.rmtree(server.folder)
            shutil.copytree(tmp_path / "backup", server.folder)
            server.start()
            await evaluator.until(lambda: accepted(view, ALL))
        await evaluator.store.close()

    asyncio.run(story())


@pytest.mark.parametrize("appendonly", [True, False])
def test_killed_and_started_again(new_server: Callable[..., RedisServer], appendonly: bool) -> None:
    """With its data, of which the last second may be gone, or without any."""

    async def story() -> None:
        server = new_server(appendonly=appendonly)
        evaluator = Evaluator(server.url)
        await evaluator.store.open(create=True)
        await evaluator.register()
        with HealthView(server.url, poll_ms=200) as view:
            await until_tripped(evaluator, view)
            server.kill()
            server.start()
            if not appendonly:
                await evaluator.register()
            await evaluator.turn()
            await evaluator.become("a", Breaker.CLOSED)
            await evaluator.until(lambda: accepted(view, ALL) or seen(view)["a"] > 0)
            versions = published(server.url)
            assert all(before < after for before, after in pairwise(versions))
        await evaluator.store.close()

    asyncio.run(story())


def test_two_publishers_over_a_flush_agree_on_one_epoch(any_redis_url: str) -> None:
    async def story() -> None:
        one, other = Evaluator(any_redis_url), Evaluator(any_redis_url)
        for evaluator in (one, other):
            await evaluator.store.open(create=True)
        await one.register()
        with HealthView(any_redis_url, poll_ms=200) as view:
            await one.until(lambda: accepted(view, ALL))
            await other.turn()
            with redis.Redis.from_url(any_redis_url) as client:
                client.flushall()
            await one.register()
            await asyncio.gather(*(evaluator.publisher.publish("shop") for evaluator in (one, other) for _ in range(5)))
            await one.until(lambda: accepted(view, ALL))
            assert len({epoch for epoch, _ in published(any_redis_url)}) == 1
        for evaluator in (one, other):
            await evaluator.store.close()

    asyncio.run(story())
