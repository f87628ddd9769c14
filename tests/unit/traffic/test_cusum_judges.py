"""What twenty consumers report of ten endpoints, judged by cusum: one that fails is ejected, what all share ejects nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from monitor.core.endpoint import PolicyChoice
from monitor.core.policies.policy import spread
from tests.unit.traffic.house import House

ENDPOINTS = tuple(f"shop-{n}" for n in range(10))
OBSERVERS = tuple(f"web-{n}" for n in range(20))
CALLS = 10
"""Each observer's to each endpoint in a second."""


def told(fails: Callable[[str], float], second: int, bad: str) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
    """What all observers saw in a second, where so large a share of calls fails."""

    def counted(observer: str, endpoint_id: str) -> dict[str, int]:
        failed = sum(spread(f"{observer} {endpoint_id} {n}", second) < fails(endpoint_id) for n in range(CALLS))
        return {word: count for word, count in (("success", CALLS - failed), (bad, failed)) if count}

    return {observer: {endpoint_id: counted(observer, endpoint_id) for endpoint_id in ENDPOINTS} for observer in OBSERVERS}


def played(fails: Callable[[str, int], float], seconds: int, bad: str = "failure/503") -> dict[str, list[int]]:
    """The seconds after which each endpoint was seen open. Half of the observers report half a second later than the others."""

    async def play() -> dict[str, list[int]]:
        house = await House(*ENDPOINTS, passive=PolicyChoice("cusum", {})).opened()
        opened: dict[str, list[int]] = {}
        for second in range(seconds):
            seen = told(partial(_share, fails, second), second, bad)
            slot_ms = house.clock.now_ms() // 1_000 * 1_000 - 1_000
            for half in (OBSERVERS[::2], OBSERVERS[1::2]):
                for observer in half:
                    house.report(observer, seen[observer], slot_ms=slot_ms)
                await house.judge()
                house.clock.advance(500)
            for endpoint_id in ENDPOINTS:
                if await house.state(endpoint_id) != "CLOSED":
                    opened.setdefault(endpoint_id, []).append(second)
        return opened

    return asyncio.run(play())


def _share(fails: Callable[[str, int], float], second: int, endpoint_id: str) -> float:
    return fails(endpoint_id, second)


@pytest.mark.parametrize("bad", ["failure/500", "timeout"])
def test_one_that_fails_half_of_its_calls_is_ejected_within_three_seconds_and_nobody_else(bad: str) -> None:
    opened = played(lambda endpoint_id, second: 0.5 if endpoint_id == "shop-3" and second >= 5 else 0.01, 10, bad)
    assert set(opened) == {"shop-3"}
    assert 5 <= opened["shop-3"][0] <= 7


def test_one_that_fails_one_call_in_twenty_stays() -> None:
    assert played(lambda endpoint_id, _: 0.05 if endpoint_id == "shop-3" else 0.0, 30) == {}


@pytest.mark.parametrize("bad", ["failure/500", "timeout"])
def test_a_dependency_that_all_share_ejects_nobody(bad: str) -> None:
    assert played(lambda _, second: 0.8 if second >= 5 else 0.0, 30, bad) == {}


def test_three_of_ten_are_found() -> None:
    opened = played(lambda endpoint_id, second: 0.5 if endpoint_id in ENDPOINTS[:3] and second >= 5 else 0.0, 12)
    assert set(opened) == set(ENDPOINTS[:3])
