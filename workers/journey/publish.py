"""A pool's weights, weighed and published as one version; then its rules are evaluated on what is published."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec

from alert_rules.rules.rule import RuleSet
from monitor.clock import Clock
from monitor.core.endpoint import Pool
from monitor.core.errors import Stale, StoreError
from monitor.core.tilt import judging_ms
from monitor.pool.compose import GAP, MemberState, compose, decode_snapshot, worth_telling
from monitor.pool.snapshot import Snapshot, diff
from monitor.pool.traffic.shapes import NO_HEAD, decode_head
from monitor.pool.trials import terms_ttl_ms, trial_terms
from monitor.store.entries import read_pool
from monitor.store.port import NO_EPOCH, Epoch, EpochEnded, Lease, PoolLoad, Publication, Store
from monitor.store.queues import QUEUES, Queue, due_time
from workers.journey.counters import Counters
from workers.journey.members import read_states
from workers.journey.pool_subject import PoolSubject
from workers.journey.published import published
from workers.journey.quarantine import Quarantine
from workers.journey.soon import SoonAt

RISE_MS = 1_000
"""A pool whose weights still move (warm-up, damping) is weighed again after this time."""
CHECK_MS = 30_000
"""How often the snapshots of all pools are read."""
ROUNDS_MAX = 8
TOGETHER_MAX = 16
"""Pools that one process weighs side by side: their commands share exchanges, and their members are in memory together."""

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Publisher:
    """Weighs pools and publishes them. Any number of them may run: the store refuses a version that is not the next.

    `route(slot)` is told where alerts wait, `soon(queue, slot, member, due_ms)` what falls due; both must return at once.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        rules: RuleSet,
        route: Callable[[int], None],
        counters: Counters,
        quarantine: Quarantine,
        soon: SoonAt,
    ) -> None:
        self._store = store
        self._clock = clock
        self._counters = counters
        self._quarantine = quarantine
        self._soon = soon
        self._subject = PoolSubject(store=store, rules=rules, route=route, quarantine=quarantine)
        self._turns = asyncio.Semaphore(TOGETHER_MAX)
        self._epoch = NO_EPOCH
        self._checked_ms: int | None = None
        self._wanted: dict[str, tuple[int, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def request(self, pool: str, slot: int, token_ms: int) -> None:
        """Publish soon; requests for one pool that come meanwhile are one."""
        self._wanted[pool] = (slot, token_ms)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, {}
            await self.weigh_leased((slot, Lease(pool, token_ms, token_ms)) for pool, (slot, token_ms) in wanted.items())

    async def weigh_leased(self, leases: Iterable[tuple[int, Lease]]) -> None:
        """Weigh many pools side by side, so that their commands to the store share exchanges."""

        async def turn(slot: int, lease: Lease) -> None:
            async with self._turns:
                await self.weigh_one(slot, lease)

        await asyncio.gather(*(turn(slot, lease) for slot, lease in leases))

    async def weigh_one(self, slot: int, lease: Lease) -> None:
        """Weigh and publish one dirty pool, and say when to weigh it again. What fails stays in the queue, and is noted: consumers
        must not take for fresh what goes on failing."""
        try:
            next_ms = await self.publish(lease.member)
            kept = await self._store.finish(Queue.DIRTY, slot, lease.member, lease.token_ms, next_ms)
            if kept and next_ms is not None:
                self._soon(Queue.DIRTY, slot, lease.member, due_time(next_ms))
        except (StoreError, Stale) as error:
            log.warning("pool %s could not be published yet: %s", lease.member, error)
            await self._note(lease.member, slot)
        except Exception:
            log.exception("pool %s could not be published", lease.member)
            await self._note(lease.member, slot)

    async def _note(self, pool: str, slot: int) -> None:
        try:
            await self._store.not_published(pool, slot)
        except StoreError as error:
            log.warning("that pool %s could not be published is not noted: %s", pool, error)

    async def publish(self, name: str) -> int | None:
        """Publish the pool if a consumer would notice, and let the pool's rules be evaluated; return when to weigh it again.

        Raises Stale when others publish it all the time, or when none of its members can be read: what is published then stays.
        """
        for _ in range(ROUNDS_MAX):
            load = await self._store.load_pool(name)
            previous = self._quarantine.read("snapshot", name, load.snapshot, decode_snapshot)
            if previous and (previous.epoch, previous.ver) < load.logged:
                previous = None  # An older one was put back: what consumers hold is not known.
            published = max((previous.epoch, previous.ver) if previous else (0, 0), load.logged)
            if published[0] > self._epoch.number or not self._epoch.number:
                await self.renew_epoch(published[0])
            states = read_states(self._quarantine, load.members, previous, load.traffic, self._clock.now_ms())
            traffic = self._quarantine.read("traffic", name, load.traffic.head, decode_head) or NO_HEAD
            await self._quarantine.flush()
            if load.members and not states:
                raise Stale(f"none of the {len(load.members)} endpoints of pool {name} can be read")
            now_ms, tilted = self._time_for(states, previous), self._clock.tilted
            # Where no version is known, one that no earlier life of the pool in this epoch can have reached.
            ver = published[1] + GAP if published[1] else self._clock.now_ms() - self._epoch.number
            pool = self._settings(name, load)
            snapshot, weighing = compose(pool, states, previous, self._epoch.number, now_ms, ver=ver, tilted=tilted)
            if not worth_telling(previous, snapshot, weighing, tilted=tilted):
                snapshot = previous or snapshot
            elif states or published[1]:  # Of a pool that never had a member there is nothing to tell.
                try:
                    await self._publish(previous, snapshot, load.logged, states)
                except EpochEnded:
                    await self.renew_epoch()
                    continue
                except Stale:
                    continue
            wake_ms = await self._subject.tell(name, snapshot, states, traffic, now_ms, tilted=tilted)
            if not load.members and load.traffic.ver:
                await self._store.announce_reports([name])  # Whoever judges takes away what is known of its traffic.
            wakes = [wake_ms] if wake_ms > now_ms else []
            if not weighing.at_rest:
                wakes.append(now_ms + RISE_MS)
            if wakes and tilted:
                return now_ms + RISE_MS
            return min(wakes, default=None)
        raise Stale(f"pool {name} kept changing")

    def _time_for(self, states: Sequence[MemberState], previous: Snapshot | None) -> int:
        """The time that a pool is weighed for: not before it was last published, nor before what is known of its members was decided."""
        known_ms = (state.record.decided_ms for state in states)
        return judging_ms(self._clock.now_ms(), previous.ts_ms if previous else 0, *known_ms)

    async def renew_epoch(self, at_least: int = 0) -> None:
        """Learn which life of the data set this is: after a restart of the server that lost the last second, after a flush and after an
        older backup, old version numbers come again. `at_least` is an epoch that was seen elsewhere."""
        found = await self._store.epoch(max(self._epoch, Epoch(at_least)))
        self._epoch = max(self._epoch, found)

    async def restore_snapshots(self) -> None:
        """Every CHECK_MS: let pools fall due whose snapshot is missing or cannot be read. Nothing else might weigh a pool that does not
        move, and until then no consumer could begin to follow it."""
        now_ms = self._clock.monotonic_ms()
        if self._checked_ms is not None and now_ms - self._checked_ms < CHECK_MS:
            return
        self._checked_ms = now_ms
        lost = [
            name async for name, data in published(self._store) if self._quarantine.read("snapshot", name, data, decode_snapshot) is None
        ]
        await self._quarantine.flush()
        if lost:
            log.warning("the snapshots of %d pools are missing or cannot be read, and are published anew: %s", len(lost), lost[:10])
            await self._store.mark_pools(lost)

    async def _publish(self, previous: Snapshot | None, snapshot: Snapshot, logged: tuple[int, int], states: Sequence[MemberState]) -> None:
        publication = Publication(
            pool=snapshot.pool,
            epoch=self._epoch,
            ver=snapshot.ver,
            snapshot=_encode(snapshot),
            delta=_encode(diff(previous, snapshot)),
            after=logged,
            tombstone=snapshot.tombstone is True,
            trials=trial_terms(states),
            trials_ttl_ms=terms_ttl_ms(states, snapshot.ts_ms),
            until_ms=self._clock.now_ms() + QUEUES[Queue.DIRTY].lease_ms,
        )
        self._epoch = max(self._epoch, await self._store.publish(publication))
        self._counters.add("publications")

    # Read -------------------------------------------------------------------------------------------------------

    def _settings(self, name: str, load: PoolLoad) -> Pool:
        settings = self._quarantine.read("pool", name, load.settings, functools.partial(read_pool, name)) if load.settings else None
        return settings or Pool(name=name)
