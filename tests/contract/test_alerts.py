"""Alerts: subjects, the stream of assertions, the alert store, groups from first alert to last, deliveries."""

from __future__ import annotations

import pytest

from monitor.core.errors import Stale
from monitor.store.port import (
    AlertPhase,
    AssertedAlert,
    DeliveryRow,
    EndedAlert,
    Flush,
    GroupLoad,
    Lease,
    Membership,
    NewDelivery,
    Settle,
    StoredAlert,
    SubjectAssertion,
)
from monitor.store.queues import Queue

SUBJECT = "endpoint:e"


def member(fingerprint: str = "f", group: str = "g", **changes: object) -> Membership:
    return Membership(**{"fingerprint": fingerprint, "group": group, "meta": b"meta", "first_flush_ms": 1, **changes})


def fires(fingerprint: str = "f", alert: bytes = b"firing", *, starts_ms: int = 1, ends_ms: int = 0, groups: str = "g") -> AssertedAlert:
    memberships = tuple(member(fingerprint, group) for group in groups)
    return AssertedAlert(fingerprint=fingerprint, alert=alert, starts_ms=starts_ms, ends_ms=ends_ms, groups=memberships)


def says(ver: int, *alerts: AssertedAlert, subject: str = SUBJECT, **changes: object) -> SubjectAssertion:
    return SubjectAssertion(**{"subject": subject, "ver": ver, "at_ms": 100 + ver, "expires_ms": 1, "alerts": alerts, **changes})


def stored(fingerprint: str = "f", alert: bytes = b"firing", ver: int = 1, ends_ms: int = 0, reason: str = "") -> StoredAlert:
    return StoredAlert(fingerprint, alert, ver, SUBJECT, ends_ms, reason)


def delivery(name: str, place: str = "mail") -> NewDelivery:
    return NewDelivery(id=name, place=place, payload=name.encode(), due_ms=1)


def settled(lease: Lease, place: str = "mail", log: bytes | None = b"log", **changes: object) -> Settle:
    return Settle(**{"id": lease.member, "token_ms": lease.token_ms, "group": "g", "place": place, "log": log, "sent": b"sent", **changes})


async def firing(house, *fingerprints: str) -> None:
    await house.store.assert_alerts([says(1, *(fires(name) for name in fingerprints or ("f",)))])


async def resolved(house, *fingerprints: str) -> None:
    """As if these had fired and ended, at 102."""
    await firing(house, *fingerprints)
    await house.store.assert_alerts([says(2)])


async def tick(house, **changes: object) -> Flush:
    """Claim the group and say what its tick decides."""
    (lease,) = await house.store.claim(Queue.GROUPS, 0, 1, 60_000)
    return Flush(**{"group": "g", "token_ms": lease.token_ms, "next_ms": 2, **changes})


async def lease_one(house) -> Lease:
    (lease,) = await house.store.claim(Queue.DELIVERIES, 0, 1, 60_000)
    return lease


async def alert_keys(house) -> set[str]:
    return {key for key in await house.keys() if "{alerts}" in key}


# Subjects and the stream of assertions ------------------------------------------------------------------------------


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


# The alert store ----------------------------------------------------------------------------------------------------


async def test_an_alert_stands_once_whatever_the_number_of_its_groups(house):
    assert await house.store.assert_alerts([says(1, fires(groups="gh"))]) == ["g", "h"]
    assert await house.store.alert("f") == stored()
    assert await house.store.alerts(AlertPhase.FIRING, 10) == [stored()]
    for group in "gh":
        assert (await house.store.load_group(group)).alerts == {"f": stored()}
    assert await house.store.alert("ghost") is None
    assert await house.store.assert_alerts([]) == []


async def test_what_is_asserted_again_is_the_same_alert(house):
    await firing(house)
    assert await house.store.assert_alerts([says(2, fires(alert=b"says more"))]) == []
    assert await house.store.alerts(AlertPhase.FIRING, 10) == [stored(alert=b"says more", ver=2)]


