"""Steps 5 and 6 of a result's journey: load, decide, commit, in micro-batches; then tell the next steps what became due.

Nothing is decided here: decisions are made by monitor.core and alert_rules from the values that are loaded here, and written
by the store in one commit that a lost lease or a newer record refuses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from alert_rules.rules import memory as memories
from alert_rules.rules.alert import AlertStatus
from alert_rules.rules.evaluate import OperatorsWord, evaluate, next_change_ms
from alert_rules.rules.facts import Facts, endpoint_facts
from alert_rules.rules.memory import Ended, Memory
from alert_rules.rules.rule import RuleSet
from monitor.clock import Clock
from monitor.core import decide as core
from monitor.core import moves
from monitor.core import record as records
from monitor.core.decide import silent_at_ms
from monitor.core.errors import StoreError, StoreRefusal
from monitor.core.observation import Observation, ResultPace, TimePassed, TrafficRuling
from monitor.core.outcome import Outcome, Result
from monitor.core.record import OverrideRecord, Record, next_version
from monitor.core.schedule import vouched_ms
from monitor.core.subject import Subject
from monitor.store.keys import slot_of
from monitor.store.port import Commit, Committed, Lease, Loaded, Store
from monitor.store.queues import Queue, mark
from workers.journey import words
from workers.journey.counters import Counters
from workers.journey.endpoint_cache import EndpointCache, Prepared
from workers.journey.pool_view import PoolViews
from workers.journey.quarantine import Quarantine
from workers.journey.soon import SoonAt
from workers.journey.subject import heard

COMMIT_STEADY_MIN_MS = 50
COMMIT_STEADY_MAX_MS = 400
"""How long a success may wait for company: an eighth of its interval within these bounds. Nothing depends on it, and a shared
commit is cheap."""
COMMIT_URGENT_MS = 5
"""How long anything else waits."""
COMMIT_MAX = 200
"""Results that one commit writes at most; more are committed beside each other."""
STALE_ROUNDS_MAX = 5
REEVALUATIONS_MAX = 4
"""Re-evaluations of claimed endpoints that one process does side by side: after an outage every endpoint falls due at once."""
WEIGH_MS = 4_000
"""A pool whose members' quality moved is weighed within this time, however many of them moved;
so is one whose member changed its state and whose committer did not live to publish it at once."""
FIRING = AlertStatus.FIRING.encode()
"""Stands in a memory of which an alert fires."""

log = logging.getLogger(__name__)

_SUCCESS = Outcome.SUCCESS
_encode = msgspec.json.Encoder().encode


class Probed:
    """One result on its way to its commit; `ended` is called once it is committed or given up."""

    __slots__ = ("ended", "prepared", "result", "token_ms")

    def __init__(self, prepared: Prepared, token_ms: int, result: Result, ended: Callable[[], None]) -> None:
        self.prepared = prepared
        self.token_ms = token_ms
        self.result = result
        self.ended = ended


class DecideStep:
    """One per worker process, on its event loop.

    `publish(pool, slot, mark_ms)` and `route(slot)` are told what a commit made due at once, `soon(queue, slot, member, due_ms)`
    what falls due later; all must return at once.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        cache: EndpointCache,
        rules: RuleSet,
        publish: Callable[[str, int, int], None],
        route: Callable[[int], None],
        counters: Counters,
        quarantine: Quarantine,
        soon: SoonAt,
    ) -> None:
        self._store = store
        self._clock = clock
        self._cache = cache
        self._rules = rules
        self._publish = publish
        self._route = route
        self._counters = counters
        self._quarantine = quarantine
        self._soon = soon
        self._views = PoolViews(store, clock, quarantine)
        self._pending: list[Probed] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._running: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(REEVALUATIONS_MAX)

    # Results, in micro-batches --------------------------------------------------------------------------------------

    def submit(self, item: Probed, loop: asyncio.AbstractEventLoop) -> None:
        """Commit a result soon."""
        self._pending.append(item)
        if item.result.outcome is _SUCCESS:
            wait_ms = min(max(item.prepared.endpoint.interval_ms // 8, COMMIT_STEADY_MIN_MS), COMMIT_STEADY_MAX_MS)
        else:
            wait_ms = COMMIT_URGENT_MS
        at = loop.time() + (wait_ms / 1000 if len(self._pending) < COMMIT_MAX else 0)
        if self._timer is None or at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = loop.call_at(at, self._start_commit)

    def _start_commit(self) -> None:
        self._timer = None
        items, self._pending = self._pending, []
        for first in range(0, len(items), COMMIT_MAX):
            task = asyncio.ensure_future(self._commit_results(items[first : first + COMMIT_MAX]))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _commit_results(self, items: list[Probed]) -> None:
        left = items
        try:
            for _ in range(STALE_ROUNDS_MAX):
                left = await self._commit_once(left)
                if not left:
                    break
            self._counters.add("results_stale", len(left))
        except StoreError as error:
            # Nothing is lost but these results: their leases expire and the endpoints are probed again.
            log.warning("%d results could not be committed: %s", len(left), error)
            self._counters.add("results_uncommitted", len(left))
        finally:
            for item in items:
                item.ended()

    async def _commit_once(self, items: list[Probed]) -> list[Probed]:
        """Load, decide, commit; return those that somebody else was faster with."""
        ids = [item.prepared.endpoint.id for item in items]
        loaded, revisions = await self._store.load_with_revisions(ids)
        prepared = await self._as_loaded(ids, revisions)
        decided: list[tuple[Probed, Commit]] = []
        for item, one in zip(items, loaded, strict=True):
            current = prepared.get(item.prepared.endpoint.id)
            if current is None:
                self._counters.add("results_lost")
                continue
            commit = await self._guarded(current, one, item.result, item.token_ms)
            if commit is not None:
                decided.append((item, commit))
        await self._quarantine.flush()
        stale = []
        answers = await self._write([commit for _, commit in decided])
        for (item, commit), answer in zip(decided, answers, strict=True):
            if answer is Committed.OK:
                self._after(commit)
            elif answer is Committed.STALE:
                stale.append(item)
            else:
                self._counters.add("results_lost")
        return stale

    # Re-evaluation, without a result --------------------------------------------------------------------------------

    async def reevaluate(self, slot: int, leases: Sequence[Lease]) -> None:
        """Decide about endpoints whose time has come without a result: silence, a pause, an operator's word, `for`, `keep_firing_for`."""
        if self._clock.tilted:
            return  # The server's clock stepped: what looks like silence may be none. The lease brings them back.
        async with self._turns:
            now_ms = self._clock.now_ms()
            if current := [lease.member for lease in leases if lease.token_ms > now_ms]:
                await self._reevaluate_leased(slot, current)

    async def _reevaluate_leased(self, slot: int, left: list[str]) -> None:
        try:
            passed = TimePassed(pace=await self._store.result_pace(slot))
            for _ in range(STALE_ROUNDS_MAX):
                left = await self._reevaluate_once(slot, left, passed)
                if not left:
                    return
            log.warning("%d endpoints kept changing while they were re-evaluated; their leases bring them back", len(left))
        except StoreError as error:
            log.warning("%d endpoints could not be re-evaluated yet: %s", len(left), error)

    async def _reevaluate_once(self, slot: int, ids: Sequence[str], passed: TimePassed) -> list[str]:
        """Load, decide, commit; return those that somebody else was faster with."""
        stale, removed = await self._observe_once(dict.fromkeys(ids, passed))
        await self._forget(slot, removed)
        return stale

    # What the judge of traffic says ---------------------------------------------------------------------------------

    async def rule(self, rulings: Mapping[str, TrafficRuling]) -> None:
        """Decide on rulings by endpoint. One that is refused, or overtaken again and again, is for the judge to see from the records: it
        judges anew. Raises StoreError."""
        left = rulings
        for _ in range(STALE_ROUNDS_MAX):
            stale, _removed = await self._observe_once(left)
            if not stale:
                return
            left = {endpoint_id: left[endpoint_id] for endpoint_id in stale}

    async def _observe_once(self, observations: Mapping[str, Observation]) -> tuple[list[str], list[tuple[str, Loaded]]]:
        """Load, decide, commit without a lease; return those that somebody else was faster with, and those that are not registered."""
        ids = list(observations)
        loaded, revisions = await self._store.load_with_revisions(ids)
        prepared = await self._as_loaded(ids, revisions)
        commits, removed = [], []
        for endpoint_id, one in zip(ids, loaded, strict=True):
            current = prepared.get(endpoint_id)
            if endpoint_id not in prepared:
                removed.append((endpoint_id, one))
            elif current is not None and (commit := await self._guarded(current, one, observations[endpoint_id], None)) is not None:
                commits.append(commit)
        await self._quarantine.flush()
        stale = []
        for commit, answer in zip(commits, await self._write(commits), strict=True):
            if answer is Committed.OK:
                self._after(commit)
            elif answer is Committed.STALE:
                stale.append(commit.id)
        return stale, removed

    async def _as_loaded(self, ids: Sequence[str], revisions: Mapping[int, int]) -> dict[str, Prepared | None]:
        """The endpoints as they are since their records were loaded: an edit that came between would move the version. None where
        the entry cannot be read."""
        by_slot: dict[int, list[str]] = {slot: [] for slot in revisions}
        for endpoint_id in ids:
            by_slot[slot_of(endpoint_id, self._store.slots)].append(endpoint_id)
        prepared: dict[str, Prepared | None] = {}
        for slot, members in by_slot.items():
            prepared |= await self._cache.ready(slot, revisions[slot], members)
        return prepared

    async def _forget(self, slot: int, removed: Sequence[tuple[str, Loaded]]) -> None:
        """End the alerts of endpoints that are no more, and take away what is left of them."""
        for endpoint_id, loaded in removed:
            held = self._quarantine.read("memory", endpoint_id, loaded.memory, memories.decode_memory) or Memory()
            now_ms = self._clock.now_ms()
            alerts: tuple[bytes, ...] = ()
            if held.firing:
                subject, ver = memories.endpoint_subject(endpoint_id), next_version(loaded.ver, now_ms)
                reason = await words.removed(self._store, endpoint_id)
                ended = [Ended(state, reason) for state in held.firing]
                alerts = (memories.encode_assertion(memories.assertion(subject, ver, Memory(), now_ms, ended=ended, reason=reason)),)
            await self._quarantine.flush()
            if await self._store.forget(endpoint_id, loaded.ver, alerts) and alerts:
                self._route(slot)

    # One decision ---------------------------------------------------------------------------------------------------

    async def _guarded(self, prepared: Prepared, loaded: Loaded, observation: Observation, token_ms: int | None) -> Commit | None:
        """The commit of one decision, or None where deciding failed: that must not hold up the others. A record from which nothing can be
        decided is set aside, and its endpoint starts afresh."""
        try:
            endpoint = prepared.endpoint
            subject = await self._views.completed(Subject(endpoint, await self._cache.pool(endpoint.pool)), loaded.record)
            paused = await words.paused(self._store, endpoint.id) if endpoint.paused and FIRING in loaded.memory else ""
            try:
                return self._commit_of(prepared, loaded, observation, token_ms, subject, paused=paused)
            except Exception as error:
                if not loaded.record:
                    raise
                # Where this raises as well, the error is ours, and the record stays as it is.
                afresh = self._commit_of(
                    prepared, msgspec.structs.replace(loaded, record=b""), observation, token_ms, subject, paused=paused
                )
                self._quarantine.set_aside("record", endpoint.id, loaded.record, f"{type(error).__name__}: {error}")
                return afresh
        except StoreError:
            raise
        except Exception:
            log.exception("nothing could be decided about %s", prepared.endpoint.id)
            self._counters.add("undecided")
            return None

    def _commit_of(
        self, prepared: Prepared, loaded: Loaded, observation: Observation, token_ms: int | None, subject: Subject, *, paused: str
    ) -> Commit:
        """Decide, evaluate the rules, and put all of it into one commit. `paused` tells who paused the endpoint."""
        endpoint = prepared.endpoint
        read = self._quarantine.read
        record = read("record", endpoint.id, loaded.record, records.decode_record) or records.EMPTY
        said = read("override", endpoint.id, loaded.override, records.decode_override)
        memory = read("memory", endpoint.id, loaded.memory, memories.decode_memory) or Memory()
        subject = msgspec.structs.replace(subject, override=said.override if said else None)
        now_ms, tilted = self._clock.now_ms(), self._clock.tilted
        decision = core.decide(subject, record, observation, now_ms, tilted=tilted)
        if decision.refused:
            self._counters.add("observations_refused")
        after = decision.record
        if decision.transitions:
            self._views.decided(endpoint.pool, endpoint.id, after.breaker)
        at_ms = after.decided_ms or now_ms
        subject_name, facts = memories.endpoint_subject(endpoint.id), endpoint_facts(endpoint, after)
        evaluation = heard(
            subject_name,
            evaluate(
                self._rules,
                prepared.labels,
                endpoint_facts(endpoint, record) if record.decided_ms else None,
                facts,
                memory,
                at_ms,
                version=self._rules.version + prepared.digest,
                word=_word(facts, said, record, paused) if said or paused else None,
                tilted=tilted,
            ),
        )
        next_ver = next_version(loaded.ver, now_ms)
        pace = observation.pace if isinstance(observation, TimePassed) else ResultPace()
        silent_ms = 0 if endpoint.paused or after.silent else silent_at_ms(endpoint, after, now_ms, pace)
        breaker_ms = moves.due_ms(subject, after, now_ms)
        wakes = [at_ms for at_ms in (evaluation.wake_ms, next_change_ms(self._rules, after, at_ms), silent_ms, breaker_ms) if at_ms]
        alerts: tuple[bytes, ...] = ()
        if evaluation.asserts:
            alerts = (
                memories.encode_assertion(memories.assertion(subject_name, next_ver, evaluation.memory, now_ms, ended=evaluation.ended)),
            )
        return Commit(
            id=endpoint.id,
            token_ms=token_ms,
            ver=loaded.ver,
            next_ver=next_ver,
            record=records.encode_record(after),
            memory=None if evaluation.memory is memory and loaded.memory else memories.encode_memory(evaluation.memory),
            alerting=bool(evaluation.memory.states),
            reevaluate_ms=max(min(wakes), now_ms + 1) if wakes else 0,
            pool=endpoint.pool,
            vouched_ms=_vouched_ms(prepared, observation, tilted=tilted),
            interval_ms=decision.interval_ms if token_ms is not None else 0,
            writes=decision.writes,
            transitions=tuple(map(_encode, decision.transitions)),
            alerts=alerts,
            dirty_at_ms=now_ms + WEIGH_MS if decision.weigh else None,
        )

    async def _write(self, commits: Sequence[Commit]) -> list[Committed]:
        """Commit; where the store refuses commits together each goes alone, and one that it refuses is given up."""
        try:
            return await self._store.commit(commits)
        except StoreRefusal as error:
            if len(commits) > 1:
                return [answer for commit in commits for answer in await self._write([commit])]
            log.warning("the commit of %s is given up: %s", commits[0].id, error)
            self._counters.add("commits_refused")
            return [Committed.LOST]

    def _after(self, commit: Commit) -> None:
        """Tell the next steps what this commit made due; should we die before that, the queues do."""
        slot = slot_of(commit.id, self._store.slots)
        self._counters.add("transitions", len(commit.transitions))
        if commit.dirty_at_ms is not None:
            mark_ms = mark(None, commit.dirty_at_ms)
            if commit.transitions:
                self._publish(commit.pool, slot, mark_ms)
            else:
                self._soon(Queue.DIRTY, slot, commit.pool, mark_ms)
        if commit.alerts:
            self._route(slot)


def _word(facts: Facts, override: OverrideRecord | None, before: Record, paused: str) -> OperatorsWord:
    """What operators say of an endpoint. That it is silent is forgotten with a pause."""
    unsaid = {**facts, "override": ""}
    if paused:
        unsaid |= {"paused": False, "no_data": before.silent}
    return OperatorsWord("; ".join(filter(None, (paused, words.overridden(override) if override else ""))), unsaid)


def _vouched_ms(prepared: Prepared, observation: Observation, *, tilted: bool) -> int:
    """For how long a result vouches for its pool; what taught nothing vouches for nothing."""
    if not isinstance(observation, Result) or observation.outcome is Outcome.INCONCLUSIVE or tilted:
        return 0
    return vouched_ms(prepared.endpoint.interval_ms)
