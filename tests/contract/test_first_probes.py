"""Who has not been probed yet, or not as it is registered now, does not wait for the grid of a long interval."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000


async def waits_ms(house, endpoint_id: str = "e") -> int:
    return (await house.score(endpoint_id) or DAY_MS * 9) - await house.store.now_ms()


async def probed(house, **settings: Any) -> None:
    """An endpoint that has been probed, and is due on its grid."""
    claimed = await house.claim_one(**settings)
    await house.commit(house.result(claimed))
    assert await house.on_grid(house.endpoint("e", **settings))


async def test_the_first_probe_comes_within_a_minute_and_the_next_on_the_grid(house):
    await house.register(house.endpoint("e", interval_ms=DAY_MS))
    assert await waits_ms(house) <= MINUTE_MS
    claimed = (await house.claim())["e"]
    await house.commit(house.result(claimed))
    assert await house.on_grid(house.endpoint("e", interval_ms=DAY_MS))


@pytest.mark.parametrize("interval_ms", [90_000, HOUR_MS, DAY_MS])
async def test_first_probes_of_many_are_spread_over_the_minute(house, interval_ms):
    await house.register(*(house.endpoint(f"e{n}", interval_ms=interval_ms) for n in range(600)))
    scores = [await house.score(f"e{n}") or 0 for n in range(600)]
    assert max(scores) - min(scores) <= MINUTE_MS + 1_000
    by_tenth = Counter(score // 6_000 for score in scores)
    assert max(by_tenth.values()) < 100


async def test_a_short_interval_begins_on_its_grid(house):
    await house.register(house.endpoint("e", interval_ms=20_000))
    assert await waits_ms(house) <= 20_000
    assert await house.on_grid(house.endpoint("e", interval_ms=20_000))


async def test_the_initial_delay_is_waited_for_first(house):
    await house.register(house.endpoint("e", interval_ms=DAY_MS, initial_delay_ms=HOUR_MS))
    assert HOUR_MS - 5_000 <= await waits_ms(house) <= HOUR_MS + MINUTE_MS
    await house.register(house.endpoint("e", interval_ms=DAY_MS, initial_delay_ms=HOUR_MS, url="http://elsewhere/"))
    assert HOUR_MS - 5_000 <= await waits_ms(house) <= HOUR_MS + MINUTE_MS


async def test_a_resumed_endpoint_is_probed_soon(house):
    await probed(house, interval_ms=DAY_MS)
    await house.register(house.endpoint("e", interval_ms=DAY_MS, paused=True))
    await house.register(house.endpoint("e", interval_ms=DAY_MS))
    assert await waits_ms(house) <= MINUTE_MS


@pytest.mark.parametrize(
    "change", [{"interval_ms": HOUR_MS}, {"interval_ms": DAY_MS - 1}, {"url": "http://elsewhere/"}, {"options": {"expect_status": "204"}}]
)
async def test_a_change_of_what_is_probed_is_probed_soon(house, change):
    await probed(house, interval_ms=DAY_MS)
    await house.register(house.endpoint("e", **{"interval_ms": DAY_MS, **change}))
    assert await waits_ms(house) <= MINUTE_MS


async def test_another_change_leaves_the_grid_as_it_is(house):
    await probed(house, interval_ms=DAY_MS)
    await house.register(house.endpoint("e", interval_ms=DAY_MS, labels={"team": "shop"}, weight=7))
    assert await house.on_grid(house.endpoint("e", interval_ms=DAY_MS))


async def test_a_change_makes_nobody_wait_longer(house):
    await probed(house, interval_ms=DAY_MS)
    soon_ms = await house.store.now_ms() + 1_000
    await house.make_due("e", soon_ms)
    await house.register(house.endpoint("e", interval_ms=DAY_MS, url="http://elsewhere/"))
    assert (await house.score("e") or 0) <= soon_ms


async def test_a_step_back_of_the_servers_time_costs_no_day(house):
    await house.register(house.endpoint("e", interval_ms=DAY_MS))
    await house.make_due("e", await house.store.now_ms() + 2 * DAY_MS)
    assert sum([await house.store.realign(slot) for slot in range(house.store.slots)]) == 1
    assert await waits_ms(house) <= MINUTE_MS
    assert sum([await house.store.realign(slot) for slot in range(house.store.slots)]) == 0
    assert await waits_ms(house) <= MINUTE_MS
