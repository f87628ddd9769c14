"""What cannot be read harms itself alone, and is told all the same."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from monitor.core.errors import StoreRefusal
from monitor.store.port import SubjectAssertion
from monitor.store.queues import Queue
from tests.unit.alerting.house import MINUTE, House, S, alert, timeline


@timeline
async def test_an_assertion_that_cannot_be_read_is_set_aside_and_the_others_go_on() -> None:
    house = House()
    await house.put(b'{"subject": 7}')
    await house.says("endpoint:a", "a")
    await house.passes(2 * S)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]
    assert await house.aside() == ["assertion"]
    assert await house.store.streams() == []


@timeline
async def test_an_assertion_that_the_store_refuses_is_set_aside_and_the_others_go_on() -> None:
    house = House()
    assert_alerts = house.store.assert_alerts

    async def refusing(assertions: Sequence[SubjectAssertion]) -> list[str]:
        if any(one.subject == "endpoint:a" for one in assertions):
            raise StoreRefusal("the store refuses it")
        return await assert_alerts(assertions)

    house.store.assert_alerts = refusing  # type: ignore[method-assign]
    await house.says("endpoint:a", "a")
    await house.says("endpoint:b", "b")
    await house.passes(2 * S)
    assert house.heard["people/apprise/0"] == ["[FIRING] b"]
    assert await house.aside() == ["assertion"]
    assert await house.store.streams() == []


@timeline
async def test_an_alert_that_cannot_be_read_is_told_by_its_name_until_it_is_asserted_again() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.says("endpoint:b", "b")
    await house.work()
    broken = alert("endpoint:a", "a", 0).fingerprint
    house.store._alerts[broken].alert = b"\x00"
    await house.passes(2 * S)
    (title,) = house.heard["people/apprise/0"]
    assert title.startswith("[FIRING 2]")
    assert await house.aside() == ["alert"]
    await house.says("endpoint:a")
    await house.says("endpoint:b")
    await house.passes(2 * MINUTE)
    assert house.heard["people/apprise/0"][1].startswith("[RESOLVED 2]")
    await house.quiet()


@timeline
async def test_an_alert_that_is_lost_is_told_its_end() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.passes(2 * S)
    del house.store._alerts[alert("endpoint:a", "a", 0).fingerprint]
    await house.says("endpoint:a")
    await house.passes(2 * MINUTE)
    assert len(house.heard["people/apprise/0"]) == 2
    assert house.heard["people/apprise/0"][1].endswith(": it was lost")
    await house.quiet()


@timeline
async def test_a_group_and_its_log_that_cannot_be_read_are_made_anew() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.passes(2 * S)
    (group,) = house.store._groups.values()
    group.meta, group.log = b"rubbish", {"people/apprise/0": b"rubbish"}
    await house.says("endpoint:a", "a", starts_ms=house.clock.now_ms() - 2 * S)
    await house.passes(MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[FIRING] a"]  # What it was told is not known any more.
    assert sorted(await house.aside()) == ["group", "log entry"]
    await house.says("endpoint:a")
    await house.passes(2 * MINUTE)
    assert house.heard["people/apprise/0"][2] == "[RESOLVED] a"
    await house.quiet()


@timeline
async def test_a_delivery_that_cannot_be_read_is_given_up_and_its_group_decides_afresh() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.alerting.route(0)
    house.clock.advance(2 * S)
    await house.alerting.flush(await house.claim(Queue.GROUPS))
    ((key, row),) = house.store._deliveries.items()
    house.store._deliveries[key] = msgspec.structs.replace(row, payload=b"rubbish")
    await house.passes(2 * S)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]
    assert await house.aside() == ["delivery"]


@timeline
async def test_who_may_have_been_told_by_a_delivery_that_cannot_be_read_is_told_the_end() -> None:
    """Its sender died after the service had accepted it, and then the row was damaged."""
    house = House()
    await house.says("endpoint:a", "a")
    await house.alerting.route(0)
    house.clock.advance(2 * S)
    await house.alerting.flush(await house.claim(Queue.GROUPS))
    ((key, row),) = house.store._deliveries.items()
    await house.claim(Queue.DELIVERIES)
    house.store._deliveries[key] = msgspec.structs.replace(row, payload=b"rubbish")
    await house.says("endpoint:a")
    await house.passes(2 * MINUTE)
    assert house.heard["people/apprise/0"] == ["[RESOLVED] a"]
    await house.quiet()


@timeline
async def test_a_log_entry_of_another_shape_is_not_taken_for_an_empty_one() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.passes(2 * S)
    (group,) = house.store._groups.values()
    group.log = {"people/apprise/0": b'{"shape":{"is":"another"}}'}
    await house.says("endpoint:a")
    await house.passes(2 * MINUTE)
    assert [said.split("]")[0] for said in house.heard["people/apprise/0"]] == ["[FIRING", "[RESOLVED"]
    assert "log entry" in await house.aside()
    await house.quiet()
