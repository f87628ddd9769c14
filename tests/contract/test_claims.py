"""Claims: whoever holds the token holds the endpoint."""

from __future__ import annotations

import asyncio

import pytest

from monitor.store import keys
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Asked, Committed
from tests.registering import register


async def test_an_endpoint_is_claimed_by_one(house):
    await house.register(house.endpoint("a"), house.endpoint("b"))
    first, second = await house.claim(), await house.claim()
    assert sorted(first) == ["a", "b"]
    assert second == {}


async def test_nothing_is_claimed_before_its_time(house):
    await house.register(house.endpoint("a", interval_ms=3_600_000, initial_delay_ms=60_000))
    assert await house.claim(horizon_ms=0) == {}
    assert list(await house.claim(horizon_ms=3_700_000)) == ["a"]


async def test_the_earliest_come_first_and_no_more_than_the_limit(house):
    await house.register(*(house.endpoint(f"e{i}") for i in range(30)))
    for slot in range(house.store.slots):
        first = (await house.store.claim_probes(slot, 3, 60_000)).items
        rest = (await house.store.claim_probes(slot, 1_000, 60_000)).items
        dues = [item.due_ms for item in first + rest]
        assert len(first) == 3
        assert dues == sorted(dues)


async def test_the_lease_lasts_for_all_attempts_and_some_slack_after_the_due_time(house):
    settings = {"interval_ms": 60_000, "timeout_ms": 1_000, "retries": 1, "retry_delay_ms": 500}
    claimed = await house.claim_one(**settings)
    assert claimed.token_ms == (claimed.due_ms + 2 * 1_000 + 500 + 5_000) | 1


async def test_a_lease_that_ran_out_is_claimed_again_with_a_later_token(house):
    first = await house.expire(await house.claim_one())
    second = (await house.claim())["e"]
    assert second.token_ms > first.token_ms
    assert second.due_ms == first.token_ms
    assert await house.commit(house.result(first)) == [Committed.LOST]
    assert await house.commit(house.result(second)) == [Committed.OK]


async def test_a_result_that_comes_after_its_lease_still_counts_when_nobody_else_took_it(house):
    late = await house.expire(await house.claim_one())
    assert await house.commit(house.result(late)) == [Committed.OK]


async def test_who_waited_for_longer_than_its_interval_is_probed_for_the_present_slot(house):
    endpoint = house.endpoint("e", interval_ms=1_000)
    await house.register(endpoint, house.endpoint("f", interval_ms=60_000))
    now_ms = await house.store.now_ms()
    for name in ("e", "f"):
        await house.make_due(name, now_ms - 30_000)
    claimed = await house.claim(horizon_ms=0)
    now_ms = await house.store.now_ms()
    assert 0 <= now_ms - claimed["e"].due_ms <= 1_000 + 500
    assert (claimed["e"].due_ms - endpoint.phase_ms) % 1_000 in (0, 999)
    assert 30_000 <= now_ms - claimed["f"].due_ms < 40_000, "it is late, and has missed nothing"


async def test_a_lease_within_the_horizon_is_not_taken_away(house):
    await house.claim_one()
    assert await house.claim(horizon_ms=1_000_000) == {}


async def test_a_claim_says_when_and_under_which_revision(house):
    await house.register(house.endpoint("e"))
    before = [await house.store.claim_probes(slot, 1, 0) for slot in range(house.store.slots)]
    await house.register(house.endpoint("e", timeout_ms=1_000))
    after = [await house.store.claim_probes(slot, 1, 0) for slot in range(house.store.slots)]
    assert sum(claim.rev for claim in after) > sum(claim.rev for claim in before)
    assert abs(after[0].now_ms - await house.store.now_ms()) < 5_000
    assert [claim.slot for claim in after] == list(range(house.store.slots))


async def test_phases_do_not_move_with_the_time_of_registration(house):
    await house.register(house.endpoint("e", interval_ms=7_000))
    assert await house.on_grid(house.endpoint("e", interval_ms=7_000))


async def test_many_claimers_share_two_thousand_endpoints_and_each_is_theirs_alone(house):
    await register(house.store, [house.endpoint(f"e{i}") for i in range(2_000)], [], [])

    async def claimer() -> list[str]:
        mine: list[str] = []
        while found := [name for slot in range(house.store.slots) for name in await claim(slot)]:
            mine += found
        return mine

    async def claim(slot: int) -> list[str]:
        return [item.id for item in (await house.store.claim_probes(slot, 37, 60_000)).items]

    shares = await asyncio.gather(*(claimer() for _ in range(6)))
    claimed = [endpoint_id for share in shares for endpoint_id in share]
    assert len(claimed) == len(set(claimed)) == 2_000


