"""What cannot be read, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.store import keys
from monitor.store.memory.state import MemoryState
from monitor.store.port import SetAside


class MemoryAside(MemoryState):
    """See port.aside."""

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
