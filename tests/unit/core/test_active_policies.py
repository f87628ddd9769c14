"""Probes judged by policies that were made for calls: each conclusive probe is a call, its kind of failure a kind of call."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from monitor.core.active import CALLS, TICKS_MAX, call_of, gather
from monitor.core.endpoint import PolicyChoice, Pool
from monitor.core.moves import due_ms
from monitor.core.observation import TimePassed
from monitor.core.outcome import FailureClass, Outcome
from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.choice import resolved
from monitor.core.record import ActiveMemory, Override, decode_record, encode_record
from monitor.core.recovery import MIN_DWELL_MS
from tests.timeline import CLOSED, HALF_OPEN, OPEN, Timeline, result


def timeline(kind: str, **settings: Any) -> Timeline:
    return Timeline(Pool(name="shop", active=PolicyChoice(kind, settings)), interval_ms=1_000)


def due(t: Timeline) -> int:
    return due_ms(t.subject, t.record, t.now_ms)


def test_every_failure_of_a_probe_is_a_call_of_its_kind() -> None:
    assert set(CALLS) == set(FailureClass)

    def call(failure: FailureClass | None, status: int = 0, outcome: Outcome = Outcome.FAILURE) -> Call:
        return call_of(result(outcome, 1, failure=failure, status=status))

    assert call(None, 503, Outcome.SUCCESS) == Call(CallOutcome.SUCCESS, duration_ms=5.0), "what is wanted is good"
    assert call(FailureClass.TIMEOUT) == Call(CallOutcome.TIMEOUT, duration_ms=5.0, local_origin=True)
    for failure in (FailureClass.RESOLVE, FailureClass.CONNECT, FailureClass.TLS, FailureClass.POLICY):
        assert call(failure) == Call(CallOutcome.FAILURE, duration_ms=5.0, local_origin=True)
    assert call(FailureClass.STATUS, 503) == Call(CallOutcome.FAILURE, duration_ms=5.0, code=503)
    assert call(FailureClass.STATUS, 404) == Call(CallOutcome.FAILURE, duration_ms=5.0), "no policy takes it for a success"
    assert call(FailureClass.ASSERTION, 200) == call(FailureClass.PROTOCOL) == call(None) == Call(CallOutcome.FAILURE, duration_ms=5.0)


def test_resilience4j_judges_probes_and_its_trials_are_probes() -> None:
    t = timeline(
        "resilience4j",
        sliding_window_size=4,
        minimum_number_of_calls=4,
        wait_duration_in_open_state_ms=5_000,
        permitted_number_of_calls_in_half_open_state=2,
    )
    t.at(0).ok().at(1_000).fail().at(2_000).ok().expect(CLOSED).at(3_000).fail().expect(OPEN)
    assert "50 %" in t.record.breaker.reason
    breaker, [change] = t.record.breaker, t.transitions
    assert (breaker.source, breaker.policy, breaker.rule) == ("active", "resilience4j", "failure_rate_threshold")
    assert (change.old, change.new, change.gen, change.at_ms, change.policy) == ("CLOSED", "OPEN", 1, t.now_ms, "resilience4j")
    assert decode_record(encode_record(t.record)) == t.record
    t.at(8_000).ok().expect(OPEN).at(8_500).fail().expect(OPEN).at(9_000).ok().expect(HALF_OPEN)
    assert t.record.breaker.trials is None
    t.at(11_000).ok().expect(CLOSED)
    assert t.record.warm_up_since_ms == t.now_ms
    assert [change.gen for change in t.transitions if change.kind == "breaker"] == [1, 2, 3]


def test_a_failed_probe_does_not_open_again_what_is_open() -> None:
    t = timeline("resilience4j", sliding_window_size=1, minimum_number_of_calls=1, wait_duration_in_open_state_ms=1_000)
    t.at(0).fail().expect(OPEN)
    for _ in range(10):
        t.after(5_000).fail().expect(OPEN)
    assert t.record.breaker.gen == 1


def test_the_automatic_transition_of_resilience4j_needs_no_probe() -> None:
    t = timeline(
        "resilience4j",
        sliding_window_size=1,
        minimum_number_of_calls=1,
        wait_duration_in_open_state_ms=5_000,
        automatic_transition_from_open_to_half_open_enabled=True,
    )
    t.at(0).fail().expect(OPEN)
    assert due(t) == t.record.breaker.open_until_ms
    t.now_ms = t.record.breaker.open_until_ms
    t.observe(TimePassed()).expect(HALF_OPEN)


def test_hystrix_opens_at_its_snapshot_and_closes_with_one_probe() -> None:
    t = timeline("hystrix", request_volume_threshold=4, rolling_window_ms=10_000)
    for n in range(4):
        t.at(100 + n * 1_000).fail().expect(CLOSED)
    assert due(t) == t.now_ms - t.now_ms % 500 + 500
    t.now_ms = due(t)
    t.observe(TimePassed()).expect(OPEN)
    assert t.transitions[-1].rule == "error_threshold_percentage"
    t.after(5_000).ok().expect(OPEN).after(1).ok().expect(CLOSED)
    assert [(change.new, change.gen) for change in t.transitions] == [("OPEN", 1), ("HALF_OPEN", 2), ("CLOSED", 3)]


def test_what_was_due_before_a_probe_happens_before_it() -> None:
    t = timeline("hystrix", request_volume_threshold=4, rolling_window_ms=10_000)
    for n in range(4):
        t.at(100 + n * 1_000).fail()
    t.at(4_100).ok().expect(OPEN)


def test_envoys_ejection_ends_at_its_interval_and_no_probe_ends_it() -> None:
    t = timeline("envoy", consecutive_5xx=3, max_ejection_percent=100, base_ejection_time_ms=15_000)
    t.gathered = gather(resolved(t.endpoint, t.pool).active, [(t.endpoint.id, t.record.breaker, None)] * 5, t.now_ms)
    t.at(1_000).fail().at(2_000).fail().at(3_000).fail().expect(OPEN)
    assert t.record.breaker.rule == "consecutive_5xx"
    for _ in range(16):
        t.after(1_000).ok().expect(OPEN)
    t.at(20_000).observe(TimePassed()).expect(CLOSED)


def test_cusum_judges_probes_beside_those_of_the_others() -> None:
    t = timeline("cusum")
    chosen = resolved(t.endpoint, t.pool).active
    for n in range(12):
        t.at(n * 1_000).fail()
        others = [(t.endpoint.id, t.record.breaker, t.record.active)]
        t.gathered = gather(chosen, others, t.now_ms)
    t.observe(TimePassed()).expect(OPEN)
    assert t.record.breaker.policy == "cusum"


def test_a_change_too_soon_after_another_waits_for_the_next_probe() -> None:
    t = timeline("resilience4j", sliding_window_size=1, minimum_number_of_calls=1, wait_duration_in_open_state_ms=1)
    t.at(0).fail().expect(OPEN).after(MIN_DWELL_MS - 1).ok().expect(OPEN).after(1).ok().expect(CLOSED).after(1).fail().expect(OPEN)


def test_disabled_probes_trip_no_policy() -> None:
    t = timeline("resilience4j", sliding_window_size=2, minimum_number_of_calls=2).set(Override.DISABLED)
    for _ in range(5):
        t.after(1_000).fail().expect(CLOSED)
    t.set(None).after(1_000).fail().expect(OPEN)


@pytest.mark.parametrize("memory", [ActiveMemory("hystrix", Raw(b"{}")), ActiveMemory("resilience4j", Raw(b'{"window":7}'))])
def test_a_memory_of_another_policy_or_that_cannot_be_read_begins_anew(memory: ActiveMemory) -> None:
    t = timeline("resilience4j", sliding_window_size=2, minimum_number_of_calls=2)
    t.record = replace(t.record, active=memory)
    t.after(1_000).fail().expect(CLOSED).after(1_000).fail().expect(OPEN)


def test_a_breaker_that_another_policy_opened_is_left_by_the_rules_of_the_present_one() -> None:
    for kind in ("hystrix", "resilience4j", "envoy", "cusum"):
        t = Timeline(interval_ms=1_000).trip()
        t.pool = Pool(name="shop", active=PolicyChoice(kind, {}))
        chosen = resolved(t.endpoint, t.pool).active
        t.gathered = gather(chosen, [(t.endpoint.id, t.record.breaker, t.record.active)], t.now_ms)
        for _ in range(40):
            t.after(2_000).ok()
        t.expect(CLOSED)
        t.pool = Pool(name="shop")
        t.gathered = None
        t.trip().cooled().ok().expect(HALF_OPEN)
        assert t.record.active is None


def test_half_open_of_another_policy_is_left_as_well() -> None:
    for kind in ("hystrix", "resilience4j", "envoy", "cusum"):
        t = Timeline(interval_ms=1_000).trip().cooled().ok().expect(HALF_OPEN)
        t.pool = Pool(name="shop", active=PolicyChoice(kind, {}))
        t.gathered = gather(resolved(t.endpoint, t.pool).active, [(t.endpoint.id, t.record.breaker, t.record.active)], t.now_ms)
        for _ in range(40):
            t.after(2_000).ok()
        t.expect(CLOSED)


def test_periodic_work_of_a_long_absence_is_not_made_up_for() -> None:
    t = timeline("hystrix", request_volume_threshold=1_000_000, rolling_window_ms=3_600_000)
    for _ in range(TICKS_MAX + 100):
        t.after(1_000).fail()
    assert t.record.active is not None
    remembered = len(t.record.active.memory)
    t.after(86_400_000).ok().expect(CLOSED)
    assert t.record.active is not None
    assert len(t.record.active.memory) < remembered / 100


def test_after_a_step_of_time_a_policy_of_calls_begins_anew() -> None:
    t = timeline("resilience4j", sliding_window_size=2, minimum_number_of_calls=2)
    t.after(1_000).fail().after(-3_600_000).fail().expect(CLOSED).after(1_000).fail().expect(OPEN)
