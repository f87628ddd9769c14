"""A new routing file: alerts move to its groups."""

from __future__ import annotations

from tests.unit.alerting.house import MINUTE, ROUTING, House, S, timeline

OTHER = ROUTING.replace("group_by: [alertname]", "group_by: [alertname], routes: [{matchers: [name=b], receiver: people}]")


@timeline
async def test_alerts_move_to_the_groups_of_a_new_file_and_what_was_told_is_ended() -> None:
    house = House(OTHER)
    await house.says("endpoint:b", "b")
    await house.passes(2 * S)
    await house.says("endpoint:b", "b", "another")
    await house.work()
    assert len(house.store._groups) == 2
    house.alerting = house.worker(ROUTING)  # The route that took `b` is gone.
    await house.says("endpoint:b", "another")
    await house.passes(3 * MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] b", "[FIRING] another", "[RESOLVED] b"]
    assert len(house.store._groups) == 1


@timeline
async def test_a_group_without_a_route_hands_on_what_fires() -> None:
    house = House(OTHER)
    await house.says("endpoint:b", "b")
    await house.passes(2 * S)
    house.alerting = house.worker(ROUTING)
    await house.passes(2 * MINUTE)
    assert len(house.store._groups) == 1
    await house.says("endpoint:b")
    await house.passes(2 * MINUTE)
    assert house.heard["people/apprise/0"][-1] == "[RESOLVED] b"
    await house.quiet()
