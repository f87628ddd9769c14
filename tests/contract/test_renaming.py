"""Renaming: all that is known of an endpoint goes with it, at once, or nothing does."""

from __future__ import annotations

import msgspec
import pytest

from monitor.core.history import RowWrite
from monitor.store.port import Committed, Entry, Put, Renaming, TrafficCommit, Write
from monitor.store.queues import Queue
from tests.registering import register, set_override


async def renaming(house, old: str, new: str, **changes) -> Renaming:
    entries = await house.store.endpoint_entries()
    children = tuple(
        Put(endpoint=msgspec.structs.replace(child.value, depends_on=(new,)), old=child, transitions=(b"follows",))
        for child in entries.values()
        if old in child.value.depends_on
    )
    decided = {
        "old_id": old,
        "old": entries[old],
        "endpoint": msgspec.structs.replace(entries[old].value, id=new),
        "told_old": b"ends",
        "told_new": b"goes on",
        "ver": await house.version(old),
        "record": b"renamed body",
        "children": children,
        "revision": await house.store.registry_revision(),
        **changes,
    }
    return Renaming(**decided)


async def known(house, endpoint_id: str) -> tuple:
    (loaded,) = await house.store.load([endpoint_id])
    series = [await house.store.samples(endpoint_id, name) for name in ("ring", "min", "hour", "day")]
    series.append(await house.store.traffic_minutes("shop", endpoint_id))
    return loaded.record, loaded.override, series, await house.store.transitions(endpoint_id)


async def one_with_a_past(house, endpoint_id: str = "old", **settings) -> None:
    claimed = await house.claim_one(endpoint_id, **settings)
    writes = tuple(Write(name, 0, name.encode()) for name in ("ring", "min", "hour", "day"))
    assert await house.commit(house.result(claimed, record=b"body", memory=b"alerts", writes=writes, transitions=(b"t",))) == [Committed.OK]
    await set_override(house.store, house.endpoint(endpoint_id, **settings), b"word", b"said")
    await house.store.announce_reports(["shop"])
    (lease,) = await house.store.claim(Queue.TRAFFIC, 0, 9, 5_000)
    rows = ((endpoint_id, RowWrite("min", 0, b"traffic")),)
    await house.store.commit_traffic(TrafficCommit(pool="shop", token_ms=lease.token_ms, ver=0, next_ver=1, head=b"{}", rows=rows))


async def test_everything_that_is_known_goes_with_it(house):
    await one_with_a_past(house)
    past = await known(house, "old")
    ver = await house.version("old")
    for queue in (Queue.DIRTY, Queue.REEVALUATE):
        await house.drain(queue)
    assert (await house.store.rename(await renaming(house, "old", "new"))).ok
    assert list(await house.store.endpoints()) == ["new"]
    record, override, series, log = await known(house, "new")
    assert (record, override, series) == (b"renamed body", *past[1:3])
    assert log == [*past[3], b"goes on"]
    assert await house.version("new") > ver
    assert await house.dirty() == ["shop"]
    assert await house.drain(Queue.REEVALUATE) == ["new", "old"]
    assert [member.id for member in (await house.store.load_pool("shop")).members] == ["new"]
    assert [data for _, data in await house.store.events(10)][-2:] == [b"ends", b"goes on"]
    assert list(await house.claim(horizon_ms=60_000)) == ["new"]


async def test_what_is_left_under_the_old_name_is_that_of_a_removed_endpoint(house):
    await one_with_a_past(house)
    await house.store.rename(await renaming(house, "old", "new"))
    (left,) = await house.store.load(["old"])
    assert (left.memory, left.override, left.record) == (b"alerts", b"", b"")
    assert (await house.store.transitions("old"))[-1] == b"ends"
    assert await house.score("old") is None
    assert await house.store.forget("old", left.ver, [])
    assert (await house.store.load(["old"]))[0].ver == 0
    assert not [key for key in await house.keys() if key.endswith(":old")]
    assert (await known(house, "new"))[0] == b"renamed body"
    await house.register(house.endpoint("old"))
    assert await house.score("old")


