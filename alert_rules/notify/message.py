"""What a message says: a title and a plain text, made for a telephone's lock screen, a chat and a mail alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from jinja2 import Template

from alert_rules.notify.dedup import Reason
from alert_rules.notify.stages import Notification
from alert_rules.routes.route import Integration
from alert_rules.rules.alert import Alert
from alert_rules.rules.template import AnyText, compile_template, failure, plain, render
from alert_rules.rules.template_work import Escape, Own
from monitor.core.durations import format_duration

LISTED_MAX = 20
"""Alerts of each kind that a message lists; the rest is counted."""
TITLE_LENGTH_MAX = 200
BODY_LENGTH_MAX = 12_000

TITLE = """\
[{% for word, entries in sections %}{{ word }}{% if entries | length > 1 %} {{ entries | length }}{% endif -%}
{% if not loop.last %}, {% endif %}{% endfor %}] {{ subject -}}
{% if ended | length == alerts | length and ended | map(attribute="end_reason") | unique | list | length == 1 -%}
: {{ ended[0].end_reason }}{% endif %}
"""

BODY = """\
{% if alerts | length > 1 %}
{{ firing | length }} firing, {{ resolved | length - ended | length }} resolved{% if ended %}, {{ ended | length }} ended{% endif -%}
{% if group %} ({{ group }}){% endif %}


{% endif %}
{% for word, entries in sections %}
{{ word }}
{% for alert in entries[:listed_max] %}
- {{ alert.summary }}{% if alert.severity %} ({{ alert.severity }}){% endif %}{{ ": " if alert.description }}{{ alert.description }}
  {{ alert.labels_text }}
{% if alert.ends_at %}
  from {{ alert.starts_at }} to {{ alert.ends_at }} ({{ alert.lasted }}){{ ": " if alert.end_reason }}{{ alert.end_reason }}
{% else %}
  since {{ alert.starts_at }}
{% endif %}
{% endfor %}
{% if entries | length > listed_max %}
... and {{ entries | length - listed_max }} more
{% endif %}

{% endfor %}
Receiver {{ receiver }}: {{ reason | replace("resolved", "ended") if ended else reason }}.
"""

NAMES = frozenset(
    {
        "status",
        "receiver",
        "reason",
        "subject",
        "group",
        "group_labels",
        "common_labels",
        "common_annotations",
        "route_labels",
        "receiver_labels",
        "firing",
        "resolved",
        "ended",
        "alerts",
        "sections",
        "listed_max",
    }
)
"""What templates of titles and bodies can name. `resolved` are all that do not fire; `ended` are those of them of which nobody knows
whether their conditions hold: an operator's word, a removal or silence ended them, and `end_reason` says which."""


class Kind(StrEnum):
    """How a service that knows colours or sounds should show a message."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


class Escaping(NamedTuple):
    """How what others say is written in a service's title and in its text."""

    title: Escape = plain
    body: Escape = plain


class Message(msgspec.Struct, frozen=True):
    """What a service is sent: its text, with what others say escaped for it, and how serious it is."""

    title: str
    body: str
    kind: Kind


Compose = Callable[[Escaping], Message]
"""Renders a message for a service, once it is known which one it is."""


def render_message(notification: Notification, integration: Integration, escaping: Escaping = Escaping()) -> Message:  # noqa: B008 - frozen
    """Return what one integration is to be sent."""
    context = _context(notification, integration)
    return Message(
        title=" ".join(render(_template(integration.title or TITLE), context, TITLE_LENGTH_MAX, escaping.title).split()),
        body=render(_template(integration.body or BODY), context, BODY_LENGTH_MAX, escaping.body),
        kind=_kind(context["firing"], context["ended"]),
    )


def always_fails(source: str) -> str:
    """Why a template of titles and bodies fails on every sample of a message; "" where it does not. Raises TemplateError."""
    return failure(compile_template(source, NAMES), _SAMPLES)


def _context(notification: Notification, integration: Integration) -> dict[str, Any]:
    """What titles and bodies are made of: the NAMES with their values."""
    alerts = [_shown(alert) for alert in notification.alerts]
    firing = [alert for alert in alerts if alert["status"] == "firing"]
    resolved = [alert for alert in alerts if alert["status"] == "resolved"]
    ended = [alert for alert in resolved if alert["end_reason"]]
    common_labels = common([alert.labels for alert in notification.alerts])
    sections = ("FIRING", firing), ("RESOLVED", [alert for alert in resolved if not alert["end_reason"]]), ("ENDED", ended)
    return {
        "status": "firing" if firing else "resolved",
        "receiver": notification.receiver,
        "reason": notification.reason.value,
        "subject": _subject(alerts, notification.group_labels, common_labels),
        "group": _pairs(notification.group_labels),
        "group_labels": notification.group_labels,
        "common_labels": common_labels,
        "common_annotations": common([alert.annotations for alert in notification.alerts]),
        "route_labels": _own(notification.route_labels),
        "receiver_labels": _own(integration.receiver_labels),
        "firing": firing,
        "resolved": resolved,
        "ended": ended,
        "alerts": alerts,
        "sections": [(word, entries) for word, entries in sections if entries],
        "listed_max": LISTED_MAX,
    }


