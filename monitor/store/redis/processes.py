"""Our own processes on Redis."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.store import keys
from monitor.store.names import name_of
from monitor.store.redis.calls import Calls
from monitor.store.redis.replies import by, number
from monitor.store.redis.wire import script


class ProcessCalls(Calls):
    """The calls of the port that concern heartbeats and counters."""

    async def heartbeat(self, name: str, process: bytes) -> None:
        marker, _, held = await self._wire.execute(
            ("SETNX", keys.SLOTS, self.slots), script("heartbeat", [keys.PROCESSES], name, process), ("GET", keys.SLOTS)
        )
        if not marker:
            keys.read_slots(held, self.slots)

    async def deregister(self, name: str) -> None:
        await self._wire.execute_one("HDEL", keys.PROCESSES, name)

    async def heartbeats(self, max_age_ms: int) -> dict[str, bytes]:
        alive = await self._wire.run("heartbeats", [keys.PROCESSES], max_age_ms)
        return {name_of(name): process for name, process in by(2, alive)}

    async def count(self, increments: Mapping[str, int]) -> None:
        if increments:
            await self._wire.execute(*(("HINCRBY", keys.COUNTERS, name, by) for name, by in increments.items()), repeat=False)

    async def counters(self) -> dict[str, int]:
        held = await self._wire.execute_one("HGETALL", keys.COUNTERS)
        return {name_of(name): number(value) for name, value in by(2, held)}