async def test_a_probe_in_flight_under_the_old_name_is_lost(house):
    claimed = await house.claim_one("old")
    await house.store.rename(await renaming(house, "old", "new"))
    assert await house.commit(house.result(claimed)) == [Committed.LOST]
    assert await house.commit(house.result(claimed, token_ms=None)) == [Committed.LOST]


async def test_it_falls_due_soon_on_its_new_grid_and_keeps_no_initial_delay(house):
    settings = {"interval_ms": 30_000, "initial_delay_ms": 3_600_000}
    await house.register(house.endpoint("old", **settings))
    await house.store.rename(await renaming(house, "old", "new"))
    assert await house.on_grid(house.endpoint("new", **settings))
    assert (await house.score("new") or 0) <= await house.store.now_ms() + 30_000


async def test_a_paused_one_stays_paused(house):
    await house.register(house.endpoint("old", paused=True))
    await house.store.rename(await renaming(house, "old", "new"))
    assert (await house.store.endpoints())["new"].paused
    assert await house.score("new") is None


async def test_those_that_depend_on_it_follow(house):
    children = [house.endpoint(f"child-{number}", depends_on=("old",)) for number in range(5)]
    await house.register(house.endpoint("old"), *children)
    before = {child.id: await house.version(child.id) for child in children}
    revision = await house.store.registry_revision()
    answer = await house.store.rename(await renaming(house, "old", "new"))
    assert answer.revision == await house.store.registry_revision() > revision
    found = await house.store.endpoints()
    for child in children:
        assert found[child.id].depends_on == ("new",)
        assert await house.version(child.id) > before[child.id]
        assert await house.store.transitions(child.id) == [b"follows"]


async def test_the_pool_stays_judged_as_long_as_it_was(house):
    await one_with_a_past(house)
    until_ms = await house.store.now_ms() + 3_600_000
    for slot in range(house.store.slots):
        await house.judged_until(slot, "shop", until_ms)
    await house.store.rename(await renaming(house, "old", "new"))
    assert await house.judged("shop") == until_ms


@pytest.mark.parametrize("other", ["entry", "record", "name in use", "name not yet forgotten", "child", "revision", "gone"])
async def test_where_something_is_not_as_it_was_read_nothing_is_written(house, other):
    await house.register(house.endpoint("old"), house.endpoint("child", depends_on=("old",)))
    decided = await renaming(house, "old", "new")
    stale = {"old"}
    if other == "entry":
        await house.register(house.endpoint("old", interval_ms=60_000))
    elif other == "record":
        await set_override(house.store, house.endpoint("old"), b"word", b"said")
    elif other == "gone":
        await register(house.store, [], ["old"])
    elif other == "child":
        await house.register(house.endpoint("child", depends_on=("old",), interval_ms=60_000))
        stale = {"child"}
    elif other == "revision":
        decided = msgspec.structs.replace(decided, revision=decided.revision + 1)
        stale = set()
    else:
        await house.register(house.endpoint("new"))
        stale = {"new"}
        if other == "name not yet forgotten":
            await house.commit(house.result((await house.claim(horizon_ms=60_000))["new"]))
            await register(house.store, [], ["new"])
    before = await house.store.endpoint_entries(), await house.store.events(10)
    answer = await house.store.rename(decided)
    assert (answer.ok, answer.stale) == (False, stale)
    assert (await house.store.endpoint_entries(), await house.store.events(10)) == before


async def test_a_call_whose_answer_was_lost_may_be_repeated(house):
    await one_with_a_past(house)
    decided = await renaming(house, "old", "new")
    assert (await house.store.rename(decided)).ok
    events = await house.store.events(10)
    assert (await house.store.rename(decided)).ok
    assert await house.store.events(10) == events


async def test_one_that_was_never_probed_is_renamed_too(house):
    await house.register(house.endpoint("old"))
    assert (await house.store.rename(await renaming(house, "old", "new"))).ok
    claimed = (await house.claim(horizon_ms=60_000))["new"]
    assert await house.commit(house.result(claimed, ver=await house.version("new"))) == [Committed.OK]


async def test_an_entry_of_nobody_is_stale(house):
    await house.register(house.endpoint("old"))
    decided = await renaming(house, "old", "new")
    assert (await house.store.rename(msgspec.structs.replace(decided, old=Entry("", None)))).stale == {"old"}
