"""Who is given what: the one place where the real clock, store, probers and receivers meet the journey."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any

from alert_rules.files.routing_file import load_routing
from alert_rules.files.rule_file import load_rules
from alert_rules.routes.route import default_routing
from monitor.clock import ServerClock
from monitor.config.settings import Settings, find_redis_url
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Result
from monitor.core.parts import PartName
from monitor.core.process import STALE_AFTER_HEARTBEATS
from monitor.probes.base import Probe
from monitor.probes.catalog import prepare
from monitor.probes.network import LAG_MAX_S
from monitor.probes.policy import TargetPolicy
from monitor.probes.runner import make_context, run_probe
from monitor.store.port import Lease, Store
from monitor.store.queues import Queue
from monitor.store.redis.store import RedisStore
from workers.journey.alerting import Alerting
from workers.journey.counters import Counters
from workers.journey.decide import DecideStep
from workers.journey.endpoint_cache import EndpointCache
from workers.journey.hints import listen
from workers.journey.probe import ProbeStep
from workers.journey.publish import Publisher
from workers.journey.quarantine import Quarantine
from workers.journey.soon import Handler, Soon
from workers.journey.system import SystemStep
from workers.journey.traffic import TrafficStep
from workers.receivers.address import services
from workers.receivers.send import Receivers, warm_up
from workers.runtime.heartbeat import Heartbeat, process_name
from workers.runtime.loop import LoopThread
from workers.runtime.opening import open_store

log = logging.getLogger(__name__)


COLLECT_AFTER = (20_000, 20, 100)
"""Thresholds of Python's garbage collector. Probes leave next to no cycles: at its defaults it took a tenth of a worker's time."""
PROBES_IN_FLIGHT_MAX = 5_000
"""Probes that one process holds: those of targets that hang cost a little memory each, and no time."""
FULL_PAUSE_S = 0.02


class Services:
    """Everything that one worker process works with; made on its event loop, with a store that is open and a clock that knows."""

    def __init__(self, settings: Settings, part: PartName, store: Store, clock: ServerClock) -> None:
        self.store = store
        self.clock = clock
        self.counters = counters = Counters()
        rules = load_rules(settings.rules)
        routing = load_routing(settings.alerting) if settings.alerting else default_routing()
        policy = TargetPolicy(allow=settings.target_allow, deny=settings.target_deny)
        context = make_context(
            clock, policy, nameservers=settings.nameservers or None, dns_stale_ms=settings.dns_stale_ms, count=counters.add
        )

        async def prober(endpoint: Endpoint, probe: Probe, due_ms: int) -> Result:
            return await run_probe(endpoint, probe, context, due_ms)

        self.soon = Soon(store=store, clock=clock)
        alerts = part == PartName.ALERT_WORKER
        self.quarantine = quarantine = Quarantine(store, counters)
        self.cache = EndpointCache(store, clock, prepare, quarantine)
        self.alerting = Alerting(
            store=store,
            clock=clock,
            routing=routing,
            send=Receivers(policy).send,
            services=services,
            counters=counters,
            quarantine=quarantine,
            soon=self.soon.at,
            process=process_name(part),
        )
        route = self.alerting.request_routing if alerts else _leave
        self.publisher = Publisher(
            store=store, clock=clock, rules=rules, route=route, counters=counters, quarantine=quarantine, soon=self.soon.at
        )
        self.deciding = DecideStep(
            store=store,
            clock=clock,
            cache=self.cache,
            rules=rules,
            publish=self.publisher.request,
            route=route,
            counters=counters,
            quarantine=quarantine,
            soon=self.soon.at,
        )
        self.probing = ProbeStep(clock=clock, cache=self.cache, prober=prober, decide=self.deciding, counters=counters)

        self.traffic = TrafficStep(
            store=store, clock=clock, rule=self.deciding.rule, counters=counters, quarantine=quarantine, soon=self.soon.at
        )

        self.soon.handle(Queue.DIRTY, self.weigh)
        for queue, handler in {**self.alerting.handlers, Queue.TRAFFIC: self.traffic.judge}.items() if alerts else ():
            self.soon.handle(queue, _of_any_slot(handler))

        system = SystemStep(
            store=store,
            clock=clock,
            rules=rules,
            heartbeat_age_max_ms=settings.heartbeat_ms * STALE_AFTER_HEARTBEATS,
            route=route,
            quarantine=quarantine,
        )
        duties: dict[str, Callable[[], Awaitable[object]]] = {"epoch": self.publisher.renew_epoch}
        duties.update(
            {
                "rules about the system": system.beat,
                "snapshots": self.publisher.restore_snapshots,
                "orphaned alerts": self.alerting.routing.end_orphans,
            }
            if alerts
            else {"evaluator's heartbeat": store.alive}
        )
        self.heart = Heartbeat(
            store=store,
            clock=clock,
            learn=functools.partial(clock.learn, store.now_ms),
            counters=counters,
            part=part,
            location=settings.location,
            interval_ms=settings.heartbeat_ms,
            alive_file=settings.alive_file,
            duties=duties,
        )

        self.background: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (self.heart.run,)
        """What runs for as long as the process does."""
        if alerts:
            self.background += (functools.partial(listen, store, route),)
            warm_up()

    async def weigh(self, slot: int, leases: Sequence[Lease]) -> None:
        """Weigh and publish claimed pools of one slot."""
        await self.publisher.weigh_leased((slot, lease) for lease in leases)

    def current(self, leases: Sequence[Lease]) -> list[Lease]:
        """Those that have not ended: work under a lease that has is another's by now, and is dropped before it starts."""
        now_ms = self.clock.now_ms()
        return [lease for lease in leases if lease.token_ms > now_ms]


