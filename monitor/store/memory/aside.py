"""What cannot be read, in memory."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from monitor.store import keys
from monitor.store.memory.state import MemoryState
from monitor.store.port import SetAside, digest

_pack = msgspec.msgpack.Encoder().encode


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
        copies = (msgspec.structs.replace(item, digest=digest(_pack(item))) for item in self._aside.values())
        return sorted(copies, key=lambda item: (item.kind, item.key))

    async def drop_foreign(self) -> list[str]:
        return []

    async def discard_aside(self, item: SetAside) -> bool:
        field = keys.aside_field(item.kind, item.key)
        if field not in self._aside or digest(_pack(self._aside[field])) != item.digest:
            return False
        del self._aside[field]
        return True
