"""The web listener: does the system work, and what does it measure. An API and pages will grow on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from monitor.clock import Clock
from monitor.config.settings import Settings
from monitor.core.errors import StoreError
from monitor.core.parts import PartName
from monitor.core.process import STALE_AFTER_HEARTBEATS, decode_process
from monitor.query.readable import readable
from monitor.store.names import printable
from monitor.store.port import Store
from monitor.web.metrics import CONTENT_TYPE, render

NEEDED = (PartName.BEAT, PartName.WORKER, PartName.ALERT_WORKER)
"""A system without one of these does not do its work."""
STORE_TIMEOUT_S = 2.0
SCRAPE_TTL_MS = 1_000

log = logging.getLogger(__name__)

Background = Callable[[], Coroutine[Any, Any, None]]


def create_app(store: Store, settings: Settings, *, clock: Clock, background: Background | None = None) -> Starlette:
    """Return the ASGI application. It opens the store at its start; `background` runs for as long as it does."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(_open_store(store, background))
        running.add_done_callback(_ended)
        try:
            yield
        finally:
            running.cancel()
            await asyncio.wait([running])
            await store.close()

    pages = _Pages(store, settings, clock)
    routes = [Route("/-/healthy", pages.healthy), Route("/-/ready", pages.ready), Route("/metrics", pages.metrics)]
    return Starlette(routes=routes, lifespan=lifespan)


def _ended(running: asyncio.Task[None]) -> None:
    """A process that cannot show any more that it lives (its data set is another's) must not go on answering."""
    if not running.cancelled() and (error := running.exception()) is not None:
        log.critical("this process cannot do its work and ends: %s", error)
        os.kill(os.getpid(), signal.SIGTERM)


async def _open_store(store: Store, background: Background | None) -> None:
    """Open the store however long it takes: until then the listener answers, and says that it is not ready."""
    while True:
        try:
            await store.open()
            break
        except StoreError:
            await asyncio.sleep(0.2)
    if background is not None:
        await background()


class _Pages:
    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._max_age_ms = settings.heartbeat_ms * STALE_AFTER_HEARTBEATS
        self._scrape = b""
        self._scraped_ms = -SCRAPE_TTL_MS
        self._scraping = asyncio.Lock()

    async def healthy(self, _: Request) -> Response:
        """This process answers; nothing is said of the others."""
        return PlainTextResponse("ok\n")

    async def ready(self, _: Request) -> Response:
        """200 when the store answers and every part has a recent heartbeat, else 503 naming what is missing."""
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                hearts = await self._store.heartbeats(self._max_age_ms)
        except (StoreError, TimeoutError) as error:
            return _not_ready(["store"], str(error) or "the store does not answer")
        running = {process.part for heart in hearts.values() if (process := readable(decode_process, heart)) is not None}
        missing = [part for part in NEEDED if part not in running]
        if missing:
            return _not_ready(missing, "no heartbeat")
        return JSONResponse({"ready": True, "missing": [], "processes": sorted(map(printable, hearts))})

    async def metrics(self, _: Request) -> Response:
        """One scrape serves everybody for SCRAPE_TTL_MS."""
        async with self._scraping:
            now_ms = self._clock.monotonic_ms()
            if now_ms - self._scraped_ms >= SCRAPE_TTL_MS:
                try:
                    self._scrape = await render(self._store, self._clock.now_ms(), self._max_age_ms)
                except StoreError as error:
                    return PlainTextResponse(f"the store does not answer: {error}\n", status_code=503)
                self._scraped_ms = now_ms
        return Response(self._scrape, media_type=CONTENT_TYPE)


def _not_ready(missing: Sequence[str], why: str) -> Response:
    return JSONResponse({"ready": False, "missing": missing, "why": why}, status_code=503)
