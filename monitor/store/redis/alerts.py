"""The alerts' part of the store on Redis: subjects, alert events, groups, deliveries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monitor.core.errors import Stale
from monitor.store import keys
from monitor.store.port import Flush, GroupInsert, GroupLoad, Settle
from monitor.store.redis.wire import Argument, Wire


class AlertCalls(ABC):
    slots: int

    @property
    @abstractmethod
    def _wire(self) -> Wire:
        """The open connection. Raises StoreError before `open`."""

    async def load_subject(self, subject: str) -> tuple[int, bytes]:
        return keys.split_version(await self._wire.execute_one("HGET", keys.SUBJECTS, subject))

    async def commit_subject(
        self, subject: str, ver: int, next_ver: int, body: bytes, *, alerts: Sequence[bytes] = (), transitions: Sequence[bytes] = ()
    ) -> bool:
        names = [keys.SUBJECTS, keys.in_slot(0, "alerts"), keys.in_slot(0, "events")]
        held = b"%013d%b" % (next_ver, body) if body else b""
        head = subject, keys.version_text(ver), held, keys.ALERTS_LENGTH_MAX, keys.EVENTS_LENGTH_MAX, len(alerts)
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
        lengths = await self._wire.execute(*(("XLEN", keys.in_slot(slot, "alerts")) for slot in range(self.slots)))
        return [slot for slot, length in enumerate(lengths) if length]

    async def insert_alerts(self, inserts: Sequence[GroupInsert]) -> None:
        args: list[Argument] = []
        for insert in inserts:
            alert = b"%013d%b" % (insert.updated_ms, insert.alert)
            args += insert.group, insert.meta, insert.first_flush_ms, insert.fingerprint, alert
        await self._wire.run("insert_alerts", [keys.GROUPS, *(keys.group(insert.group) for insert in inserts)], *args)

    async def load_group(self, group: str) -> GroupLoad | None:
        held = _fields(await self._wire.execute_one("HGETALL", keys.group(group)))
        if not held:
            return None
        return GroupLoad(
            meta=held["meta"],
            alerts={name[2:]: value[keys.UPDATED_DIGITS :] for name, value in held.items() if name.startswith("a:")},
            log={name[2:]: value for name, value in held.items() if name.startswith("n:")},
            in_flight={name[2:]: value.decode() for name, value in held.items() if name.startswith("d:")},
        )

    async def commit_flush(self, flush: Flush) -> None:
        names = [keys.group(flush.group), keys.GROUPS, keys.DELIVERIES, *(keys.delivery(row.id) for row in flush.deliveries)]
        head = flush.group, flush.token_ms, flush.next_ms, flush.meta or b"", len(flush.deliveries), len(flush.drop)
        rows = [part for row in flush.deliveries for part in (row.id, row.integration, row.payload, row.due_ms)]
        if not await self._wire.run("commit_flush", names, *head, *rows, *_flat(flush.drop), *_flat(flush.log)):
            raise Stale(f"the tick of group {flush.group} is not ours any more")

    async def load_deliveries(self, ids: Sequence[str]) -> list[bytes]:
        if not ids:
            return []
        return [payload or b"" for payload in await self._wire.execute_one("MGET", *map(keys.delivery, ids))]

    async def retry_delivery(self, delivery_id: str, token_ms: int, payload: bytes, due_ms: int) -> None:
        names = [keys.DELIVERIES, keys.delivery(delivery_id)]
        if not await self._wire.run("retry_delivery", names, delivery_id, token_ms, payload, due_ms):
            raise Stale(f"delivery {delivery_id} is not ours any more")

    async def settle_delivery(self, settle: Settle) -> None:
        names = [keys.group(settle.group), keys.GROUPS, keys.DELIVERIES, keys.delivery(settle.id), keys.SENT]
        row = settle.group, settle.id, settle.token_ms, settle.integration
        entry = settle.log or b"", settle.sent, keys.SENT_LENGTH_MAX
        if not await self._wire.run("settle_delivery", names, *row, *entry, *_flat(settle.drop)):
            raise Stale(f"delivery {settle.id} is not ours any more")

    async def sent(self, limit: int) -> list[tuple[str, bytes]]:
        entries = await self._wire.execute_one("XREVRANGE", keys.SENT, "+", "-", "COUNT", limit)
        return [(entry_id.decode(), fields[1]) for entry_id, fields in entries]


def _stream(slot: int) -> list[str]:
    return [keys.in_slot(slot, "alerts"), keys.in_slot(slot, "routing")]


def _fields(flat: Sequence[Any]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _flat(mapping: Mapping[str, bytes]) -> list[str | bytes]:
    return [part for name, value in mapping.items() for part in (name, value)]