def sample_notification(integration: Integration, now_ms: int) -> Notification:
    """The message of `watchkeeper receivers test`: it says that it is a test."""
    labels = {"alertname": "TestMessage", "severity": "info", "receiver": integration.receiver}
    annotations = {"summary": "This is a test message from Watchkeeper", "description": "Nothing is wrong: somebody asked for it."}
    alert = Alert(labels=labels, annotations=annotations, starts_at_ms=now_ms, fingerprint="test")
    return Notification(
        integration=integration.key,
        receiver=integration.receiver,
        reason=Reason.FIRST,
        group_key="test",
        group_labels={"alertname": "TestMessage"},
        alerts=(alert,),
        firing={alert.fingerprint: now_ms},
        resolved={},
        tick_ms=now_ms,
    )


def _shown(alert: Alert) -> dict[str, Any]:
    labels, annotations = alert.labels, alert.annotations
    return {
        "status": "resolved" if alert.ends_at_ms else "firing",
        "labels": labels,
        "annotations": annotations,
        "severity": labels.get("severity", ""),
        "summary": annotations.get("summary") or labels.get("alertname", "") or alert.fingerprint,
        "description": annotations.get("description", ""),
        "labels_text": _pairs(labels),
        "starts_at": _time(alert.starts_at_ms),
        "ends_at": _time(alert.ends_at_ms) if alert.ends_at_ms else "",
        "lasted": format_duration((alert.ends_at_ms - alert.starts_at_ms) // 1000 * 1000) if alert.ends_at_ms else "",
        "end_reason": alert.end_reason,
        "value": alert.value,
        "fingerprint": alert.fingerprint,
    }


def _subject(alerts: Sequence[dict[str, Any]], group_labels: dict[str, str], common_labels: dict[str, str]) -> str:
    """One alert is called by its summary; several by what they share."""
    if len(alerts) == 1:
        return str(alerts[0]["summary"])
    shared = {**common_labels, **group_labels}
    name = shared.pop("alertname", "")
    return " ".join(filter(None, (name, f"({_pairs(shared)})" if shared else ""))) or f"{len(alerts)} alerts"


def _kind(firing: Sequence[dict[str, Any]], ended: Sequence[dict[str, Any]]) -> Kind:
    severities = {alert["severity"] for alert in firing}
    if not firing:
        return Kind.INFO if ended else Kind.SUCCESS
    if severities <= {"info", "none"}:
        return Kind.INFO
    return Kind.WARNING if severities <= {"warning", "info", "none"} else Kind.FAILURE


def common(mappings: Sequence[dict[str, str]]) -> dict[str, str]:
    """The names that all of these give the same value."""
    if not mappings:
        return {}
    return {name: value for name, value in mappings[0].items() if all(other.get(name) == value for other in mappings)}


def _own(labels: dict[str, str]) -> dict[str, str]:
    """Labels of the routing file: its own text, as a template's is."""
    return {name: Own(value) for name, value in labels.items()}


def _pairs(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={labels[name]}" for name in sorted(labels, key=lambda name: (name != "alertname", name)))


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@lru_cache(maxsize=256)
def _template(source: str) -> Template:
    return compile_template(source, NAMES)


def _sample(firing: int, resolved: int) -> dict[str, Any]:
    integration = Integration(key="team/apprise/0", receiver="team", url="console:")
    one = sample_notification(integration, 1)
    alerts = [msgspec.structs.replace(alert, labels=AnyText(alert.labels), annotations=AnyText(alert.annotations)) for alert in one.alerts]
    told = (*alerts * firing, *(msgspec.structs.replace(alert, ends_at_ms=2, end_reason="gone") for alert in alerts * resolved))
    context = _context(msgspec.structs.replace(one, alerts=told), integration)
    return {name: AnyText(value) if isinstance(value, dict) else value for name, value in context.items()}


_SAMPLES = (_sample(1, 0), _sample(0, 1), _sample(2, 2))
