"""The alerting half of the journey over time: what is asserted, what each service hears, and what is made good."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import msgspec
import pytest

from alert_rules.files.routing_file import parse_routing
from alert_rules.notify.sent import decode_sent
from alert_rules.routes.route import Integration
from alert_rules.rules.alert import Alert, fingerprint
from alert_rules.rules.memory import ASSERT_EVERY_MS, Assertion, encode_assertion
from monitor.clock import FakeClock
from monitor.core.errors import DeliveryError, StoreError
from monitor.store.memory.store import MemoryStore
from monitor.store.port import AlertPhase, Lease
from monitor.store.queues import QUEUES, Queue
from workers.journey.alerting import Alerting
from workers.journey.counters import Counters
from workers.journey.quarantine import Quarantine

S = 1_000
MINUTE = 60 * S
ROUTING = """
route: {receiver: people, group_by: [alertname], group_wait: 1s, group_interval: 1m, repeat_interval: 4h}
receivers: [{name: people, apprise_configs: [{url: "json://people"}]}]
"""


class Died(BaseException):
    """The process is killed here: nothing after it runs."""


class House:
    """The alerting half on a store in memory, with services that answer as the test says and a clock of its own."""

    def __init__(self, routing: str = ROUTING, services: Iterable[str] = ("",)) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.services = tuple(services)
        self.heard: dict[str, list[str]] = defaultdict(list)
        """By service, the titles that it accepted."""
        self.attempts: dict[str, int] = defaultdict(int)
        self.answers: dict[str, Exception | Died] = {}
        self.vers: dict[str, int] = {}
        self.alerting = self.worker(routing)

    def worker(self, routing: str = ROUTING) -> Alerting:
        counters = Counters()
        return Alerting(
            store=self.store,
            clock=self.clock,
            routing=parse_routing(routing),
            send=self.send,
            services=self.services_of,
            counters=counters,
            quarantine=Quarantine(self.store, counters),
            soon=lambda *_: None,
            process="p",
        )

    async def services_of(self, _integration: Integration) -> tuple[str, ...]:
        return self.services

    async def send(self, integration: Integration, title: str, _body: str, _kind: str) -> str:
        name = integration.service or integration.key
        if name not in self.services and integration.service:
            raise DeliveryError("the address holds the service no more", permanent=True)
        self.attempts[name] += 1
        if isinstance(answer := self.answers.get(name), DeliveryError):
            raise answer
        self.heard[name].append(title)
        if answer is not None:
            raise answer
        return "accepted"

    async def says(self, subject: str, *names: str, ver: int = 0, reason: str = "", starts_ms: int = 0) -> None:
        """The subject asserts that these alerts fire, and no others."""
        self.vers[subject] = ver or max(self.vers.get(subject, 0) + 1, self.clock.now_ms())
        alerts = tuple(alert(subject, name, starts_ms or self.clock.now_ms()) for name in names)
        said = Assertion(subject=subject, ver=self.vers[subject], at_ms=self.clock.now_ms(), alerts=alerts, reason=reason)
        await self.put(encode_assertion(said))

    async def put(self, data: bytes) -> None:
        ver, _ = await self.store.load_subject("carrier")
        assert await self.store.commit_subject("carrier", ver, ver + 1, b"x", alerts=[data])

    async def judged(self) -> None:
        """Claims come, so that what is silent is silent."""
        await self.store.claim_probes(0, 1, 0)

    async def work(self, alerting: Alerting | None = None) -> None:
        """Do all that is due now."""
        alerting = alerting or self.alerting
        await alerting.route(0)
        await alerting.end_unasserted(await self.claim(Queue.ASSERTIONS))
        for _ in range(3):
            await alerting.flush(await self.claim(Queue.GROUPS))
            await alerting.deliver(await self.claim(Queue.DELIVERIES))

    async def claim(self, queue: Queue) -> list[Lease]:
        return await self.store.claim(queue, 0, 100, QUEUES[queue].lease_ms)

    async def passes(self, ms: int, step_ms: int = S, *, judged: bool = True) -> None:
        for _ in range(0, ms, step_ms):
            self.clock.advance(step_ms)
            if judged:
                await self.judged()
            await self.work()

    async def quiet(self) -> None:
        """Nothing is left in any queue of the alerts, and nothing stands."""
        await self.passes(11 * MINUTE)
        assert await self.store.ready() == []
        assert [await self.store.alerts(phase, 10) for phase in AlertPhase] == [[], []]
        assert not self.store._groups
        assert not self.store._asserted

    async def renewed(self, token_ms: int) -> None:
        """Wait until the only delivery has another token than this."""
        while next(iter(self.store._queue(Queue.DELIVERIES).values())) == token_ms:  # noqa: ASYNC110 - the store has no events
            await asyncio.sleep(0.001)

    async def aside(self) -> list[str]:
        return [item.kind for item in await self.store.aside()]


def alert(subject: str, name: str, starts_ms: int) -> Alert:
    labels = {"alertname": "Down", "subject": subject, "name": name}
    return Alert(labels=labels, annotations={"summary": name}, starts_at_ms=starts_ms, fingerprint=fingerprint(labels))


def timeline(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(story())

    run.__name__, run.__doc__ = story.__name__, story.__doc__
    return run


@timeline
async def test_an_alert_is_told_and_its_end_too() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.work()
    assert house.heard["people/apprise/0"] == []
    await house.passes(2 * S)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]
    await house.says("endpoint:a")
    await house.passes(MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[RESOLVED] a"]
    await house.quiet()


@timeline
async def test_a_lost_beginning_and_a_lost_end_are_made_good() -> None:
    """The events are lost with the stream; what is asserted later is enough."""
    house = House()
    since_ms = house.clock.now_ms()
    await house.says("endpoint:a", "a")
    house.store._alert_events[0].delete(["1"])
    await house.passes(ASSERT_EVERY_MS)
    await house.says("endpoint:a", "a", starts_ms=since_ms)
    await house.passes(2 * S)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]
    await house.says("endpoint:a")
    house.store._alert_events[0].delete(["3"])
    await house.passes(6 * MINUTE + ASSERT_EVERY_MS)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[RESOLVED] a"]
    await house.quiet()


@timeline
async def test_an_end_counts_by_its_version_and_not_by_a_clock() -> None:
    """The process that found the end has a clock that is behind that of the one that found the beginning."""
    house = House()
    await house.says("endpoint:a", "a", ver=5)
    await house.passes(2 * S)
    await house.put(encode_assertion(Assertion(subject="endpoint:a", ver=6, at_ms=house.clock.now_ms() - 5 * S)))
    await house.put(
        encode_assertion(Assertion(subject="endpoint:a", ver=5, at_ms=house.clock.now_ms(), alerts=(alert("endpoint:a", "a", 1),)))
    )
    await house.passes(MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[RESOLVED] a"]
    await house.quiet()


@timeline
async def test_what_nobody_asserts_ends_with_that_reason() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.passes(4 * MINUTE)
    assert len(await house.store.alerts(AlertPhase.FIRING, 9)) == 1
    await house.passes(61 * S)
    (ended,) = await house.store.alerts(AlertPhase.RESOLVED, 9)
    assert ended.reason == "nobody has asserted it for 5m"
    await house.passes(MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[RESOLVED] a"]
    await house.quiet()


@timeline
async def test_nothing_ends_for_want_of_assertions_while_nobody_judges() -> None:
    """Redis, the beats or the workers were away for half an hour: the time counts from when they are back."""
    house = House()
    await house.judged()
    since_ms = house.clock.now_ms()
    await house.says("endpoint:a", "a")
    await house.passes(2 * S)
    house.clock.advance(30 * MINUTE)
    await house.passes(4 * MINUTE)
    assert len(await house.store.alerts(AlertPhase.FIRING, 9)) == 1
    await house.says("endpoint:a", "a", starts_ms=since_ms)
    await house.passes(4 * MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]


@timeline
async def test_nothing_ends_for_want_of_assertions_because_no_alert_worker_lived() -> None:
    """Probes went on for ten minutes, and nobody served the alerts' queues: what asserts again is served as late as what ends."""
    house = House()
    await house.judged()
    since_ms = house.clock.now_ms()
    await house.says("endpoint:a", "a")
    await house.passes(2 * S)
    for _ in range(600):
        house.clock.advance(S)
        await house.judged()
    await house.passes(MINUTE)
    assert len(await house.store.alerts(AlertPhase.FIRING, 9)) == 1
    await house.says("endpoint:a", "a", starts_ms=since_ms)
    await house.passes(4 * MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]
    await house.passes(3 * MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[RESOLVED] a"]


@timeline
async def test_nothing_is_flushed_or_ended_while_the_clock_is_tilted() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.work()
    house.clock.jump(10 * MINUTE)
    assert house.clock.tilted
    await house.passes(25 * S)
    assert house.heard == {}
    assert len(await house.store.alerts(AlertPhase.FIRING, 9)) == 1
    await house.passes(20 * S)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]


# Services -------------------------------------------------------------------------------------------------------------

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


# What has waited ------------------------------------------------------------------------------------------------------


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

        async def deaf(*args: Any) -> None:
            nonlocal calls
            calls += 1
            await renew(*args)
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


# Unreadable -----------------------------------------------------------------------------------------------------------


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
    assert house.heard["people/apprise/0"][1].startswith("[RESOLVED]")
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


# Configuration --------------------------------------------------------------------------------------------------------

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
