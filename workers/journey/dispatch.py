"""Beat's work: claim what is due and say which tasks to publish. Knows no Celery; many may run at once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from monitor.clock import Clock
from monitor.core.errors import StoreRefusal
from monitor.core.parts import PartName
from monitor.core.tilt import JUMP_MS
from monitor.store.names import is_text, printable
from monitor.store.port import Lease, Store
from monitor.store.queues import ALERT_QUEUE, PROBE_QUEUE, QUEUES, Queue

HORIZON_MS = 900
"""Probes are claimed this far ahead, so that a batch fills and each probe starts at its own time."""
PROBE_TICK_MS = 500
TICKS_PER_INTERVAL = 4
"""Probes are claimed at least this often in the shortest interval, so that a slot is claimed before it begins: its time is known only
when the result of the slot before has been committed."""
INTERVAL_KNOWN_MS = 5_000
"""For how long the shortest interval that was claimed counts."""
WAITING_MAX = 4
"""Messages that may wait in the broker for each live worker before no more is claimed: they would only grow old there."""
QUEUE_CLAIM_MAX = 500
"""Most members that are claimed from a queue at once."""
STREAM_TICK_MS = 1_000
"""How often streams of alerts are served that a dead worker may have left."""
REALIGN_MS = 10_000
REINDEX_MS = 60_000
"""How often due times are held against the server's time, also where no claim has shown that it stepped back, and keys against their
types."""
TOLD_MS = 60_000
"""How often it is told that something still cannot be claimed."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class TaskMessage(msgspec.Struct, frozen=True):
    """One task to publish. Lost, its work comes back when the lease ends; duplicated, it is dropped at commit; late, by the worker."""

    task: str
    queue: str
    args: tuple[Any, ...]


