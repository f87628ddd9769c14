"""Our own processes, in memory."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.store.memory.state import MemoryState


class MemoryProcesses(MemoryState):
    """See port.processes."""

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