def _of_any_slot(handler: Callable[[Sequence[Lease]], Awaitable[None]]) -> Handler:
    async def handle(_slot: int, leases: Sequence[Lease]) -> None:
        await handler(leases)

    return handle


def _leave(_slot: int) -> None:
    """Alert workers hear of every commit that writes alert events, and route them: then the same process flushes and delivers."""


class Runtime:
    """The services of this process and the loop that they live on."""

    def __init__(self) -> None:
        self.loop = LoopThread("watchkeeper")
        self._services: Services | None = None
        self._running: list[Future[None]] = []
        self._stopping = threading.Event()

    @property
    def services(self) -> Services:
        """What this process works with. Raises RuntimeError before `open`."""
        if self._services is None:
            raise RuntimeError("the process takes work before its services are open")
        return self._services

    def open(self, settings: Settings, part: PartName) -> None:
        """Open everything that this process works with. Raises WatchkeeperError where it could not work: then it must take nothing."""
        self._services = self.loop.run(self._open(settings, part), None)
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)

    async def _open(self, settings: Settings, part: PartName) -> Services:
        store = RedisStore(find_redis_url(settings), slots=settings.slots)
        clock = ServerClock()
        await open_store(store, clock, settings.store_wait_ms)
        try:
            return Services(settings, part, store, clock)
        except BaseException:
            await store.close()
            raise

    def admit(self, leases: Sequence[tuple[str, int, int]]) -> bool:
        """Wait until this process can take more probes: its loop answers at once, and not too many are in flight.

        False when every lease has ended before that, or the process is about to end: then the probes are another's. Meanwhile
        messages stay in the broker, where beat sees them and claims no more.
        """
        end_ms = max((token_ms for _, token_ms, _ in leases), default=0)
        services = self.services
        while not self._stopping.is_set() and services.clock.now_ms() < end_ms:
            begun_ms = services.clock.monotonic_ms()
            self.loop.turn()
            if services.clock.monotonic_ms() - begun_ms > LAG_MAX_S * 1000:
                continue  # Its probes would notice their deadlines too late to judge.
            if services.probing.in_flight < PROBES_IN_FLIGHT_MAX:
                return True
            self.loop.run(asyncio.sleep(FULL_PAUSE_S), None)
        return False

    def count(self, name: str, by: int) -> None:
        """Count from a thread that is not the loop's."""
        self.loop.loop().call_soon_threadsafe(self.services.counters.add, name, by)

    def set_aside(self, kind: str, key: str, data: bytes, why: str) -> None:
        """Set aside, from a thread that is not the loop's, what cannot be read."""

        async def set_aside() -> None:
            self.services.quarantine.set_aside(kind, key, data, why)
            await self.services.quarantine.flush()

        self.start(set_aside())

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start work on the process's loop, and return."""
        self.loop.start(work)

    def begin(self) -> None:
        """Show that the process lives, and listen for what is new, from now on."""
        for work in self.services.background:
            running = asyncio.run_coroutine_threadsafe(work(), self.loop.loop())
            running.add_done_callback(self._ended)
            self._running.append(running)

    def _ended(self, running: Future[None]) -> None:
        """A process that cannot show any more that it lives must not go on taking work."""
        if not self._stopping.is_set() and not running.cancelled():
            log.critical("what must run for as long as the process has ended; this process ends", exc_info=running.exception())
            os.kill(os.getpid(), signal.SIGTERM)

    def stop(self) -> None:
        """The process is about to end: start nothing more."""
        self._stopping.set()
        if self._services is not None:
            self.loop.loop().call_soon_threadsafe(self._services.soon.close)

    def close(self, drain_s: float) -> None:
        """Wait a little for what is in flight, and deregister."""
        self._stopping.set()
        if self._services is not None:
            self.loop.drain(drain_s)
            for running in self._running:
                running.cancel()
            self.loop.run(self._services.heart.stop(), 5)


RUNTIME = Runtime()
