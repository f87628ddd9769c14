"""The one loop that reads Redis for a view: a task on the consumer's event loop, or on a loop in a thread of the view's own.

Every exchange is bounded: by `timeout_ms` with a server that answers in that time, by more with one that is slow and alive. Nothing that a
request does waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
from redis.asyncio.client import Pipeline, PubSub
from redis.exceptions import RedisError

from monitor.client.connection import Connection
from monitor.client.view import NOBODY, NOTHING, Fetch, Version, View
from monitor.clock import Clock
from monitor.core.errors import DECODE_ERRORS
from monitor.pool.snapshot import Delta, Snapshot, sound
from monitor.store import keys

logger = logging.getLogger("watchkeeper.client")

BATCH_MAX = 64
"""Snapshots read in one round trip."""
DELTAS_MAX = 100
"""A view further behind than this reads the snapshot, which is then the smaller answer."""
HEAD = {"start": 0, "end": 511}
"""Bytes of a snapshot that hold its version."""
RETRY_MIN_MS = 100
CONNECTIONS_MAX = 4

_HEAD = re.compile(rb'\{"schema":\d+,"pool":"(?:[^"\\]|\\.)*","epoch":(\d+),"ver":(\d+),')
_CHANNEL_PREFIX, _, _CHANNEL_SUFFIX = keys.channel("\0").partition("\0")
_snapshot = msgspec.json.Decoder(Snapshot)
_names = msgspec.json.Decoder(list[str]).decode
_delta = msgspec.json.Decoder(Delta)


class Follower:
    """Keeps `view` in step with Redis until its task is cancelled. `pools` None follows every pool there is."""

    def __init__(self, url: str, view: View, clock: Clock, *, pools: Iterable[str] | None, poll_ms: int, timeout_ms: int) -> None:
        self._view = view
        self._clock = clock
        self._only = None if pools is None else frozenset(pools)
        self._poll_ms = poll_ms
        self._link = Connection(url, clock, timeout_ms=timeout_ms, connections=CONNECTIONS_MAX)
        self._heard_ms = 0
        self._connected = False

    async def run(self, tried: Callable[[], None]) -> None:
        """Follow for ever; `tried` is called at the end of every first reading, good or bad."""
        retry_ms = RETRY_MIN_MS
        while True:
            try:
                await self._session(tried)
            except (RedisError, OSError, TimeoutError) as error:
                self._lost(error)
            except Exception:
                logger.exception("the view cannot be followed")
            if self._connected:
                retry_ms = RETRY_MIN_MS
            self._connected = False
            tried()
            await asyncio.sleep(_jittered(retry_ms))
            retry_ms = min(retry_ms * 2, self._poll_ms)

    async def close(self) -> None:
        """Drop the connections without waiting for a server that may be hung."""
        await self._link.close()

    # One connection's life --------------------------------------------------------------------------------------
    async def _session(self, tried: Callable[[], None]) -> None:
        """Subscribe first, then read, so that no change falls between the two; then hints as they come, and a poll anyway."""
        async with self._link.redis.pubsub() as pubsub:
            await self._link.bounded(self._subscribe(pubsub))
            await self._poll()
            self._found()
            tried()
            self._heard_ms = self._clock.monotonic_ms()
            while True:
                async with asyncio.timeout(self._link.patience_s):
                    await pubsub.ping()
                await self._hints(pubsub, self._clock.monotonic_ms() + round(_jittered(self._poll_ms) * 1_000))
                if self._clock.monotonic_ms() - self._heard_ms > 2 * self._poll_ms + self._link.patience_s * 1_000:
                    raise TimeoutError("the channel is silent")
                await self._poll()

    async def _subscribe(self, pubsub: PubSub) -> None:
        """Returns when the server has confirmed it: what is read before may be older than the first hint."""
        if self._only is None:
            await pubsub.psubscribe(keys.channel("*"))
        else:
            await pubsub.subscribe(*map(keys.channel, sorted(self._only)))
        for _ in self._only or "*":
            await pubsub.get_message(timeout=None)

    async def _hints(self, pubsub: PubSub, until_ms: int) -> None:
        """Follow hints until the time of the next poll."""
        while (left_ms := until_ms - self._clock.monotonic_ms()) > 0:
            message = await pubsub.get_message(timeout=left_ms / 1_000)
            hinted: dict[str, Version] = {}
            while message is not None:
                self._heard_ms = self._clock.monotonic_ms()
                if message["type"] in ("message", "pmessage") and (pool := _pool_of(message["channel"])) is not None:
                    hinted[pool] = max(_hinted(message["data"]), hinted.get(pool, NOTHING))
                message = await pubsub.get_message(timeout=0)
            news = [pool for pool, version in hinted.items() if version > self._view.version(pool)]
            if news:
                await self._refresh(news)

    def _found(self) -> None:
        if not self._connected:
            self._connected = True
            logger.info("following %d pools", len(self._view.pools()))

    def _lost(self, error: Exception) -> None:
        if self._connected:
            logger.warning("Redis is lost (%s); the last weights are kept", type(error).__name__)

    # Reading ----------------------------------------------------------------------------------------------------
    async def _poll(self) -> None:
        """Compare the head of every snapshot with what we have, at a cost that does not grow with the pools' size."""
        names = self._only if self._only is not None else {*self._view.pools(), *await self._names()}
        known: list[str] = []
        new: list[str] = []
        for pool in sorted(names):
            (new if self._view.version(pool) == NOTHING else known).append(pool)
        await self._refresh(new)
        for batch in _batches(known, BATCH_MAX * 16):
            heads, fetch = await self._read([partial(Pipeline.getrange, key=keys.snapshot(pool), **HEAD) for pool in batch])
            stale = []
            for pool, head in zip(batch, heads, strict=True):
                if head == b"":
                    self._view.missing(pool)
                elif _version(head) != self._view.version(pool):
                    stale.append(pool)
                else:
                    self._view.confirm(pool, fetch)
            await self._refresh(stale)

    async def _names(self) -> set[str]:
        (names,), _ = await self._read([partial(Pipeline.smembers, name=keys.POOLS)])
        return set() if isinstance(names, Exception) else {name for stored in names if (name := _text(stored)) is not None}

    async def _refresh(self, pools: list[str]) -> None:
        """Bring pools up to date: from their logs where we follow on, else from their snapshots."""
        for batch in _batches(pools, BATCH_MAX):
            known = [pool for pool in batch if self._view.version(pool) != NOTHING]
            behind = set(batch) - set(known)
            if known:
                behind |= await self._read_logs(known)
            if behind:
                await self._read_snapshots(sorted(behind))

    async def _read_logs(self, pools: list[str]) -> set[str]:
        """Read each log from our version on. Returns the pools for which that was not enough."""
        behind = set()
        after = {pool: "({}-{}".format(*self._view.version(pool)) for pool in pools}
        logs, fetch = await self._read([partial(Pipeline.xrange, name=keys.log(pool), min=after[pool], count=DELTAS_MAX) for pool in pools])
        for pool, entries in zip(pools, logs, strict=True):
            try:
                deltas = [_delta.decode(fields[b"d"]) for _, fields in entries]
            except (TypeError, KeyError, *DECODE_ERRORS):
                deltas = []
            if not 0 < len(deltas) < DELTAS_MAX or not self._view.advance(pool, deltas, fetch):
                behind.add(pool)
        return behind

    async def _read_snapshots(self, pools: list[str]) -> None:
        documents, fetch = await self._read([partial(Pipeline.get, name=keys.snapshot(pool)) for pool in pools])
        for pool, document in zip(pools, documents, strict=True):
            if document is None:
                self._view.missing(pool)
                continue
            try:
                snapshot = _snapshot.decode(document)
            except (TypeError, *DECODE_ERRORS) as error:
                logger.warning("the snapshot of pool %r cannot be read: %s", pool, error)
                continue
            if snapshot.pool == pool and not self._view.offer(snapshot, fetch) and not sound(snapshot):
                logger.warning("the snapshot of pool %r breaks the contract", pool)

    async def _read(self, commands: list[Callable[[Pipeline], Any]]) -> tuple[list[Any], Fetch]:
        """One round trip for all commands, the server's clock and the heartbeat. An error of one key is its answer."""
        at_ms = self._clock.monotonic_ms()
        pipeline = self._link.redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.get(keys.ALIVE)
        for command in commands:
            command(pipeline)
        (seconds, micros), alive, *replies = await self._link.bounded(pipeline.execute(raise_on_error=False))
        server_ms = int(seconds) * 1_000 + int(micros) // 1_000
        alive_ms, lagging = _heartbeat(alive)
        return replies, Fetch(server_ms, alive_ms, at_ms, lagging)


