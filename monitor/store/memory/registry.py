"""The registry in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import Stale
from monitor.core.record import next_version
from monitor.core.schedule import Plan, is_claimed
from monitor.store import keys
from monitor.store.entries import endpoint_entry, pool_entry
from monitor.store.memory.state import MemoryState, encode
from monitor.store.port import Entry, PoolPut, PoolRemoval, Put, RegistryAnswer, RegistryChanges, Removal, Renaming, digest
from monitor.store.queues import Queue, at_once, due_time


class MemoryRegistry(MemoryState):
    """See port.registry."""

    async def register(self, changes: RegistryChanges) -> RegistryAnswer:
        wanted: dict[str, Put | Removal] = {put.endpoint.id: put for put in changes.puts} | {gone.id: gone for gone in changes.removals}
        stale_pools, moved, revision = self._register_pools(changes)
        if stale_pools or moved:
            return RegistryAnswer(stale_pools=stale_pools, unwritten=frozenset(wanted), moved=moved)
        by_slot: dict[int, list[str]] = defaultdict(list)
        for endpoint_id in wanted:
            by_slot[keys.slot_of(endpoint_id, self.slots)].append(endpoint_id)
        stale: set[str] = set()
        unwritten: set[str] = set()
        for number, ids in by_slot.items():
            if moved:
                unwritten.update(ids)
                continue
            left = [wanted[endpoint_id] for endpoint_id in ids if not self._is_so(wanted[endpoint_id])]
            refused = {_id_of(item) for item in left if self._digest(_id_of(item)) != (item.old.digest if item.old else "")}
            moved = bool(left) and self._has_moved(revision)
            if refused or moved:
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
            if any(isinstance(item, Removal) or item.relinks for item in left):
                revision = self._move_registry(revision)
        return RegistryAnswer(frozenset(stale), frozenset(), frozenset(unwritten), moved, 0 if moved else revision or 0)

    async def registry_revision(self) -> int:
        return self._revision

    def _has_moved(self, read: int | None) -> bool:
        return read not in {None, self._revision}

    def _move_registry(self, read: int | None) -> int | None:
        """Move the registry's revision; what follows from the one that was read."""
        self._revision = max(self._revision + 1, self._clock.now_ms())
        return None if read is None else self._revision

    def _register_pools(self, changes: RegistryChanges) -> tuple[frozenset[str], bool, int | None]:
        """The pools that are stale, whether the registry's revision has moved, and the one that follows."""
        wanted: dict[str, PoolPut | PoolRemoval] = {put.pool.name: put for put in changes.pools}
        wanted |= {gone.name: gone for gone in changes.pool_removals}
        settings = {name: encode(item.pool) if isinstance(item, PoolPut) else b"" for name, item in wanted.items()}
        changed = {name: item for name, item in wanted.items() if self._pools.get(name, b"") != settings[name]}
        stale = {name for name, item in changed.items() if digest(self._pools.get(name, b"")) != (item.old.digest if item.old else "")}
        moved = bool(changed) and self._has_moved(changes.revision)
        if stale or moved:
            return frozenset(stale), moved, None
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
        return frozenset(), False, self._move_registry(changes.revision) if changed else changes.revision

    def _digest(self, endpoint_id: str) -> str:
        return digest(self._spec(endpoint_id))

    def _is_so(self, item: Put | Removal) -> bool:
        return self._spec(_id_of(item)) == (encode(item.endpoint) if isinstance(item, Put) else b"")

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
            slot.due[endpoint_id] = plan.soon(now_ms + plan.delay_ms)
        elif is_claimed(score, now_ms):
            return
        elif old and (old.interval_ms, old.phase_ms) != (plan.interval_ms, plan.phase_ms):
            slot.due[endpoint_id] = plan.soon(now_ms)
        elif put.looks_elsewhere:
            slot.due[endpoint_id] = min(score, plan.soon(now_ms + plan.delay_ms))

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

    async def rename(self, renaming: Renaming) -> RegistryAnswer:
        old_id, new = renaming.old_id, renaming.endpoint
        if not self._spec(old_id) and self._spec(new.id) == encode(new):
            return RegistryAnswer(revision=self._revision)
        here, there = self._home(old_id)[1], self._home(new.id)[1]
        stale = {put.endpoint.id for put in renaming.children if put.old and self._digest(put.endpoint.id) != put.old.digest}
        ver, _ = here.records.get(old_id, (0, b""))
        stale |= {old_id} if self._digest(old_id) != renaming.old.digest or ver != renaming.ver else set()
        stale |= {new.id} if self._spec(new.id) or new.id in there.records else set()
        moved = self._has_moved(renaming.revision)
        if stale or moved:
            return RegistryAnswer(frozenset(stale), frozenset(), frozenset(stale), moved)
        there.records[new.id] = ver, renaming.record  # `_put` moves the version.
        if old_id in here.overrides:
            there.overrides[new.id] = here.overrides[old_id]
        there.blobs[new.id] = here.blobs.pop(old_id, {})
        there.logs[new.id] = list(here.logs[old_id])
        self._traffic_minutes[new.pool, new.id] = self._traffic_minutes.pop((new.pool, old_id), bytearray())
        judged_ms = here.judged.get(new.pool), there.judged.get(new.pool)
        self._put(Put(endpoint=new, old=renaming.old))
        if not new.paused:
            there.due[new.id] = there.plans[new.id].soon(self._clock.now_ms())
        self._remove(Removal(id=old_id, old=renaming.old))
        here.records[old_id] = here.records[old_id][0], b""
        if any(judged_ms):  # Else it counts as judged from now on.
            there.judged[new.pool] = max(ms or 0 for ms in judged_ms)
        told = [(old_id, renaming.told_old), (new.id, renaming.told_new)]
        for put in renaming.children:
            self._put(put)
            told += [(put.endpoint.id, transition) for transition in put.transitions]
        for endpoint_id, transition in told:
            self._transitions.append(transition)
            logs = self._home(endpoint_id)[1].logs
            logs[endpoint_id] = [*logs[endpoint_id], transition][-keys.OWN_LOG_LENGTH_MAX :]
        return RegistryAnswer(revision=self._move_registry(renaming.revision) or 0)

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

    async def reindex(self, slot: int) -> int:
        home, now_ms = self._slots[slot], self._clock.now_ms()
        missing = [one for one in home.specs.values() if not one.paused and one.id not in home.plans]
        for endpoint in missing:
            home.plans[endpoint.id] = Plan.of(endpoint)
            home.due.setdefault(endpoint.id, at_once(now_ms))
        return len(missing)

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


def _id_of(item: Put | Removal) -> str:
    return item.endpoint.id if isinstance(item, Put) else item.id
