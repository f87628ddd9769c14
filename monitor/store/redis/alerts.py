"""The alerts' part of the store on Redis: subjects, assertions, the alert store, groups, deliveries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monitor.core.errors import Stale, StoreRefusal
from monitor.store import keys
from monitor.store.names import name_of
from monitor.store.port import (
    AlertPhase,
    DeliveryRow,
    Flush,
    GroupLoad,
    Membership,
    Settle,
    StoredAlert,
    SubjectAssertion,
)
from monitor.store.queues import AHEAD_MS, WEIGHED_AGAIN_MS
from monitor.store.redis.calls import Calls
from monitor.store.redis.wire import Argument

_SCAN = 500


class AlertCalls(Calls):
    """The calls of the port that concern subjects, alerts, groups and deliveries."""

    async def load_subject(self, subject: str) -> tuple[int, bytes]:
        return keys.split_version(await self._wire.execute_one("HGET", keys.SUBJECTS, subject))

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
        names = [keys.SUBJECTS, keys.in_slot(0, "alerts"), keys.in_slot(0, "events"), keys.in_slot(0, "dirty"), keys.ALERTING_SUBJECTS]
        held = b"%013d%b" % (next_ver, body) if body else b""
        caps = keys.ALERTS_LENGTH_MAX, keys.EVENTS_LENGTH_MAX
        head = subject, keys.version_text(ver), held, *caps, int(alerting), WEIGHED_AGAIN_MS, len(alerts)
        return bool(await self._wire.run("commit_subject", names, *head, *alerts, *transitions))

    async def claim_alert_events(self, slot: int, limit: int, lease_ms: int) -> tuple[int, list[tuple[str, bytes]]]:
        token_ms, entries = await self._wire.run("claim_events", _stream(slot), limit, lease_ms)
        return token_ms, [(entry_id.decode(), fields[1]) for entry_id, fields in entries]

    async def ack_alert_events(self, slot: int, token_ms: int, entry_ids: Sequence[str]) -> None:
        if not await self._wire.run("ack_events", _stream(slot), token_ms, *entry_ids):
            raise Stale(f"the alert events of slot {slot} are not ours any more")

    async def listen(self, heard: Callable[[int], None], listening: Callable[[], None]) -> None:
        def hint(message: bytes) -> None:
            what, _, slot = message.partition(b" ")
            if what == b"alerts" and slot.isdigit() and int(slot) < self.slots:
                heard(int(slot))

        await self._wire.listen(keys.HINTS, hint, listening)

    async def streams(self) -> list[int]:
        lengths = await self._wire.execute_each(*(("XLEN", keys.in_slot(slot, "alerts")) for slot in range(self.slots)))
        return [slot for slot, length in enumerate(lengths) if length]

    async def assert_alerts(self, assertions: Sequence[SubjectAssertion]) -> list[str]:
        names = [keys.ASSERTED, keys.ASSERTIONS, keys.GROUPS, *keys.ALERT_STORE]
        args: list[Argument] = [AHEAD_MS]
        for item in assertions:
            args += item.subject, keys.version_text(item.ver), item.at_ms, item.expires_ms, item.reason
            args += len(item.alerts), len(item.ended)
            for alert in item.alerts:
                args += alert.fingerprint, alert.alert, alert.starts_ms, alert.ends_ms, len(alert.groups)
                for membership in alert.groups:
                    names.append(keys.group(membership.group))
                    args += membership.group, membership.meta, membership.first_flush_ms
            for one in item.ended:
                args += one.fingerprint, one.alert, one.reason
        return _texts(await self._wire.run("assert_alerts", names, *args))

    async def join_groups(self, memberships: Sequence[Membership]) -> list[str]:
        names = [keys.GROUPS, *keys.ALERT_STORE, *(keys.group(one.group) for one in memberships)]
        args = [part for one in memberships for part in (one.fingerprint, one.group, one.meta, one.first_flush_ms)]
        return _texts(await self._wire.run("join_groups", names, *args))

    async def end_asserted(self, subject: str, token_ms: int, at_ms: int, reason: str, next_ms: int) -> int:
        names = [keys.ASSERTED, keys.ASSERTIONS, *keys.ALERT_STORE]
        ended = int(await self._wire.run("end_asserted", names, subject, token_ms, at_ms, reason, next_ms))
        if ended < 0:
            raise Stale(f"the assertion of {subject} is not ours any more")
        return ended

    async def end_orphans(self, at_ms: int, reason: str) -> int:
        names, cursor = [keys.ASSERTED, keys.ASSERTIONS, *keys.ALERT_STORE], b"0"
        ended: int = 0
        while True:
            cursor, now_ended = await self._wire.run("end_orphans", names, cursor, _SCAN, at_ms, reason)
            ended += now_ended
            if cursor == b"0":
                return ended

    async def alerts(self, phase: AlertPhase, limit: int) -> list[StoredAlert]:
        return await self._alerts(phase.value, limit)

    async def alert(self, fingerprint: str) -> StoredAlert | None:
        return next(iter(await self._alerts("named", 1, fingerprint)), None)

    async def _alerts(self, which: str, limit: int, *names: str) -> list[StoredAlert]:
        return _stored(await self._wire.run("load_alerts", keys.ALERT_STORE, which, limit, *names))

    async def load_group(self, group: str) -> GroupLoad | None:
        fields, rows = await self._wire.run("load_group", [keys.group(group), *keys.ALERT_STORE, keys.DELIVERIES])
        if not fields and not rows:
            return None
        held = _fields(fields)
        return GroupLoad(
            meta=held.get("meta", b""),
            alerts={alert.fingerprint: alert for alert in _stored(rows)},
            log={name[2:]: value for name, value in held.items() if name.startswith("n:")},
            in_flight={name[2:]: name_of(value) for name, value in held.items() if name.startswith("d:")},
        )

    async def commit_flush(self, flush: Flush) -> None:
        rows = flush.deliveries
        names = [keys.group(flush.group), keys.GROUPS, keys.DELIVERIES, *keys.ALERT_STORE, *(keys.delivery(row.id) for row in rows)]
        head = flush.group, flush.token_ms, flush.next_ms, flush.meta or b"", len(rows), len(flush.drop)
        made = [part for row in rows for part in (row.id, row.place, row.payload, row.due_ms)]
        if not await self._wire.run("commit_flush", names, *head, *made, *_flat(flush.drop), *_flat(flush.log)):
            raise Stale(f"the tick of group {flush.group} is not ours any more")

    async def load_deliveries(self, ids: Sequence[str]) -> list[DeliveryRow | None]:
        found = await self._wire.execute_each(*(("HMGET", keys.delivery(one), "row", "group", "place") for one in ids))
        return [None if isinstance(fields, StoreRefusal) else _row(*fields) for fields in found]

    async def retry_delivery(self, delivery_id: str, token_ms: int, payload: bytes, due_ms: int) -> None:
        names = [keys.DELIVERIES, keys.delivery(delivery_id)]
        if not await self._wire.run("retry_delivery", names, delivery_id, token_ms, payload, due_ms):
            raise Stale(f"delivery {delivery_id} is not ours any more")

    async def settle_delivery(self, settle: Settle) -> None:
        names = [keys.group(settle.group), keys.GROUPS, keys.DELIVERIES, keys.delivery(settle.id), keys.SENT, *keys.ALERT_STORE]
        row = settle.group, settle.id, settle.token_ms, settle.place
        entry = settle.log or b"", settle.sent, keys.SENT_LENGTH_MAX, int(settle.at_once)
        if not await self._wire.run("settle_delivery", names, *row, *entry, *_flat(settle.drop)):
            raise Stale(f"delivery {settle.id} is not ours any more")

    async def sent(self, limit: int) -> list[tuple[str, bytes]]:
        entries = await self._wire.execute_one("XREVRANGE", keys.SENT, "+", "-", "COUNT", limit)
        return [(entry_id.decode(), fields[1]) for entry_id, fields in entries]


def _row(row: bytes | None, group: bytes | None, place: bytes | None) -> DeliveryRow | None:
    return None if row is None else DeliveryRow(row, name_of(group or b""), name_of(place or b""))


def _stream(slot: int) -> list[str]:
    return [keys.in_slot(slot, "alerts"), keys.in_slot(slot, "routing")]


def _fields(flat: Sequence[Any]) -> dict[str, bytes]:
    return {name_of(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _texts(found: Sequence[bytes]) -> list[str]:
    return list(map(name_of, found))


def _stored(rows: Sequence[Any]) -> list[StoredAlert]:
    found = []
    for fingerprint, held, subject, ends_ms, reason in zip(*[iter(rows)] * 5, strict=True):
        ver, alert = keys.split_version(held)
        found.append(StoredAlert(name_of(fingerprint), alert, ver, name_of(subject), ends_ms, name_of(reason)))
    return found


def _flat(mapping: Mapping[str, bytes] | Mapping[str, int]) -> list[Argument]:
    return [part for name, value in mapping.items() for part in (name, value)]
