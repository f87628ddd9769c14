"""A small world around everything that the project ships: what exists in it, and how it lives from its first second to its calm."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - the weather comes from a seeded generator, which is the point of this folder.
from typing import Any

from monitor.core.errors import WatchkeeperError
from monitor.core.parts import PartName
from tests.simulation.broker import Broker
from tests.simulation.network import Network, run_now
from tests.simulation.operators import Operators
from tests.simulation.outside import Services, Targets
from tests.simulation.parts import QUEUE_OF, Machine, Part
from tests.simulation.seen import Seen
from tests.simulation.server import Server
from tests.simulation.vandal import Vandal
from tests.simulation.virtual import Life, VirtualLoop
from tests.simulation.weather import Weather

PARTS = (PartName.BEAT, PartName.BEAT, PartName.WORKER, PartName.WORKER, PartName.ALERT_WORKER, PartName.ALERT_WORKER)
SLOTS = 2


class World:
    """One run: `seed` and `weather` give the same story each time."""

    def __init__(self, seed: int, weather: Weather) -> None:
        self.loop = VirtualLoop()
        self.rng = random.Random(seed)
        self.seed = seed
        self.weather = weather
        self.seen = Seen()
        self.loop.set_exception_handler(self._uncaught)
        self.server = Server(self.loop, self.seen, SLOTS)
        self.network = Network(self.loop, self.server, self.rng, weather)
        self.server.network = self.network
        run_now(self.server.open(create=True))
        self.broker = Broker(self.loop, self.rng, weather, self._takers)
        self.targets = Targets(self.loop, self.rng, self.seen, self.server.time)
        self.services = Services(self.loop, self.rng, self.seen, weather)
        self.operators = Operators(self)
        self.vandal = Vandal(self)
        self.calm = False
        self.calm_at_ms = 0
        self.steps_ms: list[int] = []
        self.lost_ms = (-1, -1)
        """What the server was told from when to when it has forgotten."""
        self._parts: list[Part | None] = [None] * len(PARTS)
        self._births = 0
        self._from_s: dict[PartName, float] = {}
        """Until when processes of a kind are not started, seconds."""

    def note(self, text: str) -> None:
        """Write into the log of what happened."""
        self.seen.log.append(f"{self.loop.now_ms()} {text}")

    async def live(self) -> None:
        """Live in the weather, then let it clear, every target recover, and wait until all must be in order."""
        weather = self.weather
        await self.operators.begin()
        keepers = [asyncio.ensure_future(self._keep(number)) for number in range(len(PARTS))]
        troubles = [asyncio.ensure_future(trouble) for trouble in self._troubles()]
        await asyncio.sleep(weather.live_s)
        self.calm_down()
        for trouble in troubles:
            trouble.cancel()
        await self.operators.finish()
        self.calm_at_ms = self.loop.now_ms()
        await asyncio.sleep(weather.calm_s)
        for keeper in keepers:
            keeper.cancel()

    def calm_down(self) -> None:
        self.note("calm")
        self.calm = self.network.calm = self.broker.calm = self.services.calm = True
        self.targets.recover()

    # Processes ------------------------------------------------------------------------------------------------------

    async def _keep(self, number: int) -> None:
        """As the supervisor does: start the process again whenever it has ended."""
        while True:
            await asyncio.sleep(self._from_s.get(PARTS[number], 0.0) - self.loop.time())
            part = self.start(PARTS[number])
            self._parts[number] = part
            await part.life.ended
            await asyncio.sleep(0.1 if self.calm else self.rng.uniform(0.1, 3.0))

    def start(self, kind: PartName) -> Part:
        self._births += 1
        life = Life(f"{kind}-{self._births}", self.loop)
        part = Part(self, kind, life, Machine(self.loop, self.rng, self.weather.clock_skew_s, self.weather.clock_drift_ppm))
        self.note(f"{life.name} starts")
        task = life.start(part.run())
        task.add_done_callback(lambda done: self._ended(part, done))
        return part

    def _ended(self, part: Part, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        self.note(f"{part.life.name} ends by itself: {error}")
        part.life.kill()
        if error is not None and not isinstance(error, WatchkeeperError):
            self.seen.errors.append(f"{part.life.name} ended: {error!r}")

    def _uncaught(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.seen.errors.append(f"{self.loop.now_ms()} {context['message']}: {context.get('exception')!r}")

    def _takers(self, queue: str) -> list[Part]:
        return [part for part in self._parts if part and part.life.alive and part.open and QUEUE_OF.get(part.kind) == queue]

    # Weather --------------------------------------------------------------------------------------------------------

    def _troubles(self) -> list[Any]:
        weather = self.weather
        troubles = [self._turn_targets()]
        if weather.kill_every_s:
            troubles.append(self._kill())
        if weather.clock_skew_s:
            troubles.append(self._step_machines())
        if weather.outage_s:
            troubles.append(self._hang())
        if weather.no_beat_s:
            troubles.append(self._stop(PartName.BEAT, weather.no_beat_s))
        if weather.no_worker_s:
            troubles.append(self._stop(PartName.WORKER, weather.no_worker_s))
        if weather.restart:
            troubles.append(self._restart())
        if weather.flush:
            troubles.append(self._flush())
        if weather.server_steps_s:
            troubles.append(self._step_server())
        if weather.operate_every_s:
            troubles.append(self.operators.work())
        if weather.rubbish_every_s:
            troubles.append(self.vandal.work())
        return troubles

    async def _turn_targets(self) -> None:
        names = self.operators.names
        while True:
            await asyncio.sleep(self.rng.expovariate(len(names) / self.weather.flap_every_s))
            name = self.rng.choice(names)
            self.note(f"target {name} turns")
            self.targets.turn(name)

    async def _kill(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / self.weather.kill_every_s))
            part = self.rng.choice(self._parts)
            if part is None:
                continue
            if self.rng.random() < 0.25:  # Its successor dies while it opens.
                part.life.kill()
                await asyncio.sleep(self.rng.uniform(0.1, 3.2))
                part = next(one for one in self._parts if one is not None and one.kind == part.kind)
            self.seen.kills.append((self.loop.now_ms(), part.life.name))
            self.note(f"{part.life.name} is killed")
            part.life.kill()

    async def _step_machines(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 5.0))
            part = self.rng.choice(self._parts)
            if part is not None:
                part.machine.skew_ms = round(self.rng.uniform(-1, 1) * self.weather.clock_skew_s * 1000)

    async def _hang(self) -> None:
        await asyncio.sleep(self.rng.uniform(0.1, 0.9) * (self.weather.live_s - self.weather.outage_s))
        self.note("the server hangs")
        self.network.hang(self.weather.outage_s)

    async def _stop(self, kind: PartName, for_s: float) -> None:
        """Like a SIGSTOP of all processes of a kind that somebody ends with a SIGKILL: the others go on."""
        await asyncio.sleep(self.rng.uniform(0.2, 0.9) * (self.weather.live_s - for_s))
        self.note(f"every {kind} stops")
        self._from_s[kind] = self.loop.time() + for_s
        for part in self._parts:
            if part is not None and part.kind == kind:
                part.life.kill()

    async def _restart(self) -> None:
        await asyncio.sleep(self.rng.uniform(0.2, 0.9) * self.weather.live_s)
        backup, began_s = self.server.backup(), self.loop.time()
        await asyncio.sleep(self.rng.uniform(0.2, 1.0))
        self.note("the server restarts without its last second")
        self.lost_ms = (round(began_s * 1000), self.loop.now_ms())
        self.network.cut()
        self.server.restart(backup)
        self.operators.lost_since(began_s)

    async def _flush(self) -> None:
        await asyncio.sleep(self.rng.uniform(0.2, 0.8) * self.weather.live_s)
        self.note("all data are lost")
        self.lost_ms = (0, self.loop.now_ms())
        self.server.flush()
        self.operators.acts.clear()
        await asyncio.sleep(self.rng.uniform(0.5, 4.0))
        await self.operators.begin()

    async def _step_server(self) -> None:
        steps_s = self.weather.server_steps_s
        for step_s in self.rng.sample(steps_s, len(steps_s)):
            await asyncio.sleep(self.weather.live_s / (len(steps_s) + 1) * self.rng.uniform(0.5, 1.0))
            self.note(f"the server's time steps by {step_s} s")
            self.steps_ms.append(self.loop.now_ms())
            self.server.time.offset_ms += round(step_s * 1000)
