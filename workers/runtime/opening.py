"""The start of a process: the store open and the server's time known, before anything else is done."""

from __future__ import annotations

import asyncio
import logging

from monitor.clock import ServerClock
from monitor.core.errors import StoreError
from monitor.store.port import Store

RETRY_S = 0.5
TELL_EVERY_S = 10.0

log = logging.getLogger(__name__)


async def open_store(store: Store, clock: ServerClock, wait_ms: int) -> None:
    """Open the store and learn the server's time, waiting up to `wait_ms` for a server that does not answer yet, and saying so.

    Raises StoreError when it still does not answer: a process that cannot work must end, so that somebody sees it.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + wait_ms / 1000
    tell_at = loop.time()
    while True:
        try:
            await _open(store, clock)
        except StoreError as error:
            await store.close()
            if loop.time() >= ends_at:
                raise StoreError(f"given up after {wait_ms / 1000:g} s: {error}") from error
            if loop.time() >= tell_at:
                tell_at = loop.time() + TELL_EVERY_S
                log.warning("waiting for the store, for %.0f s at most: %s", ends_at - loop.time(), error)
        else:
            return
        await asyncio.sleep(RETRY_S)


async def _open(store: Store, clock: ServerClock) -> None:
    await store.open()
    if not await clock.learn(store.now_ms):
        raise StoreError("the store answers too slowly to know the time by it")
