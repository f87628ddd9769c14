"""Step 9 of the journey, second half: what was decided is sent, one service apart from the other, and logged after success.

A message can come twice only when a process dies between the service's acceptance and the log, and then only while it is still
true: what has waited is decided afresh before it is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from alert_rules.notify.dedup import LogEntry, maybe_told
from alert_rules.notify.message import Compose, common, render_message
from alert_rules.notify.retry import next_attempt_ms
from alert_rules.notify.sent import Sent
from alert_rules.notify.stages import FRESH_MS, Notification, may_leave, superseded
from alert_rules.routes.route import Integration, Routing
from monitor.clock import Clock
from monitor.core.errors import DeliveryError, Stale, StoreError
from monitor.store.port import DeliveryRow, Lease, Settle, Store
from monitor.store.queues import QUEUES, Queue, due_time, lease_token
from workers.journey.counters import Counters
from workers.journey.flush import Delivery, FlushStep, GroupReader, starts_of
from workers.journey.quarantine import Quarantine
from workers.journey.soon import SoonAt

RENEW_MS = 3_000
"""How often a living sender makes its lease longer."""
RENEW_AGAIN_S = 0.5
"""How long it waits after the store did not answer."""
SPREAD = 500
"""By so many different lengths do processes renew a lease, all longer than a claim: a repetition must not meet another's equal token."""

log = logging.getLogger(__name__)

PATIENCE_MIN_S = 10.0
"""How long a message waits for its turn at least, however little is left of the time in which it may be tried."""

Sender = Callable[[Integration, Compose, Callable[[], Awaitable[None]], float], Awaitable[str]]
"""Renders and sends a message, and returns what the service answered; DeliveryError when it was not accepted.

A message that has to wait for its turn calls the next argument just before it is sent, and is not sent when that raises; it waits for so
many seconds at most."""
_encode = msgspec.json.Encoder().encode
_decode_delivery = msgspec.json.Decoder(Delivery).decode


class _Superseded(Exception):  # noqa: N818 - says why, and nothing has failed
    """What a notification says is no longer so."""


class _Held:
    """A lease that is made longer while its holder works."""

    def __init__(self, store: Store, clock: Clock, lease: Lease, renewed_ms: int) -> None:
        self._store = store
        self._clock = clock
        self._member = lease.member
        self._token_ms = lease.token_ms
        self._renewed_ms = renewed_ms
        self._renewing = asyncio.Lock()
        self._ended = False

    async def keep(self) -> None:
        """Renew until `end`, or until it is another's."""
        while True:
            await asyncio.sleep(RENEW_MS / 1000)
            async with self._renewing:
                if self._ended or not await self._renew():
                    return

    async def confirm(self) -> None:
        """Raise Stale where it has become another's."""
        async with self._renewing:
            if not await self._renew():
                raise Stale("its lease is another's")

    async def end(self) -> int:
        """Renew it no more, and return the token under which the work may be finished."""
        async with self._renewing:
            self._ended = True
            return self._token_ms

    async def _renew(self) -> bool:
        until_ms = lease_token(self._clock.now_ms() + self._renewed_ms)
        repeated = False
        while True:
            try:
                await self._store.renew(Queue.DELIVERIES, 0, self._member, self._token_ms, until_ms, repeated=repeated)
            except StoreError as error:  # It may have been done: only the same renewal may be repeated.
                repeated = True
                log.warning("the lease of delivery %s could not be renewed yet: %s", self._member, error)
                await asyncio.sleep(RENEW_AGAIN_S)
            except Stale:
                return False
            else:
                self._token_ms = until_ms
                return True


