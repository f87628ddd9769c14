"""Commits: conditional on the lease and on the record's version, and harmless when repeated."""

from __future__ import annotations

import pytest

from monitor.store import keys
from monitor.store.keys import slot_of
from monitor.store.port import Committed, Loaded, Write
from monitor.store.queues import Queue
from tests.registering import register


async def test_a_commit_writes_everything_once(house):
    claimed = await house.claim_one()
    await house.dirty()
    now_ms = await house.store.now_ms()
    item = house.result(
        claimed,
        record=b"\x00record",
        reevaluate_ms=now_ms - 1,
        dirty_at_ms=now_ms,
        writes=(Write("ring", 32, b"\xff" * 16), Write("day", 0, b"day")),
        transitions=(b"t1", b"t2"),
        alerts=(b"a1",),
    )
    assert await house.commit(item) == [Committed.OK]
    assert await house.commit(item) == [Committed.LOST]
    assert await house.store.load(["e"]) == [Loaded(1, b"\x00record", b"")]
    assert await house.store.samples("e", "ring") == bytes(32) + b"\xff" * 16
    assert await house.store.samples("e", "day") == b"day"
    assert await house.store.samples("e", "hour") == b""
    assert [data for _, data in await house.store.events(10)] == [b"t1", b"t2"]
    assert await house.dirty() == ["shop"]
    assert await house.drain(Queue.REEVALUATE) == ["e"]
    (slot,) = await house.store.streams()
    assert [data for _, data in (await house.store.claim_alert_events(slot, 10, 1_000))[1]] == [b"a1"]


async def test_the_next_due_time_is_the_next_of_the_grid(house):
    claimed = await house.claim_one(interval_ms=1_000)
    await house.commit(house.result(claimed))
    assert await house.on_grid(house.endpoint("e", interval_ms=1_000))
    assert await house.score("e") == claimed.due_ms + 1_000  # claimed early, and the slot taken is not given out again


async def test_after_an_outage_an_endpoint_is_due_once_and_not_once_per_missed_slot(house):
    await house.register(house.endpoint("e", interval_ms=1_000))
    now_ms = await house.store.now_ms()
    await house.make_due("e", now_ms - 1_000_000)
    claimed = (await house.claim(horizon_ms=0))["e"]
    assert await house.commit(house.result(claimed)) == [Committed.OK]
    assert now_ms < (await house.score("e") or 0) <= await house.store.now_ms() + 1_000


async def test_a_decision_may_ask_for_a_shorter_interval(house):
    claimed = await house.claim_one(interval_ms=60_000)
    await house.commit(house.result(claimed, interval_ms=1_000))
    assert claimed.due_ms < (await house.score("e") or 0) <= max(claimed.due_ms, await house.store.now_ms()) + 1_000


async def test_a_moved_version_is_stale_and_the_lease_stays(house):
    claimed = await house.claim_one()
    assert await house.commit(house.result(claimed, token_ms=None, record=b"reevaluate")) == [Committed.OK]
    assert await house.commit(house.result(claimed, ver=0)) == [Committed.STALE]
    assert await house.store.load(["e"]) == [Loaded(1, b"reevaluate", b"")]
    assert await house.score("e") == claimed.token_ms
    assert await house.commit(house.result(claimed, ver=1)) == [Committed.OK]


async def test_a_decision_without_a_result_leaves_the_lease_and_the_due_time(house):
    claimed = await house.claim_one()
    assert await house.commit(house.result(claimed, token_ms=None, reevaluate_ms=77)) == [Committed.OK]
    assert await house.score("e") == claimed.token_ms
    assert await house.drain(Queue.REEVALUATE) == ["e"]


@pytest.mark.parametrize("token", [None, 123])
async def test_nothing_is_written_for_an_endpoint_that_is_gone(house, token):
    claimed = await house.claim_one()
    await register(house.store, [], ["e"], [])
    assert await house.drain(Queue.REEVALUATE) == ["e"], "what is left of it has to be forgotten"
    item = house.result(claimed, token_ms=token, reevaluate_ms=1, writes=(Write("ring", 0, b"x"),), transitions=(b"t",), alerts=(b"a",))
    assert await house.commit(item) == [Committed.LOST]
    assert await house.store.samples("e", "ring") == b""
    assert await house.store.events(10) == []
    assert await house.store.streams() == []
    assert await house.drain(Queue.REEVALUATE) == []


async def test_watch_0_takes_an_endpoint_out_of_the_watch_queue(house):
    claimed = await house.claim_one()
    await house.commit(house.result(claimed, reevaluate_ms=1))
    await house.commit(house.result(claimed, ver=1, token_ms=None, reevaluate_ms=0))
    assert await house.drain(Queue.REEVALUATE) == []


