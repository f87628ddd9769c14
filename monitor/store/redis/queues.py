"""The work queues on Redis."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.core.errors import Stale, StoreRefusal
from monitor.store import keys
from monitor.store.names import name_of
from monitor.store.port import Lease
from monitor.store.queues import EARLY_MS, QUEUES, Queue
from monitor.store.redis.calls import Calls
from monitor.store.redis.replies import by, to_ms
from monitor.store.redis.wire import Wire

ONCE = {Queue.GROUPS: keys.GROUPS, Queue.DELIVERIES: keys.DELIVERIES, Queue.ASSERTIONS: keys.ASSERTIONS, Queue.TRAFFIC: keys.REPORTS}
"""Where the queues stand that exist once."""


class QueueCalls(Calls):
    """The calls of the port that concern work queues."""

    async def ready(self) -> list[tuple[Queue, int]]:
        queues = [(queue, slot) for slot in range(self.slots) for queue in Queue if slot == 0 or QUEUES[queue].per_slot]
        firsts = (("ZRANGE", _queue(queue, slot), 0, 0, "WITHSCORES") for queue, slot in queues)
        time, *heads = await self._wire.execute_each(("TIME",), *firsts)
        return [
            at for at, head in zip(queues, heads, strict=True) if isinstance(head, StoreRefusal) or (head and float(head[1]) <= to_ms(time))
        ]

    async def claim(self, queue: Queue, slot: int, limit: int, lease_ms: int, members: Sequence[str] = ()) -> list[Lease]:
        names = [_queue(queue, slot)]
        taken = await self._wire.run("claim", names, min(limit, keys.CLAIM_MAX), lease_ms, EARLY_MS, *members[:limit])
        return [Lease(name_of(member), token_ms, due_ms) for member, token_ms, due_ms in by(3, taken)]

    async def finish(self, queue: Queue, slot: int, member: str, token_ms: int, next_ms: int | None) -> bool:
        return bool(await self._wire.run("finish", [_queue(queue, slot)], member, token_ms, "" if next_ms is None else next_ms))

    async def renew(self, queue: Queue, slot: int, member: str, token_ms: int, until_ms: int, *, repeated: bool = False) -> None:
        if not await self._wire.run("renew", [_queue(queue, slot)], member, token_ms, until_ms, int(repeated), repeat=False):
            raise Stale(f"{member} in {queue.value} is not ours any more")

    async def overdue(self, queue: Queue, slot: int) -> int:
        return await late_ms(self._wire, _queue(queue, slot))


async def late_ms(wire: Wire, name: str) -> int:
    """By how much the first member of a due set or queue is late."""
    time, first = await wire.execute(("TIME",), ("ZRANGE", name, 0, 0, "WITHSCORES"))
    return max(0, to_ms(time) - int(float(first[1]))) if first else 0


def _queue(queue: Queue, slot: int) -> str:
    return ONCE.get(queue) or keys.in_slot(slot, queue.value)
