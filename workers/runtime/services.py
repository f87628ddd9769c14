"""Who is given what: the one place where real clocks, stores, probers and receivers meet the pipeline."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from alert_rules.files.routing_file import load_routing
from alert_rules.files.rule_file import load_rules
from alert_rules.routes.route import default_routing
from monitor.clock import SystemClock
from monitor.config.settings import Settings, find_redis_url, load_settings
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Result
from monitor.probes.base import Probe
from monitor.probes.catalog import prepare
from monitor.probes.policy import TargetPolicy
from monitor.probes.runner import make_context, run_probe
from monitor.store.redis.store import RedisStore
from workers.journey.alerting import Alerting
from workers.journey.counters import Counters
from workers.journey.endpoint_cache import EndpointCache
from workers.journey.pipeline import Pipeline
from workers.journey.publish import Publisher
from workers.journey.quarantine import Quarantine
from workers.receivers import send
from workers.runtime.heartbeat import STALE_AFTER_HEARTBEATS, Heartbeat, look_at_ourselves
from workers.runtime.loop import LoopThread


class Services:
    """Everything that one worker process works with; made on its event loop."""

    def __init__(self, settings: Settings, part: str) -> None:
        clock = SystemClock()
        self.store = RedisStore(find_redis_url(settings), slots=settings.slots)
        counters = Counters()
        rules = load_rules(settings.rules)
        routing = load_routing(settings.alerting) if settings.alerting else default_routing()
        policy = TargetPolicy(allow=settings.target_allow, deny=settings.target_deny)
        context = make_context(clock, policy, nameservers=settings.nameservers or None)

        async def prober(endpoint: Endpoint, probe: Probe, due_ms: int) -> Result:
            return await run_probe(endpoint, probe, context, due_ms)

        self.cache = EndpointCache(self.store, clock, prepare)
        self.alerting = Alerting(store=self.store, clock=clock, routing=routing, send=send, counters=counters)
        route = self.alerting.request_routing
        quarantine = Quarantine(counters)
        self.publisher = Publisher(store=self.store, clock=clock, rules=rules, route=route, counters=counters, quarantine=quarantine)
        self.pipeline = Pipeline(
            store=self.store,
            clock=clock,
            cache=self.cache,
            rules=rules,
            prober=prober,
            publish=self.publisher.request,
            route=route,
            counters=counters,
        )

        async def look() -> None:
            await look_at_ourselves(self.store, clock, rules, settings.heartbeat_ms * STALE_AFTER_HEARTBEATS, route)

        duties: dict[str, Callable[[], Awaitable[object]]] = {"epoch": self.publisher.renew_epoch}
        duties.update({"evaluator's heartbeat": self.store.alive} if part == "worker" else {"rules about ourselves": look})
        self.heart = Heartbeat(
            store=self.store,
            clock=clock,
            counters=counters,
            part=part,
            location=settings.location,
            interval_ms=settings.heartbeat_ms,
            alive_file=settings.alive_file,
            duties=duties,
        )


class Runtime:
    """The rooms of this process, made once, when first needed."""

    def __init__(self) -> None:
        self.loop = LoopThread("watchkeeper")
        self._lock = threading.Lock()
        self._rooms: Services | None = None
        self._beating: Future[None] | None = None
        self.part = "worker"

    def rooms(self) -> Services:
        with self._lock:
            if self._rooms is None:
                self._rooms = self.loop.run(self._open(), 30)
            return self._rooms

    async def _open(self) -> Services:
        rooms = Services(load_settings(), self.part)
        await rooms.store.open()
        return rooms

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start work on the process's loop, and return."""
        self.loop.start(work)

    def begin(self) -> None:
        """Show that the process lives, from now on."""
        self._beating = asyncio.run_coroutine_threadsafe(self.rooms().heart.run(), self.loop.loop())

    def close(self, drain_s: float) -> None:
        """Wait a little for what is under way, and take the sign of life back."""
        if self._rooms is not None:
            self.loop.drain(drain_s)
            if self._beating is not None:
                self._beating.cancel()
            self.loop.run(self._rooms.heart.stop(), 5)


RUNTIME = Runtime()
