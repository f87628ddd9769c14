"""A HALF_OPEN endpoint is judged by its users' trials: those with a token, and few of those who cannot hold one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from monitor.core.endpoint import PolicyChoice
from monitor.core.policies.call import CallOutcome
from monitor.core.record import Breaker, BreakerState, UserTrials
from monitor.core.reports import Trial, TrialReport, encode_report
from tests.unit.traffic.house import House

SUCCESS, FAILURE = CallOutcome.SUCCESS, CallOutcome.FAILURE
KINDS = {
    "consecutive": PolicyChoice("consecutive", {"failure_threshold": 5, "success_threshold": 3, "half_open_max_calls": 5}),
    "cusum": PolicyChoice("cusum"),
    "resilience4j": PolicyChoice("resilience4j", {"permitted_number_of_calls_in_half_open_state": 5}),
    "hystrix": PolicyChoice("hystrix"),
}


def trial(outcome: CallOutcome, gen: int = 2, endpoint: str = "a", observer: str = "o1") -> bytes:
    return encode_report(TrialReport(trial=Trial(endpoint=endpoint, gen=gen, outcome=outcome, duration_ms=5.0, observer=observer)))


async def half_open(kind: str = "consecutive") -> House:
    """`a` was tripped by what consumers report, and users try it now."""
    house = await House(*"abcd", passive=KINDS[kind]).opened()
    for _ in range(40):
        await house.second({one: {"a": {"failure": 5}, **{name: {"success": 5} for name in "bcd"}} for one in ("o1", "o2")})
        if await house.state() == "OPEN":
            break
    opened = (await house.record()).breaker
    assert (opened.state, opened.policy) == ("OPEN", kind)
    await house.settle()
    house.clock.advance(max(3_000, opened.open_until_ms - house.clock.now_ms() + 1_000))
    now_ms = house.clock.now_ms()
    terms = UserTrials(5, 2, 10_000, now_ms + 60_000)
    tried = BreakerState(
        state=Breaker.HALF_OPEN, gen=2, since_ms=now_ms, opens=1, source="passive", policy=kind, rule="cooldown", hard=False, trials=terms
    )
    await house.becomes(tried)
    house.clock.advance(3_000)
    return house


async def ends(house: House, *outcomes: CallOutcome, **changes: Any) -> str:
    for outcome in outcomes:
        house.store.report("shop", trial(outcome, **changes))
    await house.judge()
    return await house.state()


@pytest.mark.parametrize("kind", KINDS)
def test_trials_that_succeed_close_it(kind: str) -> None:
    async def told() -> None:
        house = await half_open(kind)
        assert await ends(house, *[SUCCESS] * 5) == "CLOSED"
        breaker = (await house.record()).breaker
        assert (breaker.gen, breaker.policy, bool(breaker.reason)) == (3, kind, True)

    asyncio.run(told())


@pytest.mark.parametrize("kind", KINDS)
def test_trials_that_fail_open_it_again(kind: str) -> None:
    async def told() -> None:
        house = await half_open(kind)
        assert await ends(house, *[FAILURE] * 5) == "OPEN"
        breaker = (await house.record()).breaker
        assert (breaker.gen, breaker.open_until_ms > house.clock.now_ms()) == (3, True)

    asyncio.run(told())


def test_trials_count_over_several_steps() -> None:
    async def told() -> None:
        house = await half_open()
        for expected in ("HALF_OPEN", "HALF_OPEN", "CLOSED"):
            house.clock.advance(1_000)
            assert await ends(house, SUCCESS) == expected

    asyncio.run(told())


def test_trials_of_a_quarantined_consumer_count_for_nothing() -> None:
    async def told() -> None:
        house = await half_open("cusum")
        well = {f"o{n}": {name: {"success": 5} for name in "bcd"} for n in (1, 2)}
        for _ in range(6):
            await house.second({"broken": {name: {"failure": 3} for name in "bcd"}, **well})
        assert (await house.head()).quarantined == ("broken",)
        house.counters.take()
        house.clock.advance(1_000)
        assert await ends(house, *[FAILURE] * 2, observer="broken") == "HALF_OPEN"
        assert house.counters.take()["trials_unheard"] == 2
        house.clock.advance(1_000)
        assert await ends(house, FAILURE, *[SUCCESS] * 6) == "CLOSED"

    asyncio.run(told())


def test_a_trial_of_an_earlier_generation_counts_for_nothing() -> None:
    async def told() -> None:
        house = await half_open()
        house.counters.take()
        assert await ends(house, *[FAILURE] * 5, gen=1) == "HALF_OPEN"
        house.clock.advance(1_000)
        assert await ends(house, *[SUCCESS] * 5, gen=3) == "HALF_OPEN"
        house.clock.advance(1_000)
        assert await ends(house, FAILURE, endpoint="ghost") == "HALF_OPEN"
        counted = house.counters.take()
        assert (counted["trials_stale"], counted["reports_unknown"], counted.get("trials", 0)) == (10, 1, 0)

    asyncio.run(told())


def test_of_calls_without_a_token_no_more_count_than_there_are_permits() -> None:
    async def told() -> None:
        house = await half_open("cusum")
        await house.second({"o1": {"a": {"success": 4}}})
        assert await house.state() == "HALF_OPEN", "four are too few"
        await house.second({"o1": {"a": {"success": 400}}})
        assert await house.state() == "CLOSED"

    asyncio.run(told())


def test_calls_from_before_the_trials_are_none() -> None:
    async def told() -> None:
        house = await half_open()
        since_ms = (await house.record()).breaker.since_ms
        for seconds in (1, 4):
            house.report("o1", {"a": {"failure": 9}}, slot_ms=since_ms - 1_000 * seconds)
        await house.judge()
        assert await house.state() == "HALF_OPEN"

    asyncio.run(told())


def test_where_probes_try_it_consumers_calls_decide_nothing() -> None:
    async def told() -> None:
        house = await half_open()
        breaker = (await house.record()).breaker
        await house.becomes(BreakerState(state=Breaker.HALF_OPEN, gen=breaker.gen, since_ms=breaker.since_ms, source="active"))
        await house.second({one: {"a": {"failure": 9}} for one in ("o1", "o2")})
        assert await ends(house, *[SUCCESS] * 5) == "HALF_OPEN"

    asyncio.run(told())
