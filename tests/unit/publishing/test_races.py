"""Publishers side by side: who loses says so, and nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from monitor.core.errors import Stale
from monitor.core.record import Breaker
from monitor.store.port import Epoch, Publication, Queue
from tests.registering import register
from tests.unit.publishing.house import IDS, House, endpoint, story


@story
async def test_who_loses_every_round_says_so_and_leaves_the_pool_in_the_queue(house: House) -> None:
    rounds = 0

    async def always_late(_: Publication) -> Epoch:
        nonlocal rounds
        rounds += 1
        raise Stale("somebody was faster")

    publish, house.store.publish = house.store.publish, always_late  # type: ignore[method-assign]
    (lease,) = await house.store.claim(Queue.DIRTY, 0, 10, 5_000)
    with pytest.raises(Stale, match="shop kept changing"):
        await house.publisher.publish("shop")
    assert rounds == 8
    await house.publisher.weigh_one(0, lease)
    house.store.publish = publish  # type: ignore[method-assign]
    house.clock.advance(5_001)
    (again,) = await house.store.claim(Queue.DIRTY, 0, 10, 5_000)
    await house.publisher.weigh_one(0, again)
    assert await house.weights() == {"a": 334, "b": 333, "c": 333}


@story
async def test_who_cannot_write_the_record_says_so_too(house: House) -> None:
    """The panic of a pool whose record others kept changing was lost without a word."""

    async def always_late(*_: Any, **__: Any) -> bool:
        return False

    await house.become(Breaker.OPEN, *IDS)
    commit, house.store.commit_subject = house.store.commit_subject, always_late  # type: ignore[method-assign]
    with pytest.raises(Stale, match="kept changing"):
        await house.publisher.publish("shop")
    house.store.commit_subject = commit  # type: ignore[method-assign]
    await house.publisher.publish("shop")
    assert await house.panics() == [("NORMAL", "PANIC")]


@story
async def test_a_late_tombstone_takes_no_live_pool_out(house: House) -> None:
    """A worker reads a pool without members, another publishes it with a new one, then the first goes on."""
    await house.publisher.publish("shop")
    await register(house.store, [], IDS, [])
    publish, turn = house.store.publish, asyncio.Event()

    async def held_up(publication: Publication) -> Epoch:
        if publication.tombstone:
            await turn.wait()
        return await publish(publication)

    house.store.publish = held_up  # type: ignore[method-assign]
    late = asyncio.create_task(house.another().publish("shop"))
    await asyncio.sleep(0.01)
    await register(house.store, [endpoint("new")], [], [])
    await house.publisher.publish("shop")
    turn.set()
    await late
    assert house.store.published == {"shop"}
    assert await house.weights() == {"new": 1_000}
