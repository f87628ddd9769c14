"""Alerts: subjects, the outbox of events, groups from first alert to last, deliveries."""

from __future__ import annotations

import pytest

from monitor.core.errors import Stale
from monitor.store.port import Flush, GroupInsert, GroupLoad, Lease, NewDelivery, Settle
from monitor.store.queues import Queue


def insert(fingerprint: str = "f", alert: bytes = b"firing", updated_ms: int = 10, **changes: object) -> GroupInsert:
    values = {"group": "g", "meta": b"meta", "first_flush_ms": 1, "fingerprint": fingerprint, "alert": alert, "updated_ms": updated_ms}
    return GroupInsert(**{**values, **changes})


def delivery(name: str, integration: str = "mail") -> NewDelivery:
    return NewDelivery(id=name, integration=integration, payload=name.encode(), due_ms=1)


def settled(lease: Lease, integration: str = "mail", log: bytes | None = b"log", **drop: bytes) -> Settle:
    return Settle(id=lease.member, token_ms=lease.token_ms, group="g", integration=integration, log=log, drop=drop, sent=b"sent")


async def tick(house, **changes: object) -> Flush:
    """Claim the group and say what its tick decides."""
    (lease,) = await house.store.claim(Queue.GROUPS, 0, 1, 60_000)
    return Flush(**{"group": "g", "token_ms": lease.token_ms, "next_ms": 2, **changes})


async def lease_one(house) -> Lease:
    (lease,) = await house.store.claim(Queue.DELIVERIES, 0, 1, 60_000)
    return lease


async def test_a_subjects_states_are_fenced_by_their_version(house):
    assert await house.store.load_subject("pool:shop") == (0, b"")
    assert await house.store.commit_subject("pool:shop", 0, 1, b"s1", alerts=[b"a1", b"a2"], transitions=[b"t"])
    assert not await house.store.commit_subject("pool:shop", 0, 1, b"s2", alerts=[b"no"], transitions=[b"no"])
    assert await house.store.load_subject("pool:shop") == (1, b"s1")
    assert [data for _, data in (await house.store.claim_alert_events(0, 10, 1_000))[1]] == [b"a1", b"a2"]
    assert [data for _, data in await house.store.events(10)] == [b"t"]


async def test_alert_events_have_one_holder_and_come_in_order(house):
    await house.store.commit_subject("system", 0, 1, b"", alerts=[b"%d" % i for i in range(5)])
    token_ms, events = await house.store.claim_alert_events(0, 3, 60_000)
    assert [data for _, data in events] == [b"0", b"1", b"2"]
    assert await house.store.claim_alert_events(0, 3, 60_000) == (0, [])
    await house.store.ack_alert_events(0, token_ms, [entry_id for entry_id, _ in events])
    with pytest.raises(Stale):
        await house.store.ack_alert_events(0, token_ms, [])
    _, rest = await house.store.claim_alert_events(0, 3, 60_000)
    assert [data for _, data in rest] == [b"3", b"4"]
    assert await house.store.streams() == [0]


async def test_a_holder_who_is_late_loses_the_stream(house):
    await house.store.commit_subject("system", 0, 1, b"", alerts=[b"a"])
    late_ms, events = await house.store.claim_alert_events(0, 3, 5)
    await house.passes(10)
    token_ms, again = await house.store.claim_alert_events(0, 3, 60_000)
    assert again == events
    with pytest.raises(Stale):
        await house.store.ack_alert_events(0, late_ms, [events[0][0]])
    await house.store.ack_alert_events(0, token_ms, [events[0][0]])
    assert await house.store.streams() == []


async def test_an_empty_stream_is_held_by_nobody(house):
    assert await house.store.claim_alert_events(0, 3, 60_000) == (0, [])
    await house.store.commit_subject("system", 0, 1, b"", alerts=[b"a"])
    assert (await house.store.claim_alert_events(0, 3, 60_000))[1]


async def test_the_first_alert_makes_the_group_and_its_timer(house):
    await house.store.insert_alerts([insert("f1"), insert("f2", first_flush_ms=99, meta=b"later")])
    assert await house.store.load_group("g") == GroupLoad(b"meta", {"f1": b"firing", "f2": b"firing"}, {}, {})
    assert [(lease.member, lease.due_ms) for lease in await house.store.claim(Queue.GROUPS, 0, 9, 1_000)] == [("g", 2)]
    assert await house.store.load_group("ghost") is None
    await house.store.insert_alerts([])


async def test_an_older_update_does_not_replace_a_newer_one(house):
    await house.store.insert_alerts([insert(alert=b"new", updated_ms=1_700_000_000_000), insert(alert=b"old", updated_ms=999)])
    assert (await house.store.load_group("g")).alerts == {"f": b"new"}
    await house.store.insert_alerts([insert(alert=b"same", updated_ms=1_700_000_000_000)])
    assert (await house.store.load_group("g")).alerts == {"f": b"same"}


