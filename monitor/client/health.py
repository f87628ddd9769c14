"""The front of the client: one object, in threads or in asyncio, that never makes a request wait for Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from monitor.client import lastgood
from monitor.client.connection import Connection
from monitor.client.counts import Counts
from monitor.client.follow import Follower
from monitor.client.records import Change, EndpointView, Freshness, NoEndpoint, Staleness
from monitor.client.reporter import Reporter, Reports, checked_observer, child_name, return_name, take_name
from monitor.client.trial import TrialBlock
from monitor.client.trials import TrialDesk
from monitor.client.view import Fetch, Version, View
from monitor.client.watch import Watch
from monitor.clock import Clock, SystemClock
from monitor.core.policies.call import CallOutcome
from monitor.pool.snapshot import Snapshot
from monitor.store.redis_url import read_redis_url

logger = logging.getLogger("watchkeeper.client")

TICK_MS = 1_000
SAVE_EVERY_MS = 10_000
SAVE_UNCHANGED_EVERY_MS = 60_000
CLOSE_TIMEOUT_S = 2.0
REPORT_CONNECTIONS_MAX = 2

_SUCCESS, _FAILURE, _TIMEOUT = CallOutcome.SUCCESS.value, CallOutcome.FAILURE.value, CallOutcome.TIMEOUT.value
_views: weakref.WeakSet[HealthView] = weakref.WeakSet()


class HealthView:
    """The published pools as seen from here: `with HealthView(url) as view`, or `async with`.

    `timeout_ms` also bounds each exchange with a server that answers within it; a slower one gets more with each attempt, up to 5 s.
    `pools` names the pools to follow; None follows all. `cache_file` is a last-known-good file to start from when Redis is away.
    Entering waits for the first reading, good or bad, for `timeout_ms` at most; it never fails because Redis is away. A URL that nothing
    could use is a ConfigError at once.
    `observer` is the name under which it reports, one for each process that does; host and process id where there is none.
    Inside a process that forks, make the view after the fork, or at least start it then; a child reports under a name of its own.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        pools: Iterable[str] | None = None,
        cache_file: str | Path | None = None,
        observer: str | None = None,
        poll_ms: int = 3_000,
        timeout_ms: int = 1_000,
        clock: Clock | None = None,
    ) -> None:
        self._url = read_redis_url(redis_url).text
        self._only = None if pools is None else tuple(pools)
        self._cache_file = Path(cache_file) if cache_file is not None else None
        self._poll_ms = poll_ms
        self._timeout_ms = timeout_ms
        self._clock: Clock = clock or SystemClock()
        self._given_name = None if observer is None else checked_observer(observer)
        self._started_name = self._given_name
        self._observer = ""
        self._counts = Counts()
        self._reporter: Reporter | None = None
        self._watches: list[Watch] = []
        self._view = View(os.urandom, self._tell, self._wake)
        self._desk = TrialDesk(self._view, self._clock, self._is_reporting)
        self._wheels, self._gates = self._view.wheels, self._view.gates
        self._saved_ms = self._clock.monotonic_ms()
        self._saved_versions: dict[str, Version] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        _views.add(self)

    @classmethod
    def from_snapshots(cls, snapshots: Iterable[Snapshot]) -> Self:
        """A view that holds these pools as fresh and never reads Redis: for unit tests of services that balance with it."""
        self = cls("redis://localhost")
        for snapshot in snapshots:
            self._view.offer(snapshot, Fetch(snapshot.ts_ms, None, self._clock.monotonic_ms()))
        return self

    # Reading: no I/O, no lock -----------------------------------------------------------------------------------
    def pick(self, pool: str, *, shed: bool = False) -> EndpointView:
        """The endpoint for the next request: any 1000 picks of one version hold exactly the weights.

        With `shed` the fraction that the pool should refuse is refused here. Raises NoEndpoint when the pool is unknown or
        removed, when all its weights are 0, or when this request is shed. An endpoint that users try is given only together with a token,
        which this request holds until it is reported.
        """
        try:
            if shed and next(self._gates[pool]):
                raise NoEndpoint(pool, "shed", f"{self.shed(pool):.0%} of its requests should be refused, this one is")
            endpoint = next(self._wheels[pool])
            return self._desk.pick(pool, endpoint, self._wheels[pool]) if pool in self._view.trying else endpoint
        except (KeyError, StopIteration):
            raise self._refusal(pool) from None

    def state(self, endpoint_id: str) -> EndpointView:
        """What is known of an endpoint. Raises NoEndpoint when it is not in any pool followed."""
        try:
            return self._view.index[endpoint_id]
        except KeyError:
            raise NoEndpoint("", "gone", f"no endpoint {endpoint_id!r} in the pools followed") from None

    def endpoints(self, pool: str) -> tuple[EndpointView, ...]:
        """All endpoints of a pool, those without traffic too; empty when the pool is unknown."""
        return self._view.endpoints(pool)

    def pools(self) -> tuple[str, ...]:
        """The names of the pools known so far."""
        return self._view.pools()

    def freshness(self, pool: str) -> Staleness:
        """How old the knowledge about a pool is. A pool never read is COLD with age None."""
        return self._view.staleness(pool, self._clock.monotonic_ms())

    def shed(self, pool: str) -> float:
        """The fraction (0 to 1) of requests that the pool had better refuse, because what is left of it cannot serve them all."""
        snapshot = self._view.snapshot(pool)
        return snapshot.shed if snapshot and not self._expired(pool) else 0.0

    def panic(self, pool: str) -> float:
        """The fraction (0 to 1) of traffic that goes to endpoints that should have none, because too few are left."""
        snapshot = self._view.snapshot(pool)
        return snapshot.panic if snapshot and not self._expired(pool) else 0.0

    def watch(self, pool: str | None = None) -> Watch:
        """Changes of a pool's endpoints, or of all: `for change in view.watch()`, or `async for`."""
        watch = Watch(pool, self._unwatch)
        with self._view.lock:
            watch.push(
                Change(endpoint.pool, endpoint.id, None, endpoint, "known")
                for name in self._view.pools()
                for endpoint in self._view.endpoints(name)
            )
            self._watches.append(watch)
        return watch

    # Reporting: no I/O, and nothing raises -------------------------------------------------------------------------
    def report(
        self,
        endpoint: EndpointView | str,
        outcome: str | bool | None = None,
        duration_s: float | None = None,
        code: int | None = None,
        *,
        ok: bool | None = None,
    ) -> None:
        """Tell how a request to an endpoint ended: it is counted here, and told to everybody within a second or two.

        `outcome` is `success`, `failure`, `timeout`, or a word that says nothing against the endpoint: `rejected`, `short_circuited`,
        `ignored`, `cancelled`; `code` the HTTP status where there was one. `ok` (or a bool as `outcome`) stands for the first two.
        The local breaker hears of it too; it decides only while the published state has expired.
        """
        endpoint_id = endpoint if isinstance(endpoint, str) else getattr(endpoint, "id", "")
        if ok is not None:
            outcome = ok
        if outcome is True:
            outcome = _SUCCESS
        elif outcome is False:
            outcome = _FAILURE
        held = self._desk.held
        if not (held and endpoint_id in held and self._desk.end(endpoint_id, outcome, duration_s, code)):  # type: ignore[arg-type]
            self._counts.add(endpoint_id, outcome, duration_s, code)
        if outcome in (_FAILURE, _TIMEOUT):
            self._view.report(endpoint_id, False, self._clock.monotonic_ms())
        elif outcome == _SUCCESS and endpoint_id in self._view.local.streaks:
            self._view.report(endpoint_id, True, self._clock.monotonic_ms())

    def trial(self, endpoint: EndpointView | str) -> TrialBlock:
        """Try a half-open endpoint: `with view.trial("shop-1") as trial`, or `async with`. `trial` is None where this view may not try it
        now; otherwise the block is one request to `trial.endpoint`: leaving it is a success, an exception a failure, a cancellation
        nothing, unless `trial.report(outcome, code)` said how it went. Asking takes one exchange with Redis, `timeout_ms` at most."""
        endpoint_id = endpoint if isinstance(endpoint, str) else endpoint.id
        return TrialBlock(self._desk, endpoint_id, self._clock, self._timeout_ms)

    @property
    def observer(self) -> str:
        """The name under which this view reports, once it was started."""
        return self._observer

    @property
    def reports(self) -> Reports:
        """What became of what was reported so far."""
        return self._reporter.told() if self._reporter else Reports(0, 0, self._counts.dropped, 0, self._counts.refused)

    # Life -------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Follow Redis in a thread of our own. `with` does this."""
        tried = threading.Event()
        self._begin()
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._run(tried.set))
        self._thread = threading.Thread(target=self._serve, args=(self._loop, self._task), name="watchkeeper-view", daemon=True)
        self._thread.start()
        tried.wait(self._timeout_ms / 1_000)

    def close(self) -> None:
        """Stop following and end every watch. Does not wait for a server that hangs; what was read stays readable."""
        if self._thread is not None and self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # The loop has ended by itself.
                self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(CLOSE_TIMEOUT_S)
        self._end()

    async def astart(self) -> None:
        """Follow Redis in a task on the running loop. `async with` does this."""
        tried = asyncio.Event()
        self._begin()
        self._task = asyncio.create_task(self._run(tried.set), name="watchkeeper-view")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_ms / 1_000):
                await tried.wait()

    async def aclose(self) -> None:
        """As `close`, for a view that was started by `astart`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT_S)
        self._end()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.astart()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    # Inside -----------------------------------------------------------------------------------------------------
    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    async def _run(self, tried: Callable[[], None]) -> None:
        """Follow, report, let time pass, and keep the last-known-good file."""
        follower = Follower(self._url, self._view, self._clock, pools=self._only, poll_ms=self._poll_ms, timeout_ms=self._timeout_ms)
        following = asyncio.create_task(follower.run(tried), name="watchkeeper-follow")
        link = Connection(self._url, self._clock, timeout_ms=self._timeout_ms, connections=REPORT_CONNECTIONS_MAX)
        self._reporter = reporter = Reporter(link, self._observer, self._counts, self._view.pool_of, self._clock)
        reporting = asyncio.create_task(reporter.run(), name="watchkeeper-reports")
        trying = asyncio.create_task(self._desk.run(link, self._observer), name="watchkeeper-trials")
        try:
            while True:
                await asyncio.sleep(TICK_MS / 1_000)
                self._view.tick(self._clock.monotonic_ms())
                if self._save_is_due():
                    await asyncio.to_thread(self._save)
        finally:
            while not following.done():  # Before Python 3.12 the wait_for inside redis-py may swallow a cancellation.
                following.cancel()
                await asyncio.wait([following], timeout=0.05)
            await follower.close()
            reporting.cancel()
            trying.cancel()
            await asyncio.gather(reporter.flush(), self._desk.flush())
            await link.close()
            self._save()

    def _begin(self) -> None:
        self._observer = self._started_name or self._observer or take_name()
        if self._cache_file is not None:
            saved, away_ms = lastgood.read(self._cache_file, self._clock.now_ms())
            self._view.restore(saved, away_ms, self._clock.monotonic_ms())

    def _save_is_due(self) -> bool:
        """Changes are written soon, the age of what has not changed now and then."""
        since_ms = self._clock.monotonic_ms() - self._saved_ms
        return since_ms >= SAVE_UNCHANGED_EVERY_MS or (since_ms >= SAVE_EVERY_MS and self._view.versions() != self._saved_versions)

    def _save(self) -> None:
        if self._cache_file is None:
            return
        now_ms = self._clock.monotonic_ms()
        self._saved_ms, self._saved_versions = now_ms, self._view.versions()
        try:
            lastgood.write(self._cache_file, self._view.saved(now_ms), self._clock.now_ms())
        except OSError as error:
            logger.warning("the last-known-good file %s cannot be written: %s", self._cache_file, error)

    def _tell(self, changes: list[Change]) -> None:
        for watch in self._watches:
            watch.push(changes)

    def _wake(self) -> None:
        self._desk.wake()

    def _unwatch(self, watch: Watch) -> None:
        with self._view.lock, contextlib.suppress(ValueError):
            self._watches.remove(watch)

    def _end(self) -> None:
        if self._given_name is None:
            return_name(self._observer)
        for watch in tuple(self._watches):
            watch.close()

    def _forked(self) -> None:
        """In a child: what was counted is the parent's to report, under the parent's name; tokens, loop and thread are the parent's too."""
        self._counts, self._reporter, self._observer = Counts(), None, ""
        self._thread, self._loop, self._task = None, None, None
        self._view.lock = threading.RLock()
        if self._given_name is not None:
            self._started_name = child_name(self._given_name)
        self._desk = TrialDesk(self._view, self._clock, self._is_reporting)

    def _is_reporting(self) -> bool:
        return self._reporter is not None and self._reporter.reporting

    def _expired(self, pool: str) -> bool:
        return self.freshness(pool).freshness is Freshness.EXPIRED

    def _refusal(self, pool: str) -> NoEndpoint:
        snapshot = self._view.snapshot(pool)
        if snapshot is None:
            return NoEndpoint(pool, "unknown", "nothing is known of it (never published, or Redis has not been reached yet)")
        if snapshot.tombstone is True:
            return NoEndpoint(pool, "removed", "it was removed")
        return NoEndpoint(pool, "weightless", f"none of its {len(snapshot.endpoints)} endpoints may take traffic")


def _after_fork() -> None:
    for view in tuple(_views):
        view._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
