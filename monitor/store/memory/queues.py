"""The work queues in memory."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from monitor.core.errors import Stale
from monitor.store import keys
from monitor.store.memory.state import MemoryState
from monitor.store.port import Lease
from monitor.store.queues import EARLY_MS, Queue, due_time, is_lease, lease_token


class MemoryQueues(MemoryState):
    """See port.queues."""

    async def ready(self) -> list[tuple[Queue, int]]:
        now_ms = self._clock.now_ms()
        return [place for place, queue in self._queues.items() if queue and min(queue.values()) <= now_ms]

    async def claim(self, queue: Queue, slot: int, limit: int, lease_ms: int, members: Sequence[str] = ()) -> list[Lease]:
        held, now_ms = self._queue(queue, slot), self._clock.now_ms()
        token_ms = lease_token(now_ms + lease_ms)
        if members:
            named = [(held[member], member) for member in members[:limit] if member in held]
            taken = [(due_ms, member) for due_ms, member in named if due_ms <= now_ms + (0 if is_lease(due_ms) else EARLY_MS)]
        else:
            taken = heapq.nsmallest(min(limit, keys.CLAIM_MAX), ((at_ms, member) for member, at_ms in held.items() if at_ms <= now_ms))
        held.update((member, token_ms) for _, member in taken)
        return [Lease(member, token_ms, due_ms) for due_ms, member in taken]

    async def finish(self, queue: Queue, slot: int, member: str, token_ms: int, next_ms: int | None) -> bool:
        members = self._queue(queue, slot)
        if members.get(member) != token_ms:
            return False
        del members[member]
        if next_ms is not None:
            members[member] = due_time(next_ms)
        return True

    async def renew(self, queue: Queue, slot: int, member: str, token_ms: int, until_ms: int, *, repeated: bool = False) -> None:
        members = self._queue(queue, slot)
        held = members.get(member)
        if (held != token_ms and not (repeated and held == until_ms)) or until_ms <= self._clock.now_ms():
            raise Stale(f"{member} in {queue.value} is not ours any more")
        members[member] = until_ms

    async def overdue(self, queue: Queue, slot: int) -> int:
        now_ms = self._clock.now_ms()
        return max(0, now_ms - min(self._queue(queue, slot).values(), default=now_ms))
