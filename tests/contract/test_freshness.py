"""Freshness: a heartbeat vouches for the pools whose endpoints are being judged and which are being published, and names the others."""

from __future__ import annotations

import json

import pytest

from monitor.store import keys
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Committed, Queue
from tests.contract.conftest import on_servers
from tests.registering import register

LONG_MS = 3_600_000


async def heartbeat(house) -> tuple[int, list[str]]:
    """The heartbeat that consumers read: its time, and the pools that it names."""
    if isinstance(house.store, MemoryStore):
        text = house.store.heartbeat_value
    else:
        text = (await house.store._wire.execute_one("GET", keys.ALIVE)).decode()
    at_ms, _, names = text.partition(" ")
    return int(at_ms), json.loads(names) if names else []


async def judge(house, *ids: str, until_ms: int, pool: str = "shop") -> None:
    """Register endpoints and let a result of each vouch for its pool for so long from now on; negative: it did until then."""
    await house.register(*(house.endpoint(one, pool=pool) for one in ids))
    claimed = await house.claim()
    held = await house.store.load(ids)
    results = [house.result(claimed[one], was.ver, pool=pool, vouched_ms=until_ms) for one, was in zip(ids, held, strict=True)]
    assert set(await house.commit(*results)) == {Committed.OK}
    if until_ms < 0:  # What is registered anew counts as judged for a while: let that be over.
        for slot in {keys.slot_of(one, house.store.slots) for one in ids}:
            await house.judged_until(slot, pool, await house.store.now_ms() + until_ms)


async def published(house) -> None:
    """Take every mark out, as a publisher does."""
    await house.dirty()


async def test_a_heartbeat_is_the_servers_time_and_ends(house):
    await judge(house, "e", until_ms=LONG_MS)
    assert await house.store.alive() == []
    at_ms, names = await heartbeat(house)
    assert abs(at_ms - await house.store.now_ms()) < 5_000
    assert names == []
    if house.url:
        assert 0 < await house.store._wire.execute_one("PTTL", keys.ALIVE) <= keys.ALIVE_TTL_MS


async def test_a_data_set_without_endpoints_lags_nowhere(house):
    assert await house.store.alive() == []
    assert (await heartbeat(house))[0] > 0


async def test_a_pool_without_results_is_named_and_the_others_are_vouched_for(house):
    await judge(house, "e", until_ms=LONG_MS)
    await judge(house, "a", "b", "c", pool="late", until_ms=-1_000)
    assert await house.store.alive() == ["late"]
    at_ms, names = await heartbeat(house)
    assert (at_ms > 0, names) == (True, ["late"])
    assert await house.store.lagging() == ["late"]
    await judge(house, "a", "b", "c", pool="late", until_ms=LONG_MS)
    assert await house.store.alive() == []


async def test_one_slot_of_a_pool_that_is_not_judged_is_enough(house):
    """Endpoints of one pool live in several slots, and one of these may be the one that nobody works at."""
    ids = [f"e{n}" for n in range(12)]
    await judge(house, *ids, until_ms=LONG_MS)
    await judge(house, "other", pool="other", until_ms=LONG_MS)
    await house.judged_until(keys.slot_of("e0", house.store.slots), "shop", 1)
    assert await house.store.alive() == ["shop"]


async def test_where_every_pool_lags_the_heartbeat_vouches_for_none(house):
    await judge(house, "e", until_ms=-1_000)
    await judge(house, "f", pool="db", until_ms=-1_000)
    assert await house.store.alive() == ["db", "shop"]
    assert await heartbeat(house) == (0, [])


async def test_more_lagging_pools_than_can_be_named_are_not_vouched_for_either(house, monkeypatch):
    monkeypatch.setattr(keys, "LAGGING_MAX", 2)
    await judge(house, "e", until_ms=LONG_MS)
    for n in range(2):
        await judge(house, f"late{n}", pool=f"late{n}", until_ms=-1_000)
    await house.store.alive()
    assert (await heartbeat(house))[1] == ["late0", "late1"]
    await judge(house, "late2", pool="late2", until_ms=-1_000)
    assert len(await house.store.alive()) == 3
    assert await heartbeat(house) == (0, [])