async def test_what_is_no_longer_asserted_ends_and_says_why(house):
    await firing(house, "f1", "f2")
    await house.store.assert_alerts([says(2, fires("f2"), reason="the endpoint was removed")])
    ended = stored("f1", ends_ms=102, reason="the endpoint was removed")
    assert await house.store.alerts(AlertPhase.RESOLVED, 10) == [ended]
    assert (await house.store.load_group("g")).alerts == {"f1": ended, "f2": stored("f2", ver=2)}


async def test_what_has_ended_is_kept_as_it_was_last_each_with_its_own_reason(house):
    await firing(house, "f1", "f2", "f3", "f4")
    gone = [EndedAlert(fingerprint=name, alert=b"last", reason=reason) for name, reason in (("f1", "drained"), ("f2", ""), ("f3", "no"))]
    await house.store.assert_alerts([says(2, fires("f3"), ended=(*gone, EndedAlert(fingerprint="ghost", alert=b"last")), reason="lost")])
    ended = [stored("f1", b"last", 2, 102, "drained"), stored("f2", b"last", 2, 102), stored("f4", ends_ms=102, reason="lost")]
    assert sorted(await house.store.alerts(AlertPhase.RESOLVED, 10), key=lambda one: one.fingerprint) == ended
    assert await house.store.alerts(AlertPhase.FIRING, 10) == [stored("f3", ver=2)]
    await house.store.assert_alerts([says(3, ended=[EndedAlert(fingerprint="f1", alert=b"later", reason="again")])])
    assert await house.store.alert("f1") == ended[0], "it had ended"
    assert await house.store.alert("ghost") is None
    await house.store.assert_alerts([says(1, subject="endpoint:other", ended=[EndedAlert(fingerprint="f3", alert=b"not mine")])])
    assert (await house.store.alert("f3")).alert == b"firing"


async def test_an_older_assertion_counts_for_nothing(house):
    await house.store.assert_alerts([says(5, fires("new"))])
    assert await house.store.assert_alerts([says(4, fires("old", groups="h")), says(3)]) == []
    assert await house.store.alerts(AlertPhase.FIRING, 10) == [stored("new", ver=5)]
    assert await house.store.load_group("h") is None
    await house.store.assert_alerts([says(6)])
    await house.store.assert_alerts([says(5, fires("new"))])
    assert await house.store.alerts(AlertPhase.FIRING, 10) == []


async def test_an_assertion_that_comes_twice_counts_once(house):
    for _ in range(2):
        await house.store.assert_alerts([says(1, fires())])
    for _ in range(2):
        await house.store.assert_alerts([says(2)])
    assert await house.store.alert("f") == stored(ends_ms=102)
    await house.store.commit_flush(await tick(house, drop={"f": 102}))
    assert await house.store.alert("f") is None


async def test_an_alert_that_fires_again_has_no_end(house):
    await house.store.assert_alerts([says(1, fires()), says(2, reason="gone"), says(3, fires(starts_ms=9))])
    assert await house.store.alert("f") == stored(ver=3)
    assert await house.store.alerts(AlertPhase.RESOLVED, 10) == []


async def test_an_end_that_is_known_beforehand(house):
    now_ms = await house.store.now_ms()
    later_ms, before_ms = now_ms + 60_000, now_ms - 60_000
    await house.store.assert_alerts([says(1, fires("later", ends_ms=later_ms), fires("before", ends_ms=before_ms), fires("open"))])
    assert [one.fingerprint for one in await house.store.alerts(AlertPhase.FIRING, 10)] == ["open", "later"]
    assert [one.fingerprint for one in await house.store.alerts(AlertPhase.RESOLVED, 10)] == ["before"]
    await house.store.assert_alerts([says(2, at_ms=now_ms)])
    ends = {one.fingerprint: one.ends_ms for one in await house.store.alerts(AlertPhase.RESOLVED, 10)}
    assert ends == {"later": now_ms, "before": before_ms, "open": now_ms}


