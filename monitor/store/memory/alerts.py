"""Alerts in memory: subjects, assertions, the alert store, groups, deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from monitor.core.errors import Stale
from monitor.store.memory.state import Alert, Group, MemoryState
from monitor.store.port import AlertPhase, DeliveryRow, Flush, GroupLoad, Membership, Settle, StoredAlert, SubjectAssertion
from monitor.store.queues import AHEAD_MS, WEIGHED_AGAIN_MS, Queue, at_once, due_time, lease_token


class MemoryAlerts(MemoryState):
    """See port.alerts."""

    async def load_subject(self, subject: str) -> tuple[int, bytes]:
        return self._subjects.get(subject, (0, b""))

    async def commit_subject(
        self,
        subject: str,
        ver: int,
        next_ver: int,
        body: bytes,
        *,
        alerting: bool = False,
        alerts: Sequence[bytes] = (),
        transitions: Sequence[bytes] = (),
    ) -> bool:
        if self._subjects.get(subject, (0, b""))[0] != ver:
            return False
        if body:
            kind, _, pool = subject.partition(":")
            if subject not in self._subjects and kind == "pool":
                self._mark_dirty(0, pool, self._clock.now_ms())
            self._subjects[subject] = next_ver, body
            if kind == "pool":
                self._queue(Queue.DIRTY, 0).setdefault(pool, due_time(self._clock.now_ms() + WEIGHED_AGAIN_MS))
        else:
            self._subjects.pop(subject, None)
        (self._alerting.add if body and alerting else self._alerting.discard)(subject)
        self._write_alerts(0, alerts)
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

    async def listen(self, heard: Callable[[int], None], listening: Callable[[], None]) -> None:
        self._listeners.append(heard)
        listening()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._listeners.remove(heard)

    async def streams(self) -> list[int]:
        return [slot for slot, stream in enumerate(self._alert_events) if stream.after(0)]

    async def assert_alerts(self, assertions: Sequence[SubjectAssertion]) -> list[str]:
        made: list[str] = []
        now_ms = self._clock.now_ms()
        for item in assertions:
            ver, before = self._asserted.get(item.subject, (0, []))
            if ver > item.ver and not ver > max(now_ms, item.ver) + AHEAD_MS:
                continue
            for one in item.alerts:
                self._alerts[one.fingerprint] = Alert(one.alert, item.ver, item.subject, one.starts_ms, one.ends_ms)
                made += [group.group for group in one.groups if self._join(group)]
            names = [one.fingerprint for one in item.alerts]
            for ended in item.ended:
                held = self._alerts.get(ended.fingerprint)
                if held and not held.ends_ms and held.subject == item.subject and ended.fingerprint not in names:
                    held.alert, held.ver = ended.alert, item.ver
                    self._end(item.subject, ended.fingerprint, item.at_ms, ended.reason)
            for fingerprint in before:
                if fingerprint not in names:
                    self._end(item.subject, fingerprint, item.at_ms, item.reason)
            self._asserted[item.subject] = item.ver, names
            self._queue(Queue.ASSERTIONS)[item.subject] = due_time(item.expires_ms)
        return made

    async def join_groups(self, memberships: Sequence[Membership]) -> list[str]:
        return [one.group for one in memberships if one.fingerprint in self._alerts and self._join(one)]

    def _join(self, membership: Membership) -> bool:
        new = membership.group not in self._groups
        group = self._groups.setdefault(membership.group, Group(membership.meta))
        if membership.fingerprint not in group.alerts:
            group.alerts.add(membership.fingerprint)
            self._held[membership.fingerprint] += 1
        self._queue(Queue.GROUPS).setdefault(membership.group, due_time(membership.first_flush_ms))
        return new

    async def end_asserted(self, subject: str, token_ms: int, at_ms: int, reason: str, next_ms: int) -> int:
        queue = self._queue(Queue.ASSERTIONS)
        if queue.get(subject) != token_ms:
            raise Stale(f"the assertion of {subject} is not ours any more")
        ver, fingerprints = self._asserted.get(subject, (0, []))
        if not fingerprints:
            self._asserted.pop(subject, None)
            del queue[subject]
            return 0
        for fingerprint in fingerprints:
            self._end(subject, fingerprint, at_ms, reason)
        self._asserted[subject] = ver, []
        queue[subject] = due_time(next_ms)
        return len(fingerprints)

    async def end_orphans(self, at_ms: int, reason: str) -> int:
        queue = self._queue(Queue.ASSERTIONS)
        orphans = [
            (alert.subject, name)
            for name, alert in self._alerts.items()
            if not alert.ends_ms and (alert.subject not in queue or name not in self._asserted.get(alert.subject, (0, []))[1])
        ]
        for subject, fingerprint in orphans:
            self._end(subject, fingerprint, at_ms, reason)
        return len(orphans)

    def _end(self, subject: str, fingerprint: str, at_ms: int, reason: str) -> None:
        alert = self._alerts.get(fingerprint)
        if alert is None or alert.subject != subject:
            return
        at_ms = min(at_ms, self._clock.now_ms())  # Whoever says otherwise does not know yet that the time has stepped back.
        if not alert.ends_ms or alert.ends_ms > at_ms:
            alert.ends_ms, alert.reason = at_ms, reason
        self._let_go(fingerprint)

    def _let_go(self, fingerprint: str) -> None:
        """An alert goes when it has ended and no group refers to it."""
        alert = self._alerts.get(fingerprint)
        if alert and alert.ends_ms and not self._held[fingerprint]:
            del self._alerts[fingerprint], self._held[fingerprint]

    def _drop(self, group: Group, alerts: Mapping[str, int]) -> None:
        for fingerprint, ends_ms in alerts.items():
            held = self._alerts.get(fingerprint)
            if (held.ends_ms if held else 0) == ends_ms and fingerprint in group.alerts:
                group.alerts.discard(fingerprint)
                self._held[fingerprint] -= 1
                self._let_go(fingerprint)

    def _stored(self, fingerprint: str) -> StoredAlert:
        held = self._alerts.get(fingerprint)
        if held is None:
            return StoredAlert(fingerprint, b"", 0, "")
        return StoredAlert(fingerprint, held.alert, held.ver, held.subject, held.ends_ms, held.reason)

    async def alerts(self, phase: AlertPhase, limit: int) -> list[StoredAlert]:
        now_ms = self._clock.now_ms()
        open_ = sorted((held.starts_ms, name) for name, held in self._alerts.items() if not held.ends_ms)
        ends = sorted((held.ends_ms, name) for name, held in self._alerts.items() if held.ends_ms)
        if phase is AlertPhase.FIRING:
            found = [name for _, name in open_] + [name for ends_ms, name in ends if ends_ms > now_ms]
        else:
            found = [name for ends_ms, name in reversed(ends) if ends_ms <= now_ms]
        return [self._stored(name) for name in found[:limit]]

    async def alert(self, fingerprint: str) -> StoredAlert | None:
        return self._stored(fingerprint) if fingerprint in self._alerts else None

    async def load_group(self, group: str) -> GroupLoad | None:
        held = self._groups.get(group)
        if held is None:
            return None
        outbox = self._queue(Queue.DELIVERIES)
        held.in_flight = {place: delivery for place, delivery in held.in_flight.items() if delivery in outbox}
        return GroupLoad(held.meta, {name: self._stored(name) for name in held.alerts}, dict(held.log), dict(held.in_flight))

    async def commit_flush(self, flush: Flush) -> None:
        group, groups = self._groups.get(flush.group), self._queue(Queue.GROUPS)
        if group is None or groups.get(flush.group) != flush.token_ms:
            raise Stale(f"the tick of group {flush.group} is not ours any more")
        group.meta = flush.meta or group.meta
        group.log |= flush.log
        for row in flush.deliveries:
            if row.place not in group.in_flight:
                group.in_flight[row.place] = row.id
                self._deliveries[row.id] = DeliveryRow(row.payload, flush.group, row.place)
                self._queue(Queue.DELIVERIES)[row.id] = due_time(row.due_ms)
        self._drop(group, flush.drop)
        groups[flush.group] = due_time(flush.next_ms)
        self._forget_if_done(flush.group)

    async def load_deliveries(self, ids: Sequence[str]) -> list[DeliveryRow | None]:
        return [self._deliveries.get(delivery_id) for delivery_id in ids]

    async def retry_delivery(self, delivery_id: str, token_ms: int, payload: bytes, due_ms: int) -> None:
        self._require_delivery(delivery_id, token_ms)
        if row := self._deliveries.get(delivery_id):
            self._deliveries[delivery_id] = DeliveryRow(payload, row.group, row.place)
        self._queue(Queue.DELIVERIES)[delivery_id] = due_time(due_ms)

    async def settle_delivery(self, settle: Settle) -> None:
        self._require_delivery(settle.id, settle.token_ms)
        del self._queue(Queue.DELIVERIES)[settle.id]
        self._deliveries.pop(settle.id, None)
        self._sent.append(settle.sent)
        group = self._groups.get(settle.group)
        if group is None:
            return
        if group.in_flight.get(settle.place) == settle.id:
            del group.in_flight[settle.place]
        if settle.log is not None:
            group.log[settle.place] = settle.log
        if not group.in_flight:
            self._drop(group, settle.drop)
            self._forget_if_done(settle.group)
        if settle.at_once and settle.group in self._groups:
            self._queue(Queue.GROUPS)[settle.group] = at_once(self._clock.now_ms())

    async def sent(self, limit: int) -> list[tuple[str, bytes]]:
        return self._sent.after(0)[::-1][:limit]

    def _require_delivery(self, delivery_id: str, token_ms: int) -> None:
        if self._queue(Queue.DELIVERIES).get(delivery_id) != token_ms:
            raise Stale(f"delivery {delivery_id} is not ours any more")

    def _forget_if_done(self, name: str) -> None:
        if not self._groups[name].alerts and not self._groups[name].in_flight:
            del self._groups[name], self._queue(Queue.GROUPS)[name]