def _jittered(ms: int) -> float:
    """Seconds, between three and five quarters of `ms`, so that consumers do not come all at once."""
    return ms * (750 + secrets.randbelow(501)) / 1_000_000


def _batches(names: list[str], size: int) -> Iterable[list[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def _text(name: bytes) -> str | None:
    """A name as text; None for what is no UTF-8, which a snapshot cannot name and so no pool is called."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _pool_of(channel: bytes) -> str | None:
    """The pool that a channel of hints belongs to; None where its name is no text."""
    name = _text(channel)
    return None if name is None else name.removeprefix(_CHANNEL_PREFIX).removesuffix(_CHANNEL_SUFFIX)


def _hinted(data: bytes) -> Version:
    """The version that a hint names; a hint that cannot be read is worth a look."""
    epoch, _, ver = data.partition(b"-")
    try:
        return int(epoch), int(ver)
    except ValueError:
        return 1 << 63, 0


def _version(head: Any) -> Version | None:
    """The version at the head of a snapshot, whose order of fields is part of the contract."""
    found = _HEAD.match(head) if isinstance(head, bytes) else None
    return (int(found[1]), int(found[2])) if found else None


def _heartbeat(value: Any) -> tuple[int | None, frozenset[str]]:
    """The heartbeat's time and the pools that it names as lagging; nothing where it is missing or cannot be read."""
    if not isinstance(value, bytes):
        return None, NOBODY
    at_ms, _, names = value.partition(b" ")
    try:
        return int(at_ms), frozenset(_names(names)) if names else NOBODY
    except DECODE_ERRORS:
        return None, NOBODY
