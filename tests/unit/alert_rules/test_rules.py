"""Rules as timelines: when an alert is pending, fires, lingers and ends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_rules.files.rule_file import load_rules, parse_rule_text
from alert_rules.rules.alert import Alert, AlertStatus
from alert_rules.rules.evaluate import Evaluation, OperatorsWord, evaluate, next_change_ms
from alert_rules.rules.facts import VARIABLES, Scope, endpoint_facts, pool_facts, system_facts, two_digits
from alert_rules.rules.memory import (
    ASSERT_EVERY_MS,
    EMPTY,
    FOLLOW_MS,
    Memory,
    assertion,
    decode_assertion,
    decode_memory,
    encode_assertion,
    encode_memory,
)
from alert_rules.rules.rule import RuleSet
from monitor.core.durations import DAY_MS
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Certificate, FailureClass, Outcome
from monitor.core.record import Breaker, BreakerState, LastResult, Override, ProbeStatistics, Record
from monitor.pool.snapshot import PublishedEndpoint, Snapshot
from tests import timeline

ENDPOINT = Endpoint(id="shop-1", url="http://shop", pool="shop", labels={"team": "shop"})


def rules_of(**rule: Any) -> RuleSet:
    lines = "".join(f"    {key.replace('for_', 'for')}: {value}\n" for key, value in {"alert": "Bad", **rule}.items())
    return parse_rule_text(f"groups:\n- name: g\n  rules:\n  -\n{lines}")


def facts(**changes: Any) -> dict[str, Any]:
    return endpoint_facts(ENDPOINT, Record()) | changes


class Timeline:
    """One subject and its rules: `at(s, failures=3)` evaluates, then asks what happened.

    `begun` and `ended` are what whoever compares each assertion with the one before sees, as the alert store does.
    """

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self.old: dict[str, Any] | None = None
        self.memory = EMPTY
        self.labels = ENDPOINT.labels
        self.asserted: dict[str, Alert] = {}
        self.begun: list[Alert] = []
        self.ended: list[Alert] = []
        self.wake_s = 0.0
        self.errors: tuple[str, ...] = ()
        self.evaluation = Evaluation(EMPTY)
        self.now_ms = 0

    def at(self, seconds: float, *, tilted: bool = False, word: OperatorsWord | None = None, **changes: Any) -> Timeline:
        return self.facts(seconds, (self.old or facts()) | changes, tilted=tilted, word=word)

    def facts(self, seconds: float, new: dict[str, Any], *, tilted: bool = False, word: OperatorsWord | None = None) -> Timeline:
        self.now_ms = int(seconds * 1000) + 1_000
        self.evaluation = evaluate(self.rules, self.labels, self.old, new, self.memory, self.now_ms, word=word, tilted=tilted)
        self.old, self.memory, self.errors = new, self.evaluation.memory, self.evaluation.errors
        self.begun, self.ended = [], []
        if self.evaluation.asserts:
            now = {alert.fingerprint: alert for alert in assertion("s", 1, self.memory, self.now_ms).alerts}
            self.begun = [alert for key, alert in now.items() if key not in self.asserted]
            self.ended = [alert for key, alert in self.asserted.items() if key not in now]
            self.asserted = now
        self.wake_s = (self.evaluation.wake_ms - 1_000) / 1000 if self.evaluation.wake_ms else 0.0
        return self

    def expect(self, *statuses: AlertStatus, fired: int = 0, ended: int = 0, wake_s: float = 0.0) -> Timeline:
        """`wake_s` 0: only the next assertion of what fires is asked for."""
        assert tuple(state.status for state in self.memory.states) == statuses
        assert (len(self.begun), len(self.ended)) == (fired, ended)
        if not wake_s and FIRING in statuses:
            wake_s = (self.memory.asserted_ms + ASSERT_EVERY_MS - 1_000) / 1000
        assert self.wake_s == wake_s
        return self


PENDING, FIRING = AlertStatus.PENDING, AlertStatus.FIRING


def test_without_for_an_alert_fires_at_once_and_ends_at_once() -> None:
    line = Timeline(rules_of(expr="failures >= 3"))
    line.at(0).expect()
    line.at(10, failures=2).expect()
    line.at(20, failures=3).expect(FIRING, fired=1)
    line.at(30, failures=4).expect(FIRING)
    line.at(40, failures=0).expect(ended=1)
    assert line.ended[0].starts_at_ms == 21_000


def test_for_makes_it_wait_and_asks_to_be_woken() -> None:
    line = Timeline(rules_of(expr="failures >= 3", for_="1m"))
    line.at(0, failures=3).expect(PENDING, wake_s=60)
    line.at(30, failures=4).expect(PENDING, wake_s=60)
    line.at(59.9).expect(PENDING, wake_s=60)
    line.at(60).expect(FIRING, fired=1)
    assert line.begun[0].starts_at_ms == 61_000


def test_a_pending_alert_that_becomes_false_vanishes_silently() -> None:
    line = Timeline(rules_of(expr="failures >= 3", for_="1m"))
    line.at(0, failures=3).expect(PENDING, wake_s=60)
    line.at(30, failures=0).expect()
    line.at(31, failures=3).expect(PENDING, wake_s=91)


def test_keep_firing_for_bridges_a_gap() -> None:
    line = Timeline(rules_of(expr="failures >= 3", keep_firing_for="1m"))
    line.at(0, failures=3).expect(FIRING, fired=1)
    line.at(10, failures=0).expect(FIRING, wake_s=70)
    line.at(20, failures=3).expect(FIRING)
    line.at(30, failures=0).expect(FIRING, wake_s=90)
    line.at(89).expect(FIRING, wake_s=90)
    line.at(90).expect(ended=1)


def test_labels_that_change_end_one_alert_and_begin_another() -> None:
    line = Timeline(rules_of(expr="failures >= 3"))
    line.at(0, failures=3).expect(FIRING, fired=1)
    line.labels = {"team": "platform"}
    line.at(10).expect(FIRING, fired=1, ended=1)
    assert [alert.labels["team"] for alert in (*line.begun, *line.ended)] == ["platform", "shop"]


def test_a_rule_that_is_gone_ends_its_alert() -> None:
    line = Timeline(rules_of(expr="failures >= 3"))
    line.at(0, failures=3).expect(FIRING, fired=1)
    line.rules, line.old = rules_of(alert="Other", expr="failures >= 5"), None
    line.at(10).expect(ended=1)


def test_a_subject_asserts_what_fires_and_nothing_that_is_pending() -> None:
    line = Timeline(rules_of(expr="failures >= 3", for_="1m")).at(0, failures=3)
    assert assertion("endpoint:shop-1", 7, line.memory, 5_000).alerts == ()
    line.at(60)
    said = assertion("endpoint:shop-1", 8, line.memory, line.now_ms, reason="because")
    assert (said.subject, said.ver, said.at_ms, said.reason) == ("endpoint:shop-1", 8, 61_000, "because")
    assert [(alert.starts_at_ms, alert.ends_at_ms, alert.value) for alert in said.alerts] == [(61_000, 0, "failures = 3")]
    assert decode_assertion(encode_assertion(said)) == said


def test_what_fires_is_asserted_again_and_again() -> None:
    line = Timeline(rules_of(expr="failures >= 3")).at(0, failures=3)
    assert (line.evaluation.changed, line.evaluation.asserts) == (True, True)
    line.at(99.9)
    assert (line.evaluation.changed, line.evaluation.asserts, line.wake_s) == (False, False, 100)
    line.at(100)
    assert (line.evaluation.changed, line.evaluation.asserts, line.wake_s) == (False, True, 200)
    line.at(101, failures=0)
    assert (line.evaluation.changed, line.evaluation.asserts, line.wake_s) == (True, True, 0)
    assert line.memory.asserted_ms == 0
    line.at(500)
    assert (line.evaluation.changed, line.evaluation.asserts) == (False, False)


def test_a_time_that_went_back_does_not_put_the_next_assertion_off() -> None:
    line = Timeline(rules_of(expr="failures >= 3")).at(86_400, failures=3)
    assert line.at(5).evaluation.asserts
    assert line.wake_s == 105


def test_alerts_of_the_same_labels_are_one() -> None:
    second = "{alert: Bad, expr: failures >= 2, labels: {severity: warning}}"
    text = f"groups: [{{name: g, rules: [{{alert: Bad, expr: failures >= 3}}, {second}]}}]"
    line = Timeline(parse_rule_text(text)).at(0, failures=2)
    line.at(10, failures=3)
    (alert,) = assertion("s", 1, line.memory, line.now_ms).alerts
    assert alert.starts_at_ms == 1_000


def test_a_memory_of_other_rules_is_evaluated_anew_and_written_once() -> None:
    rules = rules_of(expr="failures >= 3")
    first = evaluate(rules, {}, facts(), facts(), EMPTY, 1, version="r1")
    assert first.memory == Memory(version="r1")
    again = evaluate(rules, {}, facts(), facts(), first.memory, 2, version="r1")
    assert again.memory is first.memory
    assert evaluate(rules, {}, facts(failures=3), facts(failures=3), first.memory, 3, version="r2").changed


def test_a_memory_that_did_not_change_is_not_written() -> None:
    line = Timeline(rules_of(expr="failures >= 3", for_="1m")).at(0, failures=3).at(60)
    held = line.memory
    assert line.at(90, failures=4).memory is held
    assert decode_memory(encode_memory(held)) == held
    assert decode_memory(b"") is EMPTY
    assert encode_memory(EMPTY) == b""


TELLING = {"expr": "failures >= 3", "annotations": '{summary: "{{ endpoint }}: {{ error }}, {{ failures }} times"}'}


def summary(line: Timeline) -> str:
    (alert,) = assertion("s", 1, line.memory, line.now_ms).alerts
    return alert.annotations["summary"]


def test_what_is_told_follows_the_facts_that_it_names() -> None:
    line = Timeline(rules_of(**TELLING)).at(0, failures=3, error="refused")
    assert summary(line) == "shop-1: refused, 3 times"
    line.at(30, failures=4, error="status 500").expect(FIRING, wake_s=30 + FOLLOW_MS / 1000)
    assert not line.evaluation.asserts
    line.at(39, failures=5, error="status 501").expect(FIRING, wake_s=40)
    line.at(40, failures=6, error="status 502")
    assert (line.evaluation.asserts, line.evaluation.changed, summary(line)) == (True, False, "shop-1: status 502, 6 times")
    assert assertion("s", 1, line.memory, line.now_ms).alerts[0].value == "failures = 6"
    assert (line.begun, line.ended, line.wake_s) == ([], [], 140)


def test_what_only_counts_is_told_with_the_next_assertion_and_costs_no_write_before() -> None:
    line = Timeline(rules_of(**TELLING)).at(0, failures=3, error="refused")
    held = line.memory
    for second in range(1, 100):
        assert line.at(second, failures=3 + second).memory is held
    assert line.at(100, failures=103).evaluation.asserts
    assert summary(line) == "shop-1: refused, 103 times"


@given(st.lists(st.tuples(st.integers(1, 20_000), st.sampled_from(["refused", "status 500", "timeout"])), max_size=60))
def test_what_is_told_is_ten_seconds_old_at_most_and_told_every_ten_seconds_at_most(steps: list[tuple[int, str]]) -> None:
    line = Timeline(rules_of(**TELLING)).at(0, failures=3, error="refused")
    now_ms, asserted_ms, other_since_ms = 0, 0, -1
    for pause_ms, error in steps:
        now_ms += pause_ms
        line.at(now_ms / 1000, error=error)
        if line.evaluation.asserts:
            assert now_ms - asserted_ms >= FOLLOW_MS
            assert summary(line) == f"shop-1: {error}, 3 times"
            asserted_ms, other_since_ms = now_ms, -1
        elif summary(line) != f"shop-1: {error}, 3 times" and other_since_ms < 0:
            other_since_ms = now_ms
        if other_since_ms >= 0:
            assert round(line.wake_s * 1000) <= other_since_ms + FOLLOW_MS


def test_an_end_tells_what_was_so_last_and_not_what_ended_it() -> None:
    line = Timeline(rules_of(**TELLING)).at(0, failures=3, error="refused").at(5, failures=4, error="status 500")
    line.at(6, failures=0, error="")
    ((state, reason),) = line.evaluation.ended
    assert (state.annotations["summary"], state.value, reason) == ("shop-1: status 500, 4 times", "failures = 4", "")
    said = assertion("s", 1, line.memory, line.now_ms, ended=line.evaluation.ended)
    assert [(alert.ends_at_ms, alert.annotations["summary"]) for alert in said.ended] == [(7_000, "shop-1: status 500, 4 times")]
    assert decode_assertion(encode_assertion(said)) == said


def test_what_lingers_tells_what_was_so_last() -> None:
    line = Timeline(rules_of(**TELLING, keep_firing_for="2m")).at(0, failures=3, error="refused").at(5, failures=4, error="status 500")
    line.at(6, failures=0, error="")
    assert summary(line) == "shop-1: status 500, 4 times"
    line.at(106)
    assert (line.evaluation.asserts, summary(line)) == (True, "shop-1: status 500, 4 times")
    line.at(126)
    assert line.evaluation.ended[0].state.annotations["summary"] == "shop-1: status 500, 4 times"


def test_where_it_is_not_known_what_was_so_before_what_is_held_tells_what_is_so_now() -> None:
    """As with a pool, which is evaluated on what is published."""
    line = Timeline(rules_of(expr="pool_failed > 0", annotations='{summary: "{{ pool_failed }} of {{ pool }}"}'))
    pool = pool_facts(pool_of(member("a", "UNHEALTHY", 0, "OPEN")))
    for second, failed in ((0, 1), (1, 2), (2, 3)):
        line.old = None
        line.facts(second, {**pool, "pool_failed": failed})
        assert summary(line) == f"{failed} of shop"
    assert line.wake_s == 1 + FOLLOW_MS / 1000
    line.old = None
    line.facts(3, {**pool, "pool_failed": 0})
    assert line.evaluation.ended[0].state.annotations["summary"] == "3 of shop"


def test_a_rule_that_is_gone_and_other_labels_say_so() -> None:
    line = Timeline(rules_of(expr="failures >= 3")).at(0, failures=3)
    line.labels = {"team": "platform"}
    line.at(10)
    assert [one.reason for one in line.evaluation.ended] == ["it goes on under other labels"]
    line.rules, line.old = rules_of(alert="Other", expr="failures >= 5"), None
    line.at(20)
    assert [one.reason for one in line.evaluation.ended] == ["its rule is no more"]


def said(line: Timeline, seconds: float, text: str, unsaid: dict[str, Any], **changes: Any) -> str:
    line.at(seconds, word=OperatorsWord(text, {**(line.old or {}), **unsaid}), **changes)
    assert len(line.evaluation.ended) == 1
    return line.evaluation.ended[0].reason


def test_what_would_go_on_without_an_operators_word_ends_by_it_at_once() -> None:
    rules = rules_of(expr='\'breaker != "CLOSED" && override == ""\'', keep_firing_for="1m")
    line = Timeline(rules).at(0, breaker="OPEN")
    assert said(line, 10, "drained by ann", {"override": ""}, override="DRAIN") == "drained by ann"
    line.at(20, override="").expect(FIRING, fired=1)
    line.at(30, breaker="CLOSED").expect(FIRING, wake_s=90)
    assert said(line, 90, "drained by ann", {"override": ""}, override="DRAIN") == "", "it had recovered"


def test_what_probes_tell_is_silent_while_it_is_outdated() -> None:
    line = Timeline(rules_of(expr="failures >= 3", keep_firing_for="5m")).at(0, failures=3)
    assert said(line, 10, "paused by ann", {}, outdated=True) == "paused by ann"
    line.at(20).expect()
    line.at(30, outdated=False).expect(FIRING, fired=1)
    line.at(40, outdated=True)
    assert [one.reason for one in line.evaluation.ended] == ["paused"]
    aged = Timeline(rules_of(expr="certificate_days < 14")).at(0, certificate_days=3, outdated=True, paused=True)
    aged.expect(FIRING, fired=1)
    Timeline(rules_of(expr="outdated && failures >= 3")).at(0, failures=3, outdated=True).expect(FIRING, fired=1)


@pytest.mark.parametrize(("step_s", "tilted"), [(3_600, True), (-3_600, True), (-3_600, False)])
def test_after_a_step_of_time_what_waits_goes_on_from_where_it_was(step_s: int, tilted: bool) -> None:
    line = Timeline(rules_of(expr="failures >= 3", for_="2m", keep_firing_for="2m")).at(5_000, failures=3).at(5_060)
    began_s = 5_060 + step_s
    if tilted:
        assert line.at(began_s, tilted=True).at(began_s + 30, tilted=True).wake_s == began_s + 90
        began_s += 30
    assert not line.at(began_s).at(began_s + 59).begun
    assert line.at(began_s + 60).begun
    assert line.at(began_s + 61, failures=0).at(began_s + 121).memory.firing

    ended_s = began_s + 121 - step_s  # And back again.
    if tilted:
        line.at(ended_s, tilted=True)
    elif step_s < 0:
        return  # A step ahead that nobody saw is time that has passed.
    assert not line.at(ended_s + 59).ended
    assert line.at(ended_s + 60).ended


def test_only_what_fires_counts_as_changed() -> None:
    line = Timeline(rules_of(expr="failures >= 3", for_="1m", keep_firing_for="1m"))
    assert not line.at(0, failures=3).evaluation.changed
    assert line.at(60).evaluation.changed
    assert not line.at(61, failures=0).evaluation.changed  # It lingers.
    assert not line.at(62, failures=3).evaluation.changed
    line.at(63, failures=0)
    assert line.at(123).evaluation.changed


@pytest.mark.parametrize(("left_ms", "want"), [(14 * DAY_MS + 5, 5 + 1), (14 * DAY_MS, 1), (5, 6), (-1, DAY_MS)])
def test_a_certificate_ages_by_itself(left_ms: int, want: int) -> None:
    now_ms = 1_700_000_000_000
    record = Record(probes=ProbeStatistics(last=LastResult(certificate_not_after_ms=now_ms + left_ms)))
    rules = rules_of(expr="certificate_days < 14")
    at_ms = next_change_ms(rules, record, now_ms)
    assert at_ms - now_ms == want

    def days(when_ms: int) -> int:
        return int(endpoint_facts(ENDPOINT, msgspec.structs.replace(record, decided_ms=when_ms))["certificate_days"])

    assert days(at_ms - 1) == days(now_ms)
    assert days(at_ms) == days(now_ms) - 1
    assert next_change_ms(rules_of(expr="failures > 1"), record, now_ms) == 0
    assert next_change_ms(rules, Record(), now_ms) == 0


def test_the_rule_beats_the_subject_and_identity_beats_both() -> None:
    line = Timeline(rules_of(expr="failures > 0", labels="{severity: page, team: ops}"))
    line.labels = {"team": "shop", "endpoint": "liar", "alertname": "liar", "tier": "1", "empty": ""}
    line.at(0, failures=1)
    assert line.begun[0].labels == {
        "alertname": "Bad",
        "endpoint": "shop-1",
        "pool": "shop",
        "severity": "page",
        "team": "ops",
        "tier": "1",
    }


def test_severity_is_warning_where_nobody_says_otherwise() -> None:
    assert Timeline(rules_of(expr="failures > 0")).at(0, failures=1).begun[0].labels["severity"] == "warning"


def test_what_a_target_says_is_data() -> None:
    said = "{{ 7 * 7 }}\n\x1b[31m{% raw %}\u202e"
    line = Timeline(rules_of(expr="failures > 0", annotations='{summary: "{{ endpoint }}: {{ error }} ({{ value }})"}'))
    line.at(0, failures=1, error=said)
    assert line.begun[0].annotations["summary"] == "shop-1: {{ 7 * 7 }}  [31m{% raw %}  (failures = 1)"


def test_an_annotation_is_cut() -> None:
    line = Timeline(rules_of(expr="failures > 0", annotations='{summary: "{% for i in [1,2,3] %}{{ error }}{% endfor %}"}'))
    line.at(0, failures=1, error="x" * 1_900)
    assert len(line.begun[0].annotations["summary"]) == 2_000


def test_an_expression_that_fails_is_false_and_says_so() -> None:
    line = Timeline(rules_of(expr='\'labels[failures > 2 ? endpoint : "team"] == "1"\''))
    line.at(0, failures=3).expect()
    assert line.errors == ("rule Bad: there is no 'shop-1' here; ask `\"shop-1\" in labels &&` first",)


def test_rules_are_evaluated_only_where_their_variables_changed() -> None:
    rules = rules_of(expr="failures >= 3")
    seen = Memory(version=rules.version)
    assert evaluate(rules, {}, facts(), facts(successes=99, latency_ms=5), seen, 1) == Evaluation(seen)
    assert evaluate(rules, {}, facts(failures=3), facts(failures=3), seen, 1) == Evaluation(seen)
    assert evaluate(rules, {}, None, facts(failures=3), seen, 1).changed


@given(st.lists(st.tuples(st.integers(1, 100_000), st.booleans()), max_size=40), st.integers(0, 90), st.integers(0, 90))
def test_every_end_follows_a_beginning_and_woken_or_not_the_answer_is_the_same(
    steps: list[tuple[int, bool]], for_s: int, keep_s: int
) -> None:
    rules = rules_of(expr="failures > 0", for_=f"{for_s}s", keep_firing_for=f"{keep_s}s")
    watched, blind = Timeline(rules), Timeline(rules)
    now, firing = 0, False
    for pause_ms, bad in steps:
        now += pause_ms
        changes = {"failures": int(bad)}
        watched.at(now / 1000, **changes)
        blind.old = None  # Looks at every rule whether or not it changed.
        blind.at(now / 1000, **facts(**changes))
        assert (watched.memory, watched.begun, watched.ended) == (blind.memory, blind.begun, blind.ended)
        for alerts, before in ((watched.ended, True), (watched.begun, False)):
            for _ in alerts:
                assert firing is before
                firing = not firing
        assert watched.wake_s == 0 or watched.wake_s * 1000 > now


def test_facts_fill_every_variable_of_the_table() -> None:
    assert facts().keys() == VARIABLES[Scope.ENDPOINT].keys()
    assert system_facts().keys() == VARIABLES[Scope.SYSTEM].keys()
    assert pool_facts(pool_of()).keys() == VARIABLES[Scope.POOL].keys()


def test_facts_of_a_failing_endpoint() -> None:
    last = LastResult(at_ms=5, outcome=Outcome.FAILURE, failure=FailureClass.STATUS, text="status 503", status=503)
    probes = ProbeStatistics(run_outcome=Outcome.FAILURE, run_length=4, last=last, last_failure_text="status 503", results=9)
    record = Record(breaker=BreakerState(state=Breaker.OPEN), probes=probes, override=Override.DRAIN)
    seen = endpoint_facts(ENDPOINT, record)
    assert (seen["verdict"], seen["breaker"], seen["override"]) == ("UNHEALTHY", "OPEN", "DRAIN")
    assert (seen["failures"], seen["successes"], seen["status"], seen["error"]) == (4, 0, 503, "status 503")
    assert (seen["failure_class"], seen["certificate_days"]) == ("status", 36_500)


def test_the_error_of_what_is_down_stays_until_its_breaker_closes() -> None:
    probes = ProbeStatistics(run_outcome=Outcome.SUCCESS, run_length=1, last_failure_text="status 503", results=9)
    for state, error in ((Breaker.OPEN, "status 503"), (Breaker.HALF_OPEN, "status 503"), (Breaker.CLOSED, "")):
        assert endpoint_facts(ENDPOINT, Record(breaker=BreakerState(state=state), probes=probes))["error"] == error


@pytest.mark.parametrize("last", [Outcome.SUCCESS, Outcome.FAILURE])
def test_facts_stay_while_results_say_nothing_of_the_endpoint(last: Outcome) -> None:
    served = Certificate(subject="s", issuer="i", not_after_ms=timeline.START_MS + 90 * DAY_MS + DAY_MS // 2)
    life = timeline.Timeline().ok(status=200, certificate=served)
    seen: dict[str, Any] = {"text": "has expired", "failure": FailureClass.TLS} if last is Outcome.FAILURE else {}
    life.saw(last, status=204, certificate=served, **seen)
    before = endpoint_facts(life.endpoint, life.record)
    life.inconclusive()
    assert endpoint_facts(life.endpoint, life.record) == before
    life.after(DAY_MS // 4).tilt().fail(certificate=msgspec.structs.replace(served, not_after_ms=timeline.START_MS))
    assert endpoint_facts(life.endpoint, life.record) == before
    assert (life.record.probes.last.outcome, life.record.probes.last.text) == (Outcome.INCONCLUSIVE, "status 500, want 2xx")


def member(name: str, verdict: str, weight: int, breaker: str = "CLOSED", override: str | None = None) -> PublishedEndpoint:
    return PublishedEndpoint(
        id=name,
        url="http://x",
        addr="x",
        port=80,
        labels={},
        weight=weight,
        breaker=breaker,
        override=override,
        gen=0,
        verdict=verdict,
        since_ms=0,
        open_until_ms=0,
        latency_ms=0,
        reason="",
    )


def pool_of(*members: PublishedEndpoint) -> Snapshot:
    return Snapshot(pool="shop", epoch=1, ver=1, ts_ms=0, panic=0.25, shed=0.0, endpoints=members)


def test_facts_of_a_pool() -> None:
    seen = pool_facts(
        pool_of(
            member("a", "HEALTHY", 500),
            member("b", "UNHEALTHY", 100, "OPEN"),
            member("c", "DEGRADED", 400, "OPEN", "FORCED_CLOSED"),
            member("d", "UNKNOWN", 0),
        )
    )
    assert (seen["pool_size"], seen["pool_admitted"], seen["pool_healthy_percent"], seen["pool_panic"]) == (4, 2, 33, 0.25)


@pytest.mark.parametrize(
    ("ms", "want"), [(0.0, 0), (0.4, 0), (99.4, 99), (104.4, 100), (104.5, 110), (1_449.0, 1_400), (99_999.0, 100_000)]
)
def test_two_digits(ms: float, want: int) -> None:
    assert two_digits(ms) == want


def test_the_shipped_pack_follows_a_breaker_through_its_trials() -> None:
    line = Timeline(load_rules())
    line.at(0).expect()
    line.at(10, breaker="OPEN", verdict="UNHEALTHY", failures=3, error="refused").expect(FIRING, fired=1)
    assert line.begun[0].labels["alertname"] == "EndpointDown"
    assert line.begun[0].annotations["description"] == "3 probes of http://shop have failed in a row; the last one: refused."
    line.at(20, breaker="HALF_OPEN", verdict="DEGRADED", failures=0).expect(FIRING)
    line.at(21, breaker="OPEN", verdict="UNHEALTHY", failures=1).expect(FIRING)
    line.at(25, breaker="HALF_OPEN", verdict="DEGRADED", failures=0).expect(FIRING)
    line.at(30, breaker="CLOSED", verdict="HEALTHY", failures=0, error="").expect(ended=1)
    told = line.evaluation.ended[0].state.annotations["description"]
    assert told == "Probes of http://shop succeed again; the last failure: refused."


def test_the_shipped_pack_speaks_of_slowness_certificates_and_silence() -> None:
    line = Timeline(load_rules())
    line.at(0, latency_ms=2_600, certificate_days=13, no_data=True, flapping=True)
    assert {event.labels["alertname"] for event in line.begun} == {"CertificateExpiring", "NoData", "EndpointFlapping"}
    line.at(60)
    assert line.begun[0].annotations["summary"] == "shop-1 is slow"


@pytest.mark.parametrize(
    ("members", "want"),
    [
        ((), set()),
        ((member("a", "HEALTHY", 500), member("b", "HEALTHY", 500)), set()),
        ((member("a", "DEGRADED", 1000),), set()),
        ((member("a", "HEALTHY", 900), member("b", "UNHEALTHY", 100, "OPEN")), {"PoolDegraded"}),
        ((member("a", "DEGRADED", 500, "HALF_OPEN"), member("b", "UNHEALTHY", 500, "OPEN")), {"PoolDown"}),
        ((member("a", "UNHEALTHY", 1000, "OPEN"),), set()),
        ((member("a", "HEALTHY", 0, "CLOSED", "DRAIN"), member("b", "HEALTHY", 0, "CLOSED", "FORCED_OPEN")), set()),
        ((member("a", "HEALTHY", 0, "CLOSED", "DRAIN"), member("b", "HEALTHY", 1000)), set()),
        ((member("a", "HEALTHY", 0, "CLOSED", "DRAIN"), member("b", "UNHEALTHY", 0, "OPEN")), {"PoolDown"}),
        ((member("a", "UNHEALTHY", 0, "OPEN", "DRAIN"), member("b", "HEALTHY", 1000)), set()),
        ((member("a", "UNHEALTHY", 500, "OPEN", "DISABLED"), member("b", "UNHEALTHY", 500, "OPEN", "DISABLED")), set()),
    ],
)
def test_the_shipped_pack_speaks_of_pools(members: tuple[PublishedEndpoint, ...], want: set[str]) -> None:
    evaluation = evaluate(load_rules(), {}, None, pool_facts(pool_of(*members)), EMPTY, 1)
    firing = evaluation.memory.firing
    assert {state.labels["alertname"] for state in firing} == want
    assert all(state.labels["pool"] == "shop" and "endpoint" not in state.labels for state in firing)


def test_the_shipped_pack_speaks_of_watchkeeper_itself() -> None:
    rules = load_rules()
    behind = system_facts(overdue_ms=20_000)
    pending = evaluate(rules, {}, None, behind, EMPTY, 1_000)
    assert pending.wake_ms == 31_000
    fired = evaluate(rules, {}, behind, behind, pending.memory, 31_000)
    assert [state.labels["alertname"] for state in fired.memory.firing] == ["WatchkeeperLagging"]
