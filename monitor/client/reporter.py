"""Sends what was counted: one entry for each pool and second, at most once a second, from the view's own task.

A second that is over is cut off, written down once and sent until Redis confirms it, or until nobody would count it any more. So an
answer that was lost doubles nothing: observer and sequence are those of the first attempt. Nothing that a request does waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import socket
from collections import deque
from collections.abc import Callable
from os import getpid
from typing import Final

import msgspec
from redis.exceptions import RedisError

from monitor.client.connection import Connection
from monitor.client.counts import Cells, Counts, entries
from monitor.clock import Clock
from monitor.core.reports import OBSERVER_LENGTH_MAX, REPORT_BYTES_MAX, REPORT_LATE_MAX_MS, REPORT_SLOT_MS, Counters, Report, encode_report
from monitor.store import keys

logger = logging.getLogger("watchkeeper.client")

SPREAD_MS: Final = 250
"""So much later than a second ends its entries are sent, at most: not all consumers at once."""
FLUSH_TIMEOUT_S: Final = 1.0
"""How long closing waits for the last reports to arrive."""
WAITING_MAX: Final = 60
"""Seconds that wait for Redis, at most; then the oldest go. Older ones than the intake takes go first."""
REPORTING_MS: Final = 60_000
"""A service that has reported nothing for so long reports nothing."""
COUNTERS_WAITING_MAX: Final = 100_000
"""Different counters in all of them together."""

_taken: set[str] = set()
"""Names that views of this process use."""


class Reports(msgspec.Struct, frozen=True):
    """What became of reports: counts since the view began. `sent` and `waiting` count entries, the others calls.

    `dropped`: Redis was away for too long, or there was no room. `unknown`: of endpoints that no followed pool has. `refused`: with an
    outcome that is none.
    """

    sent: int
    waiting: int
    dropped: int
    unknown: int
    refused: int


class _Second(msgspec.Struct, frozen=True):
    """What was counted in a second, by this process's monotonic time: the server's may not be known yet."""

    at_ms: int
    cells: Cells


class _Entry(msgspec.Struct, frozen=True):
    pool: str
    slot_ms: int
    data: bytes
    calls: int


class Reporter:
    """Belongs to the event loop that runs it. `pool_of` names an endpoint's pool, None for one that no pool has."""

    def __init__(self, link: Connection, observer: str, counts: Counts, pool_of: Callable[[str], str | None], clock: Clock) -> None:
        self._link = link
        self._observer = observer
        self._counts = counts
        self._pool_of = pool_of
        self._clock = clock
        self._offset_ms: int | None = None
        """The server's time minus our monotonic one; None until it was read."""
        self._seconds: deque[_Second] = deque()
        self._entries: deque[_Entry] = deque()
        self._sequences: dict[str, itertools.count[int]] = {}
        self._counted_ms = -REPORTING_MS
        self._refused = False
        """Whether Redis refused an entry the last time; that is said once."""
        self._sent = self._dropped = self._unknown = 0

    def told(self) -> Reports:
        """What became of what was counted so far."""
        waiting = len(self._seconds) + len(self._entries)
        return Reports(self._sent, waiting, self._dropped + self._counts.dropped, self._unknown, self._counts.refused)

    @property
    def reporting(self) -> bool:
        """Whether a call was reported within the last REPORTING_MS."""
        if self._counts.waits:
            self._counted_ms = self._clock.monotonic_ms()
        return self._clock.monotonic_ms() < self._counted_ms + REPORTING_MS

    async def run(self) -> None:
        """Cut off each second as it ends, on the server's clock where that is known, and send what waits."""
        later_s = secrets.randbelow(SPREAD_MS) / 1_000
        sending: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(self._left_ms() / 1_000)
                self._cut(self._clock.monotonic_ms() - REPORT_SLOT_MS // 2)
                if (self._seconds or self._entries) and (sending is None or sending.done()):
                    sending = asyncio.create_task(self._send_after(later_s), name="watchkeeper-report")
        finally:
            if sending is not None:
                sending.cancel()

    async def flush(self) -> None:
        """Send what is there, once and within FLUSH_TIMEOUT_S."""
        self._cut(self._clock.monotonic_ms())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._send_after(0)

    # Cutting ----------------------------------------------------------------------------------------------------
    def _left_ms(self) -> int:
        """How long the present second lasts."""
        server_ms = self._clock.monotonic_ms() + (self._offset_ms or 0)
        return REPORT_SLOT_MS - server_ms % REPORT_SLOT_MS

    def _cut(self, at_ms: int) -> None:
        if cells := self._counts.take():
            self._counted_ms = self._clock.monotonic_ms()
            self._seconds.append(_Second(at_ms, cells))
        while len(self._seconds) > WAITING_MAX or sum(len(second.cells) for second in self._seconds) > COUNTERS_WAITING_MAX:
            self._dropped += sum(self._seconds.popleft().cells.values())

    def _write(self, offset_ms: int) -> None:
        """Write entries of what was cut off, and let go what nobody would count any more."""
        now_ms = self._clock.monotonic_ms() + offset_ms
        while self._seconds:
            second = self._seconds.popleft()
            slot_ms = (second.at_ms + offset_ms) // REPORT_SLOT_MS * REPORT_SLOT_MS
            pools, unknown = entries(second.cells, self._pool_of)
            self._unknown += unknown
            for pool, portions in pools.items():
                for counters in portions:
                    self._add(pool, slot_ms, counters, now_ms)
        while self._entries and self._entries[0].slot_ms + REPORT_SLOT_MS + REPORT_LATE_MAX_MS < now_ms:
            self._dropped += self._entries.popleft().calls

    def _add(self, pool: str, slot_ms: int, counters: dict[str, Counters], now_ms: int) -> None:
        """Write an entry, or two where it would be larger than an entry may be."""
        report = Report(observer=self._observer, seq=self._next(pool, now_ms), slot_ms=slot_ms, endpoints=counters)
        data = encode_report(report)
        if len(data) > REPORT_BYTES_MAX and len(counters) > 1:
            ids = list(counters)
            for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
                self._add(pool, slot_ms, {endpoint_id: counters[endpoint_id] for endpoint_id in half}, now_ms)
            return
        self._entries.append(_Entry(pool, slot_ms, data, sum(sum(one.calls.values()) for one in counters.values())))

    def _next(self, pool: str, now_ms: int) -> int:
        """The next sequence of a pool. It begins with the time, above all that a process of the same name gave before."""
        if pool not in self._sequences:
            self._sequences[pool] = itertools.count(now_ms)
        return next(self._sequences[pool])

    # Sending ----------------------------------------------------------------------------------------------------
    async def _send_after(self, later_s: float) -> None:
        try:
            await asyncio.sleep(later_s)
            if self._offset_ms is None:
                await self._send([])
            await self._send_entries()
        except (RedisError, OSError, TimeoutError, ValueError, TypeError) as error:  # The last two: an answer that is none.
            logger.debug("reports wait: %s", type(error).__name__)
        except Exception:
            logger.exception("reports cannot be sent")

    async def _send_entries(self) -> None:
        assert self._offset_ms is not None  # noqa: S101 - `_send` has read it, or raised.
        self._write(self._offset_ms)
        if self._entries:
            entries = list(self._entries)
            arrived = await self._send(entries)
            self._sent += len(arrived)
            gone = set(map(id, arrived))
            self._entries = deque(entry for entry in self._entries if id(entry) not in gone)

    async def _send(self, entries: list[_Entry]) -> list[_Entry]:
        """One exchange; returns the entries that arrived, each with its pool announced. It reads the server's time too."""
        pools = list(dict.fromkeys(entry.pool for entry in entries))
        asked_ms = self._clock.monotonic_ms()
        pipeline = self._link.redis.pipeline(transaction=False)
        pipeline.time()
        for entry in entries:
            pipeline.xadd(keys.reports(entry.pool), {b"r": entry.data}, maxlen=keys.REPORTS_LENGTH_MAX, approximate=True)
        for pool in pools:
            pipeline.zadd(keys.REPORTS, {pool: 0}, nx=True)
        time, *replies = await self._link.bounded(pipeline.execute(raise_on_error=False))
        if isinstance(time, Exception):  # It is loading, or full, or wants another password.
            raise time
        seconds, micros = map(int, time)
        read_ms = (asked_ms + self._clock.monotonic_ms()) // 2
        self._offset_ms = seconds * 1_000 + micros // 1_000 - read_ms
        refusals = [reply for reply in replies if isinstance(reply, Exception)]
        if refusals and not self._refused:
            logger.warning("Redis refuses reports: %s", refusals[0])
        self._refused = bool(refusals)
        added, announced = replies[: len(entries)], dict(zip(pools, replies[len(entries) :], strict=True))
        return [
            entry
            for entry, reply in zip(entries, added, strict=True)
            if not isinstance(reply, Exception) and not isinstance(announced[entry.pool], Exception)
        ]


def checked_observer(name: str) -> str:
    """The name if an observer may have it. Raises ValueError."""
    if not 0 < len(name) <= OBSERVER_LENGTH_MAX or not name.isprintable():
        raise ValueError(f"an observer's name has 1 to {OBSERVER_LENGTH_MAX} printable characters, not {name[:50]!r}")
    return name


def child_name(name: str) -> str:
    """The name of a child of the process that has this one."""
    return f"{name[: OBSERVER_LENGTH_MAX // 2]}:{getpid()}"


def take_name() -> str:
    """A name for a view of this process that gave none: host and process, and a number where the process has several views."""
    host = "".join(char for char in socket.gethostname() if char.isprintable())[: OBSERVER_LENGTH_MAX // 2]
    name = f"{host}:{getpid()}"
    for number in itertools.count(2):
        if name not in _taken:
            break
        name = f"{host}:{getpid()}:{number}"
    _taken.add(name)
    return name


def return_name(name: str) -> None:
    """Another view may take it."""
    _taken.discard(name)
