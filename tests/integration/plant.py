"""One worker process's services on a real server, without Celery: scripted probers, real decisions, real commits."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from alert_rules.files.routing_file import parse_routing
from alert_rules.files.rule_file import load_rules
from alert_rules.notify.message import Compose, Escaping
from alert_rules.routes.route import Integration
from monitor.clock import ServerClock
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.store.port import Lease
from monitor.store.queues import QUEUES, Queue
from monitor.store.redis.store import RedisStore
from tests.registering import register
from workers.journey.alerting import Alerting
from workers.journey.counters import Counters
from workers.journey.decide import DecideStep
from workers.journey.endpoint_cache import EndpointCache
from workers.journey.probe import ProbeStep
from workers.journey.publish import Publisher
from workers.journey.quarantine import Quarantine

ROUTING = """
route: {receiver: people, group_by: [endpoint], group_wait: 0s, group_interval: 1s}
receivers: [{name: people, apprise_configs: [{url: "console:"}]}]
"""

_rules = functools.cache(load_rules)


class Plant:
    """One worker process's services on a real store, with a prober that the test scripts."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store = RedisStore(url)
        self.clock = ServerClock()
        self.failing: set[str] = set()
        self.error = "status 500, want 2xx"
        self.messages: list[str] = []
        """The titles that were told."""
        self.bodies: list[str] = []
        counters, rules = Counters(), _rules()
        quarantine = Quarantine(self.store, counters)
        cache = EndpointCache(self.store, self.clock, lambda _: object(), quarantine)  # type: ignore[arg-type,return-value]
        self.alerting = Alerting(
            store=self.store,
            clock=self.clock,
            routing=parse_routing(ROUTING),
            send=self._send,
            services=self._services,
            process="p",
            counters=counters,
            quarantine=quarantine,
            soon=lambda *_: None,
        )
        self.publisher = Publisher(
            store=self.store,
            clock=self.clock,
            rules=rules,
            route=lambda _: None,
            counters=counters,
            quarantine=quarantine,
            soon=lambda *_: None,
        )
        self.deciding = DecideStep(
            store=self.store,
            clock=self.clock,
            cache=cache,
            rules=rules,
            publish=self.publisher.request,
            route=lambda _: None,
            counters=counters,
            quarantine=quarantine,
            soon=lambda *_: None,
        )
        self.probing = ProbeStep(clock=self.clock, cache=cache, prober=self._probe, decide=self.deciding, counters=counters)

    async def open(self) -> Plant:
        await self.store.open(create=True)
        assert await self.clock.learn(self.store.now_ms)
        return self

    async def _services(self, integration: Integration) -> tuple[Integration, ...]:
        return (integration,)

    async def _send(self, _integration: Any, compose: Compose, *_waiting: object) -> str:
        message = compose(Escaping())
        self.messages.append(message.title)
        self.bodies.append(message.body)
        return "accepted"

    async def _probe(self, endpoint: Endpoint, _probe: Any, due_ms: int) -> Result:
        now_ms = self.clock.now_ms()
        failing = endpoint.id in self.failing
        return Result(
            outcome=Outcome.FAILURE if failing else Outcome.SUCCESS,
            at_ms=now_ms,
            started_ms=now_ms,
            duration_ms=3.0,
            scheduled_ms=due_ms,
            failure=FailureClass.STATUS if failing else None,
            text=self.error if failing else "",
        )

    async def round(self, *names: str) -> None:
        """Probe everything once, or what is named, and settle it, however long it is until it is due."""
        claim = await self.store.claim_probes(0, 100, 86_400_000)
        items = [item for item in claim.items if not names or item.id in names]
        await self.probing.probe_batch(0, claim.rev, [(item.id, item.token_ms, self.clock.now_ms()) for item in items])

    async def work(self) -> None:
        """What the alert worker does: weigh, re-evaluate, route, flush and deliver until nothing is due."""
        for _ in range(20):
            await self.work_once()
            await asyncio.sleep(0.01)

    async def work_once(self) -> None:
        """One turn of it."""
        await self.publisher.weigh_leased((0, lease) for lease in await self._due(Queue.DIRTY))
        await self.deciding.reevaluate(0, await self._due(Queue.REEVALUATE))
        await self.alerting.route(0)
        for queue, work in self.alerting.handlers.items():
            await work(await self._due(queue))

    async def told(self, title: str) -> bool:
        """Whether it is told by and by: the end of an alert comes with its group's next tick."""
        for _ in range(300):
            if title in self.messages:
                return True
            await self.work()
        return False

    async def _due(self, queue: Queue) -> list[Lease]:
        return await self.store.claim(queue, 0, 100, QUEUES[queue].lease_ms)

    async def redis(self, *command: Any) -> Any:
        """A hand in Redis."""
        return await self.store._wire.execute_one(*command)


def endpoint(**changes: Any) -> Endpoint:
    return Endpoint(
        **{"id": "e", "url": "http://127.0.0.1:1/", "pool": "shop", "interval_ms": 1_000, "timeout_ms": 500, "retries": 0, **changes}
    )


Story = Callable[[Plant], Awaitable[None]]


async def down(plant: Plant) -> None:
    """Two endpoints of one pool fail until everybody knows."""
    await register(plant.store, [endpoint(), endpoint(id="other")])
    await plant.round()
    plant.failing = {"e", "other"}
    for _ in range(3):
        await plant.round()
    await plant.work()
    assert "[FIRING] e is down" in plant.messages
