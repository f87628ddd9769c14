"""What a group's tick decides: the stages between "this group is due" and "send this" (rules G2 to G4, P1, P2).

    alerts -> muted ones taken out -> for each integration: under way? -> needs an update? -> a notification

Mutes run in this order: inhibition, active time intervals, mute time intervals, silences. None of them is built yet: each will be
one function in `mutes`. The tick's time is the "now" of every stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from alert_rules.notify.dedup import LogEntry, Reason, needs_update
from alert_rules.routes.group import GroupMeta
from alert_rules.routes.route import Integration
from alert_rules.rules.alert import Alert

Mute = Callable[[Mapping[str, Alert], int], Mapping[str, str]]
"""Takes alerts by fingerprint and the tick; returns those that nobody is to hear of, with the reason."""

IN_FLIGHT = "a delivery is under way"
NOT_WANTED = "all alerts resolved, and send_resolved is false"
MUTED = "all alerts are muted"


class Notification(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one integration is to be told: the alerts as they were at the tick, and what the log will say once it is accepted."""

    integration: str
    receiver: str
    reason: Reason
    group_key: str
    group_labels: dict[str, str]
    alerts: tuple[Alert, ...]
    firing: dict[str, int]
    resolved: dict[str, int]
    tick_ms: int

    @property
    def id(self) -> str:
        """The same whenever the same tick is decided again (B11)."""
        return hashlib.sha256(f"{self.group_key}\0{self.integration}\0{self.tick_ms}".encode()).hexdigest()[:24]

    @property
    def log_entry(self) -> LogEntry:
        """What is written after the service has accepted the message."""
        return LogEntry(self.firing, self.resolved, self.tick_ms)


class FlushDecision(msgspec.Struct, frozen=True, kw_only=True):
    """`drop` are the resolved alerts that leave the group at once; `log_only` what is logged without a message.

    `reasons` tells for every integration why it hears of this tick, or why not (B10).
    """

    next_ms: int
    notifications: tuple[Notification, ...] = ()
    drop: tuple[str, ...] = ()
    log_only: dict[str, LogEntry] = {}
    reasons: dict[str, str] = {}


def decide_flush(  # noqa: PLR0917 - one tick of one group has this many parts.
    meta: GroupMeta,
    integrations: Sequence[Integration],
    alerts: Mapping[str, Alert],
    log: Mapping[str, LogEntry],
    in_flight: Mapping[str, str],
    tick_ms: int,
    *,
    mutes: Sequence[Mute] = (),
) -> FlushDecision:
    """Decide one tick of a group.

    The next tick is one `group_interval` after this one, however long sending takes (G2). While an integration's delivery is under
    way nothing new is decided for it: the tick after the delivery's end does that.
    """
    muted = _muted(alerts, tick_ms, mutes)
    audible = sorted((alert.frozen_at(tick_ms) for key, alert in alerts.items() if key not in muted), key=lambda alert: alert.sort_key)
    firing = {alert.fingerprint: alert.starts_at_ms for alert in audible if not alert.ends_at_ms}
    resolved = {alert.fingerprint: alert.ends_at_ms for alert in audible if alert.ends_at_ms}
    notifications: list[Notification] = []
    log_only: dict[str, LogEntry] = {}
    reasons: dict[str, str] = {}
    for integration in integrations:
        key, entry = integration.key, log.get(integration.key)
        if not audible or key in in_flight:
            reasons[key] = IN_FLIGHT if audible else MUTED
            continue
        wanted = integration.send_resolved
        reason = needs_update(entry, firing, resolved, send_resolved=wanted, repeat_interval_ms=meta.repeat_interval_ms, tick_ms=tick_ms)
        reasons[key] = reason.value
        if reason is Reason.NONE:
            if entry is not None and not entry.firing.keys() <= firing.keys():
                log_only[key] = entry.without_ended(firing)
        elif not firing and not wanted:
            reasons[key] = NOT_WANTED
            log_only[key] = LogEntry({}, resolved, tick_ms)
        else:
            notifications.append(
                Notification(
                    integration=key,
                    receiver=integration.receiver,
                    reason=reason,
                    group_key=meta.key,
                    group_labels=meta.labels,
                    alerts=tuple(alert for alert in audible if wanted or not alert.ends_at_ms),
                    firing=firing,
                    resolved=resolved,
                    tick_ms=tick_ms,
                )
            )
    return FlushDecision(
        next_ms=tick_ms + meta.group_interval_ms,
        notifications=tuple(notifications),
        drop=() if notifications or in_flight else tuple(resolved),
        log_only=log_only,
        reasons=reasons,
    )


def may_leave(resolved: Iterable[str], integrations: Sequence[Integration], log: Mapping[str, LogEntry]) -> tuple[str, ...]:
    """The resolved alerts that may leave their group after a delivery: those that no integration was last told to be firing.

    `log` is the group's as it will be. Where another integration's delivery failed, its log still says firing; the alert stays,
    and the next tick tells it (G4).
    """
    entries = [log[one.key] for one in integrations if one.key in log]
    return tuple(key for key in resolved if not any(key in entry.firing for entry in entries))


def _muted(alerts: Mapping[str, Alert], tick_ms: int, mutes: Sequence[Mute]) -> dict[str, str]:
    """P2: muted alerts vanish from what fires and from what has ended."""
    muted: dict[str, str] = {}
    for mute in mutes:
        muted.update(mute({key: alert for key, alert in alerts.items() if key not in muted}, tick_ms))
    return muted
