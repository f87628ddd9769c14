"""The store in memory: the shipped fake, with the semantics of the real one and the given clock as the server's.

For tests, simulations and demonstrations; one event loop, one process. Nothing awaits, so every method is atomic.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from monitor.clock import Clock
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import Stale
from monitor.core.record import next_version
from monitor.core.schedule import Plan, is_claimed
from monitor.pool.snapshot import MAX_STALE_MS
from monitor.store import keys
from monitor.store.entries import endpoint_entry, pool_entry
from monitor.store.memory.alerts import MemoryAlerts
from monitor.store.memory.pace import Pace, move_back
from monitor.store.port import (
    NO_EPOCH,
    Claim,
    Claimed,
    Commit,
    Committed,
    Entry,
    Epoch,
    EpochEnded,
    Lease,
    Loaded,
    Member,
    PoolLoad,
    PoolPut,
    PoolRemoval,
    Publication,
    Put,
    RegistryAnswer,
    RegistryChanges,
    Removal,
    SetAside,
    digest,
    refused,
)
from monitor.store.queues import EARLY_MS, JUDGING_GAP_MS, QUEUES, Queue, at_once, due_time, is_lease, lease_token


@dataclass(slots=True)
class _Slot:
    specs: dict[str, Endpoint] = field(default_factory=dict)
    unreadable: dict[str, bytes] = field(default_factory=dict)
    pools: dict[str, str] = field(default_factory=dict)
    """Where the endpoints that cannot be read are members; the others' own say so."""
    plans: dict[str, Plan] = field(default_factory=dict)
    rev: int = 0
    pace: Pace = field(default_factory=Pace)
    due: dict[str, int] = field(default_factory=dict)
    records: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    overrides: dict[str, bytes] = field(default_factory=dict)
    memories: dict[str, bytes] = field(default_factory=dict)
    alerting: set[str] = field(default_factory=set)
    judged: dict[str, int] = field(default_factory=dict)
    unpublished: dict[str, tuple[int, int]] = field(default_factory=dict)
    logs: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    blobs: dict[str, dict[str, bytearray]] = field(default_factory=lambda: defaultdict(dict))

    def members(self, pool: str) -> list[str]:
        """Ids of a pool's endpoints, with those whose entries cannot be read."""
        return [
            *(endpoint.id for endpoint in self.specs.values() if endpoint.pool == pool),
            *(endpoint_id for endpoint_id, held in self.pools.items() if held == pool),
        ]


_encode = msgspec.json.Encoder().encode


