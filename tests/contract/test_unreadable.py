"""What cannot be read: copies are kept aside up to a cap, and a record without a version that can be read is fenced all the same."""

from __future__ import annotations

import pytest

from monitor.core.errors import StoreRefusal
from monitor.core.schedule import Plan
from monitor.store import keys
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Committed, Loaded, Publication, SetAside, Write
from monitor.store.queues import Queue
from tests.contract.conftest import on_servers
from tests.registering import register


async def corrupt(house, endpoint_id: str, held: bytes) -> None:
    """Write a record as a hand in Redis would."""
    if isinstance(house.store, MemoryStore):
        house.store._home(endpoint_id)[1].records[endpoint_id] = keys.split_version(held)
    else:
        slot = keys.slot_of(endpoint_id, house.store.slots)
        await house.store._wire.execute_one("HSET", keys.in_slot(slot, "rec"), endpoint_id, held)


async def test_copies_are_kept_newest_of_each_until_they_are_discarded(house):
    await house.store.set_aside([SetAside("record", "b", b"\x00\xff", "no JSON"), SetAside("record", "a", b"1", "x")])
    await house.store.set_aside([SetAside("record", "a", b"2", "y"), SetAside("group", 'g:{a="b c"}', b"3" * 70_000, "z")])
    found = await house.store.aside()
    assert [(item.kind, item.key, item.data[:3], item.why) for item in found] == [
        ("group", 'g:{a="b c"}', b"333", "z"),
        ("record", "a", b"2", "y"),
        ("record", "b", b"\x00\xff", "no JSON"),
    ]
    assert len(found[0].data) == keys.ASIDE_BYTES_MAX
    now_ms = await house.store.now_ms()
    assert all(abs(item.at_ms - now_ms) < 60_000 for item in found)
    (seen,) = [item for item in await house.store.aside() if (item.kind, item.key) == ("record", "a")]
    await house.store.set_aside([SetAside("record", "a", b"another", "it came meanwhile")])
    assert not await house.store.discard_aside(seen), "nobody has seen the one that stands there now"
    (seen,) = [item for item in await house.store.aside() if (item.kind, item.key) == ("record", "a")]
    assert await house.store.discard_aside(seen)
    assert not await house.store.discard_aside(seen)
    assert [item.key for item in await house.store.aside()] == ['g:{a="b c"}', "b"]


async def test_the_number_of_copies_is_bounded_and_those_that_are_there_are_still_renewed(house):
    await house.store.set_aside([SetAside("record", f"e-{n:04}", b"x", "") for n in range(keys.ASIDE_MAX + 5)])
    assert len(await house.store.aside()) == keys.ASIDE_MAX
    await house.store.set_aside([SetAside("record", "e-0000", b"newer", "")])
    assert (await house.store.aside())[0].data == b"newer"


async def test_a_name_that_is_no_utf_8_can_be_set_aside(house):
    await house.store.set_aside([SetAside("override", "shop-\ud800", b"x", "a lone surrogate")])
    assert len(await house.store.aside()) == 1


async def test_a_record_without_a_readable_version_is_replaced_by_whoever_has_seen_that(house):
    for held in (b"{}", b"rubbish that is longer than a version", b"00000000000x1{}"):
        claimed = await house.claim_one()
        await corrupt(house, "e", held)
        assert await house.store.load(["e"]) == [Loaded(keys.UNREADABLE, held, b"")]
        assert await house.commit(house.result(claimed, ver=0)) == [Committed.STALE]
        assert await house.commit(house.result(claimed, ver=keys.UNREADABLE, next_ver=9, record=b"fresh")) == [Committed.OK]
        assert await house.store.load(["e"]) == [Loaded(9, b"fresh", b"")]
        await register(house.store, [], ["e"], [])
        assert await house.store.forget("e", await house.version("e"), ())


async def test_a_removed_endpoint_whose_record_cannot_be_read_can_be_forgotten(house):
    await house.register(house.endpoint("e"))
    await corrupt(house, "e", b"rubbish")
    await register(house.store, [], ["e"], [])
    ver = await house.version("e")
    assert await house.store.load(["e"]) == [Loaded(ver, b"rubbish", b"")], "the removal gave it a version"
    assert not await house.store.forget("e", 0, ())
    assert not await house.store.forget("e", keys.UNREADABLE, ())
    assert await house.store.forget("e", ver, ())
    assert await house.store.load(["e"]) == [Loaded(0, b"", b"")]


