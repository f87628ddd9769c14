"""Alerts: what subjects assert, the alert store, groups and deliveries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec


class AlertPhase(StrEnum):
    """Whether an alert's condition holds."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """One alert in one group. A new group takes `meta` and falls due at `first_flush_ms`; an old one keeps its timer."""

    fingerprint: str
    group: str
    meta: bytes
    first_flush_ms: int


class AssertedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert as a subject asserts it, with the groups that it belongs to. `ends_ms` 0: it fires until it is no longer asserted."""

    fingerprint: str
    alert: bytes
    starts_ms: int
    ends_ms: int = 0
    groups: tuple[Membership, ...] = ()


class EndedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that has ended, as it was last, and why: "" where its condition no longer holds."""

    fingerprint: str
    alert: bytes
    reason: str = ""


class SubjectAssertion(msgspec.Struct, frozen=True, kw_only=True):
    """All that one subject asserts. Alerts that it asserted before, and does not any more, end at `at_ms`: those in `ended` as they are
    written there, if they fire in the store, the others with `reason`.

    It counts for nothing where a larger `ver` of the subject was taken in. Unless the subject asserts again, its alerts fall due in
    the queue ASSERTIONS at `expires_ms`.
    """

    subject: str
    ver: int
    at_ms: int
    expires_ms: int
    alerts: tuple[AssertedAlert, ...] = ()
    ended: tuple[EndedAlert, ...] = ()
    reason: str = ""


class StoredAlert(msgspec.Struct, frozen=True):
    """One alert as it stands. `ends_ms` is 0 while no end is known; `alert` is b"" where a group refers to one that is lost."""

    fingerprint: str
    alert: bytes
    ver: int
    subject: str
    ends_ms: int = 0
    reason: str = ""


class GroupLoad(msgspec.Struct, frozen=True):
    """A group as one reading. `meta` is b"" where it was never written."""

    meta: bytes
    alerts: Mapping[str, StoredAlert]
    log: Mapping[str, bytes]
    in_flight: Mapping[str, str]
    """Place in the log -> id of the delivery in flight."""


class NewDelivery(msgspec.Struct, frozen=True):
    """A row of the outbox; `place` is its service's place in the group's log."""

    id: str
    place: str
    payload: bytes
    due_ms: int


class DeliveryRow(msgspec.Struct, frozen=True):
    """A row of the outbox as it stands."""

    payload: bytes
    group: str
    place: str


class Flush(msgspec.Struct, frozen=True, kw_only=True):
    """What a group's tick decided. Refused (Stale) unless the group's lease is still `token_ms`.

    `drop` are alerts that leave the group, with their `ends_ms` as it was read: one that has changed since stays. A group left with
    no alert and no delivery in flight is deleted whole, its log with it; otherwise it falls due again at `next_ms`. `meta` replaces
    the group's.
    """

    group: str
    token_ms: int
    next_ms: int
    deliveries: tuple[NewDelivery, ...] = ()
    drop: Mapping[str, int] = {}
    log: Mapping[str, bytes] = {}
    """Log entries to write without sending (all resolved and `send_resolved` is false)."""
    meta: bytes | None = None


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery has been accepted, given up or superseded. Refused (Stale) unless the delivery's lease is still `token_ms`.

    `log` None leaves the log as it was (given up, so that the next tick decides again). `drop` as in Flush; it is applied
    only when no other delivery of the group is in flight. `at_once` lets the group fall due now.
    """

    id: str
    token_ms: int
    group: str
    place: str
    log: bytes | None
    sent: bytes
    """One entry for the stream of notifications sent or given up."""
    drop: Mapping[str, int] = {}
    at_once: bool = False


class AlertPort(Protocol):
    """Subjects, alert events, alerts, groups and deliveries."""

    async def load_subject(self, subject: str) -> tuple[int, bytes]:
        """Version and body of what is kept of a pool or of the system."""

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
        """Write what is kept of a pool or of the system (b"" takes it out), and whether its rules hold an alert, pending or firing.
        False when the version moved. Alert events go to slot 0.

        A pool ("pool:<name>") that is written for the first time falls due for weighing once more; one that stands in no queue, after
        WEIGHED_AGAIN_MS (store.queues)."""

    async def claim_alert_events(self, slot: int, limit: int, lease_ms: int) -> tuple[int, list[tuple[str, bytes]]]:
        """The oldest alert events of the slot that are not yet in groups, with their entry ids, and the lease's token (ms).

        One holder at a time, so that an old event can never come after a newer one: nothing while another holds the stream.
        The lease is kept in `wk:i:{sN}:routing`."""

    async def ack_alert_events(self, slot: int, token_ms: int, entry_ids: Sequence[str]) -> None:
        """Delete the entries and give the stream back, if the lease is still ours. Stale otherwise."""

    async def listen(self, heard: Callable[[int], None], listening: Callable[[], None]) -> None:
        """Call `heard` with a slot whenever alert events are written to its stream, until cancelled; `listening` is called once, when
        nothing is missed any more. Hints are lost with the connection, which raises StoreError."""

    async def streams(self) -> list[int]:
        """Slots whose stream of alert events is not empty, or that the store refuses to measure."""

    async def assert_alerts(self, assertions: Sequence[SubjectAssertion]) -> list[str]:
        """Take in what subjects assert, in this order. Returns the groups that this made."""

    async def join_groups(self, memberships: Sequence[Membership]) -> list[str]:
        """Put alerts that stand in the store into groups. Returns the groups that this made."""

    async def end_asserted(self, subject: str, token_ms: int, at_ms: int, reason: str, next_ms: int) -> int:
        """End what a claimed member of ASSERTIONS asserted last; it falls due again at `next_ms`, and is then forgotten. Returns how
        many alerts ended. Stale when the lease is not ours any more."""

    async def end_orphans(self, at_ms: int, reason: str) -> int:
        """End alerts that fire though no subject's last assertion names them, which happens only where data were lost. Returns how many."""

    async def alerts(self, phase: AlertPhase, limit: int) -> list[StoredAlert]:
        """Up to `limit` alerts: of those that fire the ones that began first, of the others those that ended last."""

    async def alert(self, fingerprint: str) -> StoredAlert | None:
        """One alert by its fingerprint, or None where the alert store has it not (any more)."""

    async def load_group(self, group: str) -> GroupLoad | None:
        """A group with its alerts, its log and its deliveries in flight, or None where there is none."""

    async def commit_flush(self, flush: Flush) -> None:
        """Write what a tick decided: outbox rows, log, the next tick. Raises Stale where the group's lease is lost."""

    async def load_deliveries(self, ids: Sequence[str]) -> list[DeliveryRow | None]:
        """None for one that is gone."""

    async def retry_delivery(self, delivery_id: str, token_ms: int, payload: bytes, due_ms: int) -> None:
        """Write the delivery back with its next time. Stale when the lease is not ours any more."""

    async def settle_delivery(self, settle: Settle) -> None:
        """Write what became of a delivery, and take it out of the outbox. Raises Stale where its lease is lost."""

    async def sent(self, limit: int) -> list[tuple[str, bytes]]:
        """The newest notifications sent or given up, newest first."""
