"""Step 9 of the journey, first half: a group whose timer has come decides what each service is to be told."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from alert_rules.notify.dedup import LogEntry, decode_log_entry, maybe_told
from alert_rules.notify.stages import Notification, decide_flush
from alert_rules.routes.group import GroupMeta, group_of, tick_of
from alert_rules.routes.route import Integration, Routing, group_key
from alert_rules.rules.alert import Alert
from monitor.clock import Clock
from monitor.core.errors import Stale, StoreError
from monitor.store.port import Flush, GroupLoad, Lease, NewDelivery, Store, StoredAlert
from monitor.store.queues import Queue, due_time
from workers.journey.counters import Counters
from workers.journey.quarantine import Quarantine
from workers.journey.route import RouteStep
from workers.journey.soon import SoonAt

UNREADABLE_ALERT = "UnreadableAlert"
"""Name of what stands in for an alert that cannot be read, so that whoever was told that it fires is told its end."""

MOVED_AGAIN_MS = 10_000
"""When a group that the configuration knows no more is tried again, while one of its deliveries is in flight."""

log = logging.getLogger(__name__)

Services = Callable[[Integration], Awaitable[Sequence[Integration]]]
"""An integration once for each service behind its address, and for each recipient; once where they are not known."""
_encode = msgspec.json.Encoder().encode
_decode_alert = msgspec.json.Decoder(Alert).decode
_decode_meta = msgspec.json.Decoder(GroupMeta).decode


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One notification to one service: a row of the outbox, whose id the same decision makes again."""

    notification: Notification
    retry_for_ms: int
    attempts: int = 0
    unheard: bool = False
    """Whether an attempt has ended without an answer, so that the service may have accepted it."""


class Group(msgspec.Struct, frozen=True):
    """A group as it was read. `meta` is None where it cannot be read."""

    meta: GroupMeta | None
    alerts: Mapping[str, Alert]
    ends_ms: Mapping[str, int]
    """The ends of its alerts as the store has them."""
    unreadable: frozenset[str]
    """Those of its alerts that others stand in for."""
    log: Mapping[str, LogEntry]
    in_flight: Mapping[str, str]


def starts_of(alerts: Mapping[str, Alert]) -> dict[str, int]:
    """When (ms) each of the alerts began, by fingerprint."""
    return {fingerprint: alert.starts_at_ms for fingerprint, alert in alerts.items()}


class GroupReader:
    """Reads groups, and guards each part of them: what cannot be read is set aside and harms nothing else."""

    def __init__(self, *, store: Store, clock: Clock, quarantine: Quarantine) -> None:
        self._store = store
        self._clock = clock
        self._quarantine = quarantine

    async def read(self, key: str) -> Group | None:
        """The group, or None where there is none."""
        load = await self._store.load_group(key)
        if load is None:
            return None
        group = self._group(key, load)
        await self._quarantine.flush()
        return group

    def _group(self, key: str, load: GroupLoad) -> Group:
        entries = {place: self._quarantine.read("log entry", f"{key} {place}", data, decode_log_entry) for place, data in load.log.items()}
        alerts = {fingerprint: self._alert(stored) for fingerprint, stored in load.alerts.items()}
        return Group(
            meta=self._quarantine.read("group", key, load.meta, _decode_meta),
            alerts=alerts,
            unreadable=frozenset(key for key, alert in alerts.items() if alert.labels.get("alertname") == UNREADABLE_ALERT),
            ends_ms={fingerprint: stored.ends_ms for fingerprint, stored in load.alerts.items()},
            # In the place of an entry that cannot be read: the service may have been told of all of them.
            log={place: entry or maybe_told(None, starts_of(alerts)) for place, entry in entries.items()},
            in_flight=load.in_flight,
        )

    def _alert(self, stored: StoredAlert) -> Alert:
        """The alert with its end; of one that is lost or cannot be read, what is still known of it."""
        alert = self._quarantine.read("alert", stored.fingerprint, stored.alert, _decode_alert) if stored.alert else None
        if alert is None:
            labels = {"alertname": UNREADABLE_ALERT, "subject": stored.subject}
            known_ms = stored.ends_ms or self._clock.now_ms()
            alert = Alert(labels=labels, starts_at_ms=min(stored.ver, known_ms), fingerprint=stored.fingerprint)
            if not stored.alert:
                return msgspec.structs.replace(alert, ends_at_ms=known_ms, end_reason="it was lost")
        return msgspec.structs.replace(alert, ends_at_ms=stored.ends_ms, end_reason=stored.reason)


