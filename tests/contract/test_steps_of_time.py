"""The server's time steps back: nobody waits until the wrong time is reached, and nothing is judged that was not probed."""

from __future__ import annotations

import pytest

from monitor.core.schedule import LEASE_SLACK_MS
from monitor.core.tilt import JUMP_MS
from monitor.store import keys
from monitor.store.memory.store import MemoryStore
from monitor.store.port import AlertPhase, AssertedAlert, Committed, Flush, Membership, NewDelivery, SubjectAssertion
from monitor.store.queues import AHEAD_MS, JUDGING_GAP_MS, Queue
from monitor.store.redis.store import RedisStore

HOUR_MS = 3_600_000
FAR_MS = 9_000_000_000_000


async def was_ahead(house, ms: int) -> None:
    """Write down that the last claims came at a time that lies ahead now: the server's time has stepped back."""
    await write_pace(house, "last", await house.store.now_ms() + ms)


async def all_know(house) -> None:
    """Write down that by now everybody knows of the step."""
    await write_pace(house, "known", await house.store.now_ms() - 1)


async def write_pace(house, name: str, ms: int) -> None:
    if isinstance(house.store, MemoryStore):
        for one in (house.store._pace, *(slot.pace for slot in house.store._slots)):
            setattr(one, f"{name}_ms", ms)
    else:
        assert isinstance(house.store, RedisStore)
        for key in ("wk:i:{alerts}:pace", *(f"wk:i:{{s{slot}}}:pace" for slot in range(house.store.slots))):
            await house.store._wire.execute_one("HSET", key, name, ms)


async def result_was(house, slot: int, ms: int) -> None:
    """Write down that the slot's last result came so long ago."""
    last_ms = await house.store.now_ms() - ms
    if isinstance(house.store, MemoryStore):
        house.store._slots[slot].pace.result_ms = last_ms
    else:
        assert isinstance(house.store, RedisStore)
        await house.store._wire.execute_one("HSET", keys.in_slot(slot, "pace"), "result", last_ms)


async def beat(house) -> int:
    """As beat does: claim in every slot, then realign; return how many were moved."""
    await house.claim(horizon_ms=0)
    return sum([await house.store.realign(slot) for slot in range(house.store.slots)])


async def standing(house) -> list[str]:
    return sorted(alert.fingerprint for alert in await house.store.alerts(AlertPhase.FIRING, 9))


async def due_now(house, queue: Queue) -> list[str]:
    return await house.drain(queue)


async def put(house, group: str, due_ms: int, *, expires_ms: int = FAR_MS, ends_ms: int = 0) -> None:
    """Let a subject assert an alert that makes a group."""
    member = Membership(fingerprint=group, group=group, meta=b"m", first_flush_ms=due_ms)
    alert = AssertedAlert(fingerprint=group, alert=b"a", starts_ms=1, ends_ms=ends_ms, groups=(member,))
    await house.store.assert_alerts([SubjectAssertion(subject=f"pool:{group}", ver=1, at_ms=1, expires_ms=expires_ms, alerts=(alert,))])


async def test_every_queue_comes_back_when_the_time_was_ahead_by_an_hour(house):
    now_ms = await house.store.now_ms()
    claimed = await house.claim_one()
    await house.dirty()
    await house.commit(house.result(claimed, reevaluate_ms=now_ms + HOUR_MS, dirty_at_ms=now_ms + HOUR_MS))
    await put(house, "late", now_ms + HOUR_MS, expires_ms=now_ms + HOUR_MS, ends_ms=now_ms + HOUR_MS)
    await put(house, "flushed", now_ms)
    (lease,) = await house.store.claim(Queue.GROUPS, 0, 1, 60_000, ["flushed"])
    rows = (NewDelivery("d", "mail", b"p", now_ms + HOUR_MS),)
    await house.store.commit_flush(Flush(group="flushed", token_ms=lease.token_ms, next_ms=now_ms + HOUR_MS + 30_000, deliveries=rows))
    await beat(house)
    assert [await due_now(house, queue) for queue in Queue] == [[]] * len(Queue)
    assert await standing(house) == ["flushed", "late"]

    await was_ahead(house, HOUR_MS)
    assert await beat(house) >= 5
    assert await due_now(house, Queue.DIRTY) == ["shop"]
    assert await due_now(house, Queue.REEVALUATE) == ["e"]
    assert await due_now(house, Queue.DELIVERIES) == ["d"]
    assert await due_now(house, Queue.ASSERTIONS) == ["pool:late"]
    assert await standing(house) == ["flushed"], "an alert that ended by the wrong time has ended"
    assert await due_now(house, Queue.GROUPS) == ["late"], "what was asked for half a minute later than the others still is"
    assert await beat(house) == 0, "one step is made good once"


