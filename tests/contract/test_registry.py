"""Registering: what changes, what stays, what goes."""

from __future__ import annotations

import asyncio
import time

import pytest

from monitor.core.endpoint import Pool
from monitor.core.errors import Stale
from monitor.store.port import Committed, Write
from monitor.store.queues import Queue
from tests.registering import pools, register, set_override


async def test_endpoints_and_pools_are_kept_as_they_were_written(house):
    endpoint = house.endpoint("é/1", labels={"team": "shop"}, options={"expect_status": [200, 204]}, depends_on=("db",))
    await register(house.store, [endpoint, house.endpoint("db")], [], [Pool(name="shop", warm_up_ms=1)])
    assert (await house.store.endpoints())["é/1"] == endpoint
    assert await house.store.endpoints(["db", "ghost"]) == {"db": house.endpoint("db")}
    assert await house.store.endpoints([]) == {}
    assert await pools(house.store) == {"shop": Pool(name="shop", warm_up_ms=1)}
    await register(house.store, [], [], [], ["shop"])
    assert await pools(house.store) == {}


async def test_a_new_endpoint_falls_due_on_its_grid_within_one_interval(house):
    before_ms = await house.store.now_ms()
    await house.register(house.endpoint("e"))
    assert await house.on_grid(house.endpoint("e"))
    assert before_ms <= (await house.score("e") or 0) <= await house.store.now_ms() + 10_000


async def test_an_initial_delay_is_kept(house):
    before_ms = await house.store.now_ms()
    await house.register(house.endpoint("e", initial_delay_ms=50_000))
    assert before_ms + 50_000 <= (await house.score("e") or 0) <= await house.store.now_ms() + 60_000


async def test_registering_again_changes_no_due_time(house):
    claimed = await house.claim_one()
    await house.register(house.endpoint("e", timeout_ms=1_000, labels={"a": "b"}))
    assert await house.score("e") == claimed.token_ms
    await house.commit(house.result(claimed))
    due_ms = await house.score("e")
    await house.register(house.endpoint("e", url="http://elsewhere/"))
    assert await house.score("e") == due_ms


async def test_another_interval_is_another_grid(house):
    await house.register(house.endpoint("e", interval_ms=3_600_000))
    await house.register(house.endpoint("e", interval_ms=1_000))
    assert await house.on_grid(house.endpoint("e", interval_ms=1_000))
    assert (await house.score("e") or 0) <= await house.store.now_ms() + 1_000


async def test_another_interval_takes_nothing_from_who_is_probing(house):
    claimed = await house.claim_one()
    await house.register(house.endpoint("e", interval_ms=1_000))
    assert await house.score("e") == claimed.token_ms
    assert await house.commit(house.result(claimed)) == [Committed.STALE], "what was decided before the change is decided again"
    assert await house.commit(house.result(claimed, ver=await house.version("e"))) == [Committed.OK]
    assert await house.on_grid(house.endpoint("e", interval_ms=1_000))


async def test_a_paused_endpoint_is_not_claimed_and_is_looked_at_once_more(house):
    claimed = await house.claim_one()
    await house.commit(house.result(claimed, reevaluate_ms=1))
    await house.register(house.endpoint("e", paused=True))
    assert await house.score("e") is None
    assert await house.drain(Queue.REEVALUATE) == ["e"]
    ver = await house.version("e")
    assert await house.commit(house.result(claimed, ver=ver)) == [Committed.LOST]
    assert await house.commit(house.result(claimed, ver=1, token_ms=None)) == [Committed.STALE]
    assert await house.commit(house.result(claimed, ver=ver, token_ms=None, reevaluate_ms=0)) == [Committed.OK]
    assert await house.drain(Queue.REEVALUATE) == []
    await house.register(house.endpoint("e"))
    assert list(await house.claim()) == ["e"]
    assert await house.drain(Queue.REEVALUATE) == ["e"]
    assert await house.version("e") > ver + 1


async def test_an_endpoint_that_never_gets_a_result_is_noticed(house):
    await house.register(house.endpoint("e", interval_ms=500, timeout_ms=100, retries=0), house.endpoint("p", paused=True))
    for slot in range(house.store.slots):
        assert await house.store.claim(Queue.REEVALUATE, slot, 10, 1_000) == []
        assert await house.store.overdue(Queue.REEVALUATE, slot) == 0
    if not house.url:
        await house.passes(3 * 500 + 100 + 5_000)
        assert await house.drain(Queue.REEVALUATE) == ["e"]