async def test_a_mark_made_while_somebody_weighs_outlives_his_weighing(house):
    first = await house.claim_one("a")
    await house.dirty()
    mark_ms = await house.store.now_ms() - 5_000
    slot = slot_of("a", house.store.slots)
    await house.commit(house.result(first, dirty_at_ms=mark_ms))
    for ver, later_ms in ((1, 0), (2, 1_000)):
        await house.commit(house.result(first, ver=ver, token_ms=None, dirty_at_ms=mark_ms + later_ms))
    assert not await house.store.finish(Queue.DIRTY, slot, "shop", mark_ms, None)
    assert await house.dirty() == ["shop"]


async def test_the_earlier_time_of_weighing_wins(house):
    first, second = await house.claim_one("a"), await house.claim_one("b")
    await house.dirty()
    now_ms = await house.store.now_ms()
    await house.commit(house.result(first, dirty_at_ms=now_ms), house.result(second, dirty_at_ms=now_ms + 60_000))
    assert set(await house.dirty()) == {"shop"}
    await house.commit(house.result(first, ver=1, token_ms=None, dirty_at_ms=now_ms + 60_000))
    assert await house.dirty() == []


async def test_a_batch_is_answered_in_its_order_each_by_its_own(house):
    claimed = {f"e{i}": await house.claim_one(f"e{i}") for i in range(40)}
    await house.commit(*(house.result(claimed[f"e{i}"], token_ms=None) for i in range(0, 40, 2)))
    items = [house.result(claimed[f"e{i}"], record=b"%d" % i, writes=(Write("ring", 0, b"%d" % i),)) for i in range(40)]
    items[5] = house.result(claimed["e5"], token_ms=1, writes=(Write("min", 0, b"no"), Write("day", 0, b"no")), alerts=(b"no",))
    answers = await house.commit(*items)
    expected = [Committed.STALE if i % 2 == 0 else Committed.OK for i in range(40)]
    expected[5] = Committed.LOST
    assert answers == expected
    for i in range(1, 40, 2):
        wanted = b"" if i == 5 else b"%d" % i
        assert await house.store.samples(f"e{i}", "ring") == wanted
        assert (await house.store.load([f"e{i}"]))[0].record == wanted


async def test_an_id_counts_once_per_call(house):
    claimed = await house.claim_one()
    assert await house.commit(house.result(claimed), house.result(claimed)) == [Committed.OK, Committed.STALE]
    assert (await house.store.load(["e"]))[0].ver == 1


async def test_loading_answers_in_order_and_knows_nothing_of_strangers(house):
    claimed = await house.claim_one("a")
    await house.commit(house.result(claimed, record=b"A"))
    loaded = await house.store.load(["ghost", "a", "b"])
    assert loaded == [Loaded(0, b"", b""), Loaded(1, b"A", b""), Loaded(0, b"", b"")]
    assert await house.store.load([]) == []
    assert await house.commit() == []


async def test_a_batch_larger_than_one_script_takes(house):
    await register(house.store, [house.endpoint(f"e{i}") for i in range(2_500)], [], [])
    claimed = {**await house.claim(limit=2_000), **await house.claim(limit=2_000)}
    assert len(claimed) == 2_500
    assert set(await house.commit(*map(house.result, claimed.values()))) == {Committed.OK}
    assert {loaded.ver for loaded in await house.store.load(list(claimed))} == {1}


async def test_what_rules_remember_and_an_endpoints_own_transitions_are_written_with_its_record(house):
    claimed = await house.claim_one()
    assert await house.commit(house.result(claimed, memory=b"m1", transitions=(b"t1", b"t2"))) == [Committed.OK]
    assert await house.store.load(["e"]) == [Loaded(1, b"r", b"", b"m1")]
    again = house.result(claimed, ver=1, token_ms=None, record=b"r2", transitions=(b"t3",))
    assert await house.commit(again) == [Committed.OK]
    assert await house.store.load(["e"]) == [Loaded(2, b"r2", b"", b"m1")]
    assert await house.store.transitions("e") == [b"t1", b"t2", b"t3"]
    many = tuple(b"n%d" % n for n in range(keys.OWN_LOG_LENGTH_MAX))
    assert await house.commit(house.result(claimed, ver=2, token_ms=None, memory=b"", transitions=many)) == [Committed.OK]
    assert await house.store.transitions("e") == list(many)
    assert (await house.store.load(["e"]))[0].memory == b""
    assert await house.store.transitions("nobody") == []
