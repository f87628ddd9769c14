"""The alerts' part of the store in memory, with the queues and streams that both parts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from monitor.clock import Clock
from monitor.core.errors import Stale
from monitor.store import keys
from monitor.store.port import Flush, GroupInsert, GroupLoad, Settle
from monitor.store.queues import QUEUES, Queue, due_time, lease_token, mark


class Stream:
    """Entries with growing ids; the oldest beyond the cap are forgotten."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._last = 0
        self._entries: dict[int, bytes] = {}

    def append(self, data: bytes) -> None:
        self._last += 1
        self._entries[self._last] = data
        if len(self._entries) > self._cap:
            del self._entries[next(iter(self._entries))]

    def after(self, entry_id: int) -> list[tuple[str, bytes]]:
        return [(str(at), data) for at, data in self._entries.items() if at > entry_id]

    def delete(self, entry_ids: Sequence[str]) -> None:
        for entry_id in entry_ids:
            self._entries.pop(int(entry_id), None)


@dataclass(slots=True)
class _Group:
    meta: bytes
    alerts: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    log: dict[str, bytes] = field(default_factory=dict)
    in_flight: dict[str, str] = field(default_factory=dict)

    def drop(self, alerts: Mapping[str, bytes]) -> None:
        for fingerprint, alert in alerts.items():
            if self.alerts.get(fingerprint, (0, None))[1] == alert:
                del self.alerts[fingerprint]


class MemoryAlerts:
    def __init__(self, clock: Clock, slots: int) -> None:
        self.slots = slots
        self._clock = clock
        self._queues: dict[tuple[Queue, int], dict[str, int]] = {
            (queue, slot): {} for slot in range(slots) for queue in Queue if slot == 0 or QUEUES[queue].per_slot
        }
        self._transitions = Stream(keys.EVENTS_LENGTH_MAX)
        self._alert_events = [Stream(keys.ALERTS_LENGTH_MAX) for _ in range(slots)]
        self._routing = [0] * slots
        self._subjects: dict[str, tuple[int, bytes]] = {}
        self._groups: dict[str, _Group] = {}
        self._deliveries: dict[str, bytes] = {}
        self._sent = Stream(keys.SENT_LENGTH_MAX)

    def _queue(self, queue: Queue, slot: int = 0) -> dict[str, int]:
        return self._queues[queue, slot if QUEUES[queue].per_slot else 0]

    def _mark_dirty(self, slot: int, pool: str, at_ms: int) -> None:
        dirty = self._queue(Queue.DIRTY, slot)
        dirty[pool] = mark(dirty.get(pool), at_ms)

    async def load_subject(self, subject: str) -> tuple[int, bytes]:
        return self._subjects.get(subject, (0, b""))

    async def commit_subject(
        self, subject: str, ver: int, next_ver: int, body: bytes, *, alerts: Sequence[bytes] = (), transitions: Sequence[bytes] = ()
    ) -> bool:
        if self._subjects.get(subject, (0, b""))[0] != ver:
            return False
        if body:
            self._subjects[subject] = next_ver, body
        else:
            self._subjects.pop(subject, None)
        for alert in alerts:
            self._alert_events[0].append(alert)
        for transition in transitions:
            self._transitions.append(transition)
        return True

    async def claim_alert_events(self, slot: int, limit: int, lease_ms: int) -> tuple[int, list[tuple[str, bytes]]]:
        now_ms = self._clock.now_ms()
        entries = self._alert_events[slot].after(0)[:limit]
        if not entries or self._routing[slot] > now_ms:
            return 0, []
        self._routing[slot] = lease_token(now_ms + lease_ms)
        return self._routing[slot], entries

    async def ack_alert_events(self, slot: int, token_ms: int, entry_ids: Sequence[str]) -> None:
        if self._routing[slot] != token_ms or token_ms <= self._clock.now_ms():
            raise Stale(f"the alert events of slot {slot} are not ours any more")
        self._alert_events[slot].delete(entry_ids)
        self._routing[slot] = 0

    async def streams(self) -> list[int]:
        return [slot for slot, stream in enumerate(self._alert_events) if stream.after(0)]

    async def insert_alerts(self, inserts: Sequence[GroupInsert]) -> None:
        for insert in inserts:
            group = self._groups.setdefault(insert.group, _Group(insert.meta))
            self._queue(Queue.GROUPS).setdefault(insert.group, due_time(insert.first_flush_ms))
            if group.alerts.get(insert.fingerprint, (0, b""))[0] <= insert.updated_ms:
                group.alerts[insert.fingerprint] = insert.updated_ms, insert.alert

    async def load_group(self, group: str) -> GroupLoad | None:
        held = self._groups.get(group)
        if held is None:
            return None
        alerts = {fingerprint: alert for fingerprint, (_, alert) in held.alerts.items()}
        return GroupLoad(held.meta, alerts, dict(held.log), dict(held.in_flight))

    async def commit_flush(self, flush: Flush) -> None:
        group, groups = self._groups.get(flush.group), self._queue(Queue.GROUPS)
        if group is None or groups.get(flush.group) != flush.token_ms:
            raise Stale(f"the tick of group {flush.group} is not ours any more")
        group.meta = flush.meta or group.meta
        group.log |= flush.log
        for row in flush.deliveries:
            if row.integration not in group.in_flight:
                group.in_flight[row.integration] = row.id
                self._deliveries[row.id] = row.payload
                self._queue(Queue.DELIVERIES)[row.id] = due_time(row.due_ms)
        group.drop(flush.drop)
        groups[flush.group] = due_time(flush.next_ms)
        self._forget_if_done(flush.group)

    async def load_deliveries(self, ids: Sequence[str]) -> list[bytes]:
        return [self._deliveries.get(delivery_id, b"") for delivery_id in ids]

    async def retry_delivery(self, delivery_id: str, token_ms: int, payload: bytes, due_ms: int) -> None:
        self._require_delivery(delivery_id, token_ms)
        self._deliveries[delivery_id] = payload
        self._queue(Queue.DELIVERIES)[delivery_id] = due_time(due_ms)

    async def settle_delivery(self, settle: Settle) -> None:
        self._require_delivery(settle.id, settle.token_ms)
        del self._queue(Queue.DELIVERIES)[settle.id]
        self._deliveries.pop(settle.id, None)
        self._sent.append(settle.sent)
        group = self._groups.get(settle.group)
        if group is None:
            return
        if group.in_flight.get(settle.integration) == settle.id:
            del group.in_flight[settle.integration]
        if settle.log is not None:
            group.log[settle.integration] = settle.log
        if not group.in_flight:
            group.drop(settle.drop)
        self._forget_if_done(settle.group)

    async def sent(self, limit: int) -> list[tuple[str, bytes]]:
        return self._sent.after(0)[::-1][:limit]

    def _require_delivery(self, delivery_id: str, token_ms: int) -> None:
        if self._queue(Queue.DELIVERIES).get(delivery_id) != token_ms:
            raise Stale(f"delivery {delivery_id} is not ours any more")

    def _forget_if_done(self, name: str) -> None:
        if not self._groups[name].alerts and not self._groups[name].in_flight:
            del self._groups[name], self._queue(Queue.GROUPS)[name]
