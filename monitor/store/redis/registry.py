"""The registry's part of the store on Redis: endpoints, pools, overrides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import Stale
from monitor.core.schedule import Plan
from monitor.store import keys
from monitor.store.entries import endpoint_entry, pool_entry
from monitor.store.names import name_of, stored
from monitor.store.port import Entry, Put, RegistryAnswer, RegistryChanges, Removal, Renaming
from monitor.store.redis.calls import Calls
from monitor.store.redis.wire import Command, script

_CHUNK = 250
_SCAN = 1_000
_FIXED = ("spec", "plan", "rev", "due", "rec", "ovr", "reevaluate", "dirty", "events", "judged")
_MOVED = -1
"""The revision that a script answers where the registry's is not the one that was read."""
_DIGITS_MAX = 15
"""As number_of of lua/shared/times.lua reads a count."""
_OWN = ("ring", "min", "hour", "day", "log")
_pack = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode


class RegistryCalls(Calls):
    """The calls of the port that concern what is registered. What people change is never written again by itself after a connection was
    lost: what was read may be so again after somebody else's word, which the repetition would undo."""

    async def register(self, changes: RegistryChanges) -> RegistryAnswer:
        wanted: dict[str, Put | Removal] = {put.endpoint.id: put for put in changes.puts} | {gone.id: gone for gone in changes.removals}
        stale_pools, revision = await self._register_pools(changes)
        if stale_pools or revision == _MOVED:
            return RegistryAnswer(stale_pools=stale_pools, unwritten=frozenset(wanted), moved=revision == _MOVED)
        stale: set[str] = set()
        unwritten: set[str] = set()
        for slot, ids in self._by_slot(wanted).items():
            for first in range(0, len(ids), _CHUNK):
                names = ids[first : first + _CHUNK]
                if revision == _MOVED:
                    unwritten.update(names)
                    continue
                chunk = _Chunk(slot, in_stream=changes.in_stream)
                for endpoint_id in names:
                    await self._into(chunk, wanted[endpoint_id])
                refused, following = (await self._wire.execute(chunk.command(revision), repeat=False))[0]
                revision = None if changes.revision is None else following
                if refused or following == _MOVED:
                    stale.update(map(name_of, refused))
                    unwritten.update(names)
        moved = revision == _MOVED
        return RegistryAnswer(frozenset(stale), frozenset(), frozenset(unwritten), moved, 0 if moved else revision or 0)

    async def _register_pools(self, changes: RegistryChanges) -> tuple[frozenset[str], int | None]:
        """Write the pools' settings and tell of them, and of what belongs to no endpoint, in one script."""
        pools = {put.pool.name: _pool(put.pool.name, put.old, _json(put.pool), put.transitions) for put in changes.pools}
        pools |= {gone.name: _pool(gone.name, gone.old, b"", gone.transitions) for gone in changes.pool_removals}
        if not pools and not changes.transitions:
            return frozenset(), changes.revision
        names = [keys.REGISTRY_POOLS, keys.in_slot(0, "events"), keys.REGISTRY_REVISION]
        names += [keys.in_slot(slot, name) for slot in range(self.slots) for name in ("dirty", "rev")]
        args = _pack(list(pools.values())), _pack(_texts(changes.transitions)), keys.EVENTS_LENGTH_MAX, keys.TOLD_MAX
        stale, following = await self._wire.run("register_pools", names, *args, _revision(changes.revision), repeat=False)
        return frozenset(map(name_of, stale)), None if changes.revision is None else following

    async def registry_revision(self) -> int:
        held = await self._wire.execute_one("GET", keys.REGISTRY_REVISION) or b""
        return int(held) if held.isdigit() and len(held) <= _DIGITS_MAX else 0

    async def _into(self, chunk: _Chunk, item: Put | Removal) -> None:
        endpoint_id = item.id if isinstance(item, Removal) else item.endpoint.id
        old_pools = [item.old.pool] if item.old and item.old.pool else await self._pools_of(chunk.slot, endpoint_id) if item.old else []
        if isinstance(item, Removal):
            chunk.remove(item, old_pools)
        else:
            chunk.put(item, old_pools)

    async def _pools_of(self, slot: int, endpoint_id: str) -> list[str]:
        """The pools of an endpoint whose entry does not tell: rare enough to look through their names."""
        prefix = keys.members(slot, "")
        cursor = b"0"
        names: list[str] = []
        while True:
            cursor, found = await self._wire.execute_one("SCAN", cursor, "MATCH", prefix + "*", "COUNT", _SCAN)
            names += map(name_of, found)
            if cursor == b"0":
                break
        held = await self._wire.execute(*(("SISMEMBER", name, endpoint_id) for name in names))
        return [name.removeprefix(prefix) for name, member in zip(names, held, strict=True) if member]

    def _by_slot(self, ids: Iterable[str]) -> dict[int, list[str]]:
        by_slot: dict[int, list[str]] = defaultdict(list)
        for endpoint_id in ids:
            by_slot[keys.slot_of(endpoint_id, self.slots)].append(endpoint_id)
        return by_slot

    async def reindex(self, slot: int) -> int:
        spec, plan, due, dirty = (keys.in_slot(slot, name) for name in ("spec", "plan", "due", "dirty"))
        flat = _pairs(await self._wire.execute_one("HGETALL", spec))
        pools: dict[str, list[str]] = defaultdict(list)
        for name, entry in ((name_of(name), endpoint_entry(name_of(name), held)) for name, held in flat):
            if entry.pool:
                planned = str(Plan.of(entry.value)) if entry.value is not None and not entry.value.paused else ""
                pools[entry.pool] += name, entry.digest, planned
        commands = [
            script("reindex", [spec, plan, due, keys.members(slot, pool), dirty], pool, *members[first : first + 3 * _CHUNK])
            for pool, members in pools.items()
            for first in range(0, len(members), 3 * _CHUNK)
        ]
        missing = 0
        for first in range(0, len(commands), _CHUNK):
            missing += sum(await self._wire.execute(*commands[first : first + _CHUNK]))
        return missing

    async def rename(self, renaming: Renaming) -> RegistryAnswer:
        new = renaming.endpoint
        plan = Plan.of(new)
        names = [*self._all_of(renaming.old_id, new.pool), *self._all_of(new.id, new.pool), keys.REGISTRY_REVISION]
        args: list[str | bytes | int] = [renaming.old_id, renaming.old.digest, new.id, _json(new), "" if new.paused else str(plan)]
        args += [plan.phase_ms, plan.soon_ms, plan.grace_ms, new.pool, renaming.told_old, renaming.told_new]
        args += [keys.EVENTS_LENGTH_MAX, keys.OWN_LOG_LENGTH_MAX, renaming.revision, keys.version_text(renaming.ver), renaming.record]
        for put in renaming.children:
            slot = keys.slot_of(put.endpoint.id, self.slots)
            names += [keys.in_slot(slot, name) for name in ("spec", "rev", "rec", "reevaluate", "events")]
            names.append(keys.of_endpoint(slot, "log", put.endpoint.id))
            args += [put.endpoint.id, put.old.digest if put.old else "", _json(put.endpoint), *put.transitions]
        stale, revision = await self._wire.run("rename", names, *args, repeat=False)
        ids = frozenset(map(name_of, stale))
        return RegistryAnswer(ids, frozenset(), ids, revision == _MOVED, max(0, revision))

    def _all_of(self, endpoint_id: str, pool: str) -> list[str]:
        """What is kept of an endpoint, in the order of rename.lua."""
        slot = keys.slot_of(endpoint_id, self.slots)
        own = [keys.of_endpoint(slot, name, endpoint_id) for name in ("log", "ring", "min", "hour", "day")]
        return [*(keys.in_slot(slot, name) for name in _FIXED), keys.members(slot, pool), *own, keys.traffic_minutes(pool, endpoint_id)]

    async def endpoints(self, ids: Sequence[str] | None = None) -> dict[str, Endpoint]:
        return {name: entry.value for name, entry in (await self.endpoint_entries(ids)).items() if entry.value is not None}

    async def endpoint_entries(self, ids: Sequence[str] | None = None) -> dict[str, Entry[Endpoint]]:
        if ids is None:
            everything = await self._wire.execute(*(("HGETALL", keys.in_slot(slot, "spec")) for slot in range(self.slots)))
            found = [(name_of(name), spec) for flat in everything for name, spec in _pairs(flat)]
        else:
            by_slot = self._by_slot(ids)
            replies = await self._wire.execute(*(("HMGET", keys.in_slot(slot, "spec"), *batch) for slot, batch in by_slot.items()))
            found = [pair for batch, specs in zip(by_slot.values(), replies, strict=True) for pair in zip(batch, specs, strict=True)]
        return {name: endpoint_entry(name, spec) for name, spec in found if spec}

    async def pool_entries(self) -> dict[str, Entry[Pool]]:
        found = _pairs(await self._wire.execute_one("HGETALL", keys.REGISTRY_POOLS))
        named = ((name_of(name), settings) for name, settings in found)
        return {name: pool_entry(name, settings) for name, settings in named}

    async def set_override(self, endpoint: Endpoint, read: str, override: bytes, transition: bytes) -> None:
        slot = keys.slot_of(endpoint.id, self.slots)
        names = [keys.in_slot(slot, name) for name in ("spec", "ovr", "events", "dirty", "rec", "reevaluate")]
        names += [keys.of_endpoint(slot, "log", endpoint.id), keys.members(slot, endpoint.pool)]
        args = endpoint.id, read, override, transition, endpoint.pool, keys.EVENTS_LENGTH_MAX, keys.OWN_LOG_LENGTH_MAX
        answer = await self._wire.run("set_override", names, *args, repeat=False)
        if answer < 0:
            raise Stale(f"the override of {endpoint.id} has changed")
        if answer == 0:
            raise Stale(f"endpoint {endpoint.id} is not registered in pool {endpoint.pool} any more")

    async def forget(self, endpoint_id: str, ver: int, alerts: Sequence[bytes]) -> bool:
        slot = keys.slot_of(endpoint_id, self.slots)
        names = [keys.in_slot(slot, name) for name in ("spec", "rec", "reevaluate", "alerts", "mem", "alerting")]
        own = [keys.of_endpoint(slot, name, endpoint_id) for name in _OWN]
        version = keys.version_text(ver)
        return bool(await self._wire.run("forget", [*names, *own], endpoint_id, version, keys.ALERTS_LENGTH_MAX, *alerts))


