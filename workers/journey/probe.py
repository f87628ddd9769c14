"""Steps 3 and 4 of a result's journey: a batch of claimed endpoints is probed, each at its time."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from monitor.clock import Clock
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Outcome, Result
from monitor.probes.base import Probe
from workers.journey.counters import Counters
from workers.journey.decide import DecideStep, Probed
from workers.journey.endpoint_cache import EndpointCache, Prepared

WAVE_MS = 50
"""Probes that fall due within this time start together, so that the loop wakes once for them and not once for each."""

log = logging.getLogger(__name__)

Prober = Callable[[Endpoint, Probe, int], Awaitable[Result]]
"""Runs one probe with its retries; the time is that for which it was scheduled."""


class _Batch:
    """Waits until every result of one task is committed or given up."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.left = size
        self.loop = loop
        self.done: asyncio.Future[None] = loop.create_future()

    def ended(self) -> None:
        self.left -= 1
        if self.left <= 0 and not self.done.done():
            self.done.set_result(None)


class ProbeStep:
    """One per worker process, on its event loop."""

    def __init__(self, *, clock: Clock, cache: EndpointCache, prober: Prober, decide: DecideStep, counters: Counters) -> None:
        self._clock = clock
        self._cache = cache
        self._prober = prober
        self._decide = decide
        self._counters = counters
        self._batches: set[_Batch] = set()

    @property
    def in_flight(self) -> int:
        """How many claimed endpoints wait here for their time, are probed, or wait for their commit."""
        return sum(batch.left for batch in self._batches)

    async def probe_batch(self, slot: int, rev: int, items: Sequence[tuple[str, int, int]]) -> None:
        """Probe each (id, token, due) at its time, and return when all of their results are committed or given up."""
        loop = asyncio.get_running_loop()
        batch = _Batch(len(items), loop)
        self._batches.add(batch)
        try:
            await self._probe_batch(batch, slot, rev, items)
        finally:
            self._batches.discard(batch)

    async def _probe_batch(self, batch: _Batch, slot: int, rev: int, items: Sequence[tuple[str, int, int]]) -> None:
        loop = batch.loop
        prepared = await self._cache.ready(slot, rev, [item[0] for item in items])
        probes: list[asyncio.Task[None]] = []

        def start(together: Sequence[tuple[Prepared, int, int]]) -> None:
            now_ms = self._clock.now_ms()
            for one, token_ms, due_ms in together:
                if token_ms <= now_ms:  # Its lease has ended: it is due again, and another's.
                    self._counters.add("probes_expired")
                    batch.ended()
                else:
                    probes.append(loop.create_task(self._probe(batch, one, token_ms, due_ms)))

        now_ms, now_s = self._clock.now_ms(), loop.time()
        waves: dict[int, list[tuple[Prepared, int, int]]] = defaultdict(list)
        for endpoint_id, token_ms, due_ms in items:
            one = prepared.get(endpoint_id)
            if one is None:
                batch.ended()
                continue
            wait_ms = due_ms - now_ms
            waves[-(-due_ms // WAVE_MS) if 0 < wait_ms < one.endpoint.interval_ms else 0].append((one, token_ms, due_ms))
        start(waves.pop(0, ()))
        timers = [loop.call_at(now_s + (wave * WAVE_MS - now_ms) / 1000, start, together) for wave, together in waves.items()]
        try:
            await batch.done
        finally:
            for timer in timers:
                timer.cancel()
            for probe in probes:
                probe.cancel()

    async def _probe(self, batch: _Batch, prepared: Prepared, token_ms: int, due_ms: int) -> None:
        try:
            if prepared.probe is None:
                result = _cannot(prepared, due_ms, self._clock.now_ms())
            else:
                result = await self._prober(prepared.endpoint, prepared.probe, due_ms)
        except Exception:
            # A prober's own error says nothing of its target; the lease expires and the endpoint is probed again.
            log.exception("the prober of %s failed", prepared.endpoint.id)
            self._counters.add("prober_errors")
            batch.ended()
            return
        self._counters.probe(result, result.started_ms - due_ms)
        self._decide.submit(Probed(prepared, token_ms, result, batch.ended), batch.loop)


def _cannot(prepared: Prepared, due_ms: int, now_ms: int) -> Result:
    """The result of an endpoint that cannot be probed from here: our error, not its own."""
    return Result(
        outcome=Outcome.INCONCLUSIVE, at_ms=now_ms, started_ms=now_ms, duration_ms=0.0, scheduled_ms=due_ms, text=prepared.error, attempts=0
    )
