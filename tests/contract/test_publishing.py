"""Publishing: a version never goes back, a removed pool says so before it goes, and a data set that begins anew is told apart."""

from __future__ import annotations

import msgspec
import pytest

from monitor.core.errors import Stale
from monitor.store import keys
from monitor.store.memory import alerts as memory_alerts
from monitor.store.memory.store import MemoryStore
from monitor.store.port import NO_EPOCH, Epoch, EpochEnded, Publication, Queue
from monitor.store.redis import alerts as redis_alerts
from tests.contract.conftest import on_servers


def version(epoch: Epoch, ver: int, pool: str = "shop", *, tombstone: bool = False) -> Publication:
    return Publication(pool=pool, epoch=epoch, ver=ver, snapshot=b"s%d" % ver, delta=b"d%d" % ver, tombstone=tombstone)


async def publish(house, publication: Publication) -> Epoch:
    """By a publisher that has just read the pool."""
    logged = (await house.store.load_pool(publication.pool)).logged
    return await house.store.publish(msgspec.structs.replace(publication, after=logged))


async def published(house) -> set[str]:
    if isinstance(house.store, MemoryStore):
        return house.store.published
    return {name.decode() for name in await house.store._wire.execute_one("SMEMBERS", keys.POOLS)}


async def test_only_a_larger_version_is_published(house):
    epoch = await house.store.epoch()
    assert await publish(house, version(epoch, 1)) == Epoch(epoch.number, 1)
    assert await publish(house, version(epoch, 2)) == Epoch(epoch.number, 2)
    for ver in (2, 1):
        with pytest.raises(Stale):
            await publish(house, version(epoch, ver))
    assert (await house.store.load_pool("shop")).snapshot == b"s2"
    assert (await house.store.load_pool("shop")).logged == (epoch.number, 2)
    assert (await house.store.load_pool("ghost")).logged == (0, 0)
    assert await house.store.snapshots(["shop", "ghost"]) == [b"s2", b""]
    assert await house.store.snapshots([]) == []


async def test_a_version_that_was_made_from_another_than_the_last_is_stale(house):
    """Consumers fold its delta onto the one before, and rules are evaluated on each: none may be left out, not even where two publishers
    both found nothing published."""
    epoch = await house.store.epoch()
    await house.store.publish(version(epoch, 49))
    for ver in (50, 1000):
        for after in ((0, 0), (epoch.number - 1, 49), (epoch.number, 48), (epoch.number, 50)):
            with pytest.raises(Stale):
                await house.store.publish(msgspec.structs.replace(version(epoch, ver), after=after))
    await house.store.publish(msgspec.structs.replace(version(epoch, 51), after=(epoch.number, 49)))
    await publish(house, version(epoch, 52))


async def test_the_loser_of_two_publishers_is_told_that_it_is_stale_and_nothing_else(house):
    epoch = await house.store.epoch()
    await publish(house, version(epoch, 1))
    with pytest.raises(Stale) as loser:
        await house.store.publish(version(epoch, 1))
    assert not isinstance(loser.value, EpochEnded)
    assert await house.store.epoch(epoch) == Epoch(epoch.number, 1)


async def test_a_removed_pool_leaves_the_index_with_its_tombstone_and_comes_back_with_the_next_version(house):
    epoch = await house.store.epoch()
    await publish(house, version(epoch, 7))
    assert await published(house) == {"shop"}
    await publish(house, version(epoch, 8, tombstone=True))
    assert await published(house) == set()
    assert (await house.store.load_pool("shop")).snapshot == b"s8"
    await publish(house, version(epoch, 9))
    assert await published(house) == {"shop"}
    if not house.url:
        await house.passes(10_000_000)
        assert (await house.store.load_pool("shop")).snapshot == b"s9", "a pool that came back stays"
        await publish(house, version(epoch, 10, tombstone=True))
        await house.passes(179_999)
        assert (await house.store.load_pool("shop")).snapshot == b"s10"
        await house.passes(1)
        assert (await house.store.load_pool("shop")).snapshot == b""


