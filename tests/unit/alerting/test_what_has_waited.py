"""Deliveries that waited, were taken over or take long: what is sent is still so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from alert_rules.notify.message import Compose, Escaping
from alert_rules.notify.sent import decode_sent
from monitor.core.errors import DeliveryError, StoreError
from monitor.store.queues import Queue
from tests.unit.alerting.house import MINUTE, Died, House, S, timeline


async def dies_at(house: House, moment: str) -> None:
    """The worker takes the delivery and is killed: before it sends, or between the service's acceptance and the log."""
    await house.says("endpoint:a", "a")
    await house.alerting.route(0)
    house.clock.advance(2 * S)
    await house.alerting.flush(await house.claim(Queue.GROUPS))
    leases = await house.claim(Queue.DELIVERIES)
    assert len(leases) == 1
    if moment == "after sending":
        house.answers["people/apprise/0"] = Died()
        with pytest.raises(Died):
            await house.alerting.deliver(leases)
        house.answers.clear()


@pytest.mark.parametrize("moment", ["before sending", "after sending"])
def test_a_delivery_taken_over_after_the_recovery_tells_the_end_only(moment: str) -> None:
    async def story() -> None:
        house = House()
        await dies_at(house, moment)
        before = list(house.heard["people/apprise/0"])
        await house.says("endpoint:a")
        await house.passes(20 * S)
        assert house.heard["people/apprise/0"] == [*before, "[RESOLVED] a"]
        (first, _) = [decode_sent(data) for _, data in (await house.store.sent(9))[::-1]]
        assert (first.superseded, first.delivered) == (True, False)
        assert first.answer == "an alert that it says to be firing ended before it was sent"
        await house.quiet()

    asyncio.run(story())


@pytest.mark.parametrize(("moment", "times"), [("before sending", 1), ("after sending", 2)])
def test_a_delivery_taken_over_while_it_is_still_so_is_sent(moment: str, times: int) -> None:
    async def story() -> None:
        house = House()
        await dies_at(house, moment)
        await house.passes(20 * S)
        assert house.heard["people/apprise/0"] == ["[FIRING] a"] * times
        await house.says("endpoint:a")
        await house.passes(2 * MINUTE)
        assert house.heard["people/apprise/0"] == [*["[FIRING] a"] * times, "[RESOLVED] a"]
        await house.quiet()

    asyncio.run(story())


@timeline
async def test_a_retry_does_not_tell_a_fire_that_is_out() -> None:
    house = House()
    house.answers["people/apprise/0"] = DeliveryError("HTTP 503")
    await house.says("endpoint:a", "a")
    await house.passes(5 * S)
    await house.says("endpoint:a")
    await house.work()
    house.answers.clear()
    await house.passes(5 * MINUTE)
    assert house.heard == {}
    await house.quiet()


@timeline
async def test_what_may_have_been_accepted_without_an_answer_is_told_its_end() -> None:
    house = House()
    house.answers["people/apprise/0"] = DeliveryError("no answer within 30 s", unheard=True)
    await house.says("endpoint:a", "a")
    await house.passes(5 * S)
    await house.says("endpoint:a")
    await house.work()
    house.answers.clear()
    await house.passes(2 * MINUTE)
    assert house.heard["people/apprise/0"] == ["[RESOLVED] a"]
    await house.quiet()


@timeline
async def test_a_first_attempt_that_comes_late_is_decided_afresh() -> None:
    """No worker took the delivery for half a minute."""
    house = House()
    await house.says("endpoint:a", "a")
    await house.alerting.route(0)
    house.clock.advance(2 * S)
    await house.alerting.flush(await house.claim(Queue.GROUPS))
    await house.says("endpoint:a")
    await house.alerting.route(0)
    house.clock.advance(30 * S)
    await house.passes(3 * MINUTE)
    assert house.heard == {}
    await house.quiet()


