"""Who looks learns which policies are in force, and whose evidence, which policy and which rule decided."""

from __future__ import annotations

from msgspec.structs import replace

from monitor.cli.events import event_row
from monitor.core.endpoint import Endpoint, PolicyChoice, Pool
from monitor.core.outcome import Outcome
from monitor.core.record import Breaker, BreakerState, ProbeStatistics, Record, Source, Transition, Verdict
from monitor.query.policies import decider, in_force
from monitor.query.reasons import explain

ENDPOINT = Endpoint(id="a", url="http://h/", pool="shop")
EJECTED = BreakerState(
    state=Breaker.OPEN, gen=3, since_ms=1_000, open_until_ms=9_000, opens=1, reason="five in a row", source=Source.PASSIVE, policy="envoy",
    rule="consecutive_5xx",
)  # fmt: skip


def lines(pool: Pool, breaker: BreakerState, topic: str) -> list[str]:
    return [
        line.text for line in explain(ENDPOINT, pool, Record(breaker=breaker), None, Verdict.UNHEALTHY, None, 2_000) if line.topic == topic
    ]


def test_the_breaker_says_who_opened_it() -> None:
    assert lines(Pool(name="shop"), EJECTED, "breaker")[1] == "decided by passive envoy, consecutive_5xx"


def test_a_rule_of_its_policys_name_is_said_once() -> None:
    assert decider(BreakerState(source="active", policy="consecutive", rule="consecutive")) == "active consecutive"


def test_what_no_policy_decided_names_none() -> None:
    assert decider(BreakerState()) == ""
    (text,) = lines(Pool(name="shop"), BreakerState(), "breaker")
    assert text == "CLOSED since the beginning"


def test_an_explanation_names_both_policies_with_what_is_not_built_in() -> None:
    pool = Pool(name="shop", open_ms=7_000, active=PolicyChoice("hystrix", {"sleep_window_ms": 90_000}), passive=PolicyChoice("none"))
    assert lines(pool, BreakerState(), "policies") == [
        "probes are judged by hystrix (sleep_window_ms 1m30s)",
        "what consumers report is judged by nobody",
    ]


def test_programs_get_every_setting_in_force() -> None:
    found = in_force(ENDPOINT, Pool(name="shop", active=PolicyChoice("envoy", {"interval_ms": 1_000}), open_ms=7_000))
    assert (found["active"]["kind"], found["active"]["interval_ms"], found["active"]["max_ejection_percent"]) == ("envoy", 1_000, 10)
    assert (found["passive"]["kind"], found["passive"]["cooldown_ms"]) == ("cusum", 7_000)
    assert in_force(ENDPOINT, Pool(name="shop", passive=PolicyChoice("none")))["passive"] == {"kind": "none"}


def test_an_event_names_who_decided() -> None:
    transition = Transition(
        endpoint="a", pool="shop", kind="breaker", old="CLOSED", new="OPEN", reason="r", at_ms=1, source=Source.PASSIVE, policy="envoy",
        rule="consecutive_5xx",
    )  # fmt: skip
    assert event_row(transition, table=True)["policy"] == "passive envoy, consecutive_5xx"
    row = event_row(transition, table=False)
    assert (row["source"], row["policy"], row["rule"]) == ("passive", "envoy", "consecutive_5xx")


def test_runs_count_to_a_threshold_only_where_runs_decide() -> None:
    (text,) = lines(Pool(name="shop", active=PolicyChoice("hystrix")), BreakerState(), "run")
    assert "open the breaker" not in text


def test_of_what_consumers_calls_opened_no_run_of_probes_is_said_to_close_it() -> None:
    def run_of(breaker: BreakerState) -> str:
        record = Record(breaker=breaker, probes=ProbeStatistics(run_outcome=Outcome.SUCCESS, run_length=9, run_since_ms=1_000))
        found = explain(ENDPOINT, Pool(name="shop"), record, None, Verdict.UNHEALTHY, None, 2_000)
        return next(line.text for line in found if line.topic == "run")

    assert run_of(EJECTED).endswith("; probes alone do not close what consumers' calls opened")
    assert run_of(replace(EJECTED, hard=True)).endswith("; 2 in trials close the breaker"), "probes can see its reason, too"
