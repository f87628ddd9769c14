"""Listening for alert events, so that they are routed as they are written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from monitor.core.errors import StoreError
from monitor.store.port import Store

AGAIN_S = 1.0
"""How long to wait before listening again after the connection was lost."""

log = logging.getLogger(__name__)


async def listen(store: Store, route: Callable[[int], None]) -> None:
    """Call `route` with each slot whose stream has new events, until cancelled. What a lost connection misses is read when it is back."""
    while True:
        began = asyncio.Event()
        listening = asyncio.ensure_future(store.listen(route, began.set))
        catching_up = asyncio.ensure_future(_catch_up(store, route, began))
        try:
            await listening
        except StoreError as error:
            log.info("listening again in %g s: %s", AGAIN_S, error)
        except Exception:
            log.exception("listening for alert events failed")
        finally:
            listening.cancel()
            catching_up.cancel()
        await asyncio.sleep(AGAIN_S)


async def _catch_up(store: Store, route: Callable[[int], None], began: asyncio.Event) -> None:
    await began.wait()
    try:
        for slot in await store.streams():
            route(slot)
    except StoreError as error:
        log.info("what was written meanwhile waits for beat: %s", error)
