"""A small world around the real pipeline: beats, workers, a lossy broker, a store that fails, targets and a receiver.

Everything that the project ships runs as it is (dispatcher, pipeline, publisher, alerting, rules, memory store); what is
made up is the weather: which message is lost or doubled, who crashes and when, whose clock is wrong.
"""

from __future__ import annotations

import asyncio
import contextvars
import random  # noqa: TID251 - the weather comes from a seeded generator, which is the point of this room.
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from workers.journey.pipeline import Pipeline

from alert_rules.routes.route import Integration, Routing
from alert_rules.rules.rule import RuleSet
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import StoreError
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Commit, Committed, Epoch, Lease, Publication, Store
from tests.registering import register
from tests.simulation.virtual import LoopClock, VirtualLoop
from workers.journey.alerting import Alerting
from workers.journey.counters import Counters
from workers.journey.dispatch import Dispatcher, Message
from workers.journey.endpoint_cache import EndpointCache
from workers.journey.publish import Publisher
from workers.journey.quarantine import Quarantine

TOLD_AFTER_S = 60
BEATS = 2
WORKERS = 3

_process: contextvars.ContextVar[int] = contextvars.ContextVar("process", default=-1)
"""The simulated process that the running task belongs to; tasks that it starts inherit it."""


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """How bad it is. Probabilities are per call or per message; times in seconds."""

    message_loss: float = 0.0
    message_double: float = 0.0
    message_delay_s: float = 0.02
    store_refusal: float = 0.0
    """A call fails and has changed nothing."""
    store_silence: float = 0.0
    """A call has done its work and its answer is lost."""
    crash_every_s: float = 0.0
    clock_skew_ms: int = 0
    leases_lost: int = 0
    """How many claims of one endpoint in a row may come to nothing before it counts as forgotten."""
    flap_every_s: float = 40.0
    """Mean time between two changes of one target's health."""


class Seen(msgspec.Struct):
    """What the outside saw; the checkers read nothing else but the store."""

    starts: list[tuple[str, int]] = []
    """(endpoint, start ms) of every probe."""
    settled: list[tuple[str, int]] = []
    """(endpoint, lease token) of every accepted commit of a result."""
    publications: list[Publication] = []
    """Those that the store accepted, in their order."""
    messages: list[str] = []
    """Bodies that the receiver accepted."""
    crashes: int = 0


class RecordingStore(MemoryStore):
    """The shipped fake, remembering what it accepted."""

    def __init__(self, clock: LoopClock, seen: Seen) -> None:
        super().__init__(clock)
        self._seen = seen

    async def commit(self, items: Sequence[Commit]) -> list[Committed]:
        answers = await super().commit(items)
        for item, answer in zip(items, answers, strict=True):
            if answer is Committed.OK and item.token_ms is not None:
                self._seen.settled.append((item.id, item.token_ms))
        return answers

    async def publish(self, publication: Publication) -> Epoch:
        epoch = await super().publish(publication)
        self._seen.publications.append(publication)
        return epoch


class FaultyStore:
    """The store as it is seen over a bad network."""

    def __init__(self, inner: Store, rng: random.Random, weather: Weather, calm: Callable[[], bool]) -> None:
        self._inner = inner
        self._rng = rng
        self._weather = weather
        self._calm = calm
        self.slots = inner.slots

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(self._rng.uniform(0.0001, 0.004))
            if self._fails(self._weather.store_refusal):
                raise StoreError("simulated: refused")
            answer = await method(*args, **kwargs)
            await asyncio.sleep(self._rng.uniform(0.0001, 0.004))
            if self._fails(self._weather.store_silence):
                raise StoreError("simulated: no answer")
            return answer

        return call

    def _fails(self, probability: float) -> bool:
        return not self._calm() and self._rng.random() < probability


