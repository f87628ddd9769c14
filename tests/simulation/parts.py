"""Our own processes, as they are shipped: the services, the tasks, the heartbeat and the dispatcher; only what they touch is made up."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random  # noqa: TID251 - the weather comes from a seeded generator, which is the point of this folder.
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from alert_rules.files.routing_file import parse_routing
from alert_rules.files.rule_file import load_rules, parse_rule_text
from alert_rules.notify.message import Compose, Escaping
from alert_rules.routes.route import Integration
from alert_rules.rules.rule import RuleSet
from monitor.clock import ServerClock
from monitor.config.settings import Settings
from monitor.core.endpoint import Endpoint
from monitor.core.errors import ConfigError, Stale, StoreError
from monitor.core.outcome import Result
from monitor.core.parts import PartName
from monitor.core.process import STALE_AFTER_HEARTBEATS
from tests.simulation.network import Link
from tests.simulation.virtual import Life, VirtualLoop, current_life
from workers import tasks
from workers.journey.counters import Counters
from workers.journey.dispatch import Dispatcher, TaskMessage
from workers.runtime import services as wiring
from workers.runtime.heartbeat import Heartbeat
from workers.runtime.opening import open_store
from workers.runtime.services import Services

if TYPE_CHECKING:
    from tests.simulation.world import World

QUEUE_OF = {PartName.WORKER: "probe", PartName.ALERT_WORKER: "alert"}
HEARTBEAT_MS = 2_000
TICK_S = 0.15
PAUSE_S = 0.5
UNFIT = "of-a-newer-release"
"""An option that no prober can be prepared with."""

ROUTING = """
route:
  receiver: people
  group_by: [pool, endpoint]
  group_wait: 2s
  group_interval: 5s
  repeat_interval: 1h
  routes:
    - {matchers: ['severity="critical"'], receiver: pager, group_by: [alertname], group_wait: 0s, continue: true}
    - {receiver: people}
receivers:
  - name: people
    apprise_configs:
      - url: "several://"
        body: &body |
          {{ reason }}
          {{ group }}
          {% for a in firing %}
          FIRING {{ a.fingerprint }} {{ a.starts_at }} {{ a.labels.alertname }}
          {%- set l = a.labels %} {{ l.endpoint or l.pool or l.subject or 'system' }}
          {% endfor %}
          {% for a in resolved %}
          RESOLVED {{ a.fingerprint }} {{ a.starts_at }} {{ a.labels.alertname }}
          {%- set l = a.labels %} {{ l.endpoint or l.pool or l.subject or 'system' }}
          {% endfor %}
  - name: pager
    apprise_configs: [{url: "one://", body: *body}]
"""


RULES = """
groups:
  - name: words
    rules:
      - {alert: Drained, expr: 'override == "DRAIN"', labels: {severity: info}}
      - {alert: Forced, expr: 'override == "FORCED_OPEN"', labels: {severity: info}}
"""


class Machine:
    """Where a process runs: its own wall clock, which is wrong and may step, and a monotonic clock, which nearly is not."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, skew_s: float, drift_ppm: float) -> None:
        self._loop = loop
        self._origin_ms = rng.randrange(1_000_000_000)
        self._rate = 1.0 + rng.uniform(-drift_ppm, drift_ppm) / 1_000_000
        self.skew_ms = round(rng.uniform(-skew_s, skew_s) * 1000)

    def wall_ms(self) -> int:
        """The wall clock's reading, counted from the beginning of the world."""
        return int(self._loop.time() * 1000) + self.skew_ms

    def monotonic_ms(self) -> int:
        return self._origin_ms + int(self._loop.time() * 1000 * self._rate)


