"""The alerting half of the journey, wired: route, flush, deliver. Every step is claimed by lease and safe to repeat."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence

from alert_rules.routes.route import Routing
from monitor.clock import Clock
from monitor.store.keys import slot_of
from monitor.store.port import Lease, Store
from monitor.store.queues import Queue
from workers.journey.counters import Counters
from workers.journey.deliver import DeliverStep, Sender
from workers.journey.flush import FlushStep, GroupReader, Services
from workers.journey.quarantine import Quarantine
from workers.journey.route import RouteStep
from workers.journey.soon import SoonAt


async def judging_since(store: Store, subject: str) -> int:
    """Since when (ms) a subject has been judged without a gap: an endpoint in its slot, any other where the last slot began."""
    kind, _, name = subject.partition(":")
    slots = [slot_of(name, store.slots)] if kind == "endpoint" else range(store.slots)
    return max([await store.judging_since(slot) for slot in slots])


class Alerting:
    """One per process that routes, flushes or delivers.

    `soon` is told what falls due, so that it is done at its time; `process` is a name that no other process has.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        routing: Routing,
        send: Sender,
        counters: Counters,
        quarantine: Quarantine,
        soon: SoonAt,
        services: Services,
        process: str,
    ) -> None:
        groups = GroupReader(store=store, clock=clock, quarantine=quarantine)
        self.routing = RouteStep(
            store=store,
            clock=clock,
            routing=routing,
            judging_since=functools.partial(judging_since, store),
            soon=soon,
            counters=counters,
            quarantine=quarantine,
        )
        self.flushing = FlushStep(
            store=store,
            clock=clock,
            routing=routing,
            services=services,
            router=self.routing,
            groups=groups,
            soon=soon,
            counters=counters,
        )
        self.delivering = DeliverStep(
            store=store,
            clock=clock,
            routing=routing,
            send=send,
            flushing=self.flushing,
            groups=groups,
            soon=soon,
            counters=counters,
            quarantine=quarantine,
            process=process,
        )
        self.request_routing = self.routing.request
        self.route = self.routing.route
        self.end_unasserted = self.routing.end_unasserted
        self.flush = self.flushing.flush
        self.deliver = self.delivering.deliver
        self.deliver_announced = self.delivering.deliver_announced

    @property
    def handlers(self) -> dict[Queue, Callable[[Sequence[Lease]], Awaitable[None]]]:
        """Who works off what is claimed from each of the alerts' queues."""
        return {Queue.GROUPS: self.flush, Queue.DELIVERIES: self.deliver, Queue.ASSERTIONS: self.end_unasserted}