class Dispatcher:
    """Claims in every slot and in every queue. `waiting` says how many messages wait in a queue of the broker."""

    def __init__(self, store: Store, clock: Clock, *, batch_size: int, claim_limit: int, waiting: Callable[[str], int]) -> None:
        self._store = store
        self._waiting = waiting
        self._live: Counter[str] = Counter()
        self._shortest_ms = PROBE_TICK_MS * TICKS_PER_INTERVAL
        self._shortest_at_ms = 0
        self._clock = clock
        self._batch_size = batch_size
        self._claim_limit = claim_limit
        self._probes_at_ms = 0
        self._streams_at_ms = 0
        self._realign_at_ms = 0
        self._reindex_at_ms = clock.monotonic_ms() + REINDEX_MS
        self._claimed_ms: dict[int, int] = {}
        self._told_ms: dict[str, int] = {}

    async def tick(self) -> list[TaskMessage]:
        """Claim everything that is due now and that live workers can begin with.

        What was claimed is returned whatever fails after it: its leases run. Raises only where nothing was claimed, StoreError where
        the store does not answer. What the store refuses of one slot or queue is left out.
        """
        messages: list[TaskMessage] = []
        try:
            await self._claim(messages)
        except Exception as error:
            if not messages:
                raise
            self._tell("the rest of what is due", error)
        return messages

    async def _claim(self, messages: list[TaskMessage]) -> None:
        now_ms = self._clock.monotonic_ms()
        try:
            if now_ms >= self._probes_at_ms and self._room(PROBE_QUEUE, PartName.WORKER):
                # Ticks keep their rate: each later one would lose a part of an interval that is as short.
                late_ms = now_ms - self._probes_at_ms
                self._probes_at_ms = now_ms + self.probe_tick_ms - (late_ms if late_ms < self.probe_tick_ms else 0)
                for slot in range(self._store.slots):
                    messages += await self._unless_refused(f"probes of slot {slot}", self._probes(slot)) or []
        finally:  # The broker's own keys may be what has to be put right.
            await self._realign(now_ms)
            await self._reindex(now_ms)
        await self._alerts(now_ms, messages)

    async def _alerts(self, now_ms: int, messages: list[TaskMessage]) -> None:
        due = await self._store.ready()
        streams: list[int] = []
        if now_ms >= self._streams_at_ms:
            self._streams_at_ms = now_ms + STREAM_TICK_MS
            streams = await self._store.streams()
        if not (due or streams) or not self._room(ALERT_QUEUE, PartName.ALERT_WORKER):
            return
        for queue, slot in due:
            claim = self._store.claim(queue, slot, QUEUE_CLAIM_MAX, QUEUES[queue].lease_ms)
            leases = await self._unless_refused(f"{queue} of slot {slot}", claim) or []
            messages += _chunks(queue, slot, [lease for lease in leases if is_text(lease.member)])
            for lease in leases:
                if not is_text(lease.member):
                    await self._drop(queue, slot, lease)
        messages += [TaskMessage("route_alerts", ALERT_QUEUE, (slot,)) for slot in streams]

    async def _drop(self, queue: Queue, slot: int, lease: Lease) -> None:
        """Take out what is no member of ours: no message could name it, and those beside it would go with that."""
        self._tell(f"{printable(lease.member)[:100]} in {queue}, which is no name and leaves it", ValueError("it is no text in UTF-8"))
        await self._unless_refused(f"{queue} of slot {slot}", self._store.finish(queue, slot, lease.member, lease.token_ms, None))

    async def _unless_refused(self, what: str, asked: Awaitable[T]) -> T | None:
        """What the store answers, or None where it refuses: a key that holds another type harms those alone who need it."""
        try:
            return await asked
        except StoreRefusal as error:
            self._tell(what, error)
            return None

    def _tell(self, what: str, error: Exception) -> None:
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._told_ms.get(what, -TOLD_MS) >= TOLD_MS:
            self._told_ms[what] = now_ms
            log.warning("cannot claim %s: %s", what, error)

    @property
    def probe_tick_ms(self) -> int:
        """How often probes are claimed now."""
        return min(PROBE_TICK_MS, self._shortest_ms // TICKS_PER_INTERVAL)

    async def count_live(self, heartbeat_age_max_ms: int) -> None:
        """Learn how many workers of each kind live."""
        self._live = Counter(name.partition(":")[0] for name in await self._store.heartbeats(heartbeat_age_max_ms))

    def _room(self, queue: str, part: PartName) -> bool:
        return self._waiting(queue) < WAITING_MAX * max(1, self._live[part])

    async def _realign(self, now_ms: int) -> None:
        """Bring back what a step of the server's time left far ahead: at once when claims show the step, else now and then. Keys that hold
        another type than theirs are deleted before, where somebody fills them again."""
        if now_ms < self._realign_at_ms:
            return
        self._realign_at_ms = now_ms + REALIGN_MS
        for key in await self._store.drop_foreign():
            log.warning("%s held a value of another type and has been deleted", key)
        for slot in range(self._store.slots):
            if moved := await self._unless_refused(f"what lies ahead in slot {slot}", self._store.realign(slot)):
                log.warning(
                    "%d members of the queues of slot %d were too far ahead, after a step back of the server's time, or missing",
                    moved,
                    slot,
                )

    async def _reindex(self, now_ms: int) -> None:
        """Make anew, now and then, what somebody has deleted of what follows from the registry."""
        if now_ms < self._reindex_at_ms:
            return
        self._reindex_at_ms = now_ms + REINDEX_MS
        for slot in range(self._store.slots):
            if missing := await self._unless_refused(f"what follows from the registry in slot {slot}", self._store.reindex(slot)):
                log.warning("%d memberships and plans of slot %d were missing and have been made anew", missing, slot)

    def _learn_interval(self, interval_ms: int) -> None:
        """Of what was claimed lately the shortest interval counts; without one, the usual tick does."""
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._shortest_at_ms > INTERVAL_KNOWN_MS:
            self._shortest_ms = PROBE_TICK_MS * TICKS_PER_INTERVAL
        if interval_ms and interval_ms <= self._shortest_ms:
            self._shortest_ms, self._shortest_at_ms = interval_ms, now_ms

    async def _probes(self, slot: int) -> list[TaskMessage]:
        claim = await self._store.claim_probes(slot, self._claim_limit, HORIZON_MS)
        if self._claimed_ms.get(slot, 0) - claim.now_ms > JUMP_MS:
            self._realign_at_ms = 0
        self._claimed_ms[slot] = claim.now_ms
        self._learn_interval(claim.interval_min_ms)
        if len(claim.items) == self._claim_limit:
            self._probes_at_ms = 0
        messages = []
        for start in range(0, len(claim.items), self._batch_size):
            items = claim.items[start : start + self._batch_size]
            messages.append(
                TaskMessage("probe_batch", PROBE_QUEUE, (slot, claim.rev, [(item.id, item.token_ms, item.due_ms) for item in items]))
            )
        return messages


def _chunks(queue: Queue, slot: int, leases: list[Lease]) -> list[TaskMessage]:
    row = QUEUES[queue]
    return [
        TaskMessage(
            row.task,
            row.broker_queue,
            (slot, [(lease.member, lease.token_ms, lease.due_ms) for lease in leases[start : start + row.chunk]]),
        )
        for start in range(0, len(leases), row.chunk)
    ]
