"""Alerts as people see them: what is pending, what fires, what has ended and is not yet told to everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from alert_rules.notify.sent import Sent, decode_sent
from alert_rules.rules.alert import Alert, AlertState, AlertStatus
from alert_rules.rules.memory import SYSTEM_SUBJECT, Memory, alert_of, decode_memory, endpoint_subject
from monitor.pool.compose import decode_pool_record
from monitor.query.readable import readable
from monitor.store.names import printable
from monitor.store.port import AlertPhase, Store, StoredAlert

READ_MAX = 10_000
RESOLVED = "RESOLVED"
_decode_alert = msgspec.json.Decoder(Alert).decode


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """One alert. `status` is PENDING, FIRING or RESOLVED."""

    status: str
    fingerprint: str
    subject: str
    """Who asserts it: `endpoint:<id>`, `pool:<name>` or `system`."""
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    value: str = ""
    active_since_ms: int
    """When its condition became true, where that is known; when it fired, otherwise."""
    version: int = 0
    """The version of the record that asserted it last; 0 where no alert worker has taken it in yet."""
    ends_ms: int = 0
    end_reason: str = ""
    unreadable: bool = False
    """What is stored of it cannot be read: its text is missing here."""


async def read_alerts(store: Store) -> list[AlertView]:
    """All alerts that are pending or fire, oldest first.

    Those that fire are read from the alert store. The rules' memories know what is pending, and what fires and was not yet taken in.
    """
    remembered = {alert_of(state).fingerprint: (subject, state) for subject, memory in await _memories(store) for state in memory.states}
    views = [
        _stored(one, AlertStatus.FIRING.value, remembered.pop(one.fingerprint, (one.subject, None))[1])
        for one in await store.alerts(AlertPhase.FIRING, READ_MAX)
    ]
    views += [_remembered(fingerprint, subject, state) for fingerprint, (subject, state) in remembered.items()]
    return sorted(views, key=lambda view: (view.active_since_ms, sorted(view.labels.items())))


async def read_resolved(store: Store, limit: int) -> list[AlertView]:
    """Alerts that have ended, and that some group still holds because somebody is to hear of it; the newest end first."""
    return [_stored(one, RESOLVED, None) for one in await store.alerts(AlertPhase.RESOLVED, limit)]


async def read_sent(store: Store, limit: int) -> list[Sent]:
    """The newest notifications that were sent, given up or superseded, newest first; one that cannot be read is left out."""
    return [sent for _, data in await store.sent(limit) if (sent := readable(decode_sent, data)) is not None]


def _stored(one: StoredAlert, status: str, state: AlertState | None) -> AlertView:
    alert = readable(_decode_alert, one.alert)
    return AlertView(
        status=status,
        fingerprint=printable(one.fingerprint),
        subject=printable(one.subject),
        labels=alert.labels if alert else {},
        annotations=alert.annotations if alert else {},
        value=alert.value if alert else "",
        active_since_ms=state.active_since_ms if state else alert.starts_at_ms if alert else 0,
        version=one.ver,
        ends_ms=one.ends_ms,
        end_reason=one.reason,
        unreadable=alert is None,
    )


def _remembered(fingerprint: str, subject: str, state: AlertState) -> AlertView:
    return AlertView(
        status=state.status.value,
        fingerprint=fingerprint,
        subject=subject,
        labels=state.labels,
        annotations=state.annotations,
        value=state.value,
        active_since_ms=state.active_since_ms,
    )


async def _memories(store: Store) -> Sequence[tuple[str, Memory]]:
    """What the rules remember of the subjects that have an alert; what cannot be read is as if it were not there."""
    ids, subjects = await store.alerting()
    found = [(endpoint_subject(name), loaded.memory) for name, loaded in zip(ids, await store.load(ids), strict=True)]
    for subject, (_, body) in zip(subjects, await asyncio.gather(*map(store.load_subject, subjects)), strict=True):
        if subject == SYSTEM_SUBJECT:
            found.append((subject, body))
        elif record := readable(decode_pool_record, body):
            found.append((subject, bytes(record.memory)))
    return [(subject, memory) for subject, data in found if (memory := readable(decode_memory, data)) is not None]