def _packed(name: str) -> str | msgspec.Raw:
    """A name for MessagePack, also where it is no text (str 32 of its specification)."""
    if name.isascii():
        return name
    data = stored(name)
    return msgspec.Raw(b"\xdb" + len(data).to_bytes(4) + data)


def _texts(transitions: Sequence[bytes]) -> list[str]:
    """As the scripts' MessagePack takes them, which knows text and no binary."""
    return [transition.decode() for transition in transitions]


def _revision(read: int | None) -> str:
    """As the scripts take a revision."""
    return "" if read is None else str(read)


def _pool(name: str, old: Entry[Pool] | None, settings: bytes, transitions: Sequence[bytes]) -> dict[str, Any]:
    return {"name": _packed(name), "read": old.digest if old else "", "settings": settings.decode(), "told": _texts(transitions)}


def _pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


class _Chunk:
    """Some endpoints of one slot on their way into register.lua: their keys, each once."""

    def __init__(self, slot: int, *, in_stream: bool = True) -> None:
        self.slot = slot
        self._keys = {keys.in_slot(slot, name): place for place, name in enumerate(_FIXED, 1)}
        self._place(keys.REGISTRY_REVISION)
        self._in_stream = in_stream
        self._puts: list[dict[str, Any]] = []
        self._removals: list[dict[str, Any]] = []

    def put(self, put: Put, old_pools: Sequence[str]) -> None:
        endpoint = put.endpoint
        plan = Plan.of(endpoint)
        shared = self._shared(endpoint.id, put.old, old_pools, put.transitions)
        self._puts.append(
            {
                **shared,
                "moves": put.relinks,
                "spec": _json(endpoint).decode(),
                "plan": "" if endpoint.paused else str(plan),
                "interval": plan.interval_ms,
                "phase": plan.phase_ms,
                "soon": plan.soon_ms,
                "delay": plan.delay_ms,
                "elsewhere": put.looks_elsewhere,
                "grace": plan.grace_ms,
                "join": self._member_key(endpoint.pool),
                "pool": endpoint.pool,
            }
        )

    def remove(self, removal: Removal, old_pools: Sequence[str]) -> None:
        self._removals.append({**self._shared(removal.id, removal.old, old_pools, removal.transitions), "moves": True})

    def command(self, revision: int | None) -> Command:
        caps = keys.EVENTS_LENGTH_MAX, keys.OWN_LOG_LENGTH_MAX
        return script("register", list(self._keys), _pack(self._puts), _pack(self._removals), *caps, _revision(revision))

    def _shared(
        self, endpoint_id: str, old: Entry[Endpoint] | None, old_pools: Sequence[str], transitions: Sequence[bytes]
    ) -> dict[str, Any]:
        own = _texts(transitions)
        return {
            "id": _packed(endpoint_id),
            "read": old.digest if old else "",
            "leave": [[self._member_key(pool), _packed(pool)] for pool in old_pools],
            "log": self._place(keys.of_endpoint(self.slot, "log", endpoint_id)),
            "own": own,
            "told": own if self._in_stream else [],
        }

    def _member_key(self, pool: str) -> int:
        return self._place(keys.members(self.slot, pool))

    def _place(self, key: str) -> int:
        return self._keys.setdefault(key, len(self._keys) + 1)