async def test_what_those_write_who_do_not_know_of_the_step_yet_comes_back_when_all_know(house):
    """They learn of it with their next heartbeat, one by one; the queues are made good before."""
    await was_ahead(house, HOUR_MS)
    assert await beat(house) == 0
    now_ms = await house.store.now_ms()
    await put(house, "late", now_ms + HOUR_MS, expires_ms=now_ms + HOUR_MS, ends_ms=now_ms + HOUR_MS)
    await put(house, "soon", now_ms + HOUR_MS // 2)
    claimed = await house.claim_one()
    await house.commit(house.result(claimed, reevaluate_ms=now_ms + HOUR_MS, dirty_at_ms=now_ms + HOUR_MS))
    assert await beat(house) == 0
    assert await standing(house) == ["late", "soon"]
    await all_know(house)
    assert await beat(house) >= 4
    assert await due_now(house, Queue.DIRTY) == ["shop"]
    assert await due_now(house, Queue.REEVALUATE) == ["e"]
    assert await due_now(house, Queue.ASSERTIONS) == ["pool:late"]
    assert await due_now(house, Queue.GROUPS) == ["late"], "what the right time put there stays"
    assert await standing(house) == ["soon"]
    assert await beat(house) == 0


async def test_an_end_does_not_lie_ahead(house):
    """A message that was written before the step is taken in after it."""
    now_ms = await house.store.now_ms()
    await put(house, "g", now_ms)
    ended = SubjectAssertion(subject="pool:g", ver=2, at_ms=now_ms + HOUR_MS, expires_ms=FAR_MS, alerts=())
    await house.store.assert_alerts([ended])
    assert await standing(house) == []


async def test_a_lease_given_by_the_right_time_stands_when_all_know(house):
    await was_ahead(house, JUMP_MS + 1_000)
    await beat(house)
    await put(house, "g", 2)
    (lease,) = await house.store.claim(Queue.GROUPS, 0, 1, 10_000)
    await put(house, "h", await house.store.now_ms() + HOUR_MS)
    await all_know(house)
    await beat(house)
    assert await house.store.finish(Queue.GROUPS, 0, "g", lease.token_ms, None)


async def test_a_subject_that_begins_anew_after_a_step_back_is_heard(house):
    """Versions begin with the time: those of its earlier life lie ahead."""
    now_ms = await house.store.now_ms()

    async def says(ver: int, *names: str) -> list[str]:
        alerts = tuple(AssertedAlert(fingerprint=name, alert=b"a", starts_ms=1, groups=()) for name in names)
        await house.store.assert_alerts([SubjectAssertion(subject="pool:g", ver=ver, at_ms=now_ms, expires_ms=FAR_MS, alerts=alerts)])
        return await standing(house)

    assert await says(now_ms + HOUR_MS, "old") == ["old"]
    assert await says(now_ms + HOUR_MS - 1, "late") == ["old"], "one that lies ahead too is of the same life"
    assert await says(now_ms + HOUR_MS // 2, "new") == ["new"], "the time has stepped back twice"
    assert await says(now_ms, "newer") == ["newer"]
    assert await says(now_ms + AHEAD_MS // 2, "newest") == ["newest"]
    assert await says(now_ms, "late") == ["newest"]


async def test_a_lease_given_by_the_wrong_time_ends_and_is_known_as_taken_over(house):
    await put(house, "g", 2)
    (lease,) = await house.store.claim(Queue.GROUPS, 0, 1, HOUR_MS)
    await was_ahead(house, HOUR_MS + 10_000)
    await beat(house)
    await house.passes(1)
    (again,) = await house.store.claim(Queue.GROUPS, 0, 1, 10_000)
    assert again.taken_over
    assert not await house.store.finish(Queue.GROUPS, 0, "g", lease.token_ms, None)


async def test_a_hold_on_the_alert_events_is_not_prolonged(house):
    claimed = await house.claim_one()
    await house.commit(house.result(claimed, alerts=(b"alert",)))
    (slot,) = await house.store.streams()
    token_ms, _ = await house.store.claim_alert_events(slot, 10, HOUR_MS)
    assert token_ms
    await was_ahead(house, HOUR_MS)
    await beat(house)
    token_ms, events = await house.store.claim_alert_events(slot, 10, 1_000)
    assert [data for _, data in events] == [b"alert"]


@pytest.mark.parametrize("back_ms", [0, JUMP_MS // 2])
async def test_a_small_correction_moves_nobody(house, back_ms):
    await put(house, "g", await house.store.now_ms() + HOUR_MS)
    await was_ahead(house, back_ms)
    assert await beat(house) == 0
    assert await due_now(house, Queue.GROUPS) == []


async def test_heartbeats_from_a_time_ahead_do_not_count_as_life(house):
    if isinstance(house.store, MemoryStore):
        house._clock.jump(HOUR_MS)
        await house.store.heartbeat("worker:h:1", b"w")
        house._clock.jump(-HOUR_MS)
    else:
        ahead_ms = await house.store.now_ms() + HOUR_MS
        await house.store._wire.execute_one("HSET", "wk:i:{sys}:procs", "worker:h:1", b"%013dw" % ahead_ms)
    assert await house.store.heartbeats(10_000) == {}


async def test_judging_counts_from_the_first_of_the_claims_that_come_without_a_gap(house):
    before_ms = await house.store.now_ms()
    assert await house.store.judging_since(0) >= before_ms
    await house.claim()
    since_ms = await house.store.judging_since(0)
    await house.passes(20)
    await house.claim()
    assert await house.store.judging_since(0) == since_ms
    assert before_ms <= since_ms < await house.store.now_ms()


async def test_judging_begins_anew_after_a_gap_and_after_a_step_back(house):
    await house.claim()
    first_ms = await house.store.judging_since(0)
    await house.passes(5)
    for ahead_ms in (-JUDGING_GAP_MS - 1_000, JUDGING_GAP_MS + 1_000):
        await was_ahead(house, ahead_ms)
        asked_ms = await house.store.now_ms()
        assert await house.store.judging_since(0) >= asked_ms, "nobody claims now"
        await house.claim()
        assert await house.store.judging_since(0) > first_ms


async def test_results_keep_a_pace_of_their_own_whatever_is_claimed(house):
    """A pause that a lease outlasts is no gap; a longer one is, from the result that ends it; decisions without a result are none."""
    claimed = await house.claim_one()
    slot = keys.slot_of("e", house.store.slots)
    assert (await house.store.result_pace(slot)).age_ms > HOUR_MS, "there never was one"
    assert await house.commit(house.result(claimed)) == [Committed.OK]
    first = await house.store.result_pace(slot)
    assert 0 <= first.age_ms < LEASE_SLACK_MS
    for late_ms, gap in ((LEASE_SLACK_MS - 2_000, False), (LEASE_SLACK_MS + 2_000, True)):
        await result_was(house, slot, late_ms)
        ver = await house.version("e")
        assert await house.commit(house.result(claimed, ver, token_ms=None)) == [Committed.OK]
        await house.make_due("e", await house.store.now_ms())
        claimed = (await house.claim())["e"]
        assert (await house.store.result_pace(slot)).age_ms >= late_ms, "a claim or a decision is no result"
        before_ms = await house.store.now_ms()
        assert await house.commit(house.result(claimed, ver + 1)) == [Committed.OK]
        pace = await house.store.result_pace(slot)
        assert pace.age_ms < LEASE_SLACK_MS
        if gap:
            assert pace.gap_ms >= late_ms
            assert before_ms <= pace.since_ms <= await house.store.now_ms()
        else:
            assert (pace.gap_ms, pace.since_ms) == (first.gap_ms, first.since_ms)


async def test_a_first_probe_goes_on_waiting_from_where_it_was_and_the_grid_stands(house):
    day_ms = 24 * HOUR_MS
    await house.register(house.endpoint("new", interval_ms=day_ms), house.endpoint("later", interval_ms=day_ms, initial_delay_ms=HOUR_MS))
    claimed = await house.claim_one("old", interval_ms=day_ms)
    await house.commit(house.result(claimed))
    grid_ms = await house.score("old")
    before = {name: await house.score(name) or 0 for name in ("new", "later")}
    assert await beat(house) == 0
    for name, score in before.items():
        await house.make_due(name, score + 2 * HOUR_MS)
    await was_ahead(house, 2 * HOUR_MS)
    await beat(house)
    for name, score in before.items():
        assert abs((await house.score(name) or 0) - score) <= 70_000
    assert await house.score("old") == grid_ms
    assert await beat(house) == 0
