"""The services of one address: each hears once, whatever another does."""

from __future__ import annotations

from alert_rules.notify.sent import decode_sent
from monitor.core.errors import DeliveryError
from tests.unit.alerting.house import MINUTE, House, S, timeline

THREE = ("aaaaaaaa", "bbbbbbbb", "cccccccc")


@timeline
async def test_each_service_hears_once_whatever_another_does() -> None:
    house = House(services=THREE)
    house.answers["bbbbbbbb"] = DeliveryError("HTTP 503")
    await house.says("endpoint:a", "a")
    await house.passes(30 * S)
    assert house.attempts["bbbbbbbb"] > 3
    assert (house.heard["aaaaaaaa"], house.heard["cccccccc"]) == (["[FIRING] a"], ["[FIRING] a"])
    del house.answers["bbbbbbbb"]
    await house.passes(MINUTE)
    await house.says("endpoint:a")
    await house.passes(2 * MINUTE)
    assert dict(house.heard) == {service: ["[FIRING] a", "[RESOLVED] a"] for service in THREE}
    await house.quiet()


@timeline
async def test_a_service_that_is_taken_out_of_the_file_is_given_up_with_that_reason() -> None:
    house = House(services=THREE)
    house.answers["bbbbbbbb"] = DeliveryError("HTTP 503")
    await house.says("endpoint:a", "a")
    await house.passes(3 * S)
    house.services = ("aaaaaaaa", "cccccccc")
    await house.passes(10 * S)
    given_up = [sent for _, data in await house.store.sent(9) if not (sent := decode_sent(data)).delivered]
    assert [(sent.integration, sent.answer) for sent in given_up] == [
        ("people/apprise/0/bbbbbbbb", "the address holds the service no more")
    ]
    await house.says("endpoint:a")
    await house.passes(2 * MINUTE)
    assert house.heard["aaaaaaaa"] == house.heard["cccccccc"] == ["[FIRING] a", "[RESOLVED] a"]
    await house.quiet()
