"""Groups over time: what a receiver hears, when, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_rules.notify.dedup import LogEntry, Reason, entry_of, needs_update
from alert_rules.notify.stages import IN_FLIGHT, MUTED, NOT_WANTED, FlushDecision, Notification, decide_flush, may_leave, superseded
from alert_rules.routes.group import GroupMeta, first_flush_ms, group_of, tick_of
from alert_rules.routes.route import Integration, Route
from alert_rules.rules.alert import Alert, fingerprint

S = 1_000
ROUTE = Route(id="{}", receiver="r", group_by=("alertname",), group_wait_ms=30 * S, group_interval_ms=300 * S, repeat_interval_ms=600 * S)
META = group_of(ROUTE, {"alertname": "Down"})


def alert(name: str, start_s: int = 1, end_s: int = 0) -> Alert:
    labels = {"alertname": "Down", "endpoint": name}
    return Alert(labels=labels, starts_at_ms=start_s * S, ends_at_ms=end_s * S, fingerprint=fingerprint(labels))


def integration(place: int = 0, *, send_resolved: bool = True) -> Integration:
    return Integration(key=f"r/apprise/{place}", receiver="r", url="json://x", send_resolved=send_resolved)


class Group:
    """A group as the store keeps it, with services that accept at once unless told otherwise."""

    def __init__(self, *integrations: Integration, meta: GroupMeta = META) -> None:
        self.integrations = integrations or (integration(),)
        self.meta = meta
        self.alerts: dict[str, Alert] = {}
        self.log: dict[str, LogEntry] = {}
        self.in_flight: dict[str, Notification] = {}

    def put(self, *alerts: Alert) -> Group:
        self.alerts.update((one.fingerprint, one) for one in alerts)
        return self

    def tick(self, at_s: int, *, fail: tuple[str, ...] = (), hang: tuple[str, ...] = ()) -> FlushDecision:
        decision = decide_flush(
            self.meta, self.integrations, self.alerts, self.log, {key: one.id for key, one in self.in_flight.items()}, at_s * S
        )
        self.log.update(decision.log_only)
        for key in decision.drop:
            del self.alerts[key]
        self.in_flight.update((one.log_key, one) for one in decision.notifications)
        for key in [key for key in self.in_flight if key not in hang]:
            self.settle(key, accepted=key not in fail)
        return decision

    def settle(self, key: str, *, accepted: bool = True) -> None:
        notification = self.in_flight.pop(key)
        if accepted:
            self.log[key] = notification.log_entry
        if accepted and not self.in_flight:
            for fp in may_leave(notification.resolved, self.integrations, self.log):
                if fp in self.alerts and self.alerts[fp].ends_at_ms == notification.resolved[fp]:
                    del self.alerts[fp]

    def heard(self, at_s: int, **how: tuple[str, ...]) -> list[tuple[str, list[str]]]:
        return [(one.reason.value, [name_of(a) for a in one.alerts]) for one in self.tick(at_s, **how).notifications]


def name_of(one: Alert) -> str:
    return one.labels["endpoint"] + ("." if one.ends_at_ms else "")


A, B = alert("a").fingerprint, alert("b").fingerprint


@pytest.mark.parametrize(
    ("entry", "firing", "resolved", "send_resolved", "want"),
    [
        (None, {}, {}, True, Reason.NONE),
        (None, {}, {A: 5}, True, Reason.NONE),
        (None, {A: 1}, {}, True, Reason.FIRST),
        (LogEntry({}, {A: 1}), {B: 1}, {}, True, Reason.FIRST),
        (LogEntry({A: 1}), {A: 1, B: 1}, {}, True, Reason.NEW),
        (LogEntry({A: 1}), {}, {A: 9}, True, Reason.ALL_RESOLVED),
        (LogEntry({A: 1}), {}, {A: 9}, False, Reason.ALL_RESOLVED),
        (LogEntry({}, {A: 9}), {}, {A: 9}, True, Reason.NONE),
        (LogEntry({A: 1, B: 1}, at_ms=99), {A: 1}, {B: 9}, True, Reason.SOME_RESOLVED),
        (LogEntry({A: 1, B: 1}, at_ms=99), {A: 1}, {B: 9}, False, Reason.NONE),
        (LogEntry({A: 1}, {B: 9}, at_ms=99), {A: 1}, {B: 9}, True, Reason.NONE),
        (LogEntry({A: 1}, at_ms=99), {A: 2}, {}, True, Reason.FIRED_AGAIN),
        (LogEntry({A: 1}, at_ms=1), {A: 1}, {}, True, Reason.NONE),
        (LogEntry({A: 1}, at_ms=0), {A: 1}, {}, True, Reason.REPEAT),
        (LogEntry({A: 1}, at_ms=86_400_000), {A: 1}, {}, True, Reason.REPEAT),
        (LogEntry({A: 1}, at_ms=199), {A: 1}, {}, True, Reason.NONE),
        (LogEntry({A: 1}, at_ms=200), {A: 1}, {}, True, Reason.REPEAT),
    ],
)
def test_a_receiver_hears_only_of_news(
    entry: LogEntry | None, firing: dict[str, int], resolved: dict[str, int], send_resolved: bool, want: Reason
) -> None:
    assert needs_update(entry, firing, resolved, send_resolved=send_resolved, repeat_interval_ms=100, tick_ms=100) is want


def test_one_alert_from_first_notice_to_last() -> None:
    group = Group().put(alert("a"))
    assert group.heard(31) == [("first notification", ["a"])]
    assert group.heard(331) == []
    group.put(alert("a"), alert("b", 340))
    assert group.heard(631) == [("new alerts added", ["a", "b"])]
    group.put(alert("a", 1, 700))
    assert group.heard(931) == [("some alerts resolved", ["a.", "b"])]
    assert set(group.alerts) == {B}
    assert group.heard(1231) == []
    assert group.heard(1531) == [("repeat interval elapsed", ["b"])]
    group.put(alert("b", 340, 1600))
    assert group.heard(1831) == [("all alerts resolved", ["b."])]
    assert group.alerts == {}


def test_the_next_tick_is_one_interval_after_this_one() -> None:
    assert Group().put(alert("a")).tick(31).next_ms == 331 * S


def test_an_alert_that_ended_before_the_first_tick_is_never_told() -> None:
    group = Group().put(alert("a", 1, 20))
    assert group.heard(31) == []
    assert group.alerts == {}


def test_an_end_that_has_not_come_yet_is_not_told() -> None:
    group = Group().put(alert("a", 1, 100))
    assert group.heard(31) == [("first notification", ["a"])]
    assert group.heard(331) == [("all alerts resolved", ["a."])]


def test_repeats_come_every_repeat_interval_not_one_group_interval_later() -> None:
    meta = group_of(Route(id="{}", receiver="r", group_interval_ms=300 * S, repeat_interval_ms=300 * S), {})
    group = Group(meta=meta).put(alert("a"))
    assert [len(group.tick(at).notifications) for at in (31, 331, 631)] == [1, 1, 1]


def test_without_send_resolved_the_end_is_only_logged() -> None:
    group = Group(integration(send_resolved=False)).put(alert("a"))
    group.tick(31)
    group.put(alert("a", 1, 100))
    decision = group.tick(331)
    assert decision.notifications == ()
    assert decision.reasons == {"r/apprise/0": NOT_WANTED}
    assert group.alerts == {}
    assert group.put(alert("a", 400)).heard(631) == [("first notification", ["a"])]


@pytest.mark.parametrize("send_resolved", [True, False])
def test_an_alert_that_fires_again_in_a_group_that_keeps_firing_is_news(send_resolved: bool) -> None:
    group = Group(integration(send_resolved=send_resolved)).put(alert("a"), alert("b"))
    group.tick(31)
    group.put(alert("a", 1, 100))
    group.tick(331)
    group.put(alert("a", 400))
    assert group.heard(631) == [("new alerts added", ["a", "b"])]


def test_an_alert_that_ended_and_fired_again_between_two_ticks_is_news() -> None:
    group = Group().put(alert("a"))
    group.tick(31)
    assert group.put(alert("a", 200)).heard(331) == [("alert fired again", ["a"])]


def test_a_failed_delivery_is_decided_afresh_at_the_next_tick() -> None:
    group = Group().put(alert("a"))
    assert group.heard(31, fail=("r/apprise/0",)) == [("first notification", ["a"])]
    assert group.put(alert("b", 50)).heard(331) == [("first notification", ["a", "b"])]


def test_while_a_delivery_is_in_flight_nothing_new_is_decided() -> None:
    group = Group().put(alert("a"))
    group.tick(31, hang=("r/apprise/0",))
    group.put(alert("b", 50))
    decision = group.tick(331, hang=("r/apprise/0",))
    assert (decision.notifications, decision.drop, decision.reasons) == ((), (), {"r/apprise/0": IN_FLIGHT})
    group.settle("r/apprise/0")
    assert group.heard(631) == [("new alerts added", ["a", "b"])]


def test_the_end_is_told_to_one_service_though_another_has_heard_it() -> None:
    group = Group(integration(0), integration(1)).put(alert("a"))
    group.tick(31)
    group.put(alert("a", 1, 100))
    group.tick(331, fail=("r/apprise/1",))
    assert set(group.alerts) == {A}
    assert [one.integration for one in group.tick(631).notifications] == ["r/apprise/1"]
    assert group.alerts == {}


def test_the_end_is_told_whatever_the_order_in_which_deliveries_end() -> None:
    group = Group(integration(0), integration(1)).put(alert("a"), alert("b"))
    group.tick(31)
    group.put(alert("a", 1, 100))
    group.tick(331, hang=("r/apprise/0", "r/apprise/1"))
    group.settle("r/apprise/1", accepted=False)
    group.settle("r/apprise/0")
    assert set(group.alerts) == {A, B}
    assert group.heard(631) == [("some alerts resolved", ["a.", "b"])]


def test_a_receiver_without_integrations_hears_nothing_and_keeps_nothing() -> None:
    decision = decide_flush(META, (), {A: alert("a", 1, 2)}, {}, {}, 31 * S)
    assert (decision.notifications, decision.drop) == ((), (A,))


def test_a_mute_takes_its_alerts_out_before_everything_else() -> None:
    alerts = {one.fingerprint: one for one in (alert("a"), alert("b", 1, 5))}
    everything = decide_flush(META, [integration()], alerts, {}, {}, 31 * S, mutes=[lambda these, _: dict.fromkeys(these, "silenced")])
    assert everything.reasons == {"r/apprise/0": MUTED}
    assert (everything.notifications, everything.drop) == ((), ())


def test_the_same_tick_makes_the_same_delivery() -> None:
    group = Group().put(alert("a"))
    first = decide_flush(META, group.integrations, group.alerts, {}, {}, 31 * S).notifications[0]
    second = decide_flush(META, group.integrations, group.alerts, {}, {}, 31 * S).notifications[0]
    later = decide_flush(META, group.integrations, group.alerts, {}, {}, 32 * S).notifications[0]
    assert first.id == second.id != later.id


def services(*names: str) -> list[Integration]:
    """One integration whose address holds these services."""
    return [integration().of_service(name, alone=len(names) == 1) for name in names]


ONE, TWO, THREE = "aaaaaaaa", "bbbbbbbb", "cccccccc"


def test_services_of_one_address_hear_apart() -> None:
    """The second one fails: the others hear nothing of its attempts, and each is told the end."""
    group = Group(*services(ONE, TWO, THREE)).put(alert("a"))
    failing = f"r/apprise/0/{TWO}"
    assert [one.log_key for one in group.tick(31, fail=(failing,)).notifications] == [f"r/apprise/0/{name}" for name in (ONE, TWO, THREE)]
    assert [one.service for one in group.tick(331, fail=(failing,)).notifications] == [TWO]
    group.put(alert("a", 1, 400))
    assert [(one.service, one.reason.value) for one in group.tick(631).notifications] == [
        (ONE, "all alerts resolved"),
        (THREE, "all alerts resolved"),
    ]
    assert group.alerts == {}


def test_a_service_that_hangs_holds_up_no_other() -> None:
    group = Group(*services(ONE, TWO)).put(alert("a"))
    group.tick(31, hang=(f"r/apprise/0/{ONE}",))
    group.put(alert("a"), alert("b", 40))
    assert [one.service for one in group.tick(331, hang=(f"r/apprise/0/{ONE}",)).notifications] == [TWO]


def test_services_written_beside_one_or_taken_away_do_not_tell_it_again() -> None:
    group = Group(*services(ONE)).put(alert("a"))
    assert [one.log_key for one in group.tick(31).notifications] == ["r/apprise/0"]
    group.integrations = tuple(services(ONE, TWO))
    assert [one.service for one in group.tick(331).notifications] == [TWO]
    group.put(alert("a"), alert("b", 400))
    assert [one.service for one in group.tick(631).notifications] == [ONE, TWO]
    group.integrations = tuple(services(ONE))
    assert group.heard(931) == []
    group.put(alert("a", 1, 940), alert("b", 400, 940))
    assert group.heard(1231) == [("all alerts resolved", ["a.", "b."])]


def recipients(*names: str) -> list[Integration]:
    """One integration whose address holds one service with these recipients."""
    return [integration().of_service(name, alone=False, whole=THREE) for name in names]


def test_recipients_that_were_told_as_one_are_not_told_again_when_they_are_told_apart() -> None:
    """An upgrade: the log says what the service as a whole was told."""
    group = Group(*services(THREE)).put(alert("a"))
    group.tick(31)
    group.integrations = tuple(recipients(ONE, TWO))
    assert group.tick(331).notifications == ()
    group.put(alert("a", 1, 400))
    assert [(one.service, one.reason.value) for one in group.tick(631).notifications] == [
        (ONE, "all alerts resolved"),
        (TWO, "all alerts resolved"),
    ]
    assert group.alerts == {}


def test_recipients_wait_for_what_is_in_flight_to_their_service_as_a_whole() -> None:
    group = Group(*services(THREE)).put(alert("a"))
    group.tick(31, hang=("r/apprise/0",))
    group.integrations = tuple(recipients(ONE, TWO))
    assert group.tick(331, hang=("r/apprise/0",)).notifications == ()
    group.settle("r/apprise/0", accepted=False)
    assert [one.service for one in group.tick(631).notifications] == [ONE, TWO]


def test_one_refused_recipient_repeats_nothing_to_the_others() -> None:
    group = Group(*recipients(ONE, TWO)).put(alert("a"))
    failing = f"r/apprise/0/{TWO}"
    assert [one.service for one in group.tick(31, fail=(failing,)).notifications] == [ONE, TWO]
    assert [one.service for one in group.tick(331, fail=(failing,)).notifications] == [TWO]
    group.put(alert("a", 1, 400))
    assert [one.service for one in group.tick(631).notifications] == [ONE]


def test_an_entry_of_a_service_that_stood_alone_is_not_taken_for_anothers() -> None:
    log = {"r/apprise/0": LogEntry({A: 1}, service=ONE)}
    first, second = services(ONE, TWO)
    assert entry_of(log, first) == log["r/apprise/0"]
    assert entry_of(log, second) is None
    (renamed,) = services(TWO)  # A single address that was changed is still the receiver's.
    assert entry_of(log, renamed) == log["r/apprise/0"]


def told(*alerts: Alert, at_s: int = 31) -> Notification:
    return decide_flush(META, [integration()], {one.fingerprint: one for one in alerts}, {}, {}, at_s * S).notifications[0]


@pytest.mark.parametrize(
    ("now", "want"),
    [
        ([alert("a"), alert("b")], ""),
        ([alert("a"), alert("b"), alert("c", 40)], ""),
        ([alert("a"), alert("b", 1, 40)], "an alert that it says to be firing ended before it was sent"),
        ([], "2 alerts that it says to be firing ended before it was sent"),
        ([alert("a"), alert("b", 1, 99)], ""),
    ],
)
def test_a_notification_that_has_waited_is_sent_only_if_it_is_still_so(now: list[Alert], want: str) -> None:
    assert superseded(told(alert("a"), alert("b")), {one.fingerprint: one for one in now}, 50 * S) == want


def test_an_end_that_has_waited_is_not_told_of_what_fires_again() -> None:
    group = Group().put(alert("a"))
    group.tick(31)
    group.put(alert("a", 1, 100))
    (end,) = group.tick(331, hang=("r/apprise/0",)).notifications
    assert superseded(end, group.alerts, 340 * S) == ""
    assert superseded(end, {A: alert("a", 335)}, 340 * S) == "an alert that it says to be resolved fired again before it was sent"
    assert superseded(end, {}, 340 * S) == ""


@pytest.mark.parametrize(("start_s", "now_s", "want_s"), [(100, 100, 130), (80, 110, 140), (79, 110, 110)])
def test_an_alert_that_has_waited_long_enough_elsewhere_is_told_at_once(start_s: int, now_s: int, want_s: int) -> None:
    assert first_flush_ms(alert("a", start_s), ROUTE, now_s * S) == want_s * S


@pytest.mark.parametrize(("due_s", "now_s", "want_s"), [(100, 100, 100), (100, 399, 100), (100, 400, 400), (100, 90_000, 90_000)])
def test_ticks_that_were_missed_are_not_made_up_for(due_s: int, now_s: int, want_s: int) -> None:
    assert tick_of(META, due_s * S, now_s * S) == want_s * S


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fire"), st.sampled_from("abc")),
        st.tuples(st.just("end"), st.sampled_from("abc")),
        st.tuples(st.just("tick"), st.sampled_from(["ok", "fail0", "fail1", "hang0", "hang1"])),
    ),
    max_size=40,
)


@given(STEPS, st.booleans())
def test_whoever_was_told_firing_is_told_the_end(steps: list[tuple[str, str]], send_resolved: bool) -> None:
    """Whatever fails or hangs on the way: once all is quiet and services answer, nobody still believes in a fire."""
    group = Group(integration(0), integration(1, send_resolved=send_resolved))
    believed: dict[str, set[str]] = {one.key: set() for one in group.integrations}

    def settled(now: int, **how: tuple[str, ...]) -> None:
        before = dict(group.in_flight)
        decision = group.tick(now, **how)
        for one in (*before.values(), *decision.notifications):
            if group.log.get(one.integration) == one.log_entry:
                believed[one.integration] = {a.fingerprint for a in one.alerts if not a.ends_at_ms}

    now, firing = 0, {}
    for what, who in steps:
        now += 60
        if what == "fire" and who not in firing:
            firing[who] = now
            group.put(alert(who, now))
        elif what == "end" and who in firing:
            group.put(alert(who, firing.pop(who), now))
        elif what == "tick":
            key = (f"r/apprise/{who[-1]}",)
            settled(now, **({"fail": key} if who.startswith("fail") else {"hang": key} if who.startswith("hang") else {}))
    for who, start in list(firing.items()):
        now += 60
        group.put(alert(who, start, now))
    for _ in range(4):
        now += 300
        settled(now)
    assert group.alerts == {}
    assert believed["r/apprise/0"] == set()
    if send_resolved:
        assert believed["r/apprise/1"] == set()
    assert all(not entry.firing for entry in group.log.values())


def test_alerts_of_a_message_are_in_alertmanagers_order() -> None:
    """By job and instance, those without last; then fewer labels first; then by the first name or value that differs."""
    ordered: list[dict[str, str]] = [
        {"job": "a", "instance": "z", "x": "1"},
        {"job": "a", "a": "1"},
        {"job": "b"},
        {"instance": "a", "x": "1"},
        {"z": "9"},
        {"b": "1", "c": "1"},
        {"a": "1", "c": "1"},
        {"a": "2", "b": "1"},
        {"a": "2", "b": "2"},
    ]
    alerts = [Alert(labels=labels, starts_at_ms=1, fingerprint=fingerprint(labels)) for labels in reversed(ordered)]
    assert [one.labels for one in sorted(alerts, key=lambda one: one.sort_key)] == ordered
