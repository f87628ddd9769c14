"""What is asserted and what is told of it over time: beginnings and ends, lost ones, silence of ours."""

from __future__ import annotations

from alert_rules.rules.memory import ASSERT_EVERY_MS, Assertion, encode_assertion
from monitor.store.port import AlertPhase
from tests.unit.alerting.house import MINUTE, House, S, alert, timeline


@timeline
async def test_an_alert_is_told_and_its_end_too() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.work()
    assert house.heard["people/apprise/0"] == []
    await house.passes(2 * S)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]
    await house.says("endpoint:a")
    await house.passes(MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[RESOLVED] a"]
    await house.quiet()


@timeline
async def test_a_lost_beginning_and_a_lost_end_are_made_good() -> None:
    """The events are lost with the stream; what is asserted later is enough."""
    house = House()
    since_ms = house.clock.now_ms()
    await house.says("endpoint:a", "a")
    house.store._alert_events[0].delete(["1"])
    await house.passes(ASSERT_EVERY_MS)
    await house.says("endpoint:a", "a", starts_ms=since_ms)
    await house.passes(2 * S)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]
    await house.says("endpoint:a")
    house.store._alert_events[0].delete(["3"])
    await house.passes(6 * MINUTE + ASSERT_EVERY_MS)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[ENDED] a: nobody has asserted it for 5m"]
    await house.quiet()


@timeline
async def test_an_end_counts_by_its_version_and_not_by_a_clock() -> None:
    """The process that found the end has a clock that is behind that of the one that found the beginning."""
    house = House()
    await house.says("endpoint:a", "a", ver=5)
    await house.passes(2 * S)
    await house.put(encode_assertion(Assertion(subject="endpoint:a", ver=6, at_ms=house.clock.now_ms() - 5 * S)))
    await house.put(
        encode_assertion(Assertion(subject="endpoint:a", ver=5, at_ms=house.clock.now_ms(), alerts=(alert("endpoint:a", "a", 1),)))
    )
    await house.passes(MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[RESOLVED] a"]
    await house.quiet()


@timeline
async def test_what_nobody_asserts_ends_with_that_reason() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.passes(4 * MINUTE)
    assert len(await house.store.alerts(AlertPhase.FIRING, 9)) == 1
    await house.passes(61 * S)
    (ended,) = await house.store.alerts(AlertPhase.RESOLVED, 9)
    assert ended.reason == "nobody has asserted it for 5m"
    await house.passes(MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[ENDED] a: nobody has asserted it for 5m"]
    await house.quiet()


@timeline
async def test_nothing_ends_for_want_of_assertions_while_nobody_judges() -> None:
    """Redis, the beats or the workers were away for half an hour: the time counts from when they are back."""
    house = House()
    await house.judged()
    since_ms = house.clock.now_ms()
    await house.says("endpoint:a", "a")
    await house.passes(2 * S)
    house.clock.advance(30 * MINUTE)
    await house.passes(4 * MINUTE)
    assert len(await house.store.alerts(AlertPhase.FIRING, 9)) == 1
    await house.says("endpoint:a", "a", starts_ms=since_ms)
    await house.passes(4 * MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]


@timeline
async def test_nothing_ends_for_want_of_assertions_because_no_alert_worker_lived() -> None:
    """Probes went on for ten minutes, and nobody served the alerts' queues: what asserts again is served as late as what ends."""
    house = House()
    await house.judged()
    since_ms = house.clock.now_ms()
    await house.says("endpoint:a", "a")
    await house.passes(2 * S)
    for _ in range(600):
        house.clock.advance(S)
        await house.judged()
    await house.passes(MINUTE)
    assert len(await house.store.alerts(AlertPhase.FIRING, 9)) == 1
    await house.says("endpoint:a", "a", starts_ms=since_ms)
    await house.passes(4 * MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]
    await house.passes(3 * MINUTE)
    assert house.heard["people/apprise/0"] == ["[FIRING] a", "[ENDED] a: nobody has asserted it for 5m"]


@timeline
async def test_nothing_is_flushed_or_ended_while_the_clock_is_tilted() -> None:
    house = House()
    await house.says("endpoint:a", "a")
    await house.work()
    house.clock.jump(10 * MINUTE)
    assert house.clock.tilted
    await house.passes(25 * S)
    assert house.heard == {}
    assert len(await house.store.alerts(AlertPhase.FIRING, 9)) == 1
    await house.passes(20 * S)
    assert house.heard["people/apprise/0"] == ["[FIRING] a"]
