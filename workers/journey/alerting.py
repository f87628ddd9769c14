"""From alert to message: alerts into groups, groups into deliveries, deliveries to their services.

Every step is claimed by lease and safe to repeat. A message can be sent twice only when a process dies between the
service's acceptance and the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from alert_rules.notify.dedup import LogEntry
from alert_rules.notify.message import render_message
from alert_rules.notify.retry import next_attempt_ms
from alert_rules.notify.stages import Notification, decide_flush, may_leave
from alert_rules.routes.group import GroupMeta, first_flush_ms, group_of, tick_of
from alert_rules.routes.route import Integration, Routing, group_key
from alert_rules.rules.alert import Alert
from monitor.clock import Clock
from monitor.core.errors import DeliveryError, Stale, StoreError
from monitor.store.port import Flush, GroupInsert, Lease, NewDelivery, Settle, Store
from monitor.store.queues import Queue
from workers.journey.counters import Counters

EVENTS_MAX = 500
ROUTE_LEASE_MS = 10_000

log = logging.getLogger(__name__)

Sender = Callable[[Integration, str, str, str], Awaitable[str]]
"""Sends a title and a body, with the kind of message, and returns what the service answered; DeliveryError when it was not accepted."""
_encode = msgspec.json.Encoder().encode
_decode_alert = msgspec.json.Decoder(Alert).decode
_decode_meta = msgspec.json.Decoder(GroupMeta).decode
_decode_log = msgspec.json.Decoder(LogEntry).decode


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One notification to one integration: a row of the outbox, whose id the same decision makes again."""

    notification: Notification
    deadline_ms: int
    attempts: int = 0


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
decode_sent = msgspec.json.Decoder(Sent).decode


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
        inserts = []
        for route in self._routing.match(alert.labels):
            meta = group_of(route, alert.labels)
            inserts.append(
                GroupInsert(
                    group=meta.key,
                    meta=_encode(meta),
                    first_flush_ms=first_flush_ms(alert, route, now_ms),
                    fingerprint=alert.fingerprint,
                    alert=data,
                    updated_ms=alert.updated_ms,
                )
            )
        return inserts

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
        alerts = {fingerprint: _decode_alert(data) for fingerprint, data in load.alerts.items()}
        meta = self._present_meta(_decode_meta(load.meta), alerts)
        if meta is None:
            await self._move(lease, load.alerts, alerts)
            return
        integrations = self._routing.integrations(meta.receiver)
        entries = {name: _decode_log(data) for name, data in load.log.items()}
        tick_ms = tick_of(meta, lease.due_ms, self._clock.now_ms())
        decision = decide_flush(meta, integrations, alerts, entries, load.in_flight, tick_ms)
        log.debug("group %s: %s", lease.member, decision.reasons)
        await self._store.commit_flush(
            Flush(
                group=lease.member,
                token_ms=lease.token_ms,
                next_ms=decision.next_ms,
                deliveries=tuple(_new_delivery(notification, meta) for notification in decision.notifications),
                drop={fingerprint: load.alerts[fingerprint] for fingerprint in decision.drop},
                log={name: _encode(entry) for name, entry in decision.log_only.items()},
                meta=_encode(meta),
            )
        )

    def _present_meta(self, meta: GroupMeta, alerts: Mapping[str, Alert]) -> GroupMeta | None:
        """The group as today's configuration has it; None where its alerts belong to other groups now."""
        route = self._routing.route(meta.route)
        example = next(iter(alerts.values()), None)
        if route is None or example is None:
            return None if route is None else meta
        belongs = any(group_key(taker, example.labels) == meta.key for taker in self._routing.match(example.labels))
        return group_of(route, example.labels) if belongs else None

    async def _move(self, lease: Lease, data: Mapping[str, bytes], alerts: Mapping[str, Alert]) -> None:
        """The configuration has changed and knows this group no more: its firing alerts go where they belong now."""
        inserts = [
            insert for fingerprint, alert in alerts.items() if not alert.ends_at_ms for insert in self._inserts(alert, data[fingerprint])
        ]
        await self._store.insert_alerts(inserts)
        await self._store.commit_flush(Flush(group=lease.member, token_ms=lease.token_ms, next_ms=lease.token_ms, drop=data))

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
                answer = await self._send_one(delivery.notification)
            except DeliveryError as error:
                await self._failed(lease, delivery, error)
            else:
                self._counters.add("notifications_delivered")
                await self._settle(lease, delivery, answer, delivered=True)
        except (Stale, StoreError) as error:
            log.warning("delivery %s waits: %s", lease.member, error)
        except Exception:
            log.exception("delivery %s failed", lease.member)

    async def _send_one(self, notification: Notification) -> str:
        integration = self._routing.integration(notification.integration)
        if integration is None:
            raise DeliveryError(f"the configuration has no integration {notification.integration} any more", permanent=True)
        try:
            message = render_message(notification, integration)
            return await self._send(integration, message.title, message.body, message.kind)
        except DeliveryError:
            raise
        except Exception as error:
            log.exception("a receiver's own fault")
            raise DeliveryError(f"{type(error).__name__}: {error}") from error

    async def _failed(self, lease: Lease, delivery: Delivery, error: DeliveryError) -> None:
        now_ms = self._clock.now_ms()
        notification = delivery.notification
        due_ms = next_attempt_ms(
            notification.id,
            attempts=delivery.attempts,
            created_ms=notification.tick_ms,
            now_ms=now_ms,
            deadline_ms=delivery.deadline_ms,
            permanent=error.permanent,
            retry_after_ms=error.retry_after_ms,
        )
        if due_ms is None:
            log.error("notification to %s given up after %d attempts: %s", notification.integration, delivery.attempts, error)
            self._counters.add("notifications_given_up")
            await self._settle(lease, delivery, str(error), delivered=False)
        else:
            log.warning("notification to %s failed, attempt %d: %s", notification.integration, delivery.attempts, error)
            self._counters.add("notifications_retried")
            await self._store.retry_delivery(notification.id, lease.token_ms, _encode(delivery), due_ms)

    async def _settle(self, lease: Lease, delivery: Delivery, answer: str, *, delivered: bool) -> None:
        """Write the log of what was accepted; what was given up leaves the log as it was, so that the next tick decides again."""
        notification = delivery.notification
        entry = notification.log_entry
        drop: dict[str, bytes] = {}
        if delivered:
            load = await self._store.load_group(notification.group_key)
            entries = {name: _decode_log(data) for name, data in load.log.items()} if load else {}
            entries[notification.integration] = entry
            integrations = self._routing.integrations(notification.receiver)
            held = load.alerts if load else {}
            ended = {
                key: held[key]
                for key in notification.resolved
                if key in held and _decode_alert(held[key]).ends_at_ms == notification.resolved[key]
            }
            drop = {key: ended[key] for key in may_leave(ended, integrations, entries)}
        sent = Sent(
            id=notification.id,
            group=notification.group_key,
            receiver=notification.receiver,
            integration=notification.integration,
            reason=notification.reason.value,
            firing=len(notification.firing),
            resolved=len(notification.resolved),
            attempts=delivery.attempts,
            at_ms=self._clock.now_ms(),
            answer=answer,
            delivered=delivered,
        )
        await self._store.settle_delivery(
            Settle(
                id=notification.id,
                token_ms=lease.token_ms,
                group=notification.group_key,
                integration=notification.integration,
                log=_encode(entry) if delivered else None,
                drop=drop,
                sent=_encode(sent),
            )
        )


def _new_delivery(notification: Notification, meta: GroupMeta) -> NewDelivery:
    row = Delivery(notification=notification, deadline_ms=meta.deadline_ms)
    return NewDelivery(notification.id, notification.integration, _encode(row), notification.tick_ms)
