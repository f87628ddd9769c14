"""The data set's life in memory."""

from __future__ import annotations

from monitor.store import keys
from monitor.store.memory.state import MemoryState
from monitor.store.port import NO_EPOCH, Epoch


class MemoryLife(MemoryState):
    """See port.life."""

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