class World:
    """One run: `seed` and `weather` give the same story each time."""

    def __init__(self, seed: int, weather: Weather, endpoints: list[Endpoint], pools: list[Pool], rules: RuleSet, routing: Routing) -> None:
        self.loop = VirtualLoop()
        self.rng = random.Random(seed)
        self.weather = weather
        self.clock = LoopClock(self.loop)
        self.seen = Seen()
        self.store = RecordingStore(self.clock, self.seen)
        self.endpoints = {endpoint.id: endpoint for endpoint in endpoints}
        self.pools = pools
        self.rules = rules
        self.routing = routing
        self.failing: set[str] = set()
        self.calm = False
        self.down_for_long: set[str] = set()
        """Endpoints that failed for so long that somebody must have been told."""
        self._down_since: dict[str, float] = {}
        self._tasks: list[set[asyncio.Task[Any]]] = [set() for _ in range(WORKERS)]
        self.loop.set_task_factory(self._start_task)
        self._rooms: list[tuple[Pipeline, Publisher, Alerting]] = []

    async def live(self, seconds: float, calm_s: float) -> None:
        """Run for `seconds` in the weather, then let it clear, every target recover, and wait `calm_s`."""
        await self.store.open(create=True)
        await register(self.store, list(self.endpoints.values()), [], self.pools)
        self._rooms = [self._make_rooms() for _ in range(WORKERS)]
        tasks = [asyncio.ensure_future(self._beat()) for _ in range(BEATS)]
        tasks += [asyncio.ensure_future(self._change_targets()), asyncio.ensure_future(self._crash_workers())]
        await asyncio.sleep(seconds)
        self.calm = True
        for name in sorted(self.failing):
            self._turn(name)
        await asyncio.sleep(calm_s)
        for task in tasks:
            task.cancel()

    # The parts ------------------------------------------------------------------------------------------------------

    def _faulty(self) -> FaultyStore:
        return FaultyStore(self.store, self.rng, self.weather, lambda: self.calm)

    def _make_rooms(self) -> tuple[Pipeline, Publisher, Alerting]:
        store: Any = self._faulty()
        skew_ms = self.rng.randint(-self.weather.clock_skew_ms, self.weather.clock_skew_ms)
        clock = LoopClock(self.loop, skew_ms)
        counters = Counters()
        cache = EndpointCache(store, clock, _no_probe)
        alerting = Alerting(store=store, clock=clock, routing=self.routing, send=self._receive, counters=counters)
        publisher = Publisher(
            store=store,
            clock=clock,
            rules=self.rules,
            route=alerting.request_routing,
            counters=counters,
            quarantine=Quarantine(counters),
        )
        pipeline = Pipeline(
            store=store,
            clock=clock,
            cache=cache,
            rules=self.rules,
            prober=self._probe,
            publish=publisher.request,
            route=alerting.request_routing,
            counters=counters,
        )
        return pipeline, publisher, alerting

    async def _beat(self) -> None:
        store: Any = self._faulty()
        dispatcher = Dispatcher(store, self.clock, batch_size=20, claim_limit=500)
        while True:
            await asyncio.sleep(0.05 + self.rng.uniform(0, 0.01))
            try:
                messages = await dispatcher.tick()
            except StoreError:
                continue
            for message in messages:
                self._post(message)

    def _post(self, message: Message) -> None:
        copies = 1
        if not self.calm and self.rng.random() < self.weather.message_loss:
            copies = 0
        elif not self.calm and self.rng.random() < self.weather.message_double:
            copies = 2
        for _ in range(copies):
            self.loop.call_later(self.rng.expovariate(1 / self.weather.message_delay_s), self._arrive, message)

    def _arrive(self, message: Message) -> None:
        number = self.rng.randrange(WORKERS)
        context = contextvars.copy_context()
        context.run(_process.set, number)
        self.loop.create_task(self._work(self._rooms[number], message), context=context)

    def _start_task(self, loop: asyncio.AbstractEventLoop, work: Any, **kwargs: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=loop, **kwargs)
        context = kwargs.get("context")
        number = context.get(_process, -1) if context is not None else _process.get()
        if number >= 0:
            self._tasks[number].add(task)
            task.add_done_callback(self._tasks[number].discard)
        return task

    async def _work(self, rooms: tuple[Pipeline, Publisher, Alerting], message: Message) -> None:
        pipeline, publisher, alerting = rooms
        slot = message.args[0]
        leases = [Lease(*item) for item in message.args[1]] if message.task not in {"probe_batch", "route_alerts"} else []
        try:
            match message.task:
                case "probe_batch":
                    await pipeline.probe_batch(slot, message.args[1], message.args[2])
                case "weigh_pools":
                    for lease in leases:
                        await publisher.settle(slot, lease)
                case "reevaluate_endpoints":
                    await pipeline.reevaluate(slot, leases)
                case "route_alerts":
                    await alerting.route(slot)
                case "flush_groups":
                    await alerting.flush(leases)
                case "deliver":
                    await alerting.deliver(leases)
        except StoreError:
            pass

    # The weather ----------------------------------------------------------------------------------------------------

    async def _change_targets(self) -> None:
        names = sorted(self.endpoints)
        while not self.calm:
            await asyncio.sleep(self.rng.expovariate(len(names) / self.weather.flap_every_s))
            name = self.rng.choice(names)
            if not self.calm:
                self._turn(name)

    def _turn(self, name: str) -> None:
        self.failing.symmetric_difference_update({name})
        if name in self.failing:
            self._down_since[name] = self.loop.time()
        elif self.loop.time() - self._down_since[name] > TOLD_AFTER_S:
            self.down_for_long.add(name)

    async def _crash_workers(self) -> None:
        """kill -9: every task of the process stops where it stands, and a new process begins with nothing in memory."""
        while self.weather.crash_every_s and not self.calm:
            await asyncio.sleep(self.rng.expovariate(1 / self.weather.crash_every_s))
            number = self.rng.randrange(WORKERS)
            self.seen.crashes += 1
            for task in list(self._tasks[number]):
                task.cancel()
            self._rooms[number] = self._make_rooms()

    # The outside ----------------------------------------------------------------------------------------------------

    async def _probe(self, endpoint: Endpoint, _probe: Any, due_ms: int) -> Result:
        started_ms = self.clock.now_ms()
        self.seen.starts.append((endpoint.id, started_ms))
        took_s = self.rng.uniform(0.001, 0.05) if self.rng.random() < 0.97 else endpoint.timeout_ms / 3000
        await asyncio.sleep(took_s)
        failing = endpoint.id in self.failing
        return Result(
            outcome=Outcome.FAILURE if failing else Outcome.SUCCESS,
            failure=FailureClass.STATUS if failing else None,
            text="status 500, want 2xx" if failing else "",
            at_ms=self.clock.now_ms(),
            started_ms=started_ms,
            duration_ms=took_s * 1000,
            scheduled_ms=due_ms,
        )

    async def _receive(self, _integration: Integration, _title: str, body: str, _kind: str) -> str:
        await asyncio.sleep(self.rng.uniform(0.01, 0.3))
        self.seen.messages.append(body)
        await asyncio.sleep(self.rng.uniform(0, 0.01))
        return "accepted"


def _no_probe(_endpoint: Endpoint) -> Any:
    return object()
