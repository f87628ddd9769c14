"""What people look at, in memory."""

from __future__ import annotations

from monitor.store.memory.state import MemoryState
from monitor.store.queues import Queue


class MemoryReading(MemoryState):
    """See port.reading."""

    async def alerting(self) -> tuple[list[str], list[str]]:
        return sorted(name for slot in self._slots for name in slot.alerting), sorted(self._alerting)

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