async def test_a_subject_that_cannot_be_read_is_replaced_too(house):
    if isinstance(house.store, MemoryStore):
        house.store._subjects["pool:shop"] = keys.split_version(b"rubbish")
    else:
        await house.store._wire.execute_one("HSET", keys.SUBJECTS, "pool:shop", b"rubbish")
    assert await house.store.load_subject("pool:shop") == (keys.UNREADABLE, b"rubbish")
    assert not await house.store.commit_subject("pool:shop", 0, 1, b"x")
    assert await house.store.commit_subject("pool:shop", keys.UNREADABLE, 5, b"fresh")
    assert await house.store.load_subject("pool:shop") == (5, b"fresh")


# Scalars that no process decodes as a record, but every claim and every commit reads.


@on_servers
async def test_a_plan_that_cannot_be_read_harms_nobody_and_is_made_good(house):
    await house.register(*(house.endpoint(name) for name in ("a", "b", "unread")))
    slots = {name: keys.slot_of(name, house.store.slots) for name in ("a", "unread", "stray")}
    for name in ("a", "unread"):
        await house.store._wire.execute_one("HSET", keys.in_slot(slots[name], "plan"), name, b"\xff")
    await house.store._wire.execute_one("HSET", keys.in_slot(slots["stray"], "plan"), "stray", "0:0:0:0")
    await house.store._wire.execute_one("ZADD", keys.in_slot(slots["stray"], "due"), 2, "stray")
    await house.store._wire.execute_one("HSET", keys.in_slot(slots["unread"], "spec"), "unread", "{")

    claimed = await house.claim()
    assert claimed.keys() == {"a", "b", "unread", "stray"}
    assert await house.commit(house.result(claimed["a"]), house.result(claimed["b"])) == [Committed.OK, Committed.OK]
    for slot in range(house.store.slots):
        await house.store.realign(slot)
    plans = {name: await house.store._wire.execute_one("HGET", keys.in_slot(slot, "plan"), name) for name, slot in slots.items()}
    assert plans == {"a": str(Plan.of(house.endpoint("a"))).encode(), "unread": b"\xff", "stray": None}
    assert await house.score("a") <= await house.store.now_ms(), "it is due by its own plan at once"
    assert await house.score("stray") is None


@on_servers
async def test_keys_of_another_type_are_deleted_where_somebody_fills_them_again(house):
    await house.register(house.endpoint("e"))
    slots = range(house.store.slots)
    kinds = keys.REFILLED | {keys.in_slot(slot, name): kind for slot in slots for name, kind in keys.REFILLED_IN_SLOT.items()}
    assert await house.store.drop_foreign() == []
    for key, kind in kinds.items():
        await house.store._wire.execute(("DEL", key), ("SET", key, "x") if kind != "string" else ("RPUSH", key, "x"))
    assert set(await house.store.drop_foreign()) == set(kinds)
    assert await house.store.drop_foreign() == []


@on_servers
async def test_a_queue_of_another_type_is_filled_again_with_what_it_is_for(house):
    await house.register(*(house.endpoint(f"e{number}") for number in range(20)))
    assert len(await house.claim()) == 20
    await house.store.publish(Publication(pool="shop", epoch=await house.store.epoch(), ver=1, snapshot=b"s", delta=b"d"))
    await house.dirty()
    for key in (keys.POOLS, *(keys.in_slot(slot, name) for slot in range(house.store.slots) for name in ("due", "dirty"))):
        await house.store._wire.execute_one("SET", key, "x")
    await house.store.drop_foreign()
    assert await house.store.published_pools() == ["shop"]
    assert set(await house.dirty()) == {"shop"}, "what was to be weighed is not known any more"
    assert len(await house.claim()) == 20
    for slot in range(house.store.slots):
        await house.store._wire.execute_one("SET", keys.in_slot(slot, "plan"), "x")
    await house.store.drop_foreign()
    for slot in range(house.store.slots):
        await house.store.realign(slot)
    plans = [await house.store._wire.execute_one("HVALS", keys.in_slot(slot, "plan")) for slot in range(house.store.slots)]
    assert sorted(plan for held in plans for plan in held) == sorted(
        str(Plan.of(house.endpoint(f"e{number}"))).encode() for number in range(20)
    )


