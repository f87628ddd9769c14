"""What people look at, on Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from monitor.core.errors import StoreRefusal
from monitor.store import keys
from monitor.store.names import name_of
from monitor.store.redis.calls import Calls
from monitor.store.redis.cursor import Merge


class ReadingCalls(Calls):
    """The calls of the port that change nothing."""

    async def alerting(self) -> tuple[list[str], list[str]]:
        subjects, *found = await self._wire.execute(
            ("SMEMBERS", keys.ALERTING_SUBJECTS), *(("SMEMBERS", keys.in_slot(slot, "alerting")) for slot in range(self.slots))
        )
        return sorted(name_of(name) for names in found for name in names), sorted(map(name_of, subjects))

    async def pool_sizes(self) -> dict[str, int]:
        slots = range(self.slots)
        published, settings, *marked = await self._wire.execute(
            ("SMEMBERS", keys.POOLS), ("HKEYS", keys.REGISTRY_POOLS), *(("ZRANGE", keys.in_slot(slot, "dirty"), 0, -1) for slot in slots)
        )
        names = sorted({name_of(name) for found in (published, settings, *marked) for name in found})
        return await self._sizes(names)

    async def transitions(self, endpoint_id: str) -> list[bytes]:
        slot = keys.slot_of(endpoint_id, self.slots)
        (found,) = await self._wire.execute_each(("LRANGE", keys.of_endpoint(slot, "log", endpoint_id), 0, -1))
        return [] if isinstance(found, StoreRefusal) else found

    async def samples(self, endpoint_id: str, name: str) -> bytes:
        slot = keys.slot_of(endpoint_id, self.slots)
        (found,) = await self._wire.execute_each(("GET", keys.of_endpoint(slot, name, endpoint_id)))
        return b"" if isinstance(found, StoreRefusal) else found or b""

    async def events(self, limit: int, after: str = "") -> list[tuple[str, bytes]]:
        merge = Merge(self.slots, after)
        streams = [keys.in_slot(slot, "events") for slot in range(self.slots)]
        if after:
            found = await self._wire.execute(
                *(("XRANGE", stream, f"({at}", "+", "COUNT", limit) for stream, at in zip(streams, merge.positions, strict=True))
            )
            return merge.first([_entries(entries) for entries in found], limit)
        found = await self._wire.execute(*(("XREVRANGE", stream, "+", "-", "COUNT", limit) for stream in streams))
        return merge.last([_entries(reversed(entries)) for entries in found], limit)


def _entries(entries: Iterable[Any]) -> list[tuple[str, bytes]]:
    return [(entry_id.decode(), fields[1]) for entry_id, fields in entries]
