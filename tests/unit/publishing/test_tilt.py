"""While the timeline is tilted."""

from __future__ import annotations

import msgspec

from alert_rules.files.rule_file import parse_rule_text
from monitor.core.outcome import Outcome
from monitor.core.record import Breaker, BreakerState, Override, OverrideRecord, ProbeStatistics, Record, encode_record
from monitor.store.port import Commit, Committed
from tests.registering import set_override
from tests.unit.publishing.house import House, endpoint, story


@story
async def test_no_time_passes_for_a_pool_while_the_timeline_is_tilted_and_an_operators_word_is_published(house: House) -> None:
    await house.become(Breaker.OPEN, "c")
    await house.publisher.publish("shop")
    house.clock.advance(1_000)
    (held,) = await house.store.load(["c"])
    now_ms = house.clock.now_ms()
    probes = ProbeStatistics(Outcome.SUCCESS, 5, results=5, last_success_ms=now_ms)
    back = encode_record(Record(breaker=BreakerState(), probes=probes, since_ms=1, warm_up_since_ms=now_ms, decided_ms=now_ms))
    commit = Commit(id="c", token_ms=None, ver=held.ver, next_ver=held.ver + 1, record=back, reevaluate_ms=0, pool="shop")
    assert await house.store.commit([commit]) == [Committed.OK]
    house.clock.advance(1_000)
    await house.publisher.publish("shop")
    warming = await house.weights()
    assert 0 < warming["c"] < warming["a"]
    house.clock.jump(3_600_000)
    next_ms = await house.publisher.publish("shop")
    assert next_ms is not None
    assert house.clock.now_ms() < next_ms <= house.clock.now_ms() + 2_000
    assert await house.weights() == warming
    drain = msgspec.json.encode(OverrideRecord(override=Override.DRAIN, reason="a test", at_ms=house.clock.now_ms()))
    await set_override(house.store, endpoint("a"), drain, b"")
    await house.publisher.publish("shop")
    drained = await house.weights()
    assert drained["a"] == 0
    house.clock.advance(31_000)
    await house.publisher.publish("shop")
    assert (await house.weights())["c"] > drained["c"]


@story
async def test_a_step_ahead_while_a_pool_rises_does_not_count_as_time_that_it_has_risen(house: House) -> None:
    await house.become(Breaker.OPEN, "c")
    await house.publisher.publish("shop")
    await house.become(Breaker.CLOSED, "c")
    house.clock.jump(3_600_000)
    for _ in range(30):
        await house.publisher.publish("shop")
        assert (await house.weights())["c"] <= 1
        house.clock.advance(1_000)
    await house.publisher.publish("shop")
    assert (await house.weights())["c"] < 150


@story
async def test_what_a_rule_about_a_pool_had_waited_before_a_step_ahead_does_not_count_the_step(house: House) -> None:
    rules = parse_rule_text("groups: [{name: pools, rules: [{alert: Waits, expr: pool_size > 0, for: 1m}]}]")
    publisher = house.another(rules)
    await publisher.publish("shop")
    house.clock.jump(3_600_000)
    await publisher.publish("shop")
    house.clock.advance(59_999)
    await publisher.publish("shop")
    assert await house.alerts() == []
    house.clock.advance(1)
    await publisher.publish("shop")
    assert await house.alerts() == [["Waits"]]