async def test_alerts_come_in_the_order_of_their_beginning_or_of_their_end(house):
    alerts = [fires("c", starts_ms=3), fires("a", starts_ms=1), fires("b", starts_ms=2)]
    await house.store.assert_alerts([says(1, *alerts)])
    assert [one.fingerprint for one in await house.store.alerts(AlertPhase.FIRING, 2)] == ["a", "b"]
    await house.store.assert_alerts([says(2, alerts[0], alerts[1]), says(3, alerts[0])])
    assert [one.fingerprint for one in await house.store.alerts(AlertPhase.RESOLVED, 10)] == ["a", "b"]


async def test_a_subject_ends_only_what_is_its_own(house):
    await firing(house)
    await house.store.assert_alerts([says(1, fires(alert=b"mine now"), subject="pool:p")])
    await house.store.assert_alerts([says(2)])
    assert await house.store.alerts(AlertPhase.FIRING, 10) == [StoredAlert("f", b"mine now", 1, "pool:p")]


async def test_what_nobody_asserts_any_more_falls_due_and_ends(house):
    await house.store.assert_alerts([says(1, fires(), expires_ms=await house.store.now_ms() + 60_000)])
    assert await house.store.claim(Queue.ASSERTIONS, 0, 10, 60_000) == []
    await house.store.assert_alerts([says(2, fires())])
    (lease,) = await house.store.claim(Queue.ASSERTIONS, 0, 10, 60_000)
    assert lease.member == SUBJECT
    assert await house.store.end_asserted(SUBJECT, lease.token_ms, 500, "nobody asserts it", 2) == 1
    assert await house.store.alert("f") == stored(ver=2, ends_ms=500, reason="nobody asserts it")
    with pytest.raises(Stale):
        await house.store.end_asserted(SUBJECT, lease.token_ms, 600, "again", 2)
    await house.store.assert_alerts([says(1, fires())])  # A late, older one.
    assert (await house.store.alert("f")).ends_ms == 500
    (lease,) = await house.store.claim(Queue.ASSERTIONS, 0, 10, 60_000)
    assert await house.store.end_asserted(SUBJECT, lease.token_ms, 700, "", 2) == 0
    assert await house.drain(Queue.ASSERTIONS) == []
    await house.store.commit_flush(await tick(house, drop={"f": 500}))
    assert not await alert_keys(house)


async def test_a_new_assertion_takes_the_subject_from_whoever_is_ending_it(house):
    await firing(house)
    (lease,) = await house.store.claim(Queue.ASSERTIONS, 0, 10, 60_000)
    await house.store.assert_alerts([says(2, fires())])
    with pytest.raises(Stale):
        await house.store.end_asserted(SUBJECT, lease.token_ms, 500, "nobody asserts it", 2)
    assert await house.store.alert("f") == stored(ver=2)


@pytest.mark.parametrize("lost", ["what it asserted", "when it is to be asserted again"])
async def test_an_alert_that_fires_though_its_subject_is_not_known_to_assert_it_ends(house, lost):
    await house.store.assert_alerts([says(1, fires("f"), fires("g", ends_ms=7)), says(1, fires("h"), subject="pool:p")])
    assert await house.store.end_orphans(500, "lost") == 0
    if lost == "what it asserted":
        await house.lose_assertion(SUBJECT)
        await house.store.assert_alerts([says(2, fires("g", ends_ms=7))])
    else:
        (lease,) = [one for one in await house.store.claim(Queue.ASSERTIONS, 0, 10, 60_000) if one.member == SUBJECT]
        await house.store.finish(Queue.ASSERTIONS, 0, SUBJECT, lease.token_ms, None)
    assert (await house.store.alert("f")).ends_ms == 0, "nothing has ended it"
    assert await house.store.end_orphans(500, "lost") == 1
    assert await house.store.end_orphans(600, "lost") == 0
    assert await house.store.alert("f") == stored(ends_ms=500, reason="lost")
    assert [one.fingerprint for one in await house.store.alerts(AlertPhase.FIRING, 10)] == ["h"]


async def test_an_alert_without_a_group_goes_with_its_end(house):
    await house.store.assert_alerts([says(1, fires(groups=""))])
    assert await house.store.alert("f") == stored()
    await house.store.assert_alerts([says(2)])
    assert await house.store.alert("f") is None


