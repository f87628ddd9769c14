"""The alerting half on a store in memory and a fake clock, as the tests of this folder move it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from alert_rules.files.routing_file import parse_routing
from alert_rules.notify.message import Compose, Escaping
from alert_rules.routes.route import Integration
from alert_rules.rules.alert import Alert, fingerprint
from alert_rules.rules.memory import Assertion, encode_assertion
from monitor.clock import FakeClock
from monitor.core.errors import DeliveryError
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

    async def services_of(self, integration: Integration) -> tuple[Integration, ...]:
        return tuple(integration.of_service(service, alone=len(self.services) == 1) for service in self.services)

    async def send(self, integration: Integration, compose: Compose, *_waiting: object) -> str:
        name = integration.service or integration.key
        if name not in self.services and integration.service:
            raise DeliveryError("the address holds the service no more", permanent=True)
        self.attempts[name] += 1
        if isinstance(answer := self.answers.get(name), DeliveryError):
            raise answer
        self.heard[name].append(compose(Escaping()).title)
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