@timeline
async def test_an_end_on_its_way_is_not_told_of_what_fires_again() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.passes(2 * S)
    await house.says("endpoint:a")
    house.answers["people/apprise/0"] = DeliveryError("HTTP 503")
    await house.passes(MINUTE)
    await house.says("endpoint:a", "a")
    await house.work()
    house.answers.clear()
    await house.passes(MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[FIRING] a"]
    await house.says("endpoint:a")
    await house.passes(2 * MINUTE)
    await house.quiet()


def test_a_slow_service_keeps_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is short for the dead, and renewed by the living."""

    async def story() -> None:
        house = House()
        monkeypatch.setattr("workers.journey.deliver.RENEW_MS", 1)
        answered = asyncio.Event()

        async def slow(*_: Any) -> str:
            await answered.wait()
            return "accepted at last"

        house.alerting.delivering._send = slow
        await house.says("endpoint:a", "a")
        await house.alerting.route(0)
        house.clock.advance(2 * S)
        await house.alerting.flush(await house.claim(Queue.GROUPS))
        sending = asyncio.ensure_future(house.alerting.deliver(await house.claim(Queue.DELIVERIES)))
        for _ in range(4):
            token_ms = next(iter(house.store._queue(Queue.DELIVERIES).values()))
            house.clock.advance(8 * S)
            await house.renewed(token_ms)
            assert await house.claim(Queue.DELIVERIES) == []
        answered.set()
        await sending
        ((_, data),) = await house.store.sent(9)
        assert decode_sent(data).answer == "accepted at last"

    asyncio.run(asyncio.wait_for(story(), 30))


def test_a_renewal_whose_answer_is_lost_does_not_cost_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        house = House()
        monkeypatch.setattr("workers.journey.deliver.RENEW_MS", 1)
        monkeypatch.setattr("workers.journey.deliver.RENEW_AGAIN_S", 0.001)
        renew, answered = house.store.renew, asyncio.Event()
        calls = 0

        async def deaf(*args: Any, **named: Any) -> None:
            nonlocal calls
            calls += 1
            await renew(*args, **named)
            if calls % 2:
                raise StoreError("the answer was lost")
            if calls > 5:
                answered.set()

        async def slow(*_: Any) -> str:
            await answered.wait()
            return "accepted"

        house.store.renew = deaf  # type: ignore[method-assign]
        house.alerting.delivering._send = slow
        await house.says("endpoint:a", "a")
        await house.passes(2 * S)
        assert [decode_sent(data).answer for _, data in await house.store.sent(9)] == ["accepted"]

    asyncio.run(asyncio.wait_for(story(), 30))


class Queued:
    """A service that lets a message wait for its turn."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.turn = asyncio.Event()
        self.sent: list[str] = []

    async def send(self, _integration: object, compose: Compose, afresh: Callable[[], Awaitable[None]], _patience_s: float) -> str:
        self.waiting.set()
        await self.turn.wait()
        await afresh()
        self.sent.append(compose(Escaping()).title)
        return "accepted"

    async def holds(self, house: House) -> asyncio.Future[None]:
        """A message that says that an alert fires waits for its turn."""
        house.alerting.delivering._send = self.send
        await house.says("endpoint:a", "a")
        await house.alerting.route(0)
        house.clock.advance(2 * S)
        await house.alerting.flush(await house.claim(Queue.GROUPS))
        sending = asyncio.ensure_future(house.alerting.deliver(await house.claim(Queue.DELIVERIES)))
        await self.waiting.wait()
        return sending


@timeline
async def test_an_alert_that_ends_while_its_message_waits_for_its_turn_is_not_told() -> None:
    house, service = House(), Queued()
    sending = await service.holds(house)
    await house.says("endpoint:a")
    await house.alerting.route(0)
    service.turn.set()
    await sending
    await house.passes(2 * MINUTE)
    assert service.sent == []
    ((_, data),) = await house.store.sent(9)
    assert (decode_sent(data).superseded, decode_sent(data).attempts) == (True, 0)
    await house.quiet()


@timeline
async def test_a_message_that_became_anothers_while_it_waited_for_its_turn_is_left_to_it() -> None:
    house, service = House(), Queued()
    sending = await service.holds(house)
    house.clock.advance(11 * S)  # The process stood still, and its lease has ended.
    taken = await house.claim(Queue.DELIVERIES)
    assert len(taken) == 1
    service.turn.set()
    await sending
    assert service.sent == []
    assert await house.store.sent(9) == []
    await house.alerting.deliver(taken)
    assert service.sent == ["[FIRING] a"]


@timeline
async def test_a_message_that_never_had_its_turn_uses_up_no_attempt_and_blames_no_service() -> None:
    house = House()
    house.answers["people/apprise/0"] = DeliveryError("it waited 10 s for its turn behind others, and was not sent", asked=False)
    await house.says("endpoint:a", "a")
    await house.passes(5 * MINUTE)
    asked = house.attempts["people/apprise/0"]
    assert asked > 1
    first = [decode_sent(data) for _, data in await house.store.sent(99)][-1]
    assert (first.attempts, first.delivered, first.answer) == (0, False, "it waited 10 s for its turn behind others, and was not sent")
    house.answers.clear()
    await house.says("endpoint:a", "a")
    await house.passes(2 * MINUTE)
    last = decode_sent((await house.store.sent(99))[0][1])
    assert (last.attempts, last.delivered) == (1, True)