@on_servers
async def test_a_queue_or_stream_of_another_type_hides_no_other(house):
    await house.register(house.endpoint("e"))
    for key in (keys.GROUPS, keys.in_slot(0, "alerts")):
        await house.store._wire.execute_one("SET", key, "x")
    ready = await house.store.ready()
    assert (Queue.GROUPS, 0) in ready, "its claim says why"
    assert Queue.DIRTY in {queue for queue, _ in ready}
    assert await house.store.streams() == [0]
    with pytest.raises(StoreRefusal):
        await house.store.claim(Queue.GROUPS, 0, 10, 1_000)


@pytest.mark.parametrize("rubbish", [b"\xff", b"-", b"1e999", b""])
@on_servers
async def test_counts_and_times_that_are_no_numbers_stop_nothing(house, rubbish):
    await house.register(house.endpoint("e"))
    await house.claim()
    await house.store.count({"probes_success": 1})
    await house.store.heartbeat("beat:h:1", b"{}")
    for slot in range(house.store.slots):
        await house.store._wire.execute_one("SET", keys.in_slot(slot, "rev"), rubbish)
        for field in ("last", "since", "back", "result", "gap", "resumed", rubbish):
            await house.store._wire.execute_one("HSET", keys.in_slot(slot, "pace"), field, rubbish)
        await house.store._wire.execute_one("HSET", keys.in_slot(slot, "unpublished"), "shop", rubbish)
    for key, field in ((keys.COUNTERS, "probes_failure"), (keys.PROCESSES, "beat:h:2"), (keys.ALERTS_PACE, "last"), (keys.EPOCH, "epoch")):
        await house.store._wire.execute_one("HSET", key, field, rubbish)
    await house.store._wire.execute_one("SET", keys.ALIVE, rubbish)

    assert (await house.claim()).keys() <= {"e"}
    for slot in range(house.store.slots):
        await house.store.judging_since(slot)
        await house.store.result_pace(slot)
        await house.store.realign(slot)
    await house.store.load_with_revisions(["e"])
    await house.register(house.endpoint("e", interval_ms=20_000))
    _, revisions = await house.store.load_with_revisions(["e"])
    assert next(iter(revisions.values())) > 1_000_000_000_000, "an edit is seen"
    assert (await house.store.counters())["probes_success"] == 1
    assert list(await house.store.heartbeats(60_000)) == ["beat:h:1"]
    assert await house.store.alive() == []
    assert (await house.store.epoch()).number > 1_000_000_000_000


@on_servers
async def test_a_key_of_another_type_is_replaced_and_keeps_nobody_from_being_committed(house):
    await house.register(house.endpoint("a"), house.endpoint("b"))
    await house.dirty()
    now_ms = await house.store.now_ms()
    slot = keys.slot_of("b", house.store.slots)
    own = [keys.of_endpoint(slot, name, "b") for name in ("ring", "day", "log")]
    shared = [keys.in_slot(slot, name) for name in ("events", "alerts", "reevaluate", "judged", "alerting", "dirty")]
    for name in [*own, *shared]:
        await house.store._wire.execute(("DEL", name), ("HSET", name, "x", "y"))
    claimed = await house.claim()
    await house.store._wire.execute(("DEL", keys.in_slot(slot, "pace")), ("SET", keys.in_slot(slot, "pace"), "x"))
    everything = {
        "writes": (Write("ring", 16, b"\xff" * 16), Write("day", 0, b"day")),
        "transitions": (b"t1", b"t2"),
        "alerts": (b"alert",),
        "memory": b"m",
        "alerting": True,
        "reevaluate_ms": now_ms - 1,
        "vouched_ms": 60_000,
        "dirty_at_ms": now_ms,
    }
    answers = await house.commit(*(house.result(claimed[name], **everything) for name in ("a", "b")))
    assert answers == [Committed.OK, Committed.OK]
    assert await house.store.samples("b", "ring") == bytes(16) + b"\xff" * 16
    assert await house.store.samples("b", "day") == b"day"
    assert await house.store.transitions("b") == [b"t1", b"t2"]
    assert sorted(data for _, data in await house.store.events(10)) == [b"t1", b"t1", b"t2", b"t2"]
    assert await house.drain(Queue.REEVALUATE) == ["a", "b"]
    assert now_ms <= await house.judged("shop") - 60_000 <= await house.store.now_ms()
    assert set(await house.dirty()) == {"shop"}