class Part:
    """One process of ours: `run` is its main program, which ends only by a kill or by an error of its own."""

    def __init__(self, world: World, kind: PartName, life: Life, machine: Machine) -> None:
        self.world = world
        self.kind = kind
        self.life = life
        self.machine = machine
        self.link: Any = Link(world.network, life)
        self.clock = ServerClock(machine.monotonic_ms)
        self.services: Services | None = None
        self.open = False
        life.part = self

    async def run(self) -> None:
        settings = _settings()
        await open_store(self.link, self.clock, settings.store_wait_ms)
        if self.kind == PartName.BEAT:
            await self._beat(settings)
            return
        failure = 0.0 if self.world.calm else self.world.weather.start_failure
        if failure and self.world.rng.random() < failure:
            raise ConfigError("the rules cannot be read")
        self.services = Services(settings, self.kind, self.link, self.clock)
        self.services.heart.name = self.name
        running = [asyncio.ensure_future(work()) for work in self.services.background]
        self.open = True
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.life.name}"

    def take(self, message: TaskMessage) -> None:
        """Do what the task of a message does, in this process."""
        self.life.context().run(tasks.app.tasks[message.task].run, *message.args)

    async def _beat(self, settings: Settings) -> None:
        """As workers.beat does it, without Celery's scheduler around it."""
        dispatcher = Dispatcher(
            self.link, self.clock, batch_size=20, claim_limit=settings.claim_limit, waiting=lambda queue: self.world.broker.waiting[queue]
        )
        age_max_ms = HEARTBEAT_MS * STALE_AFTER_HEARTBEATS
        heart = Heartbeat(
            store=self.link,
            clock=self.clock,
            learn=functools.partial(self.clock.learn, self.link.now_ms),
            counters=Counters(),
            part=PartName.BEAT,
            location="",
            interval_ms=settings.heartbeat_ms,
            alive_file=None,
            duties={"live workers": functools.partial(dispatcher.count_live, age_max_ms)},
        )
        heart.name = self.name
        next_beat_ms = 0
        while True:
            pause_s = TICK_S
            try:
                if self.clock.monotonic_ms() >= next_beat_ms:
                    next_beat_ms = self.clock.monotonic_ms() + HEARTBEAT_MS
                    await heart.beat()
                for message in await dispatcher.tick():
                    self.world.broker.post(message)
            except StoreError:
                pause_s = PAUSE_S
            await asyncio.sleep(pause_s)


class _Runtime:
    """Stands for the one runtime that a real process has."""

    @property
    def services(self) -> Services:
        return current_life().part.services  # type: ignore[union-attr]

    def admit(self, _leases: Any) -> bool:
        return True

    def start(self, work: Any) -> None:
        life = current_life()
        life.start(work).add_done_callback(functools.partial(_note_error, life.part))  # type: ignore[union-attr]

    def count(self, name: str, by: int) -> None:
        self.services.counters.add(name, by)


def _note_error(part: Part, task: asyncio.Task[None]) -> None:
    """What work raises the real loop logs; an error of the store is expected there, any other is an error of ours."""
    error = task.exception()
    if error is not None and not isinstance(error, StoreError | Stale):
        part.world.seen.errors.append(f"{part.life.name}: {error!r}")


async def _probe(endpoint: Endpoint, _probe: object, context: ServerClock, due_ms: int) -> Result:
    return await current_life().part.world.targets.probe(endpoint, context, due_ms)  # type: ignore[union-attr]


def _prepare(endpoint: Endpoint) -> Any:
    if UNFIT in endpoint.options:
        raise TypeError("an option of another shape")
    return endpoint


async def _send(integration: Integration, compose: Compose, afresh: Callable[[], Awaitable[None]], _patience_s: float) -> str:
    return await current_life().part.world.services.accept(integration, compose(Escaping()).body, afresh)  # type: ignore[union-attr]


async def _services(integration: Integration) -> tuple[Integration, ...]:
    names = await current_life().part.world.services.names(integration)  # type: ignore[union-attr]
    return tuple(integration.of_service(name, alone=len(names) == 1) for name in names)


@functools.cache
def rules() -> RuleSet:
    """The shipped rules, and some about what operators say."""
    shipped, more = load_rules(), parse_rule_text(RULES)
    return RuleSet((*shipped.rules, *more.rules), shipped.version + more.version)


@functools.cache
def _settings() -> Settings:
    return Settings(heartbeat_ms=HEARTBEAT_MS, alerting="-")  # type: ignore[arg-type]


@contextlib.contextmanager
def outside_replaced() -> Iterator[None]:
    """Let the shipped wiring reach the simulated outside instead of sockets, files and threads."""
    with (
        mock.patch.dict(os.environ, REDIS_URL="redis://nowhere.test:1/0"),  # Celery reads its configuration with its first task.
        mock.patch.object(tasks, "RUNTIME", _Runtime()),
        mock.patch.multiple(
            wiring,
            load_rules=lambda _: rules(),
            load_routing=functools.cache(lambda _: parse_routing(ROUTING)),
            make_context=lambda clock, *_, **__: clock,
            prepare=_prepare,
            run_probe=_probe,
            process_name=lambda _: current_life().part.name,
            Receivers=lambda _: SimpleNamespace(send=_send),
            services=_services,
            warm_up=lambda: None,
        ),
    ):
        yield