async def test_a_removed_endpoint_leaves_nothing_behind(house):
    await register(house.store, [house.endpoint("other")], [], [])
    await house.dirty()
    before = await house.keys()
    endpoint = house.endpoint("e")
    claimed = await house.claim_one()
    writes = tuple(Write(name, 0, b"x") for name in ("ring", "min", "hour", "day"))
    await house.commit(house.result(claimed, writes=writes, reevaluate_ms=1))
    await set_override(house.store, endpoint, b"o", b"t")
    await house.dirty()
    await register(house.store, [], ["e", "ghost"], [])
    assert await house.dirty() == ["shop"]
    assert await house.store.endpoints(["e"]) == {}
    assert [member.id for member in (await house.store.load_pool("shop")).members] == ["other"]
    assert await house.drain(Queue.REEVALUATE) == ["e"], "its alerts have to end before its record goes"
    assert not await house.store.forget("e", 1, [b"no"]), "a decision made before the removal"
    assert await house.store.forget("e", await house.version("e"), [b"ended"])
    (slot,) = await house.store.streams()
    token_ms, events = await house.store.claim_alert_events(slot, 10, 1_000)
    assert [data for _, data in events] == [b"ended"]
    await house.store.ack_alert_events(slot, token_ms, [events[0][0]])
    assert await house.store.load(["e"]) == await house.store.load(["ghost"])
    assert await house.store.samples("e", "ring") == b""
    assert await house.drain(Queue.REEVALUATE) == []
    left = {key for key in await house.keys() - before if not key.endswith((":rev", ":pace", ":events", ":alerts"))}
    assert left == set()
    assert await house.store.transitions("e") == []
    await register(house.store, [], ["e"], [])
    assert await house.dirty() == []


async def test_moving_to_another_pool_lets_both_fall_due(house):
    await house.register(house.endpoint("e"), house.endpoint("f"))
    assert set(await house.dirty()) == {"shop"}
    await house.register(house.endpoint("e", pool="db"))
    assert await house.dirty() == ["db", "shop"]
    assert [member.id for member in (await house.store.load_pool("shop")).members] == ["f"]
    assert [member.id for member in (await house.store.load_pool("db")).members] == ["e"]


async def test_a_pools_settings_let_it_fall_due_and_raise_the_revision(house):
    revisions = [(await house.store.claim_probes(slot, 1, 0)).rev for slot in range(house.store.slots)]
    await register(house.store, [], [], [Pool(name="shop")])
    assert set(await house.dirty()) == {"shop"}
    assert all([(await house.store.claim_probes(slot, 1, 0)).rev > rev for slot, rev in enumerate(revisions)])


async def test_a_pools_members_are_read_in_order_with_records_and_overrides(house):
    for name in ("b", "c", "a"):
        claimed = await house.claim_one(name)
        await house.commit(house.result(claimed, record=name.encode()))
    await set_override(house.store, house.endpoint("b"), b"o", b"t")
    await house.register(house.endpoint("d"))
    load = await house.store.load_pool("shop")
    assert [(m.id, m.record, m.override) for m in load.members] == [
        ("a", b"a", b""),
        ("b", b"b", b"o"),
        ("c", b"c", b""),
        ("d", b"", b""),
    ]
    assert load.snapshot == b""


async def test_a_large_pool_is_one_reading(house):
    await register(house.store, [house.endpoint(f"e{i:04}") for i in range(2_345)], [], [])
    members = (await house.store.load_pool("shop")).members
    assert [member.id for member in members] == [f"e{i:04}" for i in range(2_345)]


async def test_an_override_is_written_logged_once_and_taken_back(house):
    endpoint = house.endpoint("e")
    await house.register(endpoint)
    await house.dirty()
    for _ in range(2):
        await set_override(house.store, endpoint, b"drain", b"t1")
    assert (await house.store.load(["e"]))[0].override == b"drain"
    assert await house.dirty() == ["shop"]
    for _ in range(2):
        await set_override(house.store, endpoint, b"", b"t2")
    assert (await house.store.load(["e"]))[0].override == b""
    assert [data for _, data in await house.store.events(10)] == [b"t1", b"t2"]


async def test_an_override_of_a_stranger_is_refused(house):
    with pytest.raises(Stale):
        await set_override(house.store, house.endpoint("ghost"), b"o", b"t")
    assert await house.store.events(10) == []


async def test_two_who_register_at_once_leave_one_consistent_result(house):
    for _ in range(5):
        await asyncio.gather(*(house.register(*(house.endpoint(f"e{i}", pool=pool) for i in range(20))) for pool in ("a", "b", "c")))
    endpoints = await house.store.endpoints()
    for pool in ("a", "b", "c"):
        members = [member.id for member in (await house.store.load_pool(pool)).members]
        assert members == sorted(endpoint.id for endpoint in endpoints.values() if endpoint.pool == pool)


async def test_ten_thousand_endpoints_register_in_seconds(house):
    started = time.monotonic()
    await register(house.store, [house.endpoint(f"e{i}", pool=f"p{i % 100}") for i in range(10_000)], [], [])
    assert time.monotonic() - started < 10  # a third of a second where nothing else runs
    assert len(await house.store.endpoints()) == 10_000
    dues = [await house.score(f"e{i}") or 0 for i in range(0, 10_000, 100)]
    assert max(dues) - min(dues) > 5_000  # spread over the interval of ten seconds