async def test_a_resolved_alert_goes_with_the_last_group_that_refers_to_it(house):
    await house.store.assert_alerts([says(1, fires(groups="gh")), says(2)])
    leases = await house.store.claim(Queue.GROUPS, 0, 9, 60_000)
    for place, lease in enumerate(leases):
        assert (await house.store.alert("f") is None) is False, place
        await house.store.commit_flush(Flush(group=lease.member, token_ms=lease.token_ms, next_ms=2, drop={"f": 102}))
    assert await house.store.alert("f") is None
    assert await house.store.alerts(AlertPhase.RESOLVED, 10) == []


async def test_alerts_join_other_groups_where_they_stand(house):
    await firing(house)
    assert await house.store.join_groups([member(group="h"), member("ghost", "i"), member(group="g")]) == ["h"]
    assert (await house.store.load_group("h")).alerts == {"f": stored()}
    assert await house.store.load_group("i") is None
    assert await house.store.join_groups([]) == []
    await house.store.commit_flush(await tick(house, drop={"f": 0}))
    assert await house.store.load_group("g") is None
    assert await house.store.alert("f") == stored()  # It fires, and the other group has it.


# Groups -------------------------------------------------------------------------------------------------------------


async def test_the_first_alert_makes_the_group_and_its_timer(house):
    await firing(house)
    late = AssertedAlert(fingerprint="f2", alert=b"firing", starts_ms=1, groups=(member("f2", meta=b"later", first_flush_ms=99),))
    await house.store.assert_alerts([says(2, fires(), late)])
    group = await house.store.load_group("g")
    assert group == GroupLoad(b"meta", {"f": stored(ver=2), "f2": stored("f2", ver=2)}, {}, {})
    assert [(lease.member, lease.due_ms) for lease in await house.store.claim(Queue.GROUPS, 0, 9, 1_000)] == [("g", 2)]
    assert await house.store.load_group("ghost") is None


async def test_a_flush_makes_deliveries_one_for_each_service(house):
    await firing(house)
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"), delivery("d2", "chat")), meta=b"meta2"))
    group = await house.store.load_group("g")
    assert (group.meta, group.in_flight) == (b"meta2", {"mail": "d1", "chat": "d2"})
    assert await house.store.load_deliveries(["d2", "d1", "ghost"]) == [
        DeliveryRow(b"d2", "g", "chat"),
        DeliveryRow(b"d1", "g", "mail"),
        None,
    ]
    assert await house.store.load_deliveries([]) == []
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d3"),)))
    assert (await house.store.load_group("g")).in_flight == {"mail": "d1", "chat": "d2"}
    assert await house.drain(Queue.DELIVERIES) == ["d1", "d2"]


async def test_a_delivery_in_flight_that_the_outbox_has_lost_holds_up_no_other(house):
    await firing(house)
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"), delivery("d2", "chat"))))
    (lost,) = await house.store.claim(Queue.DELIVERIES, 0, 1, 60_000)
    await house.store.finish(Queue.DELIVERIES, 0, lost.member, lost.token_ms, None)
    assert (await house.store.load_group("g")).in_flight == {"chat": "d2"}
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d3"),)))
    assert (await house.store.load_group("g")).in_flight == {"chat": "d2", "mail": "d3"}


async def test_a_flush_counts_once(house):
    await firing(house)
    flush = await tick(house, deliveries=(delivery("d1"),))
    await house.store.commit_flush(flush)
    with pytest.raises(Stale):
        await house.store.commit_flush(flush)
    with pytest.raises(Stale):
        await house.store.commit_flush(Flush(group="ghost", token_ms=1, next_ms=2))
    assert [lease.due_ms for lease in await house.store.claim(Queue.GROUPS, 0, 9, 1_000)] == [2]


async def test_a_dropped_alert_goes_only_if_it_has_not_changed(house):
    await resolved(house, "f1", "f2")
    flush = await tick(house, drop={"f1": 102, "f2": 102, "f3": 7}, log={"mail": b"entry"})
    await house.store.assert_alerts([says(3, fires("f2", b"firing again"))])
    await house.store.commit_flush(flush)
    group = await house.store.load_group("g")
    assert group == GroupLoad(b"meta", {"f2": stored("f2", b"firing again", 3)}, {"mail": b"entry"}, {})
    assert await house.store.alert("f1") is None


