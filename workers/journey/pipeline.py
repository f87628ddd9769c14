"""The journey of one result, top to bottom: probe, load, decide, commit, then publish and alert.

Nothing here knows Celery, and nothing decides: decisions are made by monitor.core and alert_rules from the values that
are read here, and written by the store in one commit that a lost lease or a newer record refuses.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from alert_rules.rules.facts import endpoint_facts
from alert_rules.rules.rule import RuleSet, evaluate, resolve
from monitor.clock import Clock
from monitor.core.decide import decide
from monitor.core.endpoint import Endpoint
from monitor.core.errors import Stale, StoreError
from monitor.core.history import RowWrite
from monitor.core.outcome import Outcome, Result
from monitor.core.record import EndpointState, Override, next_version
from monitor.core.tilt import Tilt
from monitor.core.verdict import SILENT_INTERVALS, silent_after_ms
from monitor.pool.snapshot import TTL_MS
from monitor.probes.base import Probe
from monitor.store.keys import slot_of
from monitor.store.port import Commit, Committed, Lease, Loaded, Store
from workers.journey.counters import Counters
from workers.journey.endpoint_cache import EndpointCache, Prepared
from workers.journey.records import Record, decode_override, decode_record, encode_record

WAVE_MS = 50
"""Probes that fall due within this time start together, so that the loop wakes once for them and not once for each."""
SETTLE_STEADY_MIN_MS = 50
SETTLE_STEADY_MAX_MS = 400
"""How long a success may wait for company: an eighth of its interval within these bounds. Nothing depends on it, and a shared
commit is cheap."""
SETTLE_URGENT_MS = 5
"""How long anything else waits."""
SETTLE_MAX = 200
STALE_ROUNDS_MAX = 5
WEIGH_MS = 4_000
"""A pool whose members' quality moved is weighed within this time, however many of them moved;
so is one whose member changed its state and whose committer did not live to publish it at once."""

log = logging.getLogger(__name__)

Prober = Callable[[Endpoint, Probe, int], Awaitable[Result]]
SUCCESS = Outcome.SUCCESS
_encode = msgspec.json.Encoder().encode


class _Batch:
    """Waits until every result of one task is committed or given up."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self._left = size
        self.loop = loop
        self.done: asyncio.Future[None] = loop.create_future()

    def settled(self) -> None:
        self._left -= 1
        if self._left <= 0 and not self.done.done():
            self.done.set_result(None)


class _Settling:
    """One result on its way to its commit."""

    __slots__ = ("batch", "result", "spec", "token_ms")

    def __init__(self, batch: _Batch, spec: Prepared, token_ms: int, result: Result) -> None:
        self.batch = batch
        self.spec = spec
        self.token_ms = token_ms
        self.result = result


