"""What a group's tick decides: the stages between "this group is due" and "send this".

    alerts -> muted ones taken out -> for each service: in flight? -> needs an update? -> a notification

Mutes run in this order: inhibition, active time intervals, mute time intervals, silences. None of them is built yet: each will be
one function in `mutes`. The tick's time is the "now" of every stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from alert_rules.notify.dedup import LogEntry, Reason, entry_of, needs_update
from alert_rules.routes.group import GroupMeta
from alert_rules.routes.route import Integration
from alert_rules.rules.alert import Alert

Mute = Callable[[Mapping[str, Alert], int], Mapping[str, str]]
"""Takes alerts by fingerprint and the tick; returns those that nobody is to hear of, with the reason."""

FRESH_MS = 5_000
"""A notification whose first attempt begins later than this after its tick is decided afresh before it is sent."""

IN_FLIGHT = "a delivery is in flight"
NOT_WANTED = "all alerts resolved, and send_resolved is false"
MUTED = "all alerts are muted"


class Notification(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one service is to be told: the alerts as they were at the tick, and what the log will say once it is accepted."""

    integration: str
    receiver: str
    reason: Reason
    group_key: str
    group_labels: dict[str, str]
    alerts: tuple[Alert, ...]
    firing: dict[str, int]
    resolved: dict[str, int]
    tick_ms: int
    service: str = ""
    """Which of the integration's services (Integration.service)."""
    alone: bool = True
    whole: str = ""
    """As Integration.whole."""
    route_labels: dict[str, str] = {}

    @property
    def log_key(self) -> str:
        """As Integration.log_key."""
        return self.integration if self.alone else f"{self.integration}/{self.service}"

    @property
    def id(self) -> str:
        """The same whenever the same tick is decided again."""
        return hashlib.sha256(f"{self.group_key}\0{self.log_key}\0{self.tick_ms}".encode()).hexdigest()[:24]

    @property
    def log_entry(self) -> LogEntry:
        """What is written after the service has accepted the message."""
        return LogEntry(self.firing, self.resolved, self.tick_ms, self.service)


class FlushDecision(msgspec.Struct, frozen=True, kw_only=True):
    """`drop` are the resolved alerts that leave the group at once; `log_only` what is logged without a message.

    `reasons` tells for every service why it hears of this tick, or why not.
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
    """Decide one tick of a group; `integrations` are those of its receiver, one for each service.

    The next tick is one `group_interval` after this one, however long sending takes. While a service's delivery is in flight
    nothing new is decided for it: the tick after the delivery's end does that.
    """
    muted = _muted(alerts, tick_ms, mutes)
    audible = sorted((alert.frozen_at(tick_ms) for key, alert in alerts.items() if key not in muted), key=lambda alert: alert.sort_key)
    firing = {alert.fingerprint: alert.starts_at_ms for alert in audible if not alert.ends_at_ms}
    resolved = {alert.fingerprint: alert.ends_at_ms for alert in audible if alert.ends_at_ms}
    notifications: list[Notification] = []
    log_only: dict[str, LogEntry] = {}
    reasons: dict[str, str] = {}
    for integration in integrations:
        key, entry = integration.log_key, entry_of(log, integration)
        if not audible or any(place in in_flight for place in integration.places):
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
            log_only[key] = LogEntry({}, resolved, tick_ms, integration.service)
        else:
            notifications.append(
                Notification(
                    integration=integration.key,
                    receiver=integration.receiver,
                    reason=reason,
                    group_key=meta.key,
                    group_labels=meta.labels,
                    alerts=tuple(alert for alert in audible if wanted or not alert.ends_at_ms),
                    firing=firing,
                    resolved=resolved,
                    tick_ms=tick_ms,
                    service=integration.service,
                    alone=integration.alone,
                    whole=integration.whole,
                    route_labels=meta.route_labels,
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
    """The resolved alerts that may leave their group after a delivery: those that no service was last told to be firing.

    `log` is the group's as it will be. Where another service's delivery failed, its log still says firing; the alert stays, and
    the next tick tells it.
    """
    entries = [entry for one in integrations if (entry := entry_of(log, one)) is not None]
    return tuple(key for key in resolved if not any(key in entry.firing for entry in entries))


def superseded(notification: Notification, alerts: Mapping[str, Alert], now_ms: int) -> str:
    """Why a notification that has waited must not be sent any more, or "": what it says is no longer so.

    `alerts` are those of its group as they are now.
    """
    ended = sum(
        key not in alerts or alerts[key].resolved_at(now_ms) or alerts[key].starts_at_ms > start_ms
        for key, start_ms in notification.firing.items()
    )
    if ended:
        return f"{_count(ended)} that it says to be firing ended before it was sent"
    again = sum(key in alerts and not alerts[key].resolved_at(now_ms) for key in notification.resolved)
    return f"{_count(again)} that it says to be resolved fired again before it was sent" if again else ""


def _count(alerts: int) -> str:
    return "an alert" if alerts == 1 else f"{alerts} alerts"


def _muted(alerts: Mapping[str, Alert], tick_ms: int, mutes: Sequence[Mute]) -> dict[str, str]:
    """Muted alerts vanish from what fires and from what has ended."""
    muted: dict[str, str] = {}
    for mute in mutes:
        muted.update(mute({key: alert for key, alert in alerts.items() if key not in muted}, tick_ms))
    return muted
