"""Values that cannot be read or were lost: the pool goes on without them, and no other is harmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from monitor.core.errors import Stale
from monitor.core.record import Breaker, Override, OverrideRecord
from monitor.pool.compose import decode_pool_record
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Queue
from tests.registering import register, set_override
from tests.unit.publishing.house import IDS, House, endpoint, story


def unreadable_record(house: House) -> None:
    house.store._slots[0].records["a"] = (7, b"{not json")


def record_of_a_newer_release(house: House) -> None:
    house.store._slots[0].records["a"] = (7, b'{"breaker":{"state":"AJAR"}}')


def evidence_that_no_results_leave(house: House) -> None:
    house.store._slots[0].records["a"] = (7, b'{"weighing":{"ok":-10.0,"total":5.0}}')


def evidence_beyond_all_numbers(house: House) -> None:
    house.store._slots[0].records["a"] = (7, b'{"weighing":{"ok":1e308,"total":1e308}}')


@pytest.mark.parametrize(
    "damage", [unreadable_record, record_of_a_newer_release, evidence_that_no_results_leave, evidence_beyond_all_numbers]
)
def test_an_unreadable_record_counts_as_unknown(damage: Callable[[House], None]) -> None:
    async def tell() -> None:
        house = await House().opened()
        await house.publisher.publish("shop")
        damage(house)
        await house.become(Breaker.OPEN, "b")
        await house.publisher.publish("shop")
        snapshot = await house.snapshot()
        assert snapshot is not None
        assert {one.id: one.verdict for one in snapshot.endpoints} == {"a": "UNKNOWN", "b": "UNHEALTHY", "c": "HEALTHY"}
        assert (await house.weights())["b"] == 0
        assert house.counters.take()["unreadable"] == 1
        assert await house.aside() == [("record", "a")]

    asyncio.run(tell())


@story
async def test_an_unreadable_override_leaves_the_operators_last_word_in_force(house: House) -> None:
    drain = msgspec.json.encode(OverrideRecord(override=Override.DRAIN, reason="new disks", at_ms=5))
    await set_override(house.store, endpoint("a"), drain, b"")
    await house.publisher.publish("shop")
    house.store._slots[0].overrides["a"] = b"{not json"
    await house.become(Breaker.OPEN, "b")
    await house.publisher.publish("shop")
    snapshot = await house.snapshot()
    assert snapshot is not None
    (drained,) = [one for one in snapshot.endpoints if one.id == "a"]
    assert (drained.weight, drained.override, drained.reason) == (0, "DRAIN", "new disks")
    assert await house.weights() == {"a": 0, "b": 0, "c": 1_000}
    assert await house.aside() == [("override", "a")]


@story
async def test_an_unreadable_snapshot_is_replaced_by_one_that_every_consumer_reads(house: House) -> None:
    await house.publisher.publish("shop")
    before = await house.snapshot()
    assert before is not None
    held = house.store._published["shop"]
    house.store._published["shop"] = msgspec.structs.replace(held, snapshot=b"{")
    await house.publisher.publish("shop")
    after = await house.snapshot()
    assert after is not None
    assert after.endpoints == before.endpoints
    assert (after.epoch, after.ver) == (before.epoch, before.ver + 2), "a delta that follows would leave out what was removed meanwhile"
    assert await house.aside() == [("snapshot", "shop")]


@pytest.mark.parametrize("snapshot", [b"{", b""])
def test_a_snapshot_that_was_lost_is_published_anew_although_nothing_moves(snapshot: bytes) -> None:
    async def tell() -> None:
        house = await House().opened()
        await house.publisher.publish("shop")
        await house.store.finish(Queue.DIRTY, 0, "shop", (await house.store.claim(Queue.DIRTY, 0, 10, 5_000))[0].token_ms, None)
        before = await house.weights()
        await house.publisher.restore_snapshots()
        assert await house.store.claim(Queue.DIRTY, 0, 10, 5_000) == []
        held = house.store._published["shop"]
        house.store._published["shop"] = msgspec.structs.replace(held, snapshot=snapshot)
        for later_ms, wanted in ((29_999, 0), (1, 1)):
            house.clock.advance(later_ms)
            await house.publisher.restore_snapshots()
            leases = await house.store.claim(Queue.DIRTY, 0, 10, 5_000)
            assert len(leases) == wanted
            await house.publisher.weigh_leased((0, lease) for lease in leases)
        assert await house.weights() == before

    asyncio.run(tell())


@story
async def test_a_pool_of_which_everything_published_was_lost_goes_on_above_what_consumers_hold(house: House) -> None:
    for breaker in (Breaker.OPEN, Breaker.CLOSED, Breaker.OPEN):
        house.clock.advance(60_000)
        await house.become(breaker, "a")
        await house.publisher.publish("shop")
    before = await house.snapshot()
    del house.store._published["shop"]
    house.clock.advance(10)
    await house.publisher.publish("shop")
    after = await house.snapshot()
    assert before is not None
    assert after is not None
    assert (after.epoch, after.endpoints) == (before.epoch, before.endpoints)
    assert after.ver > before.ver


@story
async def test_a_pool_without_members_whose_snapshot_was_lost_leaves_the_index(house: House) -> None:
    await house.publisher.publish("shop")
    held = house.store._published["shop"]
    house.store._published["shop"] = msgspec.structs.replace(held, snapshot=b"")
    await register(house.store, removes=IDS)
    await house.publisher.publish("shop")
    assert house.store.published == set()
    tombstone = await house.snapshot()
    assert tombstone is not None
    assert tombstone.tombstone is True


@story
async def test_unreadable_settings_of_a_pool_harm_no_other(house: House) -> None:
    class Torn(MemoryStore):
        async def load_pool(self, pool: str) -> Any:
            load = await super().load_pool(pool)
            return msgspec.structs.replace(load, settings=b"{") if pool == "shop" else load

    house.store.__class__ = Torn
    await register(house.store, [msgspec.structs.replace(endpoint("d"), pool="db")], [], [])
    leases = await house.store.claim(Queue.DIRTY, 0, 10, 5_000)
    assert {lease.member for lease in leases} == {"shop", "db"}
    await house.publisher.weigh_leased((0, lease) for lease in leases)
    assert all(await house.store.snapshots(["shop", "db"]))


@story
async def test_a_pool_of_a_policy_that_this_release_does_not_know_works_with_what_is_built_in(house: House) -> None:
    house.store.spoil_pool("shop", b'{"name":"shop","policy":"failure_rate"}')
    await house.publisher.publish("shop")
    assert sum((await house.weights()).values()) == 1_000
    (aside,) = await house.store.aside()
    assert (aside.kind, aside.key, aside.why) == ("pool", "shop", "ValueError: there is no policy 'failure_rate' in this release")


@story
async def test_a_pool_that_fails_holds_up_no_other(house: House) -> None:
    load_pool = house.store.load_pool

    async def broken(pool: str) -> Any:
        if pool == "shop":
            raise RuntimeError("a bug")
        return await load_pool(pool)

    house.store.load_pool = broken  # type: ignore[method-assign]
    await register(house.store, [msgspec.structs.replace(endpoint("d"), pool="db")], [], [])
    for _ in range(4):
        leases = await house.store.claim(Queue.DIRTY, 0, 10, 5_000)
        await house.publisher.weigh_leased((0, lease) for lease in leases)
        assert house.store.published == {"db"}
        assert [lease.member for lease in leases if lease.member == "shop"] == ["shop"]
        house.clock.advance(5_001)
    assert await house.store.lagging() == ["shop"], "consumers must not take it for fresh"


@pytest.mark.parametrize(
    "spec",
    [b"{", b'{"id":"a","url":"http://127.0.0.1:99999/","pool":"shop"}', b'{"id":"b","url":"http://127.0.0.1/b","pool":"shop"}', b""],
    ids=["no JSON", "no port", "another's", "nothing"],
)
def test_an_endpoint_that_cannot_be_read_leaves_its_share_to_the_others(spec: bytes) -> None:
    async def tell() -> None:
        house = await House().opened()
        load_pool = house.store.load_pool

        async def torn(pool: str) -> Any:
            load = await load_pool(pool)
            first, *others = load.members
            return msgspec.structs.replace(load, members=(msgspec.structs.replace(first, spec=spec), *others))

        house.store.load_pool = torn  # type: ignore[method-assign]
        await house.publisher.publish("shop")
        assert await house.weights() == {"b": 500, "c": 500}
        assert await house.aside() == ([("endpoint", "a")] if spec else []), "of what is not there no copy is kept"

    asyncio.run(tell())


@story
async def test_a_pool_of_which_no_endpoint_can_be_read_stays_as_it_is_published(house: House) -> None:
    """Its members are there: taking it for a removed pool would send its traffic nowhere."""
    await house.publisher.publish("shop")
    before = await house.snapshot()
    load = await house.store.load_pool("shop")
    torn = msgspec.structs.replace(load, members=tuple(msgspec.structs.replace(one, spec=b"{") for one in load.members))

    async def unreadable(_: str) -> Any:
        return torn

    house.store.load_pool = unreadable  # type: ignore[method-assign]
    with pytest.raises(Stale, match="none of the 3 endpoints of pool shop can be read"):
        await house.publisher.publish("shop")
    assert await house.snapshot() == before


@story
async def test_an_unreadable_record_of_the_pool_is_begun_afresh(house: House) -> None:
    await house.become(Breaker.OPEN, *IDS)
    await house.store.commit_subject("pool:shop", 0, 5, b"{not json")
    await house.publisher.publish("shop")
    assert decode_pool_record(await house.subject()).panic
    assert await house.alerts() == [["PoolDown"]]
    assert await house.aside() == [("subject", "pool:shop")]
