"""What is published, and when the pool is weighed next."""

from __future__ import annotations

from monitor.core.record import Breaker
from monitor.store.port import Queue
from tests.unit.publishing.house import House, story


@story
async def test_what_nobody_would_notice_is_not_published(house: House) -> None:
    await house.publisher.publish("shop")
    first = await house.snapshot()
    await house.publisher.publish("shop")
    await house.another().publish("shop")
    assert await house.snapshot() == first
    assert (await house.panics(), await house.alerts(), house.routed) == ([], [], [])


@story
async def test_a_pool_that_moves_is_weighed_at_its_time_by_who_weighed_it(house: House) -> None:
    async def settle() -> list[tuple[str, int]]:
        house.due.clear()
        for lease in await house.store.claim(Queue.DIRTY, 0, 10, 5_000):
            await house.publisher.weigh_one(0, lease)
        return house.due

    assert await settle() == []
    await house.become(Breaker.OPEN, "a")
    await house.publisher.publish("shop")
    await house.become(Breaker.CLOSED, "a")
    house.store._mark_dirty(0, "shop", house.clock.now_ms())
    assert await settle() == [("shop", 1_000)], "it rises, a step each second"
    house.clock.advance(1_000)
    assert await settle() == [("shop", 1_000)]
    house.clock.advance(60_000)
    assert await settle() == []
    assert await house.weights() == {"a": 334, "b": 333, "c": 333}
