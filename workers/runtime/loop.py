"""One event loop per worker process, in a thread of its own, made when first needed.

Celery runs tasks in threads and knows nothing of asyncio; a loop per task would pay for its set-up with every batch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop as all of our processes use it."""
    import uvloop  # noqa: PLC0415 - only the processes that probe need it

    return uvloop.new_event_loop()


class LoopThread:
    """A running event loop that other threads hand coroutines to."""

    def __init__(self, name: str) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._name = name
        self._started: set[Future[None]] = set()

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, which runs in its own thread from the first call on."""
        with self._lock:
            if self._loop is None:
                self._loop = new_loop()
                threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True).start()
            return self._loop

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None) -> T:
        """Run `work` on the loop and wait for it; it is cancelled when the time is over (None: never)."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop())
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start `work` on the loop and return; what it raises is logged."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop())
        self._started.add(future)
        future.add_done_callback(self._ended)

    def _ended(self, future: Future[None]) -> None:
        self._started.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            log.error("work on the loop failed", exc_info=error)

    def turn(self) -> None:
        """Wait until the loop has come to what it is handed now."""
        come = threading.Event()
        self.loop().call_soon_threadsafe(come.set)
        come.wait()

    def drain(self, timeout_s: float) -> None:
        """Give what was started a little time to end."""
        wait(set(self._started), timeout_s)
