"""What the parts of the store on Redis have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence

from monitor.core.endpoint import Endpoint
from monitor.core.errors import StoreRefusal
from monitor.store import keys
from monitor.store.port import Entry
from monitor.store.redis.wire import Wire

BATCH_MAX = 1_000
"""Of the members that one script takes."""


class Calls(ABC):
    """The connection of a part of the port, and what it asks of the others."""

    slots: int

    @property
    @abstractmethod
    def _wire(self) -> Wire:
        """The open connection. Raises StoreError before `open`."""

    @abstractmethod
    async def now_ms(self) -> int: ...

    @abstractmethod
    async def endpoint_entries(self, ids: Sequence[str] | None = None) -> dict[str, Entry[Endpoint]]: ...

    async def _sizes(self, pools: Sequence[str]) -> dict[str, int]:
        """How many members each of these pools has; none where its member sets hold another type."""
        slots = range(self.slots)
        counts = await self._wire.execute_each(*(("SCARD", keys.members(slot, name)) for name in pools for slot in slots))
        known = [0 if isinstance(count, StoreRefusal) else count for count in counts]
        return {name: sum(known[n * self.slots : (n + 1) * self.slots]) for n, name in enumerate(pools)}


def grouped(slots: Sequence[int]) -> dict[int, list[int]]:
    """The places of each slot's items."""
    grouped: dict[int, list[int]] = defaultdict(list)
    for i, slot in enumerate(slots):
        grouped[slot].append(i)
    return grouped


def chunks(members: list[int]) -> Iterable[list[int]]:
    """As many at once as a script takes."""
    return (members[first : first + BATCH_MAX] for first in range(0, len(members), BATCH_MAX))
