"""Redis as a view talks to it: a few connections, and no exchange that takes longer than our patience."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from monitor.clock import Clock

logger = logging.getLogger("watchkeeper.client")

PATIENCE_MAX_S = 5.0
"""The longest that an exchange may take. What did not come in time is asked for again with twice the patience, up to this."""
PATIENCE_OF_EXCHANGES = 4
"""As many times as long as the last exchange took the next may take, if `timeout_ms` is shorter."""


class Connection:
    """`redis`, and how long its next exchange may take (`patience_s`): that depends on the last one."""

    def __init__(self, url: str, clock: Clock, *, timeout_ms: int, connections: int) -> None:
        self._clock = clock
        self._timeout_s = self.patience_s = timeout_ms / 1_000
        self.redis: Redis = Redis.from_url(
            url,
            protocol=2,  # Its greeting, and that of the library, would be exchanges more before the first state is here.
            driver_info=None,
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            max_connections=connections,
        )

    async def bounded(self, work: Awaitable[Any]) -> Any:
        """Wait for an exchange, a new connection included, as long as our patience lasts; how long it took makes that longer or shorter."""
        began_ms = self._clock.monotonic_ms()
        try:
            async with asyncio.timeout(self.patience_s):
                done = await work
        except TimeoutError:
            self.patience_s = min(2 * self.patience_s, max(self._timeout_s, PATIENCE_MAX_S))
            raise
        took_s = (self._clock.monotonic_ms() - began_ms) / 1_000
        self.patience_s = max(self._timeout_s, min(PATIENCE_OF_EXCHANGES * took_s, PATIENCE_MAX_S))
        return done

    async def close(self) -> None:
        """Drop the connections without waiting for a server that may be hung."""
        try:
            await self.redis.connection_pool.disconnect(inuse_connections=True)
        except (RedisError, OSError, TimeoutError) as error:
            logger.debug("while closing: %s", type(error).__name__)
