"""A process's heartbeat: it learns the server's time, shows that it lives, hands over its counts and does its duties."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from monitor.clock import Clock
from monitor.core.errors import StoreError
from monitor.core.parts import PartName
from monitor.core.process import Process, encode_process
from monitor.store.port import Store
from workers.journey.counters import Counters

log = logging.getLogger(__name__)


def process_name(part: PartName) -> str:
    """What tells this process apart from all others: "<part>:<host>:<pid>"."""
    return f"{part}:{platform.node()}:{os.getpid()}"


class Heartbeat:
    """Beats every `interval_ms` on the process's event loop until it is cancelled.

    `learn` reads the server's time into the process's clock, and comes first: a beat without it is none.
    `alive_file` is touched with each beat that reached the store: the cheapest health check that a container can have.
    `duties` run with each beat; a duty that fails is logged and tried again with the next.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        learn: Callable[[], Awaitable[bool]],
        counters: Counters,
        part: PartName,
        location: str,
        interval_ms: int,
        alive_file: Path | None,
        duties: Mapping[str, Callable[[], Awaitable[object]]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._learn = learn
        self._counters = counters
        self._part = part
        self._location = location
        self._interval_ms = interval_ms
        self._alive_file = alive_file
        self._duties = duties
        self._started_ms = 0
        self._tilted = False
        self.name = process_name(part)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(self._interval_ms / 1000)

    async def stop(self) -> None:
        """Hand over the last counts and deregister; a store that is gone has forgotten us already."""
        try:
            await self._store.count(self._counters.take())
            await self._store.deregister(self.name)
        except StoreError as error:
            log.info("left without deregistering: %s", error)

    async def beat(self) -> None:
        """Learn the time, write the heartbeat, hand over the counters, do the duties."""
        try:
            if not await self._learn():
                log.warning("the store answers too slowly to know the time by it")
            now_ms = self._clock.now_ms()
        except StoreError as error:
            log.warning("no heartbeat could be written: %s", error)
            return
        self._started_ms = self._started_ms or now_ms
        self._tell_tilt()
        increments = self._counters.take()
        p50, p99 = self._counters.take_lateness()
        process = Process(
            part=self._part,
            host=platform.node(),
            pid=os.getpid(),
            location=self._location,
            started_ms=self._started_ms,
            at_ms=now_ms,
            lateness_p50_ms=p50,
            lateness_p99_ms=p99,
            tilted=self._tilted,
        )
        try:
            await self._store.heartbeat(self.name, encode_process(process))
            if increments:
                await self._store.count(increments)
        except StoreError as error:
            self._counters.put_back(increments)
            log.warning("no heartbeat could be written: %s", error)
            return
        self._touch()
        for name, duty in self._duties.items():
            try:
                await duty()
            except StoreError as error:
                log.warning("%s waits: %s", name, error)
            except Exception:
                log.exception("%s failed", name)

    def _tell_tilt(self) -> None:
        if self._tilted != self._clock.tilted:
            self._tilted = self._clock.tilted
            text = "the server's time has stepped: recording, and judging nothing" if self._tilted else "judging again after a step of time"
            log.warning(text)

    def _touch(self) -> None:
        try:
            if self._alive_file is not None:
                self._alive_file.touch()
        except OSError as error:  # A health check will miss it; that is no reason to stop the heart.
            log.warning("the alive file cannot be touched: %s", error)
