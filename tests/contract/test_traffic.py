"""Reports wait until they are folded in, once; what is known of traffic is written by one at a time."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.core.errors import Stale
from monitor.core.history import RowWrite
from monitor.core.reports import REPORT_BYTES_MAX
from monitor.store import keys
from monitor.store.port import Lease, Traffic, TrafficCommit
from monitor.store.queues import Queue
from tests.contract.conftest import on_servers


async def lease(house) -> Lease:
    (found,) = await house.store.claim(Queue.TRAFFIC, 0, 9, 60_000)
    return found


def commit(held: Lease, ver: int = 0, **changes: Any) -> TrafficCommit:
    return TrafficCommit(
        **{"pool": held.member, "token_ms": held.token_ms, "ver": ver, "next_ver": ver + 1, "head": b"h%d" % (ver + 1), **changes}
    )


async def texts(house, pool: str = "shop", limit: int = 9) -> list[bytes]:
    return [data for _, data in await house.store.reports(pool, limit)]


async def known(house, pool: str = "shop") -> Traffic:
    return (await house.store.load_pool(pool)).traffic


async def test_a_report_announces_its_pool_which_is_due_at_once(house):
    assert await house.store.ready() == []
    await house.report("shop", b"1", b"2")
    await house.report("cart", b"3")
    assert await house.store.ready() == [(Queue.TRAFFIC, 0)]
    assert {one.member for one in await house.store.claim(Queue.TRAFFIC, 0, 9, 60_000)} == {"shop", "cart"}
    await house.report("shop", b"4")
    assert await house.store.claim(Queue.TRAFFIC, 0, 9, 60_000) == [], "whoever holds it finds the new one as well"
    assert await texts(house) == [b"1", b"2", b"4"]
    assert await texts(house, limit=2) == [b"1", b"2"]
    assert await texts(house, "cart") == [b"3"]
    assert await texts(house, "nothing") == []


async def test_one_reading_is_bounded_in_bytes_whatever_consumers_write(house):
    full = b"x" * REPORT_BYTES_MAX
    await house.report("shop", *[full] * 5, full * 3, b"last")
    held = await lease(house)
    first = await house.store.reports("shop", 100)
    assert [len(data) for _, data in first] == [REPORT_BYTES_MAX] * (keys.REPORTS_READ_BYTES_MAX // REPORT_BYTES_MAX)
    await house.store.commit_traffic(commit(held, last=first[-1][0]))
    assert [len(data) for _, data in await house.store.reports("shop", 100)] == [REPORT_BYTES_MAX, REPORT_BYTES_MAX + 1, 4]
    assert len(await house.store.reports("shop", 2)) == 2


async def test_what_is_folded_in_goes_and_what_came_meanwhile_stays(house):
    await house.report("shop", b"1", b"2")
    held, entries = await lease(house), await house.store.reports("shop", 9)
    await house.report("shop", b"3")
    assert await known(house) == Traffic()
    await house.store.commit_traffic(commit(held, last=entries[-1][0], fields={"a": b"A", "b": b"B"}))
    assert await texts(house) == [b"3"]
    assert await known(house) == Traffic(1, b"h1", {"a": b"A", "b": b"B"})
    await house.store.commit_traffic(commit(held, 1, fields={"b": b"B2", "c": b"C"}, gone=["a", "ghost"]))
    assert await known(house) == Traffic(2, b"h2", {"b": b"B2", "c": b"C"})
    assert await texts(house) == [b"3"], "nothing was folded in"
    assert await known(house, "cart") == Traffic()
    assert await house.store.traffic_heads(["cart", "shop"]) == [b"", b"h2"]
    assert await house.store.traffic_heads([]) == []


async def test_of_two_who_judge_from_one_reading_the_first_alone_writes(house):
    await house.report("shop", b"1")
    held = await lease(house)
    ((last, _),) = await house.store.reports("shop", 9)
    await house.store.commit_traffic(commit(held, last=last, fields={"a": b"A"}))
    with pytest.raises(Stale):
        await house.store.commit_traffic(commit(held, last=last, fields={"a": b"twice"}))
    assert (await known(house)).fields == {"a": b"A"}


async def test_whoever_has_lost_the_lease_writes_nothing(house):
    await house.report("shop", b"1")
    (first,) = await house.store.claim(Queue.TRAFFIC, 0, 9, 5)
    await house.passes(10)
    second = await lease(house)
    assert second.taken_over
    with pytest.raises(Stale):
        await house.store.commit_traffic(commit(first, fields={"a": b"A"}))
    assert not await house.store.drop_traffic("shop", first.token_ms)
    await house.store.commit_traffic(commit(second))
    assert await house.store.finish(Queue.TRAFFIC, 0, "shop", second.token_ms, None)
    with pytest.raises(Stale):
        await house.store.commit_traffic(commit(second, 1))


async def test_closed_minutes_are_written_with_the_commit(house):
    await house.report("shop", b"1")
    held = await lease(house)
    rows = [("a", RowWrite("min", 24, b"A" * 24)), ("b", RowWrite("min", 0, b"B" * 24)), ("a", RowWrite("min", 0, b"C" * 24))]
    await house.store.commit_traffic(commit(held, rows=rows, fields={"a": b"1"}, gone=["x"]))
    assert await house.store.traffic_minutes("shop", "a") == b"C" * 24 + b"A" * 24
    assert await house.store.traffic_minutes("shop", "b") == b"B" * 24
    assert await house.store.traffic_minutes("cart", "a") == b""
    with pytest.raises(Stale):
        await house.store.commit_traffic(commit(held, rows=[("b", RowWrite("min", 0, b"X" * 24))]))
    assert await house.store.traffic_minutes("shop", "b") == b"B" * 24


async def test_many_fields_are_written_in_one_commit(house):
    await house.report("shop", b"1")
    held = await lease(house)
    fields = {f"e{i}": b"%d" % i for i in range(2_500)}
    await house.store.commit_traffic(commit(held, fields=fields))
    assert (await known(house)).fields == fields
    await house.store.commit_traffic(commit(held, 1, gone=list(fields)[1:]))
    assert (await known(house)).fields == {"e0": b"0"}


async def test_a_pool_without_members_is_dropped_with_all_that_was_reported(house):
    await house.report("shop", b"1")
    held = await lease(house)
    await house.store.commit_traffic(commit(held, fields={"a": b"A"}))
    assert await house.store.drop_traffic("shop", held.token_ms)
    assert await known(house) == Traffic()
    assert await texts(house) == []
    assert await house.store.ready() == []
    assert {key for key in await house.keys() if "shop" in key} == set()
    await house.report("shop", b"2")
    assert await texts(house) == [b"2"]


async def test_pools_are_announced_unless_somebody_holds_them(house):
    await house.report("shop", b"1")
    held = await lease(house)
    await house.store.announce_reports([])
    await house.store.announce_reports(["shop", "cart"])
    assert [one.member for one in await house.store.claim(Queue.TRAFFIC, 0, 9, 60_000)] == ["cart"]
    await house.store.commit_traffic(commit(held))


@on_servers
async def test_what_consumers_wrote_wrongly_keeps_nobody_from_reporting(house):
    wire, names = house.store._wire, [keys.reports("shop"), keys.traffic("shop")]
    await wire.execute(*(("SET", name, "x") for name in names), ("ZADD", keys.REPORTS, 0, "shop"))
    assert await texts(house) == [], "the key of another type is gone"
    assert await known(house) == Traffic()
    await wire.execute(("SET", names[1], "x"), ("RPUSH", keys.traffic_minutes("shop", "a"), "x"))
    assert await house.store.traffic_minutes("shop", "a") == b""
    assert await house.store.traffic_heads(["shop"]) == [b""]
    await wire.execute(("XADD", names[0], "*", "other", "x"), ("XADD", names[0], "18446744073709551615-1", "r", "far"))
    held = await lease(house)
    entries = await house.store.reports("shop", 9)
    assert [data for _, data in entries] == [b"", b"far"]
    await house.store.commit_traffic(commit(held, last=entries[-1][0], fields={"a": b"A"}, rows=[("a", RowWrite("min", 0, b"A" * 24))]))
    assert await house.store.traffic_minutes("shop", "a") == b"A" * 24
    assert await known(house) == Traffic(1, b"h1", {"a": b"A"})
    await house.report("shop", b"again")
    assert await texts(house) == [b"again"]


@on_servers
async def test_what_is_known_of_traffic_goes_a_day_after_the_last_report(house):
    await house.report("shop", b"1")
    held, entries = await lease(house), await house.store.reports("shop", 9)
    await house.store.commit_traffic(commit(held, last=entries[-1][0]))
    await house.report("shop", b"2")
    for name in (keys.traffic("shop"), keys.reports("shop")):
        assert 0 < await house.store._wire.execute_one("PTTL", name) <= keys.TRAFFIC_TTL_MS


@on_servers
@pytest.mark.parametrize("head", [b"rubbish", b""])
async def test_a_head_without_a_version_is_written_over_by_whoever_read_it(house, head):
    await house.store._wire.execute_one("HSET", keys.traffic("shop"), "", head, "a", b"A")
    await house.report("shop", b"1")
    held, seen = await lease(house), await known(house)
    assert (seen.ver, seen.fields) == (keys.UNREADABLE if head else 0, {"a": b"A"})
    if head:
        with pytest.raises(Stale):
            await house.store.commit_traffic(commit(held))
    await house.store.commit_traffic(commit(held, seen.ver))
    assert (await known(house)).head == b"h%d" % (seen.ver + 1)