async def test_a_group_with_nothing_left_goes_whole(house):
    await resolved(house)
    await house.store.commit_flush(await tick(house, drop={"f": 102}, log={"mail": b"entry"}))
    assert await house.store.load_group("g") is None
    assert await house.drain(Queue.GROUPS) == []
    assert await alert_keys(house) <= {"wk:i:{alerts}:asserted", "wk:i:{alerts}:assertions"}


# Deliveries ---------------------------------------------------------------------------------------------------------


async def test_a_settled_delivery_is_logged_and_gone(house):
    await firing(house)
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"),)))
    lease = await lease_one(house)
    await house.store.settle_delivery(settled(lease))
    assert await house.store.load_group("g") == GroupLoad(b"meta", {"f": stored()}, {"mail": b"log"}, {})
    assert await house.store.load_deliveries(["d1"]) == [None]
    assert await house.drain(Queue.DELIVERIES) == []
    with pytest.raises(Stale):
        await house.store.settle_delivery(settled(lease))
    assert [data for _, data in await house.store.sent(10)] == [b"sent"]


async def test_a_delivery_given_up_leaves_the_log_as_it_was(house):
    await firing(house)
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"),), log={"mail": b"before"}))
    await house.store.settle_delivery(settled(await lease_one(house), log=None))
    assert (await house.store.load_group("g")).log == {"mail": b"before"}


async def test_resolved_alerts_wait_for_the_last_delivery_and_then_the_group_goes(house):
    await resolved(house)
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"), delivery("d2", "chat"))))
    await house.store.settle_delivery(settled(await lease_one(house), drop={"f": 102}))
    assert (await house.store.load_group("g")).alerts == {"f": stored(ends_ms=102)}
    await house.store.settle_delivery(settled(await lease_one(house), "chat", drop={"f": 102}))
    assert await house.store.load_group("g") is None
    assert await house.store.alert("f") is None
    assert await house.drain(Queue.GROUPS) == []


async def test_an_alert_that_fires_again_while_its_end_is_told_stays(house):
    await resolved(house)
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"),)))
    await house.store.assert_alerts([says(3, fires())])
    await house.store.settle_delivery(settled(await lease_one(house), drop={"f": 102}))
    assert (await house.store.load_group("g")).alerts == {"f": stored(ver=3)}


async def test_a_superseded_delivery_lets_its_group_fall_due_at_once(house):
    await firing(house)
    far_ms = await house.store.now_ms() + 600_000
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"),), next_ms=far_ms))
    assert await house.store.claim(Queue.GROUPS, 0, 1, 60_000) == []
    await house.store.settle_delivery(settled(await lease_one(house), log=None, at_once=True))
    (lease,) = await house.store.claim(Queue.GROUPS, 0, 1, 60_000)
    assert not lease.taken_over
    group = await house.store.load_group("g")
    assert (group.in_flight, group.log) == ({}, {})


async def test_a_group_that_is_gone_does_not_come_back_for_a_delivery(house):
    await resolved(house)
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"),)))
    await house.store.settle_delivery(settled(await lease_one(house), drop={"f": 102}, at_once=True))
    assert await house.store.load_group("g") is None
    assert await house.drain(Queue.GROUPS) == []


async def test_a_delivery_is_written_back_with_its_next_time(house):
    await firing(house)
    await house.store.commit_flush(await tick(house, deliveries=(delivery("d1"),)))
    lease = await lease_one(house)
    await house.store.retry_delivery("d1", lease.token_ms, b"second attempt", 3)
    assert await house.store.load_deliveries(["d1"]) == [DeliveryRow(b"second attempt", "g", "mail")]
    with pytest.raises(Stale):
        await house.store.retry_delivery("d1", lease.token_ms, b"third", 4)
    assert (await lease_one(house)).due_ms == 4