async def test_a_late_tombstone_takes_no_live_pool_out(house):
    """Two workers: one saw the pool without members, the other published it with a new one before the first got to it."""
    epoch = await house.store.epoch()
    await publish(house, version(epoch, 1))
    await publish(house, version(epoch, 2))
    with pytest.raises(Stale):
        await publish(house, version(epoch, 2, tombstone=True))
    assert await published(house) == {"shop"}
    assert (await house.store.load_pool("shop")).snapshot == b"s2"
    if house.url:
        assert await house.store._wire.execute_one("PTTL", keys.snapshot("shop")) == -1


@on_servers
async def test_consumers_find_the_contracts_keys(house):
    wire = house.store._wire
    epoch = await house.store.epoch()
    for ver in (1, 2):
        await publish(house, version(epoch, ver))
    assert await wire.execute_one("GET", "wk:v1:{shop}:snap") == b"s2"
    entries = [[b"%d-%d" % (epoch.number, ver), [b"d", b"d%d" % ver]] for ver in (1, 2)]
    assert await wire.execute_one("XRANGE", "wk:v1:{shop}:log", "-", "+") == entries
    assert await wire.execute_one("SMEMBERS", "wk:v1:pools") == [b"shop"]
    await publish(house, version(epoch, 3, tombstone=True))
    assert await wire.execute_one("SMEMBERS", "wk:v1:pools") == []
    for key in ("wk:v1:{shop}:snap", "wk:v1:{shop}:log"):
        assert 0 < await wire.execute_one("PTTL", key) <= 180_000
    await publish(house, version(epoch, 4))
    assert await wire.execute_one("PTTL", "wk:v1:{shop}:snap") == await wire.execute_one("PTTL", "wk:v1:{shop}:log") == -1


@on_servers
async def test_keys_of_another_type_are_replaced(house):
    epoch = await house.store.epoch()
    await house.store._wire.execute(("LPUSH", keys.snapshot("shop"), "x"), ("SET", keys.log("shop"), "x"))
    load = await house.store.load_pool("shop")
    assert [load.snapshot] == await house.store.snapshots(["shop"])
    assert load.snapshot
    assert load.snapshot[0:1] != b"{"
    assert (await house.store.load_pool("shop")).logged == (0, 0)
    await publish(house, version(epoch, 2))
    assert (await house.store.load_pool("shop")).snapshot == b"s2"
    assert (await house.store.load_pool("shop")).logged == (epoch.number, 2)


@on_servers
async def test_a_log_of_an_epoch_that_no_time_can_have_made_is_begun_anew(house):
    epoch = await house.store.epoch()
    await house.store._wire.execute_one("XADD", keys.log("shop"), f"{2**64 - 1}-{2**64 - 1}", "d", "x")
    await publish(house, version(epoch, 2))
    assert (await house.store.load_pool("shop")).logged == (epoch.number, 2)


async def test_pools_are_marked_for_weighing_by_name(house):
    epoch = await house.store.epoch()
    for pool in ("shop", "db", "gone"):
        epoch = await publish(house, version(epoch, 1, pool))
    await publish(house, version(epoch, 2, "gone", tombstone=True))
    assert await house.store.published_pools() == ["db", "shop"]
    assert await house.dirty() == []
    await house.store.mark_pools(["shop", "db"])
    await house.store.mark_pools([])
    assert await house.dirty() == ["db", "shop"]


# Epochs ---------------------------------------------------------------------------------------------------------


async def lose(house, *, publications: int | None = None) -> None:
    """The data set forgets its epoch, or some of its publications."""
    if isinstance(house.store, MemoryStore):
        held = house.store._epoch
        house.store._epoch = NO_EPOCH if publications is None else Epoch(held.number, publications)
    elif publications is None:
        await house.store._wire.execute_one("DEL", keys.EPOCH)
    else:
        await house.store._wire.execute_one("HSET", keys.EPOCH, "publications", publications)


async def test_one_life_of_a_data_set_has_one_epoch(house):
    epoch = await house.store.epoch()
    assert epoch == await house.store.epoch() == await house.store.epoch(epoch)
    assert abs(epoch.number - await house.store.now_ms()) < 60_000
    after = await publish(house, version(epoch, 1))
    assert await house.store.epoch(epoch) == await house.store.epoch(after) == after > epoch


