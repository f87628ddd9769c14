"""Data sets that begin anew or were put back: what is published goes beyond all before."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from monitor.core.record import Breaker
from monitor.store.port import NO_EPOCH, Epoch
from tests.unit.publishing.house import House, story


@pytest.mark.parametrize("how", ["forgotten", "an older backup", "a snapshot from a later life"])
def test_a_data_set_that_begins_anew_is_published_in_a_larger_epoch(how: str) -> None:
    async def tell() -> None:
        house = await House().opened()
        await house.publisher.publish("shop")
        await house.become(Breaker.OPEN, "a")
        await house.publisher.publish("shop")
        before = await house.snapshot()
        assert before is not None
        if how == "forgotten":
            house.store._epoch = NO_EPOCH
        elif how == "an older backup":
            house.store._epoch = Epoch(before.epoch, 1)
        else:
            later = msgspec.structs.replace(before, epoch=before.epoch + 1_000_000)
            held = house.store._published["shop"]
            house.store._published["shop"] = msgspec.structs.replace(held, snapshot=msgspec.json.encode(later))
            before = later
        await house.publisher.renew_epoch()  # As with every heartbeat.
        await house.publisher.publish("shop")
        after = await house.snapshot()
        assert after is not None
        assert after.epoch > before.epoch
        assert [one.weight for one in after.endpoints] == [one.weight for one in before.endpoints]

    asyncio.run(tell())


@story
async def test_a_publisher_that_has_not_heard_of_the_new_epoch_learns_of_it_when_it_is_refused(house: House) -> None:
    await house.publisher.publish("shop")
    house.store._epoch = NO_EPOCH
    await house.become(Breaker.OPEN, "a")
    await house.publisher.publish("shop")
    assert (await house.weights())["a"] == 0


@story
async def test_an_older_snapshot_that_was_put_back_is_gone_beyond(house: House) -> None:
    await house.publisher.publish("shop")
    older = house.store._published["shop"].snapshot
    for breaker in (Breaker.OPEN, Breaker.CLOSED, Breaker.OPEN):
        await house.become(breaker, "a")
        await house.publisher.publish("shop")
    latest = await house.snapshot()
    house.store._published["shop"] = msgspec.structs.replace(house.store._published["shop"], snapshot=older)
    await house.become(Breaker.CLOSED, "a")  # As the older one says: whoever holds the latest must hear of it.
    await house.publisher.publish("shop")
    after = await house.snapshot()
    assert latest is not None
    assert after is not None
    assert after.ver > latest.ver + 1, "consumers read the snapshot"
    assert all((await house.weights()).values())


@story
async def test_a_log_of_a_later_epoch_than_the_data_sets_is_gone_beyond(house: House) -> None:
    await house.publisher.publish("shop")
    before = await house.snapshot()
    assert before is not None
    house.store._published["shop"] = msgspec.structs.replace(
        house.store._published["shop"], epoch=Epoch(before.epoch + 90_000_000), snapshot=b"?"
    )
    await house.become(Breaker.OPEN, "a")
    await house.publisher.publish("shop")
    assert (await house.weights())["a"] == 0
    after = await house.snapshot()
    assert after is not None
    assert after.epoch > before.epoch + 90_000_000