class Pipeline:
    """One per worker process, on its event loop.

    `prober` runs one probe with its retries; `publish(pool, slot, mark_ms)` and `route(slot)` are told what a commit made due, and
    must return at once.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        cache: EndpointCache,
        rules: RuleSet,
        prober: Prober,
        publish: Callable[[str, int, int], None],
        route: Callable[[int], None],
        counters: Counters,
    ) -> None:
        self._store = store
        self._clock = clock
        self._specs = cache
        self._rules = rules
        self._prober = prober
        self._publish = publish
        self._route = route
        self._counters = counters
        self._tilt = Tilt()
        self._pending: list[_Settling] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._running: set[asyncio.Task[None]] = set()

    # Probe --------------------------------------------------------------------------------------------------------

    async def probe_batch(self, slot: int, rev: int, items: Sequence[tuple[str, int, int]]) -> None:
        """Probe each (id, token, due) at its time, and return when all of them are settled."""
        loop = asyncio.get_running_loop()
        cache = await self._specs.ready(slot, rev, [item[0] for item in items])
        batch = _Batch(len(items), loop)
        probes: list[asyncio.Task[None]] = []

        def start(together: Sequence[tuple[Prepared, int, int]]) -> None:
            probes.extend(loop.create_task(self._probe(batch, spec, token_ms, due_ms)) for spec, token_ms, due_ms in together)

        now_ms, now_s = self._clock.now_ms(), loop.time()
        waves: dict[int, list[tuple[Prepared, int, int]]] = defaultdict(list)
        for endpoint_id, token_ms, due_ms in items:
            spec = cache.get(endpoint_id)
            if spec is None:
                batch.settled()
                continue
            wait_ms = due_ms - now_ms
            waves[-(-due_ms // WAVE_MS) if 0 < wait_ms < spec.endpoint.interval_ms else 0].append((spec, token_ms, due_ms))
        start(waves.pop(0, ()))
        timers = [loop.call_at(now_s + (wave * WAVE_MS - now_ms) / 1000, start, together) for wave, together in waves.items()]
        try:
            await batch.done
        finally:
            for timer in timers:
                timer.cancel()
            for probe in probes:
                probe.cancel()

    async def _probe(self, batch: _Batch, spec: Prepared, token_ms: int, due_ms: int) -> None:
        try:
            if spec.probe is None:
                result = _cannot(spec, due_ms, self._clock.now_ms())
            else:
                result = await self._prober(spec.endpoint, spec.probe, due_ms)
        except Exception:
            # A prober's own fault says nothing of its target; the lease expires and the endpoint is probed again.
            log.exception("the prober of %s failed", spec.endpoint.id)
            self._counters.add("prober_errors")
            batch.settled()
            return
        self._counters.probe(result, result.started_ms - due_ms)
        self._submit(_Settling(batch, spec, token_ms, result), batch.loop)

    # Settle in micro-batches ----------------------------------------------------------------------------------------

    def _submit(self, item: _Settling, loop: asyncio.AbstractEventLoop) -> None:
        self._pending.append(item)
        if item.result.outcome is SUCCESS:
            wait_ms = min(max(item.spec.endpoint.interval_ms // 8, SETTLE_STEADY_MIN_MS), SETTLE_STEADY_MAX_MS)
        else:
            wait_ms = SETTLE_URGENT_MS
        at = loop.time() + (wait_ms / 1000 if len(self._pending) < SETTLE_MAX else 0)
        if self._timer is None or at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = loop.call_at(at, self._flush)

    def _flush(self) -> None:
        self._timer = None
        items, self._pending = self._pending, []
        task = asyncio.ensure_future(self._settle(items))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _settle(self, items: list[_Settling]) -> None:
        try:
            left = items
            for _ in range(STALE_ROUNDS_MAX):
                left = await self._settle_once(left)
                if not left:
                    break
            self._counters.add("results_stale", len(left))
        except StoreError as error:
            # Nothing is lost but these results: their leases expire and the endpoints are probed again.
            log.warning("%d results could not be committed: %s", len(items), error)
            self._counters.add("results_uncommitted", len(items))
        finally:
            for item in items:
                item.batch.settled()

    async def _settle_once(self, items: list[_Settling]) -> list[_Settling]:
        """Load, decide, commit; return those that somebody else was faster with."""
        loaded = await self._store.load([item.spec.endpoint.id for item in items])
        now_ms = self._clock.now_ms()
        self._tilt = self._tilt.observe(now_ms, self._clock.monotonic_ms())
        decided: list[tuple[_Settling, Commit]] = []
        for item, one in zip(items, loaded, strict=True):
            try:
                decided.append((item, await self._decide(item, one, now_ms)))
            except StoreError:
                raise
            except Exception:  # One record that cannot be read must not hold up the others.
                log.exception("the result of %s could not be decided", item.spec.endpoint.id)
                self._counters.add("results_undecided")
        return self._carry_out(decided, await self._store.commit([commit for _, commit in decided]))

    async def _decide(self, item: _Settling, loaded: Loaded, now_ms: int) -> Commit:
        spec, endpoint = item.spec, item.spec.endpoint
        record = decode_record(loaded.record)
        now_ms = record.not_before(now_ms)
        override = decode_override(loaded.override)
        pool = await self._specs.pool(endpoint.pool)
        settled = decide(
            endpoint,
            pool,
            record.state,
            override.override if override else None,
            item.result,
            now_ms,
            tilted=self._tilt.tilted,
        )
        return self._commit_of(
            spec,
            loaded,
            record,
            settled.state,
            now_ms,
            token_ms=item.token_ms,
            interval_ms=settled.interval_ms,
            writes=settled.writes,
            transitions=tuple(map(_encode, settled.transitions)),
            dirty_at_ms=now_ms + WEIGH_MS if settled.weigh else None,
            fresh_until_ms=now_ms + max(TTL_MS, SILENT_INTERVALS * endpoint.interval_ms) if _conclusive(item.result) else 0,
        )

    def _carry_out(self, decided: Sequence[tuple[_Settling, Commit]], answers: Sequence[Committed]) -> list[_Settling]:
        stale = []
        for (item, commit), answer in zip(decided, answers, strict=True):
            if answer is Committed.OK:
                self._after(commit)
            elif answer is Committed.STALE:
                stale.append(item)
            else:
                self._counters.add("results_lost")
        return stale

    def _after(self, commit: Commit) -> None:
        """Tell the next rooms what this commit made due; should we die before that, the queues do."""
        if commit.transitions:
            self._counters.add("transitions", len(commit.transitions))
            if commit.dirty_at_ms is not None:
                self._publish(commit.pool, slot_of(commit.id, self._store.slots), commit.dirty_at_ms)
        if commit.alerts:
            self._route(slot_of(commit.id, self._store.slots))

    # Decide ---------------------------------------------------------------------------------------------------------

    def _commit_of(
        self,
        spec: Prepared,
        loaded: Loaded,
        record: Record,
        state: EndpointState,
        now_ms: int,
        *,
        token_ms: int | None,
        interval_ms: int = 0,
        writes: Sequence[RowWrite] = (),
        transitions: tuple[bytes, ...] = (),
        dirty_at_ms: int | None = None,
        fresh_until_ms: int = 0,
    ) -> Commit:
        """Let the rules look at what changed, and put all of it into one commit."""
        endpoint = spec.endpoint
        override = decode_override(loaded.override)
        said = override.override if override else None
        version = self._rules.version + spec.digest
        since_ms = record.since_ms or (now_ms if token_ms is not None else 0)
        after = Record(state=state, alerts=record.alerts, rules=version, since_ms=since_ms, decided_ms=now_ms)
        silent_at_ms = after.conclusive_ms + silent_after_ms(endpoint) if token_ms is not None or record.since_ms else now_ms
        facts = _facts(endpoint, after, said, now_ms, silent_at_ms)
        known = None
        if token_ms is not None and record.rules == version:
            known = _facts(endpoint, record, said, now_ms, record.conclusive_ms + silent_after_ms(endpoint))
        evaluation = evaluate(self._rules, spec.labels, known, facts, record.alerts, now_ms)
        for error in evaluation.errors:
            log.warning("rule error on %s: %s", endpoint.id, error)
        wakes = [at_ms for at_ms in (evaluation.wake_ms, 0 if endpoint.paused else silent_at_ms) if at_ms > now_ms]
        return Commit(
            id=endpoint.id,
            token_ms=token_ms,
            ver=loaded.ver,
            next_ver=next_version(loaded.ver, now_ms),
            record=encode_record(msgspec.structs.replace(after, alerts=evaluation.states)),
            reevaluate_ms=min(wakes, default=0),
            pool=endpoint.pool,
            interval_ms=interval_ms,
            writes=tuple(writes),
            transitions=transitions,
            alerts=tuple(map(_encode, evaluation.events)),
            dirty_at_ms=dirty_at_ms,
            fresh_until_ms=fresh_until_ms,
        )

    # Without a result -----------------------------------------------------------------------------------------------

    async def reevaluate(self, slot: int, leases: Sequence[Lease]) -> None:
        """Look again at endpoints whose time has come without a result: silence, `for`, `keep_firing_for`."""
        now_ms = self._clock.now_ms()
        self._tilt = self._tilt.observe(now_ms, self._clock.monotonic_ms())
        if self._tilt.tilted:
            return  # The clock jumped: what looks like silence may be none. The lease brings them back.
        found = await self._store.endpoints([lease.member for lease in leases])
        await self._forget(slot, [lease.member for lease in leases if lease.member not in found])
        cache = [self._specs.make(endpoint) for endpoint in found.values()]
        for _ in range(STALE_ROUNDS_MAX):
            if not cache:
                return
            loaded = await self._store.load([spec.endpoint.id for spec in cache])
            commits = [self._look_again(spec, one, now_ms) for spec, one in zip(cache, loaded, strict=True)]
            answers = await self._store.commit(commits)
            for commit, answer in zip(commits, answers, strict=True):
                if answer is Committed.OK:
                    self._after(commit)
            cache = [spec for spec, answer in zip(cache, answers, strict=True) if answer is Committed.STALE]
        raise Stale(f"{len(cache)} watched endpoints kept changing")

    async def _forget(self, slot: int, removed: Sequence[str]) -> None:
        """End the alerts of endpoints that are no more, and take away what is left of them."""
        now_ms = self._clock.now_ms()
        for endpoint_id, loaded in zip(removed, await self._store.load(removed), strict=True):
            record = decode_record(loaded.record)
            events = resolve(record.alerts, record.not_before(now_ms))
            if await self._store.forget(endpoint_id, loaded.ver, tuple(map(_encode, events))) and events:
                self._route(slot)

    def _look_again(self, spec: Prepared, loaded: Loaded, now_ms: int) -> Commit:
        record = decode_record(loaded.record)
        now_ms = record.not_before(now_ms)
        silent = record.conclusive_ms + silent_after_ms(spec.endpoint) <= now_ms
        return self._commit_of(spec, loaded, record, record.state, now_ms, token_ms=None, dirty_at_ms=now_ms + WEIGH_MS if silent else None)


def _conclusive(result: Result) -> bool:
    """Whether anything was learnt about the target."""
    return result.outcome is not Outcome.INCONCLUSIVE


def _facts(endpoint: Endpoint, record: Record, override: Override | None, now_ms: int, silent_at_ms: int) -> dict[str, Any]:
    return endpoint_facts(endpoint, record.state, override, now_ms, no_data=silent_at_ms <= now_ms and not endpoint.paused)


def _cannot(spec: Prepared, due_ms: int, now_ms: int) -> Result:
    """The result of an endpoint that cannot be probed from here: our fault, not its own."""
    return Result(
        outcome=Outcome.INCONCLUSIVE, at_ms=now_ms, started_ms=now_ms, duration_ms=0.0, scheduled_ms=due_ms, text=spec.fault, attempts=0
    )
