"""The registry's part of the store on Redis: endpoints, pools, overrides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import Stale
from monitor.core.schedule import Plan
from monitor.store import keys
from monitor.store.redis.wire import Command, Wire, script

_CHUNK = 250
_ATTEMPTS = 5
_FIXED = ("spec", "plan", "rev", "due", "rec", "ovr", "reevaluate", "dirty")
_OWN = ("ring", "min", "hour", "day", "log")
_pack = msgspec.msgpack.Encoder().encode
_endpoint_json = msgspec.json.Encoder().encode
_endpoint_from = msgspec.json.Decoder(Endpoint).decode
_pool_from = msgspec.json.Decoder(Pool).decode


class RegistryCalls(ABC):
    slots: int

    @property
    @abstractmethod
    def _wire(self) -> Wire:
        """The open connection. Raises StoreError before `open`."""

    async def register(
        self, puts: Sequence[Endpoint], removes: Sequence[str], pools: Sequence[Pool], pool_removes: Sequence[str] = ()
    ) -> None:
        settings: list[Command] = [("HSET", keys.REGISTRY_POOLS, pool.name, _endpoint_json(pool)) for pool in pools]
        settings += [("HDEL", keys.REGISTRY_POOLS, name) for name in pool_removes]
        if settings:
            await self._wire.execute(*settings)
            touched = [*(pool.name for pool in pools), *pool_removes]
            await self._wire.execute(*(_Chunk(slot, touched).command([], []) for slot in range(self.slots)))
        wanted: dict[str, Endpoint | None] = {endpoint.id: endpoint for endpoint in puts} | dict.fromkeys(removes)
        by_slot: dict[int, list[str]] = defaultdict(list)
        for endpoint_id in wanted:
            by_slot[keys.slot_of(endpoint_id, self.slots)].append(endpoint_id)
        for slot, ids in by_slot.items():
            for first in range(0, len(ids), _CHUNK):
                await self._register(slot, {endpoint_id: wanted[endpoint_id] for endpoint_id in ids[first : first + _CHUNK]})

    async def _register(self, slot: int, wanted: Mapping[str, Endpoint | None]) -> None:
        for _ in range(_ATTEMPTS):
            old = dict(zip(wanted, await self._wire.execute_one("HMGET", keys.in_slot(slot, "spec"), *wanted), strict=True))
            chunk = _Chunk(slot)
            puts = [chunk.put(endpoint, old[endpoint_id]) for endpoint_id, endpoint in wanted.items() if endpoint]
            removes = [chunk.remove(endpoint_id, old[endpoint_id]) for endpoint_id, endpoint in wanted.items() if not endpoint]
            if (await self._wire.execute(chunk.command(puts, removes)))[0]:
                return
        raise Stale(f"somebody else keeps changing endpoints in slot {slot}")

    async def endpoints(self, ids: Sequence[str] | None = None) -> dict[str, Endpoint]:
        if ids is None:
            found = await self._wire.execute(*(("HVALS", keys.in_slot(slot, "spec")) for slot in range(self.slots)))
        else:
            by_slot: dict[int, list[str]] = defaultdict(list)
            for endpoint_id in ids:
                by_slot[keys.slot_of(endpoint_id, self.slots)].append(endpoint_id)
            found = await self._wire.execute(*(("HMGET", keys.in_slot(slot, "spec"), *batch) for slot, batch in by_slot.items()))
        endpoints = (_endpoint_from(spec) for specs in found for spec in specs if spec)
        return {endpoint.id: endpoint for endpoint in endpoints}

    async def pools(self) -> dict[str, Pool]:
        pools = map(_pool_from, await self._wire.execute_one("HVALS", keys.REGISTRY_POOLS))
        return {pool.name: pool for pool in pools}

    async def set_override(self, endpoint: Endpoint, override: bytes, transition: bytes) -> None:
        slot = keys.slot_of(endpoint.id, self.slots)
        names = [keys.in_slot(slot, name) for name in ("spec", "ovr", "events", "dirty")]
        args = endpoint.id, override, transition, endpoint.pool, keys.EVENTS_LENGTH_MAX
        if not await self._wire.run("set_override", names, *args):
            raise Stale(f"endpoint {endpoint.id} is not registered any more")

    async def forget(self, endpoint_id: str, ver: int, alerts: Sequence[bytes]) -> bool:
        slot = keys.slot_of(endpoint_id, self.slots)
        names = [keys.in_slot(slot, name) for name in ("spec", "rec", "reevaluate", "alerts", "mem")]
        own = [keys.of_endpoint(slot, name, endpoint_id) for name in _OWN]
        version = keys.version_text(ver)
        return bool(await self._wire.run("forget", [*names, *own], endpoint_id, version, keys.ALERTS_LENGTH_MAX, *alerts))

    async def make_due(self, endpoint_id: str, at_ms: int) -> None:
        slot = keys.slot_of(endpoint_id, self.slots)
        await self._wire.run("make_due", [keys.in_slot(slot, "due")], endpoint_id, at_ms)


def _text(spec: bytes | None) -> str:
    """The scripts' MessagePack knows text and no binary."""
    return (spec or b"").decode()


class _Chunk:
    """Some endpoints of one slot on their way into register.lua: their keys, each once, and the pools to weigh."""

    def __init__(self, slot: int, pools: Sequence[str] = ()) -> None:
        self._slot = slot
        self._keys = {keys.in_slot(slot, name): place for place, name in enumerate(_FIXED, 1)}
        self._pools = set(pools)

    def put(self, endpoint: Endpoint, old: bytes | None) -> dict[str, object]:
        plan = Plan.of(endpoint)
        return {
            "id": endpoint.id,
            "old": _text(old),
            "spec": _text(_endpoint_json(endpoint)),
            "plan": "" if endpoint.paused else str(plan),
            "interval": plan.interval_ms,
            "phase": plan.phase_ms,
            "delay": plan.delay_ms,
            "patience": plan.patience_ms,
            "leave": self._pool_of(old),
            "join": self._member_key(endpoint.pool),
        }

    def remove(self, endpoint_id: str, old: bytes | None) -> dict[str, object]:
        return {"id": endpoint_id, "old": _text(old), "leave": self._pool_of(old)}

    def command(self, puts: Sequence[object], removes: Sequence[object]) -> Command:
        return script("register", list(self._keys), _pack(puts), _pack(removes), _pack(sorted(self._pools)))

    def _pool_of(self, spec: bytes | None) -> int:
        return self._member_key(_endpoint_from(spec).pool) if spec else 0

    def _member_key(self, pool: str) -> int:
        self._pools.add(pool)
        return self._place(keys.members(self._slot, pool))

    def _place(self, key: str) -> int:
        return self._keys.setdefault(key, len(self._keys) + 1)