@pytest.mark.parametrize("kept", [None, 1])
async def test_a_data_set_that_went_back_refuses_publishers_and_begins_a_larger_epoch(house, kept):
    """A flush forgets the epoch; an older backup, restored without a restart, forgets the last publications."""
    epoch = await house.store.epoch()
    for ver in (1, 2, 3):
        epoch = await publish(house, version(epoch, ver))
    await house.dirty()
    await lose(house, publications=kept)
    with pytest.raises(EpochEnded):
        await publish(house, version(epoch, 4))
    assert (await house.store.load_pool("shop")).snapshot == b"s3"
    renewed = await house.store.epoch(epoch)
    assert renewed.number > epoch.number
    assert await house.dirty() == ["shop"], "consumers hold versions of the old epoch: every pool is published anew"
    with pytest.raises(EpochEnded):
        await publish(house, version(epoch, 4))
    await publish(house, version(renewed, 1))
    assert (await house.store.load_pool("shop")).logged == (renewed.number, 1)


async def test_the_others_adopt_the_new_epoch_instead_of_beginning_one_each(house):
    epoch = await publish(house, version(await house.store.epoch(), 1))
    await lose(house)
    renewed = await house.store.epoch(epoch)
    assert await house.store.epoch(epoch) == await house.store.epoch(Epoch(epoch.number, 99)) == renewed


async def test_a_new_epoch_is_larger_than_any_that_was_seen_elsewhere(house):
    """A snapshot may be of a later epoch than the data set knows of; the server's clock may be behind."""
    await house.store.epoch()
    ahead = await house.store.now_ms() + 10_000_000
    assert (await house.store.epoch(Epoch(ahead))).number == ahead + 1


async def test_a_mark_of_a_new_epoch_is_not_taken_away_by_who_weighs_from_an_earlier_reading(house):
    await house.register(house.endpoint("e"))
    await publish(house, version(await house.store.epoch(), 1))
    leases = [(slot, lease) for slot in range(house.store.slots) for lease in await house.store.claim(Queue.DIRTY, slot, 9, 60_000)]
    await lose(house)
    await house.store.epoch()
    answers = [await house.store.finish(Queue.DIRTY, slot, lease.member, lease.token_ms, None) for slot, lease in leases]
    marks = [lease.due_ms for lease in await house.store.claim(Queue.DIRTY, 0, 9, 60_000)]
    assert marks
    assert all(due_ms % 2 == 0 for due_ms in marks), "a mark is no lease that somebody left"
    assert house.store.slots > 1 or answers == [False]


async def test_a_version_that_comes_too_late_is_refused(house):
    """Its publisher has given it up, and whoever found meanwhile that nothing has changed has made no version that would fence it."""
    epoch = await house.store.epoch()
    now_ms = await house.store.now_ms()
    late = Publication(pool="late", epoch=epoch, ver=1, snapshot=b"{}", delta=b"{}", until_ms=now_ms - 1)
    with pytest.raises(Stale):
        await house.store.publish(late)
    assert await house.store.snapshots(["late"]) == [b""]
    assert (await house.store.publish(msgspec.structs.replace(late, until_ms=now_ms + 60_000))).publications == 1


async def test_a_pool_whose_alerts_were_written_is_weighed_again_though_nobody_was_to(house, monkeypatch):
    """It may have been written long after it was sent, and given up: then nothing else would hold it against what is true."""
    for module in (redis_alerts, memory_alerts):
        monkeypatch.setattr(module, "WEIGHED_AGAIN_MS", 40)
    assert await house.store.commit_subject("pool:shop", 0, 1, b"body")
    assert await house.dirty() == ["shop"], "written for the first time"
    assert await house.store.commit_subject("pool:shop", 1, 2, b"late")
    assert await house.dirty() == []
    await house.passes(50)
    assert await house.dirty() == ["shop"]
    assert await house.store.commit_subject("system", 0, 1, b"body")
    await house.passes(50)
    assert await house.dirty() == []