@pytest.mark.parametrize("how", ["paused", "removed", "moved"])
async def test_a_pool_that_nobody_has_to_judge_does_not_lag(house, how):
    await judge(house, "other", pool="other", until_ms=LONG_MS)
    await judge(house, "e", until_ms=-1_000)
    if how == "paused":
        await house.register(house.endpoint("e", paused=True))
    elif how == "moved":
        await house.register(house.endpoint("e", pool="other"))
    else:
        await register(house.store, [], ["e"], [])
    await published(house)
    assert await house.store.alive() == []
    if how == "paused":
        await house.register(house.endpoint("e"))
        await judge(house, "e", until_ms=-1_000)
        assert await house.store.alive() == ["shop"], "it is judged again, and lags again"


async def test_a_pool_that_nobody_publishes_lags(house):
    """Its results come, and consumers do not hear of them."""
    await judge(house, "e", until_ms=LONG_MS)
    await judge(house, "other", pool="other", until_ms=LONG_MS)
    await published(house)
    now_ms = await house.store.now_ms()
    for at_ms, wanted in ((now_ms - keys.ALIVE_TTL_MS - 1_000, ["shop"]), (now_ms - 1_000, []), (now_ms + LONG_MS, [])):
        if isinstance(house.store, MemoryStore):
            house.store._queue(Queue.DIRTY, 0)["shop"] = at_ms
        else:
            await house.store._wire.execute_one("ZADD", keys.in_slot(0, "dirty"), at_ms, "shop")
        assert await house.store.alive() == wanted


async def test_the_mark_of_a_pool_without_members_does_not_count(house):
    await judge(house, "e", until_ms=LONG_MS)
    await published(house)
    if isinstance(house.store, MemoryStore):
        house.store._queue(Queue.DIRTY, 0)["ghost"] = 1
    else:
        await house.store._wire.execute_one("ZADD", keys.in_slot(0, "dirty"), 1, "ghost")
    assert await house.store.alive() == []


@on_servers
async def test_a_late_heartbeat_does_not_take_back_a_later_one(house):
    """Two workers: the one that was held up between reading and writing speaks of the past."""
    later_ms = await house.store.now_ms() + 1_000
    await house.store._wire.execute_one("SET", keys.ALIVE, f'{later_ms} ["shop"]')
    await house.store.alive()
    assert await heartbeat(house) == (later_ms, ["shop"])
    await house.store._wire.execute_one("SET", keys.ALIVE, later_ms + 10 * keys.ALIVE_TTL_MS)
    await house.store.alive()
    assert (await heartbeat(house))[0] < later_ms, "a heartbeat from before the clock was put right holds up nobody"


async def test_a_pool_that_cannot_be_published_lags_although_it_is_claimed_again_and_again(house):
    slot = house.store.slots - 1

    async def failed(*, first_ms_ago: int, last_ms_ago: int) -> None:
        """As if it had failed from then to then."""
        now_ms = await house.store.now_ms()
        first_ms, last_ms = now_ms - first_ms_ago, now_ms - last_ms_ago
        if isinstance(house.store, MemoryStore):
            assert "shop" in house.store._slots[slot].unpublished
            house.store._slots[slot].unpublished["shop"] = first_ms, last_ms
        else:
            key = keys.in_slot(slot, "unpublished")
            assert await house.store._wire.execute_one("HSET", key, "shop", f"{first_ms}:{last_ms}") == 0

    await judge(house, "e", until_ms=LONG_MS)
    await judge(house, "other", pool="other", until_ms=LONG_MS)
    await published(house)
    for pool in ("shop", "ghost"):
        await house.store.not_published(pool, slot)
    assert await house.store.lagging() == []
    await failed(first_ms_ago=keys.ALIVE_TTL_MS, last_ms_ago=5_000)
    assert await house.store.lagging() == [], "it has failed for ten seconds"
    await house.store.not_published("shop", slot)
    assert await house.store.alive() == ["shop"]
    await failed(first_ms_ago=LONG_MS, last_ms_ago=keys.ALIVE_TTL_MS + 1_000)
    assert await house.store.alive() == [], "it does not fail any more"
    await house.store.not_published("shop", slot)
    assert await house.store.alive() == [], "it begins anew"
    await failed(first_ms_ago=LONG_MS, last_ms_ago=keys.ALIVE_TTL_MS + 1_000)
    await house.store.not_published("shop", slot)
    assert await house.store.alive() == [], "what was long ago does not count"