async def test_a_flush_makes_deliveries_one_per_integration(house):
    await house.store.insert_alerts([insert()])
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"), delivery("d2", "chat")), meta=b"meta2"))
    group = await house.store.load_group("g")
    assert (group.meta, group.in_flight) == (b"meta2", {"mail": "d1", "chat": "d2"})
    assert await house.store.load_deliveries(["d2", "d1", "ghost"]) == [b"d2", b"d1", b""]
    assert await house.store.load_deliveries([]) == []
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d3"),)))
    assert (await house.store.load_group("g")).in_flight == {"mail": "d1", "chat": "d2"}
    assert await house.drain(Queue.DELIVERIES) == ["d1", "d2"]


async def test_a_flush_counts_once(house):
    await house.store.insert_alerts([insert()])
    flush = await tick(house, deliveries=(delivery("d1"),))
    await house.store.commit_flush(flush)
    with pytest.raises(Stale):
        await house.store.commit_flush(flush)
    with pytest.raises(Stale):
        await house.store.commit_flush(Flush(group="ghost", token_ms=1, next_ms=2))
    assert [lease.due_ms for lease in await house.store.claim(Queue.GROUPS, 0, 9, 1_000)] == [2]


async def test_a_dropped_alert_goes_only_if_nobody_touched_it(house):
    await house.store.insert_alerts([insert("f1", b"resolved"), insert("f2", b"resolved")])
    flush = await tick(house, drop={"f1": b"resolved", "f2": b"resolved", "f3": b""}, log={"mail": b"entry"})
    await house.store.insert_alerts([insert("f2", b"firing again", 20)])
    await house.store.commit_flush(flush)
    assert await house.store.load_group("g") == GroupLoad(b"meta", {"f2": b"firing again"}, {"mail": b"entry"}, {})


async def test_a_group_with_nothing_left_goes_whole(house):
    await house.store.insert_alerts([insert("f1", b"resolved")])
    await house.store.commit_flush(await tick(house, drop={"f1": b"resolved"}, log={"mail": b"entry"}))
    assert await house.store.load_group("g") is None
    assert await house.drain(Queue.GROUPS) == []
    assert not {key for key in await house.keys() if "{alerts}" in key}


async def test_a_settled_delivery_is_logged_and_gone(house):
    await house.store.insert_alerts([insert()])
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"),)))
    lease = await lease_one(house)
    await house.store.settle_delivery(settled(lease))
    assert await house.store.load_group("g") == GroupLoad(b"meta", {"f": b"firing"}, {"mail": b"log"}, {})
    assert await house.store.load_deliveries(["d1"]) == [b""]
    assert await house.drain(Queue.DELIVERIES) == []
    with pytest.raises(Stale):
        await house.store.settle_delivery(settled(lease))
    assert [data for _, data in await house.store.sent(10)] == [b"sent"]


async def test_a_delivery_given_up_leaves_the_log_as_it_was(house):
    await house.store.insert_alerts([insert()])
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"),), log={"mail": b"before"}))
    await house.store.settle_delivery(settled(await lease_one(house), log=None))
    assert (await house.store.load_group("g")).log == {"mail": b"before"}


async def test_resolved_alerts_wait_for_the_last_delivery_and_then_the_group_goes(house):
    await house.store.insert_alerts([insert(alert=b"resolved")])
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"), delivery("d2", "chat"))))
    await house.store.settle_delivery(settled(await lease_one(house), f=b"resolved"))
    assert (await house.store.load_group("g")).alerts == {"f": b"resolved"}
    await house.store.settle_delivery(settled(await lease_one(house), "chat", f=b"resolved"))
    assert await house.store.load_group("g") is None
    assert await house.drain(Queue.GROUPS) == []


async def test_an_alert_that_fires_again_while_its_end_is_told_stays(house):
    await house.store.insert_alerts([insert(alert=b"resolved")])
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"),)))
    await house.store.insert_alerts([insert(alert=b"firing", updated_ms=20)])
    await house.store.settle_delivery(settled(await lease_one(house), f=b"resolved"))
    assert (await house.store.load_group("g")).alerts == {"f": b"firing"}


async def test_a_delivery_is_written_back_with_its_next_time(house):
    await house.store.insert_alerts([insert()])
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"),)))
    lease = await lease_one(house)
    await house.store.retry_delivery("d1", lease.token_ms, b"second attempt", 3)
    assert await house.store.load_deliveries(["d1"]) == [b"second attempt"]
    with pytest.raises(Stale):
        await house.store.retry_delivery("d1", lease.token_ms, b"third", 4)
    assert (await lease_one(house)).due_ms == 4
