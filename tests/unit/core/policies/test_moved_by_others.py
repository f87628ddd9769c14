"""Hystrix and resilience4j where the breaker is not only theirs: probes and operators move it too, changes are refused, settings change."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.hystrix import Hystrix
from monitor.core.policies.hystrix import Settings as HystrixSettings
from monitor.core.policies.policy import Member, Shown, Step
from monitor.core.policies.resilience4j import Resilience4j
from monitor.core.policies.resilience4j_state import Settings as Resilience4jSettings
from monitor.core.record import Breaker, BreakerState, Override

HYSTRIX = Hystrix(), HystrixSettings()
RESILIENCE4J = Resilience4j(), Resilience4jSettings(sliding_window_size=20, minimum_number_of_calls=20)
BOTH = pytest.mark.parametrize("judge", [HYSTRIX, RESILIENCE4J], ids=["hystrix", "resilience4j"])
Judge = tuple[Any, Any]
CLOSED = BreakerState()


def begun(judge: Judge, breaker: BreakerState = CLOSED) -> Member[Any]:
    policy, settings = judge
    return Member("a", breaker, policy.begin(settings, 0))


def saw(judge: Judge, member: Member[Any], outcome: str, count: int, now_ms: int) -> Step[Any]:
    """Calls end; then the next snapshot, where there are any."""
    policy, settings = judge
    step: Step[Any] = policy.observe(settings, member, Call(CallOutcome(outcome), count), None, now_ms)
    due_ms = policy.due_ms(settings, step.member)
    return policy.tick(settings, step.member, due_ms) if due_ms else step


def shown(judge: Judge, member: Member[Any]) -> Shown:
    policy, settings = judge
    return policy.shows(settings, member, 0)


@BOTH
def test_a_trip_that_is_refused_comes_again_with_the_next_calls(judge: Judge) -> None:
    member = begun(judge)
    step = saw(judge, member, "failure", 20, 100)
    assert step.member.breaker.state is Breaker.OPEN
    refused = replace(step.member, breaker=member.breaker)
    assert shown(judge, refused).calls == 20
    assert saw(judge, refused, "failure", 1, 600).member.breaker.state is Breaker.OPEN


@BOTH
def test_a_breaker_that_somebody_else_closes_begins_with_no_calls(judge: Judge) -> None:
    opened = saw(judge, begun(judge), "failure", 20, 100).member
    closed = replace(opened, breaker=BreakerState(since_ms=700, gen=opened.breaker.gen + 1))
    step = saw(judge, closed, "failure", 19, 1_000)
    assert step.member.breaker.state is Breaker.CLOSED
    assert shown(judge, step.member).calls == 19


@BOTH
def test_trials_that_somebody_else_begins_are_judged(judge: Judge) -> None:
    breaker = BreakerState(state=Breaker.HALF_OPEN, since_ms=700, gen=7)
    policy, settings = judge
    trials = policy.trials(settings, begun(judge))
    member = begun(judge, breaker)
    for number in range(trials.permitted):
        assert member.breaker.state is Breaker.HALF_OPEN
        member = policy.observe(settings, member, Call(CallOutcome.SUCCESS), None, 800 + number).member
    assert member.breaker.state is Breaker.CLOSED


@BOTH
def test_a_memory_of_other_settings_goes_on(judge: Judge) -> None:
    policy, settings = judge
    member = saw(judge, begun(judge), "failure", 19, 100).member
    other = (
        replace(settings, snapshot_interval_ms=250, request_volume_threshold=10)
        if policy.name == "hystrix"
        else replace(settings, sliding_window_size=10)
    )
    assert saw((policy, other), member, "failure", 10, 600).member.breaker.state is Breaker.OPEN


def test_a_window_that_changes_its_kind_begins_anew() -> None:
    policy, settings = RESILIENCE4J
    member = saw(RESILIENCE4J, begun(RESILIENCE4J), "failure", 19, 100).member
    timed = policy, replace(settings, sliding_window_type="time")
    after = saw(timed, member, "failure", 19, 600).member
    assert after.breaker.state is Breaker.CLOSED
    assert saw(timed, after, "failure", 1, 700).member.breaker.state is Breaker.OPEN


@pytest.mark.parametrize(
    ("mode", "permitted"),
    [(Override.FORCED_OPEN, False), (Override.FORCED_CLOSED, True), (Override.DISABLED, True), (Override.DRAIN, False)],
)
@BOTH
def test_an_operators_word_answers_before_the_breaker(judge: Judge, mode: Override, permitted: bool) -> None:
    policy, settings = judge
    opened = replace(saw(judge, begun(judge), "failure", 20, 100).member, mode=mode)
    step = policy.acquire(settings, opened, 10_000_000)
    assert step.permitted is permitted
    assert step.changes == ()


@BOTH
def test_what_ends_under_disabled_is_not_counted(judge: Judge) -> None:
    member = saw(judge, replace(begun(judge), mode=Override.DISABLED), "failure", 99, 100).member
    assert member.breaker.state is Breaker.CLOSED
    assert shown(judge, member).calls == 0


@BOTH
def test_what_ends_under_metrics_only_is_counted_and_opens_nothing(judge: Judge) -> None:
    member = saw(judge, replace(begun(judge), mode=Override.METRICS_ONLY), "failure", 99, 100).member
    assert member.breaker.state is Breaker.CLOSED
    assert shown(judge, member).calls >= 20


@BOTH
def test_trials_are_few(judge: Judge) -> None:
    policy, settings = judge
    trials = policy.trials(settings, begun(judge))
    assert (trials.permitted, trials.concurrent) == ((1, 1) if policy.name == "hystrix" else (10, 4))
