"""Envoy's outlier detection as the judge of a pool's traffic: the same counts in everybody's name, and ejections that end by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from monitor.core.endpoint import PolicyChoice
from tests.unit.traffic.house import House

HOSTS = ("a", "b", "c", "d", "e")
SECOND = 1_000


async def house(**settings: Any) -> House:
    chosen = {"max_ejection_percent": 50, "interval_ms": 5_000, "base_ejection_time_ms": 5_000} | settings
    return await House(*HOSTS, passive=PolicyChoice("envoy", chosen)).opened()


def seen(calls: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, Mapping[str, int]]]:
    """Two observers who see the same."""
    return {observer: dict(calls) for observer in ("one", "two")}


def test_failures_in_a_row_of_all_observers_together_eject_and_time_brings_back() -> None:
    async def story() -> None:
        pool = await house()
        await pool.second(seen({"a": {"failure/503": 3}, "b": {"success": 3}}))
        await pool.settle()
        breaker = (await pool.record("a")).breaker
        assert (breaker.state, breaker.source, breaker.policy, breaker.rule) == ("OPEN", "passive", "envoy", "consecutive_5xx")
        assert await pool.state("b") == "CLOSED"
        for _ in range(20):
            await pool.second(seen({"b": {"success": 3}}))
        breaker = (await pool.record("a")).breaker
        assert (breaker.state, breaker.rule, breaker.gen) == ("CLOSED", "ejection_over", 2)

    asyncio.run(story())


def test_an_outlier_is_ejected_when_an_interval_ends_and_a_second_time_for_longer() -> None:
    async def story() -> None:
        pool = await house(consecutive_5xx=0, success_rate_request_volume=20)
        lasted, opened = [], 0
        for _ in range(60):
            breaker = (await pool.record("e")).breaker
            if breaker.gen > opened and breaker.state == "OPEN":
                assert breaker.rule == "success_rate"
                opened = breaker.gen
                lasted.append(breaker.open_until_ms - breaker.since_ms)
            good = {host: {"success": 10} for host in HOSTS[:4]}
            await pool.second(seen(good | ({} if breaker.state == "OPEN" else {"e": {"failure": 10}})))
        assert len(lasted) >= 3
        assert [round(ms / 5_000) for ms in lasted[:3]] == [1, 2, 3]
        assert [await pool.state(host) for host in HOSTS[:4]] == ["CLOSED"] * 4

    asyncio.run(story())


def test_the_cap_is_the_pools() -> None:
    async def story() -> None:
        pool = await house(max_ejection_percent=20)
        for _ in range(3):
            await pool.second(seen({host: {"failure": 9} for host in HOSTS}))
        await pool.settle()
        assert sorted([await pool.state(host) for host in HOSTS]) == ["CLOSED"] * 4 + ["OPEN"]

    asyncio.run(story())
