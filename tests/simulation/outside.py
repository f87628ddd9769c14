"""The world outside: targets that fail by turns, and services that accept messages, or do not."""

from __future__ import annotations

import asyncio
import hashlib
import random  # noqa: TID251 - the weather comes from a seeded generator, which is the point of this folder.
from collections import defaultdict
from collections.abc import Awaitable, Callable

from alert_rules.routes.route import Integration
from monitor.clock import Clock
from monitor.core.endpoint import Endpoint
from monitor.core.errors import DeliveryError
from monitor.core.outcome import FailureClass, Outcome, Result
from tests.simulation.seen import Seen, Start, Told
from tests.simulation.server import ServerTime
from tests.simulation.virtual import VirtualLoop, current_life
from tests.simulation.weather import Weather

SERVICES = 3
"""Services behind an address that stands for several."""
SKEW_MS = 1_000
"""By how much a process may know the server's time wrongly."""
CUT_OFF_S = 30.0
"""How long a sender waits for a service."""


class Targets:
    """What is probed. A target stays as it is until it is turned."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, seen: Seen, time: ServerTime) -> None:
        self._time = time
        self.failing: set[str] = set()
        self.down_since_s: dict[str, float] = {}
        self.spells: dict[str, list[tuple[float, float]]] = defaultdict(list)
        """From when to when (s) each target has failed."""
        self._loop = loop
        self._rng = rng
        self._seen = seen

    def turn(self, name: str) -> None:
        """Let a healthy target fail, and a failing one recover."""
        now_s = self._loop.time()
        if name in self.failing:
            self.failing.discard(name)
            self.spells[name].append((self.down_since_s.pop(name), now_s))
        else:
            self.failing.add(name)
            self.down_since_s[name] = now_s

    def recover(self) -> None:
        """Let every target be healthy from now on."""
        for name in sorted(self.failing):
            self.turn(name)

    async def probe(self, endpoint: Endpoint, clock: Clock, due_ms: int) -> Result:
        """What a prober finds, measured with the clock of its process."""
        self._seen.starts.append(Start(endpoint.id, self._loop.now_ms()))
        now_ms = self._time.now_ms()
        lease_ms, offset_ms = self._seen.leases.get((endpoint.id, due_ms), (now_ms, 0))
        if now_ms - lease_ms > SKEW_MS and offset_ms == self._time.offset_ms:
            self._seen.late.append(f"{endpoint.id} due at {due_ms} was probed {now_ms - lease_ms} ms after its lease had ended")
        started_ms, began_ms = clock.now_ms(), clock.monotonic_ms()
        hangs = self._rng.random() < 0.02
        await asyncio.sleep(endpoint.timeout_ms / 1000 if hangs else self._rng.uniform(0.001, 0.05))
        failing = endpoint.id in self.failing
        outcome, failure, text = Outcome.SUCCESS, None, ""
        if failing:
            outcome, failure, text = Outcome.FAILURE, FailureClass.STATUS, "status 500, want 2xx"
        elif hangs:
            outcome, text = Outcome.INCONCLUSIVE, "our own loop stood still"
        return Result(
            outcome=outcome,
            failure=failure,
            text=text,
            at_ms=clock.now_ms(),
            started_ms=started_ms,
            duration_ms=float(clock.monotonic_ms() - began_ms),
            scheduled_ms=due_ms,
        )


class Services:
    """Who is told. Addresses that contain `several` stand for SERVICES services, others for one."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, seen: Seen, weather: Weather) -> None:
        self.calm = False
        self._loop = loop
        self._rng = rng
        self._seen = seen
        self._weather = weather

    async def names(self, integration: Integration) -> tuple[str, ...]:
        """The services behind an address."""
        if "several" not in integration.url:
            return ("",)
        return tuple(hashlib.sha256(f"{integration.url}#{number}".encode()).hexdigest()[:8] for number in range(SERVICES))

    async def accept(self, integration: Integration, body: str, afresh: Callable[[], Awaitable[None]]) -> str:
        """Take a message, slowly, late or not at all; the sender may die of it before it can write its log."""
        calm, weather, rng = self.calm, self._weather, self._rng
        sent_ms = self._loop.now_ms()
        if not calm and rng.random() < weather.service_slow:
            await asyncio.sleep(rng.uniform(3.0, 1.2 * CUT_OFF_S))
            if rng.random() < 0.5:  # So long it took until its turn came, and not until the service answered.
                await afresh()
                sent_ms = self._loop.now_ms()
        else:
            await asyncio.sleep(rng.uniform(0.005, 0.3))
        if not calm and rng.random() < weather.service_refusal:
            raise DeliveryError("simulated: status 503", permanent=rng.random() < 0.1)
        reason, group, *lines = body.splitlines()
        life = current_life()
        assert life is not None
        told = Told(
            place=integration.log_key,
            group=group,
            reason=reason,
            lines=tuple(lines),
            sent_ms=sent_ms,
            at_ms=self._loop.now_ms(),
            delivery=asyncio.current_task(),
            sender=life,
        )
        self._seen.told.append(told)
        self._seen.log.append(f"{self._loop.now_ms()} told {told.place} {told.group} {reason}: {'; '.join(lines)}")
        if not calm and rng.random() < weather.kill_after_acceptance:
            self._seen.kills.append((self._loop.now_ms(), f"{life.name} after acceptance"))
            life.kill()
            await self._loop.create_future()
        await asyncio.sleep(rng.uniform(0, 0.01))
        if not calm and rng.random() < weather.service_slow / 4:
            told.unheard = True
            raise DeliveryError("simulated: no answer within 30 s", unheard=True)
        return "accepted"
