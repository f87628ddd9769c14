"""Groups: alerts that are told together, and their timers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from alert_rules.routes.route import Route, group_key, group_labels
from alert_rules.rules.alert import Alert

RETRY_FOR_MIN_MS = 10_000


class GroupMeta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a group is, apart from its alerts: kept with it, so that it can be told of when its route is gone."""

    key: str
    route: str
    receiver: str
    labels: dict[str, str]
    group_interval_ms: int
    repeat_interval_ms: int
    route_labels: dict[str, str] = {}
    """Labels of the route, for templates."""

    @property
    def retry_for_ms(self) -> int:
        """How long one notification may try before the next tick decides afresh."""
        return max(self.group_interval_ms, RETRY_FOR_MIN_MS)


def group_of(route: Route, labels: Mapping[str, str]) -> GroupMeta:
    """The group of an alert in a route."""
    return GroupMeta(
        key=group_key(route, labels),
        route=route.id,
        receiver=route.receiver,
        labels=group_labels(route, labels),
        group_interval_ms=route.group_interval_ms,
        repeat_interval_ms=route.repeat_interval_ms,
        route_labels=dict(route.labels),
    )


def tick_of(meta: GroupMeta, due_ms: int, now_ms: int) -> int:
    """The "now" of a tick: its due time, so that the cadence is exact; after a stand-still of a whole interval, the present.

    Ticks that were missed are missed: otherwise each would follow the other at once, and repeat what was just told.
    """
    return due_ms if now_ms - due_ms < meta.group_interval_ms else now_ms


def first_flush_ms(alert: Alert, route: Route, now_ms: int) -> int:
    """When a group that this alert creates is flushed first: at once where the alert has waited long enough already."""
    return now_ms if alert.starts_at_ms + route.group_wait_ms < now_ms else now_ms + route.group_wait_ms