async def test_a_clock_that_jumped_back_leaves_nobody_waiting(house):
    await house.register(*(house.endpoint(f"e{i}") for i in range(20)))
    far_ms = await house.store.now_ms() + 3_600_000
    for i in range(10):
        await house.make_due(f"e{i}", far_ms + i)
    assert sum([await house.store.realign(slot) for slot in range(house.store.slots)]) == 10
    assert sum([await house.store.realign(slot) for slot in range(house.store.slots)]) == 0
    latest_ms = await house.store.now_ms() + 10_000
    assert all([(await house.score(f"e{i}") or 0) <= latest_ms for i in range(20)])
    assert await house.on_grid(house.endpoint("e3"))


async def test_how_many_are_late_and_by_how_much(house):
    await house.register(house.endpoint("a"), house.endpoint("b"), house.endpoint("c", initial_delay_ms=60_000))
    assert await house.store.due_overdue() == (0, 0)
    now_ms = await house.store.now_ms()
    await house.make_due("a", now_ms - 5_000)
    await house.make_due("b", now_ms - 1_000)
    count, late_ms = await house.store.due_overdue()
    assert count == 2
    assert 5_000 <= late_ms < 60_000


@pytest.mark.parametrize("what", ["a place", "the whole queue"])
async def test_an_endpoint_that_somebody_took_out_of_the_queue_falls_due_again(house, what):
    """No probe would ever be claimed for it."""
    await house.register(house.endpoint("a"), house.endpoint("b"))
    slot = keys.slot_of("a", house.store.slots)
    if isinstance(house.store, MemoryStore):
        if what == "a place":
            del house.store._slots[slot].due["a"]
        else:
            house.store._slots[slot].due.clear()
    else:
        due = keys.in_slot(slot, "due")
        await house.store._wire.execute_one(*(("ZREM", due, "a") if what == "a place" else ("DEL", due)))
    assert "a" not in await house.claim(horizon_ms=120_000)
    assert await house.store.realign(slot) >= 1
    assert "a" in await house.claim()


async def test_an_endpoint_that_is_asked_for_falls_due_at_once_and_goes_back_to_its_grid(house):
    endpoint = house.endpoint("e", interval_ms=3_600_000, initial_delay_ms=600_000)
    await house.register(endpoint)
    assert await house.claim(horizon_ms=0) == {}
    assert [await house.store.ask_probe("e", 0) for _ in range(2)] == [Asked.DUE, Asked.DUE]
    claimed = (await house.claim(horizon_ms=0))["e"]
    assert await house.commit(house.result(claimed)) == [Committed.OK]
    assert await house.on_grid(endpoint)
    assert await house.claim(horizon_ms=0) == {}


async def test_who_asks_does_not_take_a_lease_away(house):
    claimed = await house.claim_one()
    assert await house.store.ask_probe("e", 0) is Asked.IN_FLIGHT
    assert await house.score("e") == claimed.token_ms
    assert await house.commit(house.result(claimed)) == [Committed.OK]


async def test_a_lease_that_ran_out_is_due_for_who_asks(house):
    first = await house.expire(await house.claim_one())
    assert await house.store.ask_probe("e", 0) is Asked.DUE
    assert (await house.claim(horizon_ms=0))["e"].token_ms > first.token_ms


async def test_who_asks_from_an_older_record_is_told_so(house):
    claimed = await house.claim_one(interval_ms=3_600_000)
    await house.commit(house.result(claimed))
    score = await house.score("e")
    assert await house.store.ask_probe("e", 0) is Asked.STALE
    assert await house.score("e") == score
    assert await house.store.ask_probe("e", await house.version("e")) is Asked.DUE


async def test_nobody_can_ask_for_what_is_paused_or_not_registered(house):
    await house.register(house.endpoint("e", paused=True))
    assert await house.store.ask_probe("e", await house.version("e")) is Asked.UNPLANNED
    assert await house.store.ask_probe("nobody", 0) is Asked.UNPLANNED
    assert await house.score("e") is None