class MemoryStore(MemoryAlerts):
    """See port.Store."""

    def __init__(self, clock: Clock, slots: int = 1) -> None:
        super().__init__(clock, slots)
        self._slots = [_Slot() for _ in range(slots)]
        self._made = False
        self._pools: dict[str, bytes] = {}
        self._epoch = NO_EPOCH
        self._published: dict[str, Publication] = {}
        self._expiry: dict[str, int] = {}
        self._hearts: dict[str, tuple[int, bytes]] = {}
        self._counters: Counter[str] = Counter()
        self._aside: dict[bytes, SetAside] = {}
        self.heartbeat_value = ""
        """What `alive` last wrote; "" before."""
        self.published: set[str] = set()
        """Names of the pools that consumers see."""

    # Life -------------------------------------------------------------------------------------------------------
    async def open(self, *, create: bool = False) -> None:
        if create:
            self._made = True
        elif not self._made:
            keys.read_slots(None, None)

    async def close(self) -> None: ...

    async def now_ms(self) -> int:
        return self._clock.now_ms()

    async def epoch(self, seen: Epoch = NO_EPOCH) -> Epoch:
        if not self._epoch.number or self._epoch < seen:
            self._epoch = Epoch(max(self._clock.now_ms(), self._epoch.number + 1, seen.number + 1))
            for pool in self.published:
                self._mark_dirty(0, pool, self._clock.now_ms())
        return self._epoch

    # Registry ---------------------------------------------------------------------------------------------------
    async def register(self, changes: RegistryChanges) -> RegistryAnswer:
        wanted: dict[str, Put | Removal] = {put.endpoint.id: put for put in changes.puts} | {gone.id: gone for gone in changes.removals}
        if stale_pools := self._register_pools(changes):
            return RegistryAnswer(stale_pools=stale_pools, unwritten=frozenset(wanted))
        by_slot: dict[int, list[str]] = defaultdict(list)
        for endpoint_id in wanted:
            by_slot[keys.slot_of(endpoint_id, self.slots)].append(endpoint_id)
        stale: set[str] = set()
        unwritten: set[str] = set()
        for number, ids in by_slot.items():
            left = [wanted[endpoint_id] for endpoint_id in ids if not self._is_so(wanted[endpoint_id])]
            refused = {_id_of(item) for item in left if self._digest(_id_of(item)) != (item.old.digest if item.old else "")}
            if refused:
                stale |= refused
                unwritten.update(ids)
                continue
            for item in left:
                self._put(item) if isinstance(item, Put) else self._remove(item)
                self._slots[number].logs[_id_of(item)] = [*self._slots[number].logs[_id_of(item)], *item.transitions][
                    -keys.OWN_LOG_LENGTH_MAX :
                ]
                for transition in item.transitions if changes.in_stream else ():
                    self._transitions.append(transition)
        return RegistryAnswer(frozenset(stale), frozenset(), frozenset(unwritten))

    def _register_pools(self, changes: RegistryChanges) -> frozenset[str]:
        wanted: dict[str, PoolPut | PoolRemoval] = {put.pool.name: put for put in changes.pools}
        wanted |= {gone.name: gone for gone in changes.pool_removals}
        settings = {name: _encode(item.pool) if isinstance(item, PoolPut) else b"" for name, item in wanted.items()}
        changed = {name: item for name, item in wanted.items() if self._pools.get(name, b"") != settings[name]}
        stale = {name for name, item in changed.items() if digest(self._pools.get(name, b"")) != (item.old.digest if item.old else "")}
        if stale:
            return frozenset(stale)
        told = [data for _, data in self._transitions.after(0)[-keys.TOLD_MAX :]]
        for transition in changes.transitions:
            if transition not in told:
                self._transitions.append(transition)
        for name, item in changed.items():
            if settings[name]:
                self._pools[name] = settings[name]
            else:
                del self._pools[name]
            for transition in item.transitions:
                self._transitions.append(transition)
        for number, slot in enumerate(self._slots if changed else ()):
            slot.rev = max(slot.rev + 1, self._clock.now_ms())
            for name in changed:
                self._mark_dirty(number, name, self._clock.now_ms())
        return frozenset()

    def _spec(self, endpoint_id: str) -> bytes:
        """An endpoint's stored bytes, b"" for none."""
        slot = self._home(endpoint_id)[1]
        return _encode(slot.specs[endpoint_id]) if endpoint_id in slot.specs else slot.unreadable.get(endpoint_id, b"")

    def _digest(self, endpoint_id: str) -> str:
        return digest(self._spec(endpoint_id))

    def _is_so(self, item: Put | Removal) -> bool:
        return self._spec(_id_of(item)) == (_encode(item.endpoint) if isinstance(item, Put) else b"")

    def _put(self, put: Put) -> None:
        endpoint = put.endpoint
        number, slot = self._home(endpoint.id)
        old, slot.specs[endpoint.id] = slot.specs.get(endpoint.id), endpoint
        slot.unreadable.pop(endpoint.id, None)
        now_ms = self._clock.now_ms()
        if endpoint.paused:
            slot.due.pop(endpoint.id, None)
            slot.plans.pop(endpoint.id, None)
            if put.old:
                self._queue(Queue.REEVALUATE, number)[endpoint.id] = at_once(now_ms)
        else:
            self._schedule(put, Plan.of(endpoint))
        slot.rev = max(slot.rev + 1, now_ms)
        if put.old or endpoint.id in slot.records:
            self._move_version(endpoint.id)
        left = self._pools_of(endpoint.id, put.old, old) - {endpoint.pool}
        for pool in left:
            self._leave(number, pool)
        for pool in {endpoint.pool, *left}:
            self._mark_dirty(number, pool, now_ms)

    def _schedule(self, put: Put, plan: Plan) -> None:
        endpoint_id = put.endpoint.id
        number, slot = self._home(endpoint_id)
        now_ms = self._clock.now_ms()
        old, slot.plans[endpoint_id] = slot.plans.get(endpoint_id), plan
        score = slot.due.get(endpoint_id)
        judged_ms = slot.judged.get(put.endpoint.pool)
        if judged_ms is None or (score is None and put.old):
            slot.judged[put.endpoint.pool] = max(now_ms + plan.grace_ms, judged_ms or 0)
        self._queue(Queue.REEVALUATE, number)[endpoint_id] = at_once(now_ms) if put.old else due_time(now_ms + plan.interval_ms)
        if score is None:
            slot.due[endpoint_id] = plan.on_grid(now_ms + plan.delay_ms)
        elif not is_claimed(score, now_ms) and old and (old.interval_ms, old.phase_ms) != (plan.interval_ms, plan.phase_ms):
            slot.due[endpoint_id] = plan.on_grid(now_ms)

    def _remove(self, removal: Removal) -> None:
        number, slot = self._home(removal.id)
        old = slot.specs.get(removal.id)
        for mapping in (slot.specs, slot.unreadable, slot.plans, slot.due, slot.overrides):
            mapping.pop(removal.id, None)
        self._move_version(removal.id)
        self._queue(Queue.REEVALUATE, number)[removal.id] = at_once(self._clock.now_ms())
        slot.rev = max(slot.rev + 1, self._clock.now_ms())
        for pool in self._pools_of(removal.id, removal.old, old):
            self._leave(number, pool)
            self._mark_dirty(number, pool, self._clock.now_ms())

    def _pools_of(self, endpoint_id: str, read: Entry[Endpoint] | None, old: Endpoint | None) -> set[str]:
        slot = self._home(endpoint_id)[1]
        told = {old.pool} if old else {read.pool} if read and read.pool else set()
        return told | ({slot.pools.pop(endpoint_id)} if endpoint_id in slot.pools else set())

    def _leave(self, number: int, pool: str) -> None:
        """A pool without members in this slot is judged by nobody here."""
        if not self._slots[number].members(pool):
            self._slots[number].judged.pop(pool, None)

    def _move_version(self, endpoint_id: str) -> None:
        slot = self._home(endpoint_id)[1]
        ver, body = slot.records.get(endpoint_id, (0, b""))
        slot.records[endpoint_id] = next_version(max(ver, 0), self._clock.now_ms()), body

    async def forget(self, endpoint_id: str, ver: int, alerts: Sequence[bytes]) -> bool:
        number, slot = self._home(endpoint_id)
        if self._spec(endpoint_id) or slot.records.get(endpoint_id, (ver, b""))[0] != ver:
            return False
        for mapping in (slot.records, slot.memories, slot.blobs, slot.logs, self._queue(Queue.REEVALUATE, number)):
            mapping.pop(endpoint_id, None)
        slot.alerting.discard(endpoint_id)
        self._write_alerts(number, alerts)
        return True

    async def endpoints(self, ids: Sequence[str] | None = None) -> dict[str, Endpoint]:
        if ids is None:
            return {endpoint_id: endpoint for slot in self._slots for endpoint_id, endpoint in slot.specs.items()}
        found = ((endpoint_id, self._home(endpoint_id)[1].specs.get(endpoint_id)) for endpoint_id in ids)
        return {endpoint_id: endpoint for endpoint_id, endpoint in found if endpoint}

    async def endpoint_entries(self, ids: Sequence[str] | None = None) -> dict[str, Entry[Endpoint]]:
        if ids is None:
            ids = [endpoint_id for slot in self._slots for endpoint_id in (*slot.specs, *slot.unreadable)]
        return {endpoint_id: endpoint_entry(endpoint_id, held) for endpoint_id in ids if (held := self._spec(endpoint_id))}

    async def pools(self) -> dict[str, Pool]:
        return {name: entry.value for name, entry in (await self.pool_entries()).items() if entry.value is not None}

    async def pool_entries(self) -> dict[str, Entry[Pool]]:
        return {name: pool_entry(name, settings) for name, settings in self._pools.items()}

    async def set_override(self, endpoint: Endpoint, read: str, override: bytes, transition: bytes) -> None:
        number, slot = self._home(endpoint.id)
        found = slot.specs.get(endpoint.id)
        if found is None or found.pool != endpoint.pool:
            raise Stale(f"endpoint {endpoint.id} is not registered in pool {endpoint.pool} any more")
        held = slot.overrides.get(endpoint.id, b"")
        if held == override:
            return
        if digest(held) != read:
            raise Stale(f"the override of {endpoint.id} has changed")
        slot.overrides[endpoint.id] = override
        self._move_version(endpoint.id)
        self._queue(Queue.REEVALUATE, number)[endpoint.id] = at_once(self._clock.now_ms())
        self._transitions.append(transition)
        slot.logs[endpoint.id] = [*slot.logs[endpoint.id], transition][-keys.OWN_LOG_LENGTH_MAX :]
        self._mark_dirty(number, endpoint.pool, self._clock.now_ms())

    def spoil(self, endpoint_id: str, spec: bytes) -> None:
        """Replace an endpoint's entry by bytes that cannot be read, as a newer release or a damaged backup may."""
        slot = self._home(endpoint_id)[1]
        if old := slot.specs.pop(endpoint_id, None):
            slot.pools[endpoint_id] = old.pool
        slot.unreadable[endpoint_id] = spec

    def spoil_pool(self, name: str, settings: bytes) -> None:
        """As `spoil`, for a pool's settings."""
        self._pools[name] = settings

    # Probes -----------------------------------------------------------------------------------------------------
    async def claim_probes(self, slot: int, limit: int, horizon_ms: int) -> Claim:
        home, now_ms = self._slots[slot], self._clock.now_ms()
        ready = (
            (score, endpoint_id)
            for endpoint_id, score in home.due.items()
            if score <= now_ms + horizon_ms and not is_claimed(score, now_ms)
        )
        home.pace.claimed(now_ms)
        items = []
        for score, endpoint_id in heapq.nsmallest(min(limit, keys.CLAIM_MAX), ready):
            home.due[endpoint_id] = home.plans[endpoint_id].lease_from(max(now_ms, score))
            items.append(Claimed(endpoint_id, home.due[endpoint_id], home.plans[endpoint_id].slot_at(score, now_ms)))
        interval_min_ms = min((home.plans[item.id].interval_ms for item in items), default=0)
        return Claim(slot, home.rev, now_ms, tuple(items), interval_min_ms)

    async def judging_since(self, slot: int) -> int:
        pace, now_ms = self._slots[slot].pace, self._clock.now_ms()
        return pace.since_ms if pace.last_ms and abs(now_ms - pace.last_ms) <= JUDGING_GAP_MS else now_ms

    async def realign(self, slot: int) -> int:
        home, now_ms = self._slots[slot], self._clock.now_ms()
        if back_ms := home.pace.take_back():
            self._routing[slot] = 0
        queues = self._queue(Queue.REEVALUATE, slot), self._queue(Queue.DIRTY, slot), home.judged
        moved = sum(move_back(scores, back_ms, now_ms) for scores in queues)
        if slot == 0:
            self._pace.claimed(now_ms)
            back_ms = max(self._pace.take_back(), back_ms)
            moved += sum(move_back(self._queue(queue), back_ms, now_ms) for queue, row in QUEUES.items() if not row.per_slot)
            moved += self._move_ends_back(back_ms, now_ms)
        for endpoint_id, score in home.due.items():
            plan = home.plans[endpoint_id]
            if score > now_ms + plan.interval_ms + plan.lease_ms + plan.delay_ms:
                home.due[endpoint_id] = plan.on_grid(now_ms)
                moved += 1
        return moved

    async def load_with_revisions(self, ids: Sequence[str]) -> tuple[list[Loaded], dict[int, int]]:
        homes = dict(self._home(endpoint_id) for endpoint_id in ids)
        return await self.load(ids), {number: slot.rev for number, slot in homes.items()}

    async def load(self, ids: Sequence[str]) -> list[Loaded]:
        homes = [(endpoint_id, self._home(endpoint_id)[1]) for endpoint_id in ids]
        return [
            Loaded(*home.records.get(name, (0, b"")), home.overrides.get(name, b""), home.memories.get(name, b"")) for name, home in homes
        ]

    async def commit(self, items: Sequence[Commit]) -> list[Committed]:
        answers: list[Committed] = []
        done: set[str] = set()
        for item in items:
            answers.append(Committed.STALE if item.id in done else self._commit(item))
            if answers[-1] is Committed.OK:
                done.add(item.id)
        return answers

    def _commit(self, item: Commit) -> Committed:
        number, slot = self._home(item.id)
        plan, now_ms = slot.plans.get(item.id), self._clock.now_ms()
        if item.id not in slot.specs or (item.token_ms is not None and (plan is None or slot.due[item.id] != item.token_ms)):
            return Committed.LOST
        ver, _ = slot.records.get(item.id, (0, b""))
        if ver != item.ver:
            return Committed.STALE
        slot.records[item.id] = item.next_ver, item.record
        if item.memory is not None:
            slot.memories[item.id] = item.memory
            (slot.alerting.add if item.alerting else slot.alerting.discard)(item.id)
        if item.fresh_until_ms:
            slot.judged[item.pool] = max(item.fresh_until_ms, slot.judged.get(item.pool, 0))
        if item.token_ms is not None and plan is not None:
            # A result that came before its due time still uses up that slot.
            slot.due[item.id] = plan.after(max(now_ms, item.token_ms - plan.lease_ms), item.interval_ms)
        if item.reevaluate_ms == 0:
            self._queue(Queue.REEVALUATE, number).pop(item.id, None)
        elif item.reevaluate_ms is not None:
            self._queue(Queue.REEVALUATE, number)[item.id] = due_time(item.reevaluate_ms)
        if item.dirty_at_ms is not None:
            self._mark_dirty(number, item.pool, item.dirty_at_ms)
        for write in item.writes:
            blob = slot.blobs[item.id].setdefault(write.name, bytearray())
            blob.extend(bytes(max(0, write.offset - len(blob))))
            blob[write.offset : write.offset + len(write.data)] = write.data
        for transition in item.transitions:
            self._transitions.append(transition)
            slot.logs[item.id] = [*slot.logs[item.id], transition][-keys.OWN_LOG_LENGTH_MAX :]
        self._write_alerts(number, item.alerts)
        return Committed.OK

    # Work queues ------------------------------------------------------------------------------------------------
    async def ready(self) -> list[tuple[Queue, int]]:
        now_ms = self._clock.now_ms()
        return [place for place, queue in self._queues.items() if queue and min(queue.values()) <= now_ms]

    async def claim(self, queue: Queue, slot: int, limit: int, lease_ms: int, members: Sequence[str] = ()) -> list[Lease]:
        held, now_ms = self._queue(queue, slot), self._clock.now_ms()
        token_ms = lease_token(now_ms + lease_ms)
        if members:
            named = [(held[member], member) for member in members[:limit] if member in held]
            taken = [(due_ms, member) for due_ms, member in named if due_ms <= now_ms + (0 if is_lease(due_ms) else EARLY_MS)]
        else:
            taken = heapq.nsmallest(min(limit, keys.CLAIM_MAX), ((at_ms, member) for member, at_ms in held.items() if at_ms <= now_ms))
        held.update((member, token_ms) for _, member in taken)
        return [Lease(member, token_ms, due_ms) for due_ms, member in taken]

    async def finish(self, queue: Queue, slot: int, member: str, token_ms: int, next_ms: int | None) -> bool:
        members = self._queue(queue, slot)
        if members.get(member) != token_ms:
            return False
        del members[member]
        if next_ms is not None:
            members[member] = due_time(next_ms)
        return True

    async def renew(self, queue: Queue, slot: int, member: str, token_ms: int, until_ms: int) -> None:
        members = self._queue(queue, slot)
        if members.get(member) not in (token_ms, until_ms) or until_ms <= self._clock.now_ms():
            raise Stale(f"{member} in {queue.value} is not ours any more")
        members[member] = until_ms

    async def overdue(self, queue: Queue, slot: int) -> int:
        now_ms = self._clock.now_ms()
        return max(0, now_ms - min(self._queue(queue, slot).values(), default=now_ms))

    async def due_overdue(self) -> tuple[int, int]:
        now_ms = self._clock.now_ms()
        late = [now_ms - score for slot in self._slots for score in slot.due.values() if score <= now_ms]
        return len(late), max(late, default=0)

    # Pools ------------------------------------------------------------------------------------------------------
    async def load_pool(self, pool: str) -> PoolLoad:
        members = [
            Member(endpoint_id, self._spec(endpoint_id), slot.records.get(endpoint_id, (0, b""))[1], slot.overrides.get(endpoint_id, b""))
            for slot in self._slots
            for endpoint_id in slot.members(pool)
        ]
        settings = self._pools.get(pool, b"")
        (snapshot,) = await self.snapshots([pool])
        return PoolLoad(tuple(sorted(members, key=lambda member: member.id)), snapshot, settings, self._logged(pool))

    async def publish(self, publication: Publication) -> Epoch:
        pool, epoch = publication.pool, publication.epoch
        if self._epoch.number != epoch.number or self._epoch.publications < epoch.publications:
            raise EpochEnded(f"epoch {epoch.number} has ended")
        late = 0 < publication.until_ms < self._clock.now_ms()
        last = self._logged(pool)
        elsewhere = last == (epoch.number, publication.ver - 1) != publication.base
        if late or elsewhere or (epoch.number, publication.ver) <= last:
            raise refused(publication)
        self._published[pool] = publication
        self._expiry.pop(pool, None)
        if publication.tombstone:
            self.published.discard(pool)
            self._expiry[pool] = self._clock.now_ms() + MAX_STALE_MS
        else:
            self.published.add(pool)
        self._epoch = Epoch(epoch.number, self._epoch.publications + 1)
        return self._epoch

    async def published_pools(self) -> list[str]:
        return sorted(self.published)

    async def mark_pools(self, pools: Sequence[str]) -> None:
        for pool in pools:
            self._mark_dirty(0, pool, self._clock.now_ms())

    def _logged(self, pool: str) -> tuple[int, int]:
        held = self._publication(pool)
        return (held.epoch.number, held.ver) if held else (0, 0)

    async def snapshots(self, pools: Sequence[str]) -> list[bytes]:
        found = (self._publication(pool) for pool in pools)
        return [publication.snapshot if publication else b"" for publication in found]

    async def not_published(self, pool: str, slot: int) -> None:
        now_ms = self._clock.now_ms()
        first_ms, last_ms = self._slots[slot].unpublished.get(pool, (now_ms, now_ms))
        self._slots[slot].unpublished[pool] = first_ms if now_ms - last_ms <= keys.ALIVE_TTL_MS else now_ms, now_ms

    async def lagging(self) -> list[str]:
        now_ms = self._clock.now_ms()
        lagging = set()
        for number, slot in enumerate(self._slots):
            for pool in [pool for pool, until_ms in slot.judged.items() if until_ms < now_ms]:
                if any(endpoint_id in slot.plans for endpoint_id in slot.members(pool)):
                    lagging.add(pool)
                else:
                    del slot.judged[pool]
            waiting = {pool for pool, at_ms in self._queue(Queue.DIRTY, number).items() if at_ms < now_ms - keys.ALIVE_TTL_MS}
            slot.unpublished = {pool: held for pool, held in slot.unpublished.items() if now_ms - held[1] <= keys.ALIVE_TTL_MS}
            waiting |= {pool for pool, (first_ms, last_ms) in slot.unpublished.items() if last_ms - first_ms >= keys.ALIVE_TTL_MS}
            lagging |= {pool for pool in waiting if any(slot.members(pool) for slot in self._slots)}
        return sorted(lagging)

    async def alive(self) -> list[str]:
        now_ms, names = self._clock.now_ms(), await self.lagging()
        judged = {pool for slot in self._slots for pool, until_ms in slot.judged.items() if until_ms >= now_ms}
        vouches = not names or (not judged.issubset(names) and len(names) <= keys.LAGGING_MAX)
        self.heartbeat_value = keys.heartbeat_value(now_ms, names) if vouches else "0"
        return names

    def _publication(self, pool: str) -> Publication | None:
        if pool in self._expiry and self._expiry[pool] <= self._clock.now_ms():
            del self._published[pool], self._expiry[pool]
        return self._published.get(pool)

    # What cannot be read ----------------------------------------------------------------------------------------
    async def set_aside(self, items: Sequence[SetAside]) -> None:
        for item in items:
            kept = item.kept(keys.ASIDE_BYTES_MAX, self._clock.now_ms())
            field = keys.aside_field(kept.kind, kept.key)
            if len(self._aside) < keys.ASIDE_MAX or field in self._aside:
                self._aside[field] = kept

    async def aside_count(self) -> int:
        return len(self._aside)

    async def aside(self) -> list[SetAside]:
        return sorted(self._aside.values(), key=lambda item: (item.kind, item.key))

    async def drop_foreign(self) -> list[str]:
        return []

    async def discard_aside(self, kind: str, key: str) -> bool:
        return self._aside.pop(keys.aside_field(kind, key), None) is not None

    # Reading ----------------------------------------------------------------------------------------------------
    async def alerting(self) -> tuple[list[str], list[str]]:
        return sorted(name for slot in self._slots for name in slot.alerting), sorted(self._subjects)

    async def pool_sizes(self) -> dict[str, int]:
        marked = {pool for slot in range(self.slots) for pool in self._queue(Queue.DIRTY, slot)}
        names = self.published | self._pools.keys() | marked
        return {name: sum(len(slot.members(name)) for slot in self._slots) for name in sorted(names)}

    async def transitions(self, endpoint_id: str) -> list[bytes]:
        return list(self._home(endpoint_id)[1].logs.get(endpoint_id, []))

    async def samples(self, endpoint_id: str, name: str) -> bytes:
        return bytes(self._home(endpoint_id)[1].blobs.get(endpoint_id, {}).get(name, b""))

    async def events(self, limit: int, after: str = "") -> list[tuple[str, bytes]]:
        if after:
            return self._transitions.after(int(after))[:limit]
        return self._transitions.after(0)[-limit:]

    async def heartbeat(self, name: str, process: bytes) -> None:
        self._made = True
        self._hearts[name] = self._clock.now_ms(), process

    async def deregister(self, name: str) -> None:
        self._hearts.pop(name, None)

    async def heartbeats(self, max_age_ms: int) -> dict[str, bytes]:
        now_ms = self._clock.now_ms()
        self._hearts = {name: heart for name, heart in self._hearts.items() if abs(now_ms - heart[0]) < max_age_ms}
        return {name: process for name, (_, process) in self._hearts.items()}

    async def count(self, increments: Mapping[str, int]) -> None:
        self._counters.update(increments)

    async def counters(self) -> dict[str, int]:
        return dict(self._counters)

    def _home(self, endpoint_id: str) -> tuple[int, _Slot]:
        number = keys.slot_of(endpoint_id, self.slots)
        return number, self._slots[number]


def _id_of(item: Put | Removal) -> str:
    return item.endpoint.id if isinstance(item, Put) else item.id
