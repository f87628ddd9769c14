"""The metronome's work: claim what is due and say which tasks to publish. Knows no Celery; many may run at once."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from monitor.clock import Clock
from monitor.store.port import Lease, Store
from monitor.store.queues import CLAIM_MAX, QUEUES, Queue

HORIZON_MS = 900
"""Probes are claimed this far ahead, so that a batch fills and each probe starts at its own time."""
PROBE_TICK_MS = 500
STREAM_TICK_MS = 1_000
"""How often streams of alerts are looked at that a dead worker may have left."""
REALIGN_MS = 10_000
"""How often due times are held against the intervals: a clock that jumped back would put them far into the future."""

log = logging.getLogger(__name__)


class Message(msgspec.Struct, frozen=True):
    """One task to publish. Lost, its work comes back when the lease ends; duplicated, it is dropped at commit; late, by the worker."""

    task: str
    queue: str
    args: tuple[Any, ...]


class Dispatcher:
    """Claims in every slot and in the queues of pools, watches, groups and deliveries."""

    def __init__(self, store: Store, clock: Clock, *, batch_size: int, claim_limit: int) -> None:
        self._store = store
        self._clock = clock
        self._batch_size = batch_size
        self._claim_limit = claim_limit
        self._probes_at_ms = 0
        self._streams_at_ms = 0
        self._realign_at_ms = 0

    async def tick(self) -> list[Message]:
        """Claim everything that is due now."""
        messages: list[Message] = []
        now_ms = self._clock.monotonic_ms()
        if now_ms >= self._probes_at_ms:
            self._probes_at_ms = now_ms + PROBE_TICK_MS
            for slot in range(self._store.slots):
                messages += await self._probes(slot)
        for queue, slot in await self._store.ready():
            leases = await self._store.claim(queue, slot, CLAIM_MAX, QUEUES[queue].lease_ms)
            messages += _chunks(queue, slot, leases)
        if now_ms >= self._streams_at_ms:
            self._streams_at_ms = now_ms + STREAM_TICK_MS
            messages += [Message("route_alerts", "alert", (slot,)) for slot in await self._store.streams()]
        return messages

    async def realign(self) -> None:
        """Now and then, bring back endpoints that a clock's jump put far into the future."""
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._realign_at_ms:
            return
        self._realign_at_ms = now_ms + REALIGN_MS
        for slot in range(self._store.slots):
            if moved := await self._store.realign(slot):
                log.warning("%d endpoints were due later than their interval allows and are back on their grid", moved)

    async def _probes(self, slot: int) -> list[Message]:
        claim = await self._store.claim_probes(slot, self._claim_limit, HORIZON_MS)
        if len(claim.items) == self._claim_limit:
            self._probes_at_ms = 0
        messages = []
        for start in range(0, len(claim.items), self._batch_size):
            items = claim.items[start : start + self._batch_size]
            messages.append(Message("probe_batch", "probe", (slot, claim.rev, [(item.id, item.token_ms, item.due_ms) for item in items])))
        return messages


def _chunks(queue: Queue, slot: int, leases: list[Lease]) -> list[Message]:
    row = QUEUES[queue]
    return [
        Message(
            row.task,
            row.broker_queue,
            (slot, [(lease.member, lease.token_ms, lease.due_ms) for lease in leases[start : start + row.chunk]]),
        )
        for start in range(0, len(leases), row.chunk)
    ]