class DeliverStep:
    """One per process that delivers."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        routing: Routing,
        send: Sender,
        flushing: FlushStep,
        groups: GroupReader,
        soon: SoonAt,
        counters: Counters,
        quarantine: Quarantine,
        process: str,
    ) -> None:
        self._store = store
        self._clock = clock
        self._renewed_ms = QUEUES[Queue.DELIVERIES].lease_ms + 2 + 2 * (zlib.crc32(process.encode()) % SPREAD)
        self._routing = routing
        self._send = send
        self._flushing = flushing
        self._groups = groups
        self._soon = soon
        self._counters = counters
        self._quarantine = quarantine

    async def deliver_announced(self, leases: Sequence[Lease]) -> None:
        """As `deliver`, for leases that a message brought. It may have come twice: who renews a lease first has it."""
        taken = await asyncio.gather(*map(self._take, leases))
        await self.deliver([lease for lease in taken if lease is not None])

    async def _take(self, lease: Lease) -> Lease | None:
        until_ms = lease_token(self._clock.now_ms() + self._renewed_ms)
        try:
            await self._store.renew(Queue.DELIVERIES, 0, lease.member, lease.token_ms, until_ms)
        except (Stale, StoreError) as error:
            log.info("delivery %s is left to others: %s", lease.member, error)
            return None
        return Lease(lease.member, until_ms, lease.due_ms)

    async def deliver(self, leases: Sequence[Lease]) -> None:
        """Send what is due, all at once: a slow service delays no other."""
        rows = await self._store.load_deliveries([lease.member for lease in leases])
        await asyncio.gather(*(self._deliver_one(lease, row) for lease, row in zip(leases, rows, strict=True)))

    async def _deliver_one(self, lease: Lease, row: DeliveryRow | None) -> None:
        try:
            if row is None:
                await self._store.finish(Queue.DELIVERIES, 0, lease.member, lease.token_ms, None)
                return
            delivery = self._quarantine.read("delivery", lease.member, row.payload, _decode_delivery)
            await self._quarantine.flush()
            if delivery is None:
                await self._give_up_unreadable(lease, row)
                return
            async with _held(self._store, self._clock, lease, self._renewed_ms) as held:
                await self._attempt(lease, held, delivery)
        except (Stale, StoreError) as error:
            log.warning("delivery %s waits: %s", lease.member, error)
        except Exception:
            log.exception("delivery %s failed", lease.member)

    async def _attempt(self, lease: Lease, held: _Held, delivery: Delivery) -> None:
        notification = delivery.notification
        afresh = functools.partial(self._decide_afresh, held, notification)
        tried = msgspec.structs.replace(delivery, attempts=delivery.attempts + 1, unheard=delivery.unheard or lease.taken_over)
        try:
            if delivery.attempts > 0 or lease.taken_over or self._clock.now_ms() - notification.tick_ms > FRESH_MS:
                await afresh()
            answer = await self._send_one(notification, afresh, self._patience_s(delivery))
        except _Superseded as why:
            log.info("notification to %s is not sent: %s", notification.log_key, why)
            self._counters.add("notifications_superseded")
            # Where it may have been accepted already the log says that it was told, so that its end is told too.
            maybe = await self._maybe_told(notification) if tried.unheard else None
            await self._settle(held, delivery, str(why), delivered=False, entry=maybe, superseded=True)
        except DeliveryError as error:
            await self._failed(held, tried if error.asked else delivery, error)
        else:
            self._counters.add("notifications_delivered")
            await self._settle(held, tried, answer, delivered=True, entry=notification.log_entry)

    async def _decide_afresh(self, held: _Held, notification: Notification) -> None:
        """Of what has waited: raise where it says what is no longer so, and where it is another's to send."""
        if why := await self._superseded(notification):
            raise _Superseded(why)
        await held.confirm()

    async def _superseded(self, notification: Notification) -> str:
        group = await self._groups.read(notification.group_key)
        return superseded(notification, group.alerts if group else {}, self._clock.now_ms())

    def _created_ms(self, notification: Notification) -> int:
        """When it was decided. After a step of the clock its age says nothing."""
        return self._clock.now_ms() if self._clock.tilted else notification.tick_ms

    def _patience_s(self, delivery: Delivery) -> float:
        """How long it may wait for its turn: no longer than it may be tried, so that its group decides afresh then."""
        until_ms = self._created_ms(delivery.notification) + delivery.retry_for_ms
        return max((until_ms - self._clock.now_ms()) / 1000, PATIENCE_MIN_S)

    async def _send_one(self, notification: Notification, afresh: Callable[[], Awaitable[None]], patience_s: float) -> str:
        integration = self._routing.integration(notification.receiver, notification.integration)
        if integration is None:
            raise DeliveryError(f"the configuration has no integration {notification.integration} any more", permanent=True)
        integration = integration.of_service(notification.service, alone=notification.alone, whole=notification.whole)
        try:
            return await self._send(integration, functools.partial(render_message, notification, integration), afresh, patience_s)
        except (DeliveryError, Stale, StoreError, _Superseded):
            raise
        except Exception as error:
            log.exception("a receiver's own error")
            raise DeliveryError(f"{type(error).__name__}: {error}") from error

    async def _failed(self, held: _Held, delivery: Delivery, error: DeliveryError) -> None:
        now_ms = self._clock.now_ms()
        notification = delivery.notification
        delivery = msgspec.structs.replace(delivery, unheard=delivery.unheard or error.unheard)
        due_ms = next_attempt_ms(
            notification.id,
            attempts=delivery.attempts,
            created_ms=self._created_ms(notification),
            now_ms=now_ms,
            retry_for_ms=delivery.retry_for_ms,
            permanent=error.permanent,
            retry_after_ms=error.retry_after_ms,
        )
        if due_ms is None:
            log.error("notification to %s given up after %d attempts: %s", notification.log_key, delivery.attempts, error)
            self._counters.add("notifications_given_up")
            maybe = await self._maybe_told(notification) if delivery.unheard else None
            await self._settle(held, delivery, str(error), delivered=False, entry=maybe)
        else:
            log.warning("notification to %s failed, attempt %d: %s", notification.log_key, delivery.attempts, error)
            self._counters.add("notifications_retried")
            await self._store.retry_delivery(notification.id, await held.end(), _encode(delivery), due_ms)
            self._soon(Queue.DELIVERIES, 0, notification.id, due_time(due_ms))

    async def _maybe_told(self, notification: Notification) -> LogEntry | None:
        """The log where nobody knows whether a message was accepted: what it said to be firing is said again while it does, and its end
        is told; the ends that it told are told again."""
        if not notification.firing:
            return None
        group = await self._groups.read(notification.group_key)
        return maybe_told(group.log.get(notification.log_key) if group else None, notification.firing, notification.service)

    async def _settle(
        self, held: _Held, delivery: Delivery, answer: str, *, delivered: bool, entry: LogEntry | None, superseded: bool = False
    ) -> None:
        """Write what was told into the group's log; None leaves it as it was, so that the next tick decides again."""
        notification = delivery.notification
        drop: dict[str, int] = {}
        if delivered:
            drop = await self._leaving(notification)
        sent = Sent(
            id=notification.id,
            group=notification.group_key,
            receiver=notification.receiver,
            integration=notification.log_key,
            reason=notification.reason.value,
            firing=len(notification.firing),
            resolved=len(notification.resolved),
            attempts=delivery.attempts,
            at_ms=self._clock.now_ms(),
            answer=answer,
            delivered=delivered,
            superseded=superseded,
            labels=common([alert.labels for alert in notification.alerts]),
        )
        await self._store.settle_delivery(
            Settle(
                id=notification.id,
                token_ms=await held.end(),
                group=notification.group_key,
                place=notification.log_key,
                log=_encode(entry) if entry else None,
                drop=drop,
                sent=_encode(sent),
                at_once=superseded,
            )
        )
        if superseded:
            self._soon(Queue.GROUPS, 0, notification.group_key, due_time(self._clock.now_ms()))

    async def _leaving(self, notification: Notification) -> dict[str, int]:
        """The alerts that may leave their group once this notification is accepted, with their ends as the store has them.

        While another delivery is in flight, what its service will have been told is not known: then the next tick sees to it.
        """
        group = await self._groups.read(notification.group_key)
        if group is None or group.in_flight.keys() - {notification.log_key}:
            return {}
        ended = [
            key
            for key, ends_ms in notification.resolved.items()
            if key in group.alerts and (group.alerts[key].ends_at_ms == ends_ms or key in group.unreadable)
        ]
        log = {**group.log, notification.log_key: notification.log_entry}
        leaving = may_leave(ended, await self._flushing.integrations(notification.receiver), log)
        return {key: group.ends_ms[key] for key in leaving}

    async def _give_up_unreadable(self, lease: Lease, row: DeliveryRow) -> None:
        """The row is set aside; its group hears of it, so that it can decide afresh. Whoever had the row before may have sent it."""
        group = await self._groups.read(row.group)
        entry = maybe_told(group.log.get(row.place), starts_of(group.alerts)) if group else None
        sent = Sent(
            id=lease.member,
            group=row.group,
            receiver="",
            integration=row.place,
            reason="",
            firing=0,
            resolved=0,
            attempts=0,
            at_ms=self._clock.now_ms(),
            answer="the delivery could not be read; `watchkeeper quarantine list` shows it",
            delivered=False,
        )
        log.error("delivery %s to %s cannot be read and is given up", lease.member, row.place)
        self._counters.add("notifications_given_up")
        settle = Settle(
            id=lease.member,
            token_ms=lease.token_ms,
            group=row.group,
            place=row.place,
            log=_encode(entry) if entry else None,
            sent=_encode(sent),
            at_once=True,
        )
        await self._store.settle_delivery(settle)
        self._soon(Queue.GROUPS, 0, row.group, due_time(self._clock.now_ms()))


@contextlib.asynccontextmanager
async def _held(store: Store, clock: Clock, lease: Lease, renewed_ms: int) -> AsyncIterator[_Held]:
    held = _Held(store, clock, lease, renewed_ms)
    keeping = asyncio.ensure_future(held.keep())
    try:
        yield held
    finally:
        keeping.cancel()
