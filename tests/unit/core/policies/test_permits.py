"""Leased trials always reach a verdict: however they end, as many as are permitted close the endpoint or open it again."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from monitor.core.policies import POLICIES
from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.policy import Member
from monitor.core.record import Breaker, BreakerState

CHOSEN: list[tuple[str, dict[str, Any], bool]] = [
    ("consecutive", {}, False),
    ("consecutive", {"success_threshold": 3, "half_open_max_calls": 4}, False),
    ("hystrix", {}, False),
    ("resilience4j", {}, False),
    ("resilience4j", {"minimum_number_of_calls": 3, "permitted_number_of_calls_in_half_open_state": 6}, False),
    ("cusum", {}, False),
    ("cusum", {}, True),
    ("cusum", {"trial_closes_at": 1}, False),
    ("cusum", {"trial_closes_at": 8}, False),
]


@pytest.mark.parametrize(("kind", "chosen", "hard"), CHOSEN)
def test_as_many_trials_as_are_permitted_decide(kind: str, chosen: dict[str, Any], hard: bool) -> None:
    policy = POLICIES[kind]
    settings = policy.settings(**chosen)
    opened = Member("a", BreakerState(state=Breaker.OPEN, gen=1, opens=1, hard=hard), policy.begin(settings, 0))
    tried = policy.acquire(settings, opened, 100_000).member
    memory = policy.release(settings, tried, 100_000).member.memory
    tried = Member("a", BreakerState(state=Breaker.HALF_OPEN, gen=tried.breaker.gen, opens=1, hard=hard), memory)
    terms = policy.trials(settings, tried)
    assert terms is not None
    for outcomes in product((CallOutcome.SUCCESS, CallOutcome.FAILURE), repeat=terms.permitted):
        member = tried
        for number, outcome in enumerate(outcomes):
            if member.breaker.state is Breaker.HALF_OPEN:
                member = policy.observe(settings, member, Call(outcome, 1, 5.0), None, 101_000 + number).member
        assert member.breaker.state is not Breaker.HALF_OPEN, outcomes
