"""An endpoint that answers well, but slowly, is ejected where two observers see that, and by nobody alone."""

from __future__ import annotations

import asyncio

import pytest

from monitor.core.endpoint import PolicyChoice
from monitor.core.history import bucket_of
from monitor.core.reports import Counters, Report, encode_report
from tests.unit.traffic.house import House

CUSUM = PolicyChoice("cusum", {})
RESILIENCE4J = PolicyChoice("resilience4j", {"minimum_number_of_calls": 20, "slow_call_duration_threshold_ms": 200})


def seen(observer: str, second: int, slot_ms: int, slow: frozenset[str]) -> bytes:
    endpoints = {one: Counters({"success/200": 10}, latency={bucket_of(500 if one in slow else 5): 10}) for one in "abcd"}
    return encode_report(Report(observer=observer, seq=second, slot_ms=slot_ms, endpoints=endpoints))


async def told(house: House, seconds: int, slow_for: str) -> None:
    """So many seconds of two observers, for whom all is well in the first ten; then `a` is slow for those named."""
    for second in range(1, seconds + 1):
        house.clock.advance(1_000)
        slot_ms = house.clock.now_ms() // 1_000 * 1_000 - 1_000
        for observer in ("x", "y"):
            slow = frozenset("a" if second > 10 and observer in slow_for else "")
            house.store.report("shop", seen(observer, second, slot_ms, slow))
        await house.judge()


@pytest.mark.parametrize(("policy", "rule"), [(CUSUM, "cusum_slow"), (RESILIENCE4J, "slow_call_rate_threshold")])
def test_it_is_ejected_by_the_rule_for_slow_calls_where_two_see_it(policy: PolicyChoice, rule: str) -> None:
    async def run() -> None:
        house = await House("a", "b", "c", "d", passive=policy).opened()
        await told(house, 22, "xy")
        assert [await house.state(one) for one in "abcd"] == ["OPEN", "CLOSED", "CLOSED", "CLOSED"]
        assert (await house.record()).breaker.rule == rule

    asyncio.run(run())


def test_one_observer_alone_for_whom_it_is_slow_ejects_nothing() -> None:
    async def run() -> None:
        house = await House("a", "b", "c", "d", passive=CUSUM).opened()
        await told(house, 24, "x")
        assert await house.state() == "CLOSED"
        assert (await house.field()).held.endswith("; but one observer alone sees it")

    asyncio.run(run())
