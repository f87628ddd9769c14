"""A process's sign of life, and what it does between results: the evaluator's heartbeat, counters, the system's own rules."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from alert_rules.rules.facts import system_facts
from alert_rules.rules.rule import RuleSet, evaluate
from monitor.clock import Clock
from monitor.core.errors import ConfigError, StoreError
from monitor.core.record import next_version
from monitor.core.tilt import Tilt
from monitor.store.port import Queue, Store
from workers.journey.alerting import decode_sent
from workers.journey.counters import Counters
from workers.journey.records import decode_states, encode_states

STALE_AFTER_HEARTBEATS = 5
SYSTEM = "system"
DEAD_WINDOW_MS = 3_600_000
DEAD_LOOKED_AT = 100

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One of our processes as it describes itself (store.keys: procs)."""

    part: str
    host: str
    pid: int
    location: str = ""
    started_ms: int
    at_ms: int
    lateness_p50_ms: int = 0
    lateness_p99_ms: int = 0
    tilted: bool = False


decode_process = msgspec.json.Decoder(Process).decode


class Heartbeat:
    """Beats every `interval_ms` on the process's event loop until it is cancelled.

    `alive_file` is touched with each beat that reached the store: the cheapest health check that a container can have.
    `duties` run with each beat; a duty that fails is logged and tried again with the next.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        counters: Counters,
        part: str,
        location: str,
        interval_ms: int,
        alive_file: Path | None,
        duties: Mapping[str, Callable[[], Awaitable[None]]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._counters = counters
        self._part = part
        self._location = location
        self._interval_ms = interval_ms
        self._alive_file = alive_file
        self._duties = duties
        self._started_ms = clock.now_ms()
        self._tilt = Tilt()
        self.name = f"{part}:{platform.node()}:{os.getpid()}"

    async def run(self) -> None:
        """Beat for ever. A data set that was made anew with another number of slots is not this process's: it ends."""
        while True:
            try:
                await self.beat()
            except ConfigError as error:
                give_up(error)
                return
            await asyncio.sleep(self._interval_ms / 1000)

    async def stop(self) -> None:
        """Hand over the last counts and take the sign of life back; a store that is gone has forgotten it already."""
        try:
            await self._store.count(self._counters.take())
            await self._store.deregister(self.name)
        except StoreError as error:
            log.info("left without a word: %s", error)

    async def beat(self) -> None:
        """Write the sign of life, hand over the counters, do the duties."""
        increments = self._counters.take()
        p50, p99 = self._counters.take_lateness()
        now_ms = self._clock.now_ms()
        self._tilt = self._tilt.observe(now_ms, self._clock.monotonic_ms())
        process = Process(
            part=self._part,
            host=platform.node(),
            pid=os.getpid(),
            location=self._location,
            started_ms=self._started_ms,
            at_ms=now_ms,
            lateness_p50_ms=p50,
            lateness_p99_ms=p99,
            tilted=self._tilt.tilted,
        )
        try:
            await self._store.heartbeat(self.name, _encode(process))
            if increments:
                await self._store.count(increments)
        except StoreError as error:
            self._counters.put_back(increments)
            log.warning("no sign of life could be written: %s", error)
            return
        self._touch()
        for name, duty in self._duties.items():
            try:
                await duty()
            except StoreError as error:
                log.warning("%s waits: %s", name, error)
            except Exception:
                log.exception("%s failed", name)

    def _touch(self) -> None:
        try:
            if self._alive_file is not None:
                self._alive_file.touch()
        except OSError as error:  # A health check will miss it; that is no reason to stop the heart.
            log.warning("the alive file cannot be touched: %s", error)


def give_up(error: ConfigError) -> None:
    """End this process, as one that was told to stop: what supervises it starts it again, and it reads its settings afresh."""
    log.critical("this process cannot do its work and ends: %s", error)
    os.kill(os.getpid(), signal.SIGTERM)


async def look_at_ourselves(store: Store, clock: Clock, rules: RuleSet, max_age_ms: int, route: Callable[[int], None]) -> None:
    """Let the rules about Watchkeeper itself look: lag, missing processes, notifications given up."""
    processes = [decode_process(data) for data in (await store.heartbeats(max_age_ms)).values()]
    parts = Counter(process.part for process in processes)
    overdue, overdue_ms = await store.due_overdue()
    facts = system_facts(
        overdue_endpoints=overdue,
        overdue_ms=overdue_ms,
        lateness_ms=max((process.lateness_p99_ms for process in processes), default=0),
        workers=parts["worker"],
        alert_workers=parts["alert-worker"],
        beats=parts["beat"],
        groups_overdue_ms=await store.overdue(Queue.GROUPS, 0),
        deliveries_overdue_ms=await store.overdue(Queue.DELIVERIES, 0),
        tilted=any(process.tilted for process in processes),
        dead_deliveries=await _dead_deliveries(store, clock.now_ms() - DEAD_WINDOW_MS),
    )
    ver, data = await store.load_subject(SYSTEM)
    states = decode_states(data)
    evaluation = evaluate(rules, {}, None, facts, states, clock.now_ms())
    if evaluation.states == states and not evaluation.events:
        return
    if (
        await store.commit_subject(
            SYSTEM, ver, next_version(ver, clock.now_ms()), encode_states(evaluation.states), alerts=list(map(_encode, evaluation.events))
        )
        and evaluation.events
    ):
        route(0)


async def _dead_deliveries(store: Store, since_ms: int) -> int:
    """How many of the last DEAD_LOOKED_AT notifications were given up since then."""
    sent = [decode_sent(data) for _, data in await store.sent(DEAD_LOOKED_AT)]
    return sum(not one.delivered and one.at_ms >= since_ms for one in sent)
