"""From alert to message: alerts into groups, groups into deliveries, deliveries to their services.

Every step is claimed by lease and safe to repeat. A message can be sent twice only when a process dies between the
service's acceptance and the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from alert_rules.alert import Alert
from alert_rules.group import GroupMeta, LogEntry, Notification, decide_flush, first_flush_ms
from alert_rules.message import render
from alert_rules.retry import next_attempt_ms
from alert_rules.route import Integration, Route, Routing
from monitor.clock import Clock
from monitor.core.errors import DeliveryError, Stale, StoreError
from monitor.store.port import Flush, GroupInsert, Lease, NewDelivery, Queue, Settle, Store
from workers.counters import Counters

EVENTS_MAX = 500
ROUTE_LEASE_MS = 10_000

log = logging.getLogger(__name__)

Sender = Callable[[Integration, str, str, str], Awaitable[str]]
_encode = msgspec.json.Encoder().encode
_decode_alert = msgspec.json.Decoder(Alert).decode
_decode_meta = msgspec.json.Decoder(GroupMeta).decode
_decode_log = msgspec.json.Decoder(LogEntry).decode


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One notification to one integration: a row of the outbox, with an id that the same decision makes again."""

    id: str
    group: str
    group_labels: dict[str, str]
    receiver: str
    integration: str
    notification: Notification
    first_ms: int
    attempts: int = 0
    error: str = ""


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a delivery: an entry of the stream of notifications."""

    id: str
    group: str
    receiver: str
    integration: str
    reason: str
    firing: int
    resolved: int
    attempts: int
    at_ms: int
    answer: str
    delivered: bool


_decode_delivery = msgspec.json.Decoder(Delivery).decode


class Alerting:
    """One per worker process that routes, flushes or delivers."""

    def __init__(self, *, store: Store, clock: Clock, routing: Routing, send: Sender, counters: Counters) -> None:
        self._store = store
        self._clock = clock
        self._routing = routing
        self._send = send
        self._counters = counters
        self._tasks: dict[int, asyncio.Task[None]] = {}

    # Alerts into groups ---------------------------------------------------------------------------------------------

    def request_routing(self, slot: int) -> None:
        """Route soon; a request that comes while one runs is served by it or by the dispatcher's next look."""
        task = self._tasks.get(slot)
        if task is None or task.done():
            self._tasks[slot] = asyncio.ensure_future(self.route(slot))

    async def route(self, slot: int) -> None:
        """Put the slot's new alerts into their groups. One process at a time holds a slot's stream."""
        try:
            while True:
                token_ms, events = await self._store.claim_alert_events(slot, EVENTS_MAX, ROUTE_LEASE_MS)
                if not events:
                    return
                started_ms = self._clock.monotonic_ms()
                inserts = [insert for _, data in events for insert in self._inserts(_decode_alert(data), data)]
                if self._clock.monotonic_ms() - started_ms > ROUTE_LEASE_MS // 2:
                    return  # We stood still for so long that the stream may be another's by now.
                await self._store.insert_alerts(inserts)
                await self._store.ack_alert_events(slot, token_ms, [entry_id for entry_id, _ in events])
                self._counters.add("alerts_routed", len(events))
        except StoreError as error:
            log.warning("alerts of slot %d wait: %s", slot, error)
        except Exception:
            log.exception("alerts of slot %d could not be routed", slot)

    def _inserts(self, alert: Alert, data: bytes) -> list[GroupInsert]:
        now_ms = self._clock.now_ms()
        return [
            GroupInsert(
                group=route.group_key(alert.labels),
                meta=_encode(GroupMeta(route=route.path, receiver=route.receiver, labels=route.group_labels(alert.labels))),
                first_flush_ms=first_flush_ms(alert, route, now_ms),
                fingerprint=alert.fingerprint,
                alert=data,
                updated_ms=alert.updated_ms,
            )
            for route in self._routing.match(alert.labels)
        ]

    # Groups into deliveries -----------------------------------------------------------------------------------------

    async def flush(self, leases: Sequence[Lease]) -> None:
        """Let each group whose timer has come decide what to send."""
        for lease in leases:
            try:
                await self._flush_one(lease)
            except (Stale, StoreError) as error:
                log.warning("group %s waits: %s", lease.member, error)
            except Exception:
                log.exception("group %s could not be flushed", lease.member)

    async def _flush_one(self, lease: Lease) -> None:
        load = await self._store.load_group(lease.member)
        if load is None:
            await self._store.finish(Queue.GROUPS, 0, lease.member, lease.token_ms, None)
            return
        meta = _decode_meta(load.meta)
        alerts = {fingerprint: _decode_alert(data) for fingerprint, data in load.alerts.items()}
        route = self._routing.by_path(meta.route)
        if route is None or route.group_key_of(meta.labels) != lease.member:
            await self._move(lease, load.alerts, alerts)
            return
        integrations = self._routing.integrations(route.receiver)
        entries = {name: _decode_log(data) for name, data in load.log.items()}
        decision = decide_flush(meta, route, integrations, alerts, entries, load.under_way, lease.due_ms)
        for line in decision.reasons:
            log.debug("group %s: %s", lease.member, line)
        await self._store.commit_flush(
            Flush(
                group=lease.member,
                token_ms=lease.token_ms,
                next_ms=decision.next_ms,
                deliveries=tuple(self._delivery(lease, meta, route, notification) for notification in decision.notifications),
                drop={fingerprint: load.alerts[fingerprint] for fingerprint in decision.drop},
                log={name: _encode(entry) for name, entry in decision.log_only.items()},
            )
        )

    async def _move(self, lease: Lease, data: Mapping[str, bytes], alerts: Mapping[str, Alert]) -> None:
        """The configuration has changed and knows this group no more: its firing alerts go where they belong now."""
        inserts = [
            insert for fingerprint, alert in alerts.items() if not alert.ends_at_ms for insert in self._inserts(alert, data[fingerprint])
        ]
        await self._store.insert_alerts(inserts)
        await self._store.commit_flush(Flush(group=lease.member, token_ms=lease.token_ms, next_ms=lease.token_ms, drop=data))

    def _delivery(self, lease: Lease, meta: GroupMeta, route: Route, notification: Notification) -> NewDelivery:
        delivery_id = hashlib.sha256(f"{lease.member}\n{notification.integration}\n{lease.due_ms}".encode()).hexdigest()[:24]
        delivery = Delivery(
            id=delivery_id,
            group=lease.member,
            group_labels=meta.labels,
            receiver=route.receiver,
            integration=notification.integration,
            notification=notification,
            first_ms=lease.due_ms,
        )
        return NewDelivery(delivery_id, notification.integration, _encode(delivery), lease.due_ms)

    # Deliveries to services -----------------------------------------------------------------------------------------

    async def deliver(self, leases: Sequence[Lease]) -> None:
        """Send what is due, all at once: a slow service delays no other."""
        rows = await self._store.load_deliveries([lease.member for lease in leases])
        await asyncio.gather(*(self._deliver_one(lease, row) for lease, row in zip(leases, rows, strict=True)))

    async def _deliver_one(self, lease: Lease, row: bytes) -> None:
        try:
            if not row:
                await self._store.finish(Queue.DELIVERIES, 0, lease.member, lease.token_ms, None)
                return
            delivery = _decode_delivery(row)
            delivery = msgspec.structs.replace(delivery, attempts=delivery.attempts + 1)
            try:
                answer = await self._send_one(delivery)
            except DeliveryError as error:
                await self._failed(lease, delivery, error)
            else:
                self._counters.add("notifications_delivered")
                await self._settle(lease, delivery, delivery.notification.log_entry(), answer, delivered=True)
        except (Stale, StoreError) as error:
            log.warning("delivery %s waits: %s", lease.member, error)
        except Exception:
            log.exception("delivery %s failed", lease.member)

    async def _send_one(self, delivery: Delivery) -> str:
        integration = self._routing.integration(delivery.integration)
        if integration is None:
            raise DeliveryError(f"the configuration has no integration {delivery.integration} any more", permanent=True)
        notification = delivery.notification
        title, body = render(integration, notification, delivery.receiver, delivery.group_labels)
        return await self._send(integration, title, body, notification.status)

    async def _failed(self, lease: Lease, delivery: Delivery, error: DeliveryError) -> None:
        now_ms = self._clock.now_ms()
        delivery = msgspec.structs.replace(delivery, error=str(error))
        due_ms = (
            None if error.permanent else next_attempt_ms(delivery.id, delivery.attempts, delivery.first_ms, now_ms, error.retry_after_ms)
        )
        if due_ms is None:
            log.error("notification to %s given up after %d attempts: %s", delivery.integration, delivery.attempts, error)
            self._counters.add("notifications_given_up")
            await self._settle(lease, delivery, None, str(error), delivered=False)
        else:
            log.warning("notification to %s failed, attempt %d: %s", delivery.integration, delivery.attempts, error)
            self._counters.add("notifications_retried")
            await self._store.retry_delivery(delivery.id, lease.token_ms, _encode(delivery), due_ms)

    async def _settle(self, lease: Lease, delivery: Delivery, entry: LogEntry | None, answer: str, *, delivered: bool) -> None:
        notification = delivery.notification
        resolved = {alert.fingerprint: _encode(alert) for alert in notification.alerts if alert.ends_at_ms}
        sent = Sent(
            id=delivery.id,
            group=delivery.group,
            receiver=delivery.receiver,
            integration=delivery.integration,
            reason=notification.reason,
            firing=len(notification.firing),
            resolved=len(notification.resolved),
            attempts=delivery.attempts,
            at_ms=self._clock.now_ms(),
            answer=answer,
            delivered=delivered,
        )
        await self._store.settle_delivery(
            Settle(
                id=delivery.id,
                token_ms=lease.token_ms,
                group=delivery.group,
                integration=delivery.integration,
                log=_encode(entry) if entry else None,
                drop=resolved if delivered else {},
                sent=_encode(sent),
            )
        )
