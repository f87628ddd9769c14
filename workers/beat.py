"""Celery beat whose schedule is the store's due sets, claimed in one script, so that any number of beats may run."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import Any

from celery.beat import Scheduler
from kombu.exceptions import KombuError

from monitor.clock import ServerClock
from monitor.config.settings import find_redis_url, load_settings
from monitor.core.errors import StoreError
from monitor.core.parts import PartName
from monitor.core.process import STALE_AFTER_HEARTBEATS
from monitor.store.redis.store import RedisStore
from workers.journey.counters import Counters
from workers.journey.dispatch import Dispatcher, TaskMessage
from workers.runtime.heartbeat import Heartbeat
from workers.runtime.loop import new_loop
from workers.runtime.opening import open_store

PAUSE_S = 0.5
"""How long to wait after the store or the broker did not answer."""

log = logging.getLogger(__name__)


class ProbeScheduler(Scheduler):  # type: ignore[misc]
    """Calls the dispatcher at each tick and publishes what it returns, in one pipeline."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loop = new_loop()
        settings = load_settings()
        self._clock = clock = ServerClock()
        self._tick_s = settings.claim_tick_ms / 1000
        self._store = RedisStore(find_redis_url(settings), slots=settings.slots)
        self._loop.run_until_complete(open_store(self._store, clock, settings.store_wait_ms))
        self._dispatcher = Dispatcher(
            self._store, clock, batch_size=settings.batch_size, claim_limit=settings.claim_limit, waiting=self._waiting
        )
        age_max_ms = settings.heartbeat_ms * STALE_AFTER_HEARTBEATS
        self._heart = Heartbeat(
            store=self._store,
            clock=clock,
            learn=functools.partial(clock.learn, self._store.now_ms),
            counters=Counters(),
            part=PartName.BEAT,
            location=settings.location,
            interval_ms=settings.heartbeat_ms,
            alive_file=settings.alive_file,
            duties={"live workers": functools.partial(self._dispatcher.count_live, age_max_ms)},
        )
        self._heartbeat_ms = settings.heartbeat_ms
        self._next_heartbeat_ms = 0
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Nothing to set up: no endpoint is an entry of beat's own schedule."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Claim and publish; return the seconds until the next tick."""
        started_ms = self._clock.monotonic_ms()
        try:
            self._publish(self._loop.run_until_complete(self._work(started_ms)))
        except (StoreError, KombuError, OSError, *self.connection.connection_errors, *self.connection.channel_errors) as error:
            # What was claimed and not published (or perhaps published: kombu cannot tell of a batch) comes back when its lease expires.
            log.warning("nothing could be dispatched: %s", error)
            return PAUSE_S
        return max(0.001, self._tick_s - (self._clock.monotonic_ms() - started_ms) / 1000)

    async def _work(self, now_ms: int) -> list[TaskMessage]:
        if now_ms >= self._next_heartbeat_ms:
            self._next_heartbeat_ms = now_ms + self._heartbeat_ms
            await self._heart.beat()
        return await self._dispatcher.tick()

    def _waiting(self, queue: str) -> int:
        """How many messages nobody has taken yet."""
        return int(self.producer.channel.queue_declare(queue=queue).message_count)

    def _publish(self, messages: list[TaskMessage]) -> None:
        if not messages:
            return
        with self.producer.batch():
            for message in messages:
                self.app.send_task(
                    message.task,
                    args=message.args,
                    queue=message.queue,
                    producer=self.producer,
                    ignore_result=True,
                    retry=False,
                )

    def close(self) -> None:
        """Deregister and let go of the store.

        Celery calls this twice: in its signal handler, which may interrupt a tick inside the loop, and when the tick has unwound.
        """
        if self._loop.is_running() or self._loop.is_closed():
            return
        with contextlib.suppress(RuntimeError):  # A tick that the signal interrupted has left a stop in the loop: one turn takes it.
            self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._heart.stop())
        self._loop.run_until_complete(self._store.close())
        self._loop.close()