class FlushStep:
    """One per process that flushes. `services` may read files."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        routing: Routing,
        services: Services,
        router: RouteStep,
        groups: GroupReader,
        soon: SoonAt,
        counters: Counters,
    ) -> None:
        self._store = store
        self._clock = clock
        self._routing = routing
        self._services = services
        self._router = router
        self._groups = groups
        self._soon = soon
        self._counters = counters

    async def flush(self, leases: Sequence[Lease]) -> None:
        """Let each group whose timer has come decide what to send."""
        if self._clock.tilted:
            return  # The server's clock stepped: nobody knows whether it is time. The lease brings them back.
        for lease in leases:
            try:
                await self._flush_one(lease)
            except (Stale, StoreError) as error:
                log.warning("group %s waits: %s", lease.member, error)
            except Exception:
                log.exception("group %s could not be flushed", lease.member)

    async def integrations(self, receiver: str) -> tuple[Integration, ...]:
        """The integrations of a receiver, one for each service and each recipient."""
        found: list[Integration] = []
        for integration in self._routing.integrations(receiver):
            found += await self._services(integration)
        return tuple(found)

    async def _flush_one(self, lease: Lease) -> None:
        group = await self._groups.read(lease.member)
        if group is None:
            await self._store.finish(Queue.GROUPS, 0, lease.member, lease.token_ms, None)
            return
        meta = self._present_meta(lease.member, group)
        if meta is None:
            await self._move(lease, group)
        else:
            await self._decide(lease, meta, group, group.alerts)

    async def _decide(self, lease: Lease, meta: GroupMeta, group: Group, alerts: Mapping[str, Alert]) -> None:
        """Decide a tick of the group as if these were its alerts; the others leave it."""
        integrations = await self.integrations(meta.receiver)
        tick_ms = tick_of(meta, lease.due_ms, self._clock.now_ms())
        decision = decide_flush(meta, integrations, alerts, group.log, group.in_flight, tick_ms)
        log.debug("group %s: %s", lease.member, decision.reasons)
        leaving = [*decision.drop, *(fingerprint for fingerprint in group.alerts if fingerprint not in alerts)]
        deliveries = tuple(_new_delivery(notification, meta) for notification in decision.notifications)
        await self._store.commit_flush(
            Flush(
                group=lease.member,
                token_ms=lease.token_ms,
                next_ms=decision.next_ms,
                deliveries=deliveries,
                drop={fingerprint: group.ends_ms[fingerprint] for fingerprint in leaving},
                log={place: _encode(entry) for place, entry in decision.log_only.items()},
                meta=_encode(meta),
            )
        )
        self._counters.add("groups_flushed")
        for delivery in deliveries:
            self._soon(Queue.DELIVERIES, 0, delivery.id, due_time(delivery.due_ms))
        self._soon(Queue.GROUPS, 0, lease.member, due_time(decision.next_ms))

    def _present_meta(self, key: str, group: Group) -> GroupMeta | None:
        """The group as today's configuration has it; None where its alerts belong to other groups now."""
        if group.meta is not None and self._routing.route(group.meta.route) is None:
            return None
        readable = [alert for fingerprint, alert in group.alerts.items() if fingerprint not in group.unreadable]
        for alert in readable:
            for route in self._routing.match(alert.labels):
                if group_key(route, alert.labels) == key:
                    return group_of(route, alert.labels)
        return None if readable else group.meta

    async def _move(self, lease: Lease, group: Group) -> None:
        """The configuration has changed and knows this group no more: its firing alerts go where they belong now.

        What was told here and has ended is still told here, while the receiver is there.
        """
        now_ms = self._clock.now_ms()
        firing = {key: alert for key, alert in group.alerts.items() if not alert.resolved_at(now_ms)}
        memberships = [one for alert in firing.values() for one in self._router.memberships(alert, now_ms)]
        self._router.announce(await self._store.join_groups(memberships), memberships)
        ended = {key: alert for key, alert in group.alerts.items() if key not in firing}
        if group.meta is not None and self._routing.integrations(group.meta.receiver):
            await self._decide(lease, group.meta, group, ended)
        else:
            await self._store.commit_flush(
                Flush(group=lease.member, token_ms=lease.token_ms, next_ms=now_ms + MOVED_AGAIN_MS, drop=group.ends_ms)
            )


def _new_delivery(notification: Notification, meta: GroupMeta) -> NewDelivery:
    row = Delivery(notification=notification, retry_for_ms=meta.retry_for_ms)
    return NewDelivery(notification.id, notification.log_key, _encode(row), notification.tick_ms)
