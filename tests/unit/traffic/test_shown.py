"""What consumers report is seen by people and moves weights, apart from what probes tell."""

from __future__ import annotations

import pytest

from monitor.cli.look import _pool_data, _words, explain_lines, explain_row
from monitor.core.history import bucket_of
from monitor.core.record import Breaker, BreakerState
from monitor.core.reports import Counters, Report, encode_report
from monitor.pool.compose import decode_snapshot
from monitor.pool.traffic.fold import WEIGH_MS
from monitor.pool.traffic.shapes import WEIGHING_MS
from monitor.query.status import read_explanation, read_pools, read_weights
from monitor.query.traffic import read_traffic_history
from monitor.store.queues import QUEUES, Queue
from tests.unit.traffic.house import House, story

WELL = {"success": 10}


async def weights(house: House) -> dict[str, int]:
    """Weigh what is due, and read what is published."""
    leases = await house.store.claim(Queue.DIRTY, 0, 9, QUEUES[Queue.DIRTY].lease_ms)
    await house.publisher.weigh_leased((0, lease) for lease in leases)
    snapshot = decode_snapshot((await house.store.snapshots(["shop"]))[0])
    return {one.id: one.weight for one in snapshot.endpoints} if snapshot else {}


@story
async def test_status_names_who_is_quarantined(house: House) -> None:
    for _ in range(8):
        await house.second(
            {
                "web-9:1": {"a": {"failure": 9}, "b": {"failure": 9}},
                **{f"web-{n}:1": {"a": WELL, "b": WELL, "c": WELL} for n in range(4)},
            }
        )
    (pool,) = await read_pools(house.store)
    data = _pool_data(pool, [])
    assert (data["pool_observers"], data["pool_success_percent"] > 90) == (5, True)
    (suspect,) = data["pool_quarantined"]
    assert (suspect["observer"], suspect["failing_share"]) == ("web-9:1", 1.0)
    assert suspect["since_ms"] > 0
    assert any("what web-9:1 reports does not count: it fails on 100% of the endpoints" in line for line in _words([pool], []))


@story
async def test_explain_shows_traffic_beside_probes(house: House) -> None:
    house.clock.advance(1_000)
    counted = Counters({"success": 8, "failure/503": 2}, 1, {bucket_of(5.0): 4, bucket_of(50.0): 4})
    report = Report(observer="o", seq=1, slot_ms=house.clock.now_ms() - 1_000, endpoints={"a": counted})
    house.store.report("shop", encode_report(report))
    await house.judge()
    found = await read_explanation(house.store, "a", house.clock.now_ms())
    row = explain_row(found)["traffic"]
    assert (row["ok"], row["failed"], row["slow"], row["calls"]) == (8.0, 2.0, 1.0, {"failure/503": 2.0, "success": 8.0})
    assert (row["p50_ms"], row["p99_ms"]) == (pytest.approx(5.0, rel=0.05), pytest.approx(50.0, rel=0.05))
    text = [line for line in explain_lines(found, house.clock.now_ms()) if "traffic:" in line]
    assert len(text) == 1
    assert "failure/503 2.00, success 8.00; successes took p50" in text[0]
    other = await read_explanation(house.store, "b", house.clock.now_ms())
    assert not [line for line in explain_lines(other, house.clock.now_ms()) if "traffic:" in line]


@story
async def test_an_endpoint_that_fails_a_little_for_consumers_gets_less_and_its_share_back_when_they_are_silent(house: House) -> None:
    for _ in range(20):
        await house.second({one: {"a": {"success": 9, "failure": 1}, "b": WELL, "c": WELL} for one in ("o1", "o2")})
        seen = await weights(house)
    assert await house.state() == "CLOSED"
    assert seen["a"] < seen["b"]
    assert 250 < seen["a"] < 310
    factors = {one.endpoint: one.factors for one in (await read_weights(house.store, "shop", house.clock.now_ms())).members}
    assert factors["a"].h == factors["a"].h_traffic < factors["b"].h_traffic == 1.0
    for _ in range((WEIGHING_MS + 2 * WEIGH_MS) // 1_000):
        house.clock.advance(1_000)
        await house.judge()
        seen = await weights(house)
    for _ in range(30):  # A rise takes its time.
        house.clock.advance(1_000)
        seen = await weights(house)
    assert max(seen.values()) - min(seen.values()) <= 1


@story
async def test_a_slow_endpoint_gets_less(house: House) -> None:
    for _ in range(20):
        house.clock.advance(1_000)
        counted = {one: Counters({"success": 50}, 0, {bucket_of(ms): 50}) for one, ms in (("a", 200.0), ("b", 20.0), ("c", 20.0))}
        for observer in ("o1", "o2"):
            house.seqs[observer] = house.seqs.get(observer, 0) + 1
            slot_ms = house.clock.now_ms() - 1_000
            report = Report(observer=observer, seq=house.seqs[observer], slot_ms=slot_ms, endpoints=counted)
            house.store.report("shop", encode_report(report))
        await house.judge()
        seen = await weights(house)
    assert seen["a"] < seen["b"] / 2


@story
async def test_history_has_the_minutes_of_traffic_apart_from_probes(house: House) -> None:
    house.clock.advance(60_000 - house.clock.now_ms() % 60_000)
    for _ in range(150):
        await house.second({"o1": {"a": {"success": 3, "failure": 1, "timeout": 1, "ignored": 2}}})
    found = await read_traffic_history(house.store, "a", house.clock.now_ms())
    assert [(row.ok, row.failed, row.inconclusive) for row in found.rows] == [(180, 120, 120), (180, 120, 120), (90, 60, 60)]
    assert (found.whole.ok, found.whole.failed) == (450, 300)
    assert [row.start_ms % 60_000 for row in found.rows] == [0, 0, 0]
    assert (await read_traffic_history(house.store, "b", house.clock.now_ms())).rows == ()
    house.clock.advance(3 * 3_600_000)
    assert (await read_traffic_history(house.store, "a", house.clock.now_ms())).rows == ()


@story
async def test_an_endpoint_that_closed_again_is_not_held_to_what_was_before(house: House) -> None:
    await house.second({one: {"a": {"failure": 9}, "b": WELL, "c": WELL} for one in ("o1", "o2")})
    assert await house.state() == "OPEN"
    await house.settle()
    assert (await house.field()).evidence.failed > 17
    await house.becomes(BreakerState(state=Breaker.CLOSED, gen=2, since_ms=house.clock.now_ms()))
    await house.second({"o1": {"a": WELL}})
    assert (await house.field()).evidence.calls == {"success": 10.0}
    await house.second({"o1": {"a": {"failure": 1}}})
    assert (await house.field()).evidence.failed == 1, "once"
