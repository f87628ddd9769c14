"""What a person reads, and when a message that failed is tried again."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_rules.notify.dedup import Reason
from alert_rules.notify.message import BODY_LENGTH_MAX, TITLE_LENGTH_MAX, Kind, Message, render_message, sample_notification
from alert_rules.notify.retry import ATTEMPTS_MAX, backoff_ms, next_attempt_ms
from alert_rules.notify.stages import Notification
from alert_rules.routes.route import Integration
from alert_rules.rules.alert import Alert, fingerprint

START = 1_700_000_000_000
PLAIN = Integration(key="ops/apprise/0", receiver="ops", url="json://x")


def alert(name: str, *, end_ms: int = 0, severity: str = "critical", summary: str = "", description: str = "3 probes failed.") -> Alert:
    labels = {"alertname": "EndpointDown", "endpoint": name, "pool": "shop", "severity": severity}
    annotations = {"summary": summary or f"{name} is down", "description": description}
    return Alert(labels=labels, annotations=annotations, starts_at_ms=START, ends_at_ms=end_ms, fingerprint=fingerprint(labels))


def message(*alerts: Alert, integration: Integration = PLAIN) -> Message:
    notification = Notification(
        integration=integration.key,
        receiver="ops",
        reason=Reason.FIRST,
        group_key="{}:{}",
        group_labels={"alertname": "EndpointDown", "pool": "shop"},
        alerts=alerts,
        firing={},
        resolved={},
        tick_ms=START,
    )
    return render_message(notification, integration)


def test_one_alert() -> None:
    said = message(alert("shop-1"))
    assert (said.title, said.kind) == ("[FIRING] shop-1 is down", Kind.FAILURE)
    assert said.body == (
        "FIRING\n"
        "- shop-1 is down (critical): 3 probes failed.\n"
        "  alertname=EndpointDown, endpoint=shop-1, pool=shop, severity=critical\n"
        "  since 2023-11-14 22:13:20 UTC\n"
        "\n"
        "Receiver ops: first notification."
    )


def test_the_end_of_one_alert() -> None:
    said = message(alert("shop-1", end_ms=START + 65_400))
    assert (said.title, said.kind) == ("[RESOLVED] shop-1 is down", Kind.SUCCESS)
    assert "from 2023-11-14 22:13:20 UTC to 2023-11-14 22:14:25 UTC (1m5s)" in said.body


def test_a_storm_is_one_message_with_a_count() -> None:
    said = message(*(alert(f"shop-{n:02}") for n in range(30)), *(alert(f"gone-{n}", end_ms=START + 1_000) for n in range(2)))
    assert said.title == "[FIRING 30, RESOLVED 2] EndpointDown (pool=shop, severity=critical)"
    assert said.body.startswith("30 firing, 2 resolved (alertname=EndpointDown, pool=shop)\n\nFIRING\n- shop-00 is down")
    assert "\n... and 10 more\n\nRESOLVED\n- gone-0" in said.body
    assert "shop-20" not in said.body


@pytest.mark.parametrize(
    ("severities", "kind"),
    [(["warning"], Kind.WARNING), (["info"], Kind.INFO), (["warning", "critical"], Kind.FAILURE), (["page"], Kind.FAILURE)],
)
def test_the_worst_severity_colours_the_message(severities: list[str], kind: Kind) -> None:
    assert message(*(alert(f"a{n}", severity=severity) for n, severity in enumerate(severities))).kind is kind


def test_titles_and_bodies_of_ones_own() -> None:
    own = Integration(
        key="ops/apprise/0",
        receiver="ops",
        url="json://x",
        title="{{ status | upper }} {{ common_labels.pool }}",
        body="{% for alert in firing %}{{ alert.labels.endpoint }}\n{% endfor %}",
    )
    said = message(alert("shop-1"), alert("shop-2"), integration=own)
    assert (said.title, said.body) == ("FIRING shop", "shop-1\nshop-2")


def test_templates_know_the_labels_of_the_route_and_of_the_receiver() -> None:
    own = Integration(
        key="ops/apprise/0",
        receiver="ops",
        url="json://x",
        title="{{ route_labels.tier }} {{ receiver_labels.desk }}",
        receiver_labels={"desk": "night"},
    )
    notification = msgspec.structs.replace(sample_notification(own, START), route_labels={"tier": "two"})
    assert render_message(notification, own).title == "two night"


def test_an_end_says_why_where_it_is_not_the_condition() -> None:
    ended = msgspec.structs.replace(alert("shop-1", end_ms=START + 60_000), end_reason="the endpoint was removed")
    said = message(ended)
    assert (said.title, said.kind) == ("[ENDED] shop-1 is down: the endpoint was removed", Kind.INFO)
    assert said.body.startswith("ENDED\n- shop-1 is down")
    assert "(1m): the endpoint was removed\n" in said.body
    assert "RESOLVED" not in said.body


def test_nobody_is_told_that_something_is_resolved_of_which_nothing_is_known() -> None:
    well = alert("shop-1", end_ms=START + 60_000)
    paused = [msgspec.structs.replace(alert(name, end_ms=START + 60_000), end_reason="paused by ann: deploy") for name in ("a", "b")]
    said = message(*paused)
    assert said.title == "[ENDED 2] EndpointDown (pool=shop, severity=critical): paused by ann: deploy"
    said = message(alert("shop-2"), well, *paused)
    assert said.title == "[FIRING, RESOLVED, ENDED 2] EndpointDown (pool=shop, severity=critical)"
    assert said.body.startswith("1 firing, 1 resolved, 2 ended (alertname=EndpointDown, pool=shop)\n\nFIRING\n")
    own = Integration(
        key="ops/apprise/0", receiver="ops", url="json://x", title="{{ status }} {{ resolved | length }} {{ ended | length }}"
    )
    assert message(well, *paused, integration=own).title == "resolved 3 2"


def test_data_is_not_rendered_and_adds_no_lines() -> None:
    said = message(alert("shop-1", summary="{{ 7 * 7 }}\n[RESOLVED] all is well"))
    assert said.title == "[FIRING] {{ 7 * 7 }} [RESOLVED] all is well"
    assert "\n[RESOLVED]" not in said.body


def test_a_template_that_fails_still_sends_what_it_can() -> None:
    own = Integration(key="ops/apprise/0", receiver="ops", url="json://x", body="{{ receiver }}: {{ alerts.nothing.here }}")
    assert message(alert("a"), integration=own).body.startswith("ops: <template failed:")


@given(st.lists(st.text(max_size=300), min_size=1, max_size=40))
def test_whatever_is_said_the_message_keeps_its_limits(texts: list[str]) -> None:
    said = message(*(alert(f"e{n}", summary=text, description=text * 5) for n, text in enumerate(texts)))
    assert len(said.title) <= TITLE_LENGTH_MAX
    assert len(said.body) <= BODY_LENGTH_MAX
    assert "\n" not in said.title


def test_a_storm_of_sixty_thousand_alerts_is_one_message() -> None:
    said = message(*[alert("shop-1")] * 60_000)
    assert said.title.startswith("[FIRING 60000] ")
    assert "... and 59980 more" in said.body
    assert said.body.endswith("Receiver ops: first notification.")


def test_of_many_alerts_twenty_are_listed_and_the_rest_is_counted() -> None:
    many = [alert(f"shop-{n}") for n in range(10_000)]
    said = message(*many)
    assert said.title.startswith("[FIRING 10000]")
    assert said.body.count("\n- ") == 20
    assert "... and 9980 more" in said.body
    assert len(msgspec.json.encode(many)) < 400 * len(many)


def test_a_test_message_says_so() -> None:
    said = render_message(sample_notification(PLAIN, START), PLAIN)
    assert said.title == "[FIRING] This is a test message from Watchkeeper"
    assert said.kind is Kind.INFO


def test_pauses_grow_by_half_and_stay_below_a_minute() -> None:
    for attempts, middle_ms in ((1, 500), (2, 750), (3, 1_125), (13, 60_000), (49, 60_000)):
        pauses = [backoff_ms(f"delivery-{n}", attempts) for n in range(200)]
        assert min(pauses) >= middle_ms * 0.5
        assert max(pauses) <= min(middle_ms * 1.5, 60_000)
        assert max(pauses) - min(pauses) > middle_ms * 0.3
    assert backoff_ms("x", 3) == backoff_ms("x", 3)


def test_a_message_is_given_up_at_its_deadline_or_at_once_where_it_is_hopeless() -> None:
    again = {"created_ms": START, "retry_for_ms": 10_000}
    assert next_attempt_ms("x", attempts=1, now_ms=START, **again) == START + backoff_ms("x", 1)
    assert next_attempt_ms("x", attempts=1, now_ms=START, permanent=True, **again) is None
    assert next_attempt_ms("x", attempts=5, now_ms=START + 9_990, **again) is None
    assert next_attempt_ms("x", attempts=ATTEMPTS_MAX, now_ms=START, **again) is None


def test_a_service_that_names_a_time_is_obeyed_within_reason() -> None:
    again = {"created_ms": START, "now_ms": START, "retry_for_ms": 10_000}
    assert next_attempt_ms("x", attempts=1, retry_after_ms=90_000, **again) == START + 90_000
    assert next_attempt_ms("x", attempts=1, retry_after_ms=0, **again) == START + 500
    assert next_attempt_ms("x", attempts=1, retry_after_ms=10**9, **again) == START + 3_600_000
