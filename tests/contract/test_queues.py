"""Work queues: due, leased, finished; and heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from monitor.core.errors import Stale
from monitor.store.port import AssertedAlert, Lease, Membership, SubjectAssertion
from monitor.store.queues import EARLY_MS, Queue, lease_token
from tests.registering import set_override


async def put(house, *groups: str, due_ms: int = 2) -> None:
    memberships = tuple(
        Membership(fingerprint="f", group=group, meta=b"m", first_flush_ms=due_ms + 2 * i) for i, group in enumerate(groups)
    )
    alert = AssertedAlert(fingerprint="f", alert=b"a", starts_ms=1, groups=memberships)
    far_ms = await house.store.now_ms() + 600_000
    await house.store.assert_alerts([SubjectAssertion(subject="system", ver=1, at_ms=1, expires_ms=far_ms, alerts=(alert,))])


async def test_a_member_is_leased_to_one_earliest_first(house):
    await put(house, "a", "b", "c")
    first = await house.store.claim(Queue.GROUPS, 0, 2, 60_000)
    second = await house.store.claim(Queue.GROUPS, 0, 2, 60_000)
    assert [lease.member for lease in first + second] == ["a", "b", "c"]
    assert first[0].due_ms == 2
    assert first[0].token_ms > await house.store.now_ms()
    assert await house.store.claim(Queue.GROUPS, 0, 2, 60_000) == []


async def test_a_member_not_finished_in_time_falls_due_again(house):
    await put(house, "a")
    (first,) = await house.store.claim(Queue.GROUPS, 0, 1, 5)
    await house.passes(10)
    (second,) = await house.store.claim(Queue.GROUPS, 0, 1, 60_000)
    assert second.token_ms > first.token_ms
    assert not await house.store.finish(Queue.GROUPS, 0, "a", first.token_ms, None)
    assert await house.store.finish(Queue.GROUPS, 0, "a", second.token_ms, None)
    assert not await house.store.finish(Queue.GROUPS, 0, "a", second.token_ms, None)


async def test_a_finished_member_falls_due_at_its_next_time(house):
    await put(house, "a")
    (lease,) = await house.store.claim(Queue.GROUPS, 0, 1, 60_000)
    assert await house.store.finish(Queue.GROUPS, 0, "a", lease.token_ms, 8)
    assert await house.store.claim(Queue.GROUPS, 0, 1, 60_000) == [Lease("a", pytest.approx(lease.token_ms, abs=10_000), 8)]


async def test_a_lease_is_renewed_by_its_holder_alone(house):
    await put(house, "a")
    (first,) = await house.store.claim(Queue.GROUPS, 0, 1, 40)
    until_ms = lease_token(await house.store.now_ms() + 60_000)
    await house.store.renew(Queue.GROUPS, 0, "a", first.token_ms, until_ms)
    with pytest.raises(Stale):  # Another who would hold it for as long.
        await house.store.renew(Queue.GROUPS, 0, "a", first.token_ms, until_ms)
    await house.store.renew(Queue.GROUPS, 0, "a", first.token_ms, until_ms, repeated=True)  # The answer was lost.
    await house.passes(60)
    assert await house.store.claim(Queue.GROUPS, 0, 1, 60_000) == []
    with pytest.raises(Stale):
        await house.store.renew(Queue.GROUPS, 0, "a", first.token_ms, until_ms + 2, repeated=True)
    with pytest.raises(Stale):
        await house.store.renew(Queue.GROUPS, 0, "ghost", 1, until_ms)
    assert not await house.store.finish(Queue.GROUPS, 0, "a", first.token_ms, None)
    assert await house.store.finish(Queue.GROUPS, 0, "a", until_ms, None)


async def test_nothing_is_due_before_its_time(house):
    await put(house, "a", due_ms=await house.store.now_ms() + 60_000)
    assert await house.store.claim(Queue.GROUPS, 0, 1, 60_000) == []
    assert await house.store.overdue(Queue.GROUPS, 0) == 0
    assert await house.store.ready() == []


async def test_ready_names_the_queues_with_work_and_overdue_says_how_late(house):
    assert await house.store.ready() == []
    await put(house, "a", due_ms=await house.store.now_ms() - 3_000)
    await house.register(*(house.endpoint(f"e{i}", pool=f"p{i}") for i in range(12)))
    dirty = [(Queue.DIRTY, slot) for slot in range(house.store.slots)]
    assert sorted(await house.store.ready()) == sorted([*dirty, (Queue.GROUPS, 0)])
    assert 3_000 <= await house.store.overdue(Queue.GROUPS, 0) < 60_000
    await house.dirty()
    assert await house.store.ready() == [(Queue.GROUPS, 0)]


async def test_a_pool_marked_while_it_is_weighed_is_weighed_again(house):
    claimed = await house.claim_one()
    slot = next(slot for queue, slot in await house.store.ready() if queue is Queue.DIRTY)
    (lease,) = await house.store.claim(Queue.DIRTY, slot, 1, 60_000)
    await house.commit(house.result(claimed, dirty_at_ms=await house.store.now_ms()))
    assert not await house.store.finish(Queue.DIRTY, slot, "shop", lease.token_ms, None)
    assert await house.dirty() == ["shop"]


async def test_due_times_are_even_and_tokens_odd_so_that_a_lease_taken_over_is_known(house):
    await put(house, "a", due_ms=3)
    (first,) = await house.store.claim(Queue.GROUPS, 0, 1, 1)
    assert (first.due_ms, first.token_ms % 2, first.taken_over) == (4, 1, False)
    await house.passes(5)
    (second,) = await house.store.claim(Queue.GROUPS, 0, 1, 60_000)
    assert (second.due_ms, second.token_ms % 2, second.taken_over) == (first.token_ms, 1, True)
    assert await house.store.finish(Queue.GROUPS, 0, "a", second.token_ms, 7)
    (third,) = await house.store.claim(Queue.GROUPS, 0, 1, 60_000)
    assert (third.due_ms, third.taken_over) == (8, False)


@pytest.mark.parametrize("at_ms", [1_000_000, 1_000_001])
async def test_a_mark_always_changes_the_score_whoever_makes_it(house, at_ms):
    """A commit, a registration and an override take a pool out of the hands of whoever is weighing it."""
    claimed = await house.claim_one()
    slot = next(slot for queue, slot in await house.store.ready() if queue is Queue.DIRTY)

    async def marked_by(change: Awaitable[Any]) -> bool:
        (lease,) = await house.store.claim(Queue.DIRTY, slot, 1, 60_000)
        await change
        return not await house.store.finish(Queue.DIRTY, slot, "shop", lease.token_ms, None)

    assert await marked_by(house.commit(house.result(claimed, dirty_at_ms=at_ms)))
    assert await marked_by(house.register(house.endpoint("e", timeout_ms=1_000)))
    assert await marked_by(set_override(house.store, house.endpoint("e"), b"drain", b"t"))
    (held,) = await house.store.claim(Queue.DIRTY, slot, 1, 60_000)
    assert held.due_ms % 2 == 0
    assert await house.store.finish(Queue.DIRTY, slot, "shop", held.token_ms, at_ms)
    again = (await house.claim())["e"]
    await house.commit(house.result(again, ver=await house.version("e"), dirty_at_ms=at_ms))
    (lease,) = await house.store.claim(Queue.DIRTY, slot, 1, 60_000)
    assert lease.due_ms == 1_000_000 if at_ms % 2 else lease.due_ms == 999_998


async def test_named_members_are_claimed_alone_when_they_are_due_and_nobody_holds_them(house):
    now_ms = await house.store.now_ms()
    await put(house, "a", "b", "c")
    await put(house, "soon", due_ms=now_ms + 60_000)
    (held,) = await house.store.claim(Queue.GROUPS, 0, 1, 60_000, ["b"])
    assert (held.member, held.due_ms) == ("b", 4)
    assert await house.store.claim(Queue.GROUPS, 0, 9, 60_000, ["b", "soon", "unknown"]) == []
    assert [lease.member for lease in await house.store.claim(Queue.GROUPS, 0, 1, 60_000, ["c", "a"])] == ["c"]
    assert [lease.member for lease in await house.store.claim(Queue.GROUPS, 0, 9, 60_000)] == ["a"]


async def test_a_named_member_may_be_claimed_a_little_early_but_no_lease_is(house):
    await put(house, "a", due_ms=await house.store.now_ms() + EARLY_MS + 60_000)
    assert await house.store.claim(Queue.GROUPS, 0, 1, 5, ["a"]) == []
    await put(house, "b", due_ms=await house.store.now_ms() + EARLY_MS - 1)
    (lease,) = await house.store.claim(Queue.GROUPS, 0, 1, EARLY_MS - 5, ["b"])
    if not house.url:
        assert await house.store.claim(Queue.GROUPS, 0, 1, 5, ["b"]) == []
    await house.passes(EARLY_MS)
    (again,) = await house.store.claim(Queue.GROUPS, 0, 1, 60_000, ["b"])
    assert again.due_ms == lease.token_ms


async def test_claimers_share_a_queue(house):
    await put(house, *(f"g{i}" for i in range(200)))

    async def claimer() -> list[str]:
        mine: list[str] = []
        while leases := await house.store.claim(Queue.GROUPS, 0, 7, 60_000):
            mine += [lease.member for lease in leases]
        return mine

    shares = await asyncio.gather(*(claimer() for _ in range(4)))
    claimed = [member for share in shares for member in share]
    assert len(claimed) == len(set(claimed)) == 200


async def test_heartbeats_are_kept_swept_and_taken_back(house):
    await house.store.heartbeat("beat:h:1", b"old")
    await house.passes(50)
    await house.store.heartbeat("worker:h:2", b"new")
    await house.store.heartbeat("worker:h:3", b"leaves")
    await house.store.deregister("worker:h:3")
    assert await house.store.heartbeats(60_000) == {"beat:h:1": b"old", "worker:h:2": b"new"}
    if not house.url:
        assert await house.store.heartbeats(50) == {"worker:h:2": b"new"}
    assert await house.store.heartbeats(0) == {}
    assert await house.store.heartbeats(60_000) == {}


async def test_counters_add_up(house):
    await house.store.count({"probes": 3, "late": 1})
    await house.store.count({"probes": 4})
    await house.store.count({})
    assert await house.store.counters() == {"probes": 7, "late": 1}
