"""What consumers report moves breakers: each call counts once, whoever judges, whoever dies, whatever the clock does."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from msgspec.structs import replace

from monitor.core.endpoint import PolicyChoice, Pool
from monitor.core.errors import Stale, StoreError
from monitor.core.policies.resilience4j_state import Memory
from monitor.core.policies.windows import CountWindow
from monitor.core.record import Override, Record, Source
from monitor.pool.compose import MemberState
from monitor.pool.traffic.fold import JUDGE_MS, QUIET_MS, fold
from monitor.pool.traffic.judge import RULING_MAX_AGE_MS
from monitor.pool.traffic.observers import OBSERVERS_MAX
from monitor.pool.traffic.shapes import ObserverState, TrafficHead, encode
from monitor.query.events import decode_transition
from monitor.registry.overrides import set_override
from monitor.registry.rename import rename
from monitor.store.port import TrafficCommit
from monitor.store.queues import Queue
from tests.registering import register
from tests.unit.traffic.house import House, story

WELL = {"success": 9}
BAD = {"failure/503": 3}
TWO = {"o1": {"a": BAD, "b": WELL, "c": WELL}, "o2": {"a": BAD, "b": WELL, "c": WELL}}


@story
async def test_an_endpoint_that_fails_for_consumers_is_ejected_and_its_record_says_why(house: House) -> None:
    await house.second(TWO)
    breaker = (await house.record()).breaker
    assert (breaker.state, breaker.source, breaker.policy, breaker.rule) == ("OPEN", Source.PASSIVE, "consecutive", "consecutive")
    assert breaker.reason == "5 failures in a row, the last a failure"
    assert 4_500 <= breaker.open_until_ms - breaker.since_ms <= 5_500, "from when it opens, not from the second that was judged"
    assert house.published == ["shop"], "at once"
    assert [await house.state(one) for one in ("b", "c")] == ["CLOSED", "CLOSED"]
    assert (await house.field()).ruling is not None, "until the record was seen to show it"
    await house.settle()
    assert (await house.field()).ruling is None
    assert (await house.record()).breaker.gen == 1, "it is told once"


@story
async def test_calls_that_succeed_between_failures_end_a_run(house: House) -> None:
    for _ in range(5):
        await house.second({one: {"a": {"failure": 2, "success": 2}} for one in ("o1", "o2")})
    assert await house.state() == "CLOSED"


@story
async def test_a_run_goes_on_over_seconds(house: House) -> None:
    for _ in range(2):
        await house.second({one: {"a": {"failure": 1}} for one in ("o1", "o2")})
        assert await house.state() == "CLOSED"
    await house.second({"o1": {"a": {"failure": 1}}})
    assert await house.state() == "OPEN"


@story
async def test_an_entry_that_comes_twice_counts_once(house: House) -> None:
    house.clock.advance(1_000)
    entry, other = house.entry("o1", {"a": {"failure": 2}}), house.entry("o2", {"a": {"failure": 2}})
    for data in (entry, other, entry, entry):
        house.store.report("shop", data)
    await house.judge()
    house.store.report("shop", other)
    await house.settle()
    assert await house.state() == "CLOSED", "four calls failed"
    assert (await house.field()).evidence.failed == pytest.approx(4, abs=0.2)
    assert house.counters.take()["reports_duplicated"] == 3


@story
async def test_late_early_unknown_and_unreadable_reports_are_counted_and_harm_nothing(house: House) -> None:
    house.clock.advance(60_000)
    now_ms = house.clock.now_ms()
    house.report("o1", {"a": BAD}, slot_ms=now_ms - 12_000)
    house.report("o1", {"a": BAD}, slot_ms=now_ms + 3_000)
    house.report("o1", {"a": WELL, "ghost": BAD})
    for data in (b"{", b'{"schema":2}', house.entry("o2", {"a": {"oops": 1}}), b""):
        house.store.report("shop", data)
    await house.judge()
    counted = house.counters.take()
    assert {name: n for name, n in counted.items() if name.startswith("report")} == {
        "reports": 7,
        "reports_late": 1,
        "reports_ahead": 1,
        "reports_unknown": 1,
        "reports_refused": 4,
        "report_counters": 1,
    }
    assert await house.aside() == [("report", "shop")]
    assert (await house.field()).evidence.calls == {"success": 9.0}
    assert await house.store.reports("shop", 9) == []


@story
async def test_so_many_observers_of_a_pool_are_known_and_what_others_say_is_counted(house: House) -> None:
    now_ms = house.clock.now_ms()
    known = {f"o{n}": ObserverState(1, 1, now_ms, 0, now_ms, now_ms) for n in range(OBSERVERS_MAX)}
    states = [MemberState(endpoint, Record(), None) for endpoint in house.endpoints]
    house.clock.advance(1_000)
    entries = [("1-0", house.entry("new", {"a": WELL})), ("2-0", house.entry("o7", {"a": WELL}, seq=2))]
    folded = fold(house.pool, states, TrafficHead(observers=known), {}, entries, house.clock.now_ms(), 1)
    assert folded.counters == {"reports": 2, "reports_unheard": 1, "report_counters": 1}
    assert len(folded.head.observers) == OBSERVERS_MAX


@story
async def test_one_observer_alone_ejects_nothing_where_there_are_others(house: House) -> None:
    for _ in range(3):
        await house.second({"o1": {"a": BAD, "b": WELL, "c": WELL}, "o2": {"a": WELL, "b": WELL}})
    assert await house.state() == "CLOSED"
    await house.second({"o1": {"a": {"failure": 9}}})
    assert await house.state() == "CLOSED"
    assert "one observer alone" in (await house.field()).held
    await house.second({"o2": {"a": {"failure": 1}}})
    assert await house.state() == "OPEN"


@story
async def test_an_observer_that_is_alone_is_believed(house: House) -> None:
    await house.second({"o1": {"a": {"failure": 9}}})
    assert await house.state() == "OPEN"


@story
async def test_a_broken_consumer_is_quarantined_and_what_it_says_does_not_count(house: House) -> None:
    for _ in range(8):
        await house.second({"broken": {"a": BAD, "b": BAD, "c": BAD}, **{f"o{n}": {"a": WELL, "b": WELL, "c": WELL} for n in range(4)}})
    assert (await house.head()).quarantined == ("broken",)
    before = (await house.field()).evidence.failed
    await house.second({"broken": {"a": {"failure": 90}}, "o1": {"a": WELL}})
    assert (await house.field()).evidence.failed < before
    assert [await house.state(one) for one in "abc"] == ["CLOSED"] * 3


@story
async def test_one_observer_beside_a_quarantined_one_is_alone(house: House) -> None:
    well = {f"o{n}": {"a": WELL, "b": WELL, "c": WELL} for n in range(4)}
    for _ in range(8):
        await house.second({"broken": {"a": BAD, "b": BAD, "c": BAD}, **well})
    assert (await house.head()).quarantined == ("broken",)
    await house.second({"o1": {"a": {"failure": 9}}})
    assert await house.state() == "CLOSED"
    assert "one observer alone" in (await house.field()).held
    await house.second({"o2": {"a": {"failure": 1}}})
    assert await house.state() == "OPEN"


@story
async def test_metrics_only_tells_once_what_reports_would_have_opened_and_judges_on(house: House) -> None:
    await set_override(house.store, "a", Override.METRICS_ONLY, "a week of watching", actor="ada")
    for _ in range(4):
        await house.second(TWO)
        await house.settle()
    assert await house.state() == "CLOSED"
    events = [decode_transition(data) for _, data in await house.store.events(99)]
    told = [event for event in events if event.kind == "metrics_only"]
    assert [(one.source, one.policy, one.new) for one in told] == [("passive", "consecutive", "OPEN")]
    await set_override(house.store, "a", None, "seen enough", actor="ada")
    await house.second(TWO)
    await house.second(TWO)
    assert await house.state() == "OPEN"


@story
async def test_of_two_who_judge_at_once_one_writes(house: House) -> None:
    house.clock.advance(1_000)
    house.report("o1", {"a": {"failure": 2}})
    leases = await house.claim()
    await house.step.judge(leases)
    house.report("o1", {"a": {"failure": 2}})
    await house.another().judge(leases)  # He thinks that he holds it still.
    assert (await house.field()).evidence.failed == pytest.approx(2)
    await house.settle()
    assert (await house.field()).evidence.failed == pytest.approx(4, abs=0.1)


@story
async def test_who_dies_after_the_commit_leaves_a_ruling_that_the_next_one_tells(house: House) -> None:
    async def dies(_rulings: object) -> None:
        raise StoreError("the connection is lost")

    house.clock.advance(1_000)
    for observer, found in TWO.items():
        house.report(observer, found)
    await house.judge(house.another(dies))
    assert await house.state() == "CLOSED"
    assert (await house.field()).ruling is not None
    house.clock.advance(6_000)  # The lease has ended.
    await house.judge()
    assert await house.state() == "OPEN"
    assert (await house.record()).breaker.gen == 1
    await house.settle()
    await house.settle()
    assert (await house.record()).breaker.gen == 1


@story
async def test_who_dies_before_the_commit_has_counted_nothing(house: House) -> None:
    house.clock.advance(1_000)
    for observer, found in TWO.items():
        house.report(observer, found)
    commit = house.store.commit_traffic

    async def dies(_commit: TrafficCommit) -> None:
        raise StoreError("the connection is lost")

    house.store.commit_traffic = dies  # type: ignore[method-assign]
    await house.judge()
    assert (await house.state(), len(await house.store.reports("shop", 9))) == ("CLOSED", 2)
    house.store.commit_traffic = commit  # type: ignore[method-assign]
    house.clock.advance(6_000)
    await house.judge()
    assert await house.state() == "OPEN"
    assert (await house.field()).evidence.failed == 6


@story
async def test_a_ruling_that_the_record_has_overtaken_is_given_up(house: House) -> None:
    refused: list[object] = []

    async def hears(rulings: object) -> None:
        refused.append(rulings)

    house.clock.advance(1_000)
    for observer, found in TWO.items():
        house.report(observer, found)
    deaf = house.another(hears)
    await house.judge(deaf)
    house.clock.advance(RULING_MAX_AGE_MS + 1_000)
    await house.judge(deaf)
    assert (await house.field()).ruling is None
    assert await house.state() == "CLOSED"
    for _ in range(2):
        await house.second(TWO)
    assert await house.state() == "OPEN", "it is judged anew"


@story
async def test_while_the_time_is_tilted_nothing_is_judged_and_afterwards_life_goes_on(house: House) -> None:
    await house.second({"o1": {"a": WELL}})
    house.clock.jump(5_000)
    house.clock.advance(1_000)
    house.report("o1", {"a": {"failure": 9}})
    await house.judge()
    assert len(await house.store.reports("shop", 9)) == 1
    house.clock.advance(30_000)
    await house.judge()
    assert house.counters.take()["reports_late"] == 1
    await house.second({"o1": {"a": {"failure": 9}}})
    assert await house.state() == "OPEN"


@pytest.mark.parametrize("by_ms", [-3_600_000, 3_600_000])
def test_a_step_of_time_loses_what_was_remembered_and_no_more(by_ms: int) -> None:
    @story
    async def told(house: House) -> None:
        house.clock.advance(7_200_000)
        await house.second({"o1": {"a": {"failure": 4}}, "o2": {"a": {"failure": 4}, "b": WELL}})
        gen = (await house.record()).breaker.gen
        await house.store.realign(0)  # As beat does every now and then.
        house.clock.jump(by_ms)
        for _ in range(2):
            house.clock.advance(31_000)
            await house.store.realign(0)
            await house.judge()
        await house.second({"o1": {"a": WELL, "b": {"failure": 2}}, "o2": {"b": {"failure": 3}}})
        await house.settle()
        assert await house.state("b") == "OPEN"
        assert (await house.record()).breaker.gen >= gen
        assert house.counters.take().get("unjudged") is None

    told()


@story
async def test_of_an_open_endpoint_late_results_are_only_recorded(house: House) -> None:
    await house.second(TWO)
    await house.settle()
    for _ in range(3):
        await house.second(TWO)
    breaker = (await house.record()).breaker
    assert (breaker.state, breaker.gen) == ("OPEN", 1)
    assert (await house.field()).evidence.failed > 15


@story
async def test_a_pool_falls_due_again_while_consumers_report_and_rests_when_all_is_forgotten(house: House) -> None:
    await house.second({"o1": {"a": WELL}})
    assert (Queue.TRAFFIC, "shop", JUDGE_MS) in house.due
    house.clock.advance(4_000)
    await house.judge()
    assert (Queue.TRAFFIC, "shop", QUIET_MS) in house.due
    for _ in range(190):
        house.clock.advance(QUIET_MS)
        await house.judge()
    house.clock.advance(600_000)
    assert (Queue.TRAFFIC, 0) not in await house.store.ready()
    await house.second({"o1": {"a": {"failure": 9}}})
    assert await house.state() == "OPEN"


@story
async def test_what_was_announced_while_a_pool_was_put_to_rest_is_not_left(house: House) -> None:
    await house.second({"o1": {"a": WELL}})
    house.clock.advance(200_000)
    finish = house.store.finish

    async def late(*args: object) -> bool:
        house.report("o1", {"a": WELL})
        return await finish(*args)  # type: ignore[arg-type]

    house.store.finish = late  # type: ignore[method-assign, assignment]
    await house.judge()
    assert (Queue.TRAFFIC, 0) in await house.store.ready()


@story
async def test_a_pool_without_members_is_forgotten(house: House) -> None:
    await house.second(TWO)
    await register(house.store, [], [one.id for one in house.endpoints], [])
    await house.settle()
    assert (await house.store.load_pool("shop")).traffic.fields == {}
    house.store.report("never", house.entry("o1", {"a": WELL}))
    await house.judge()
    assert await house.store.reports("never", 9) == []
    assert house.counters.take()["reports_of_no_pool"] == 2


@story
async def test_when_a_pool_is_removed_what_is_known_of_its_traffic_goes_though_nobody_reports(house: House) -> None:
    await house.second(TWO)
    for _ in range(200):
        house.clock.advance(QUIET_MS)
        await house.judge()
    assert (Queue.TRAFFIC, 0) not in await house.store.ready()
    await register(house.store, [], [one.id for one in house.endpoints], [])
    leases = await house.store.claim(Queue.DIRTY, 0, 9, 5_000)
    await house.publisher.weigh_leased((0, lease) for lease in leases)
    await house.judge()
    assert (await house.store.load_pool("shop")).traffic.ver == 0


@story
async def test_of_an_endpoint_that_left_nothing_is_kept(house: House) -> None:
    await house.second(TWO)
    await register(house.store, [], ["b"], [])
    await house.second(TWO)
    assert set((await house.store.load_pool("shop")).traffic.fields) == {"a", "c"}


@story
async def test_what_cannot_be_read_is_set_aside_and_its_endpoint_begins_anew(house: House) -> None:
    await house.second({"o1": {"a": WELL, "b": WELL}})
    (lease,) = await house.store.claim(Queue.TRAFFIC, 0, 9, 5_000) or [None]
    assert lease is None
    house.clock.advance(JUDGE_MS)
    (lease,) = await house.claim()
    load = await house.store.load_pool("shop")
    spoilt = TrafficCommit(
        pool="shop", token_ms=lease.token_ms, ver=load.traffic.ver, next_ver=load.traffic.ver + 1, head=b"{", fields={"a": b"\xff"}
    )
    await house.store.commit_traffic(spoilt)
    await house.store.finish(Queue.TRAFFIC, 0, "shop", lease.token_ms, house.clock.now_ms())
    await house.second({"o1": {"a": WELL}, "o2": {"a": WELL}})
    assert await house.aside() == [("traffic", "a"), ("traffic", "shop")]
    assert (await house.field("a")).evidence.calls == {"success": 18.0}
    assert (await house.field("b")).evidence.calls["success"] > 8


def test_a_memory_that_no_policy_can_go_on_from_holds_up_nobody() -> None:
    """It can be read, as what another release has written may be, and leads nowhere."""

    async def tell() -> None:
        policy = PolicyChoice("resilience4j", {"sliding_window_size": 2, "minimum_number_of_calls": 2})
        house = await House(passive=policy).opened()
        await house.second({"o1": {"a": WELL, "b": WELL}})
        house.clock.advance(JUDGE_MS)
        (lease,) = await house.claim()
        load = await house.store.load_pool("shop")
        spoilt = replace(await house.field(), memory=msgspec.Raw(encode(Memory(CountWindow(2, b"\0\0", place=9)))))
        commit = TrafficCommit(
            pool="shop",
            token_ms=lease.token_ms,
            ver=load.traffic.ver,
            next_ver=load.traffic.ver + 1,
            head=load.traffic.head,
            fields={"a": encode(spoilt)},
        )
        await house.store.commit_traffic(commit)
        await house.store.finish(Queue.TRAFFIC, 0, "shop", lease.token_ms, house.clock.now_ms())
        await house.second({"o1": {"a": {"success": 1}, "b": {"success": 1}}})
        assert ("traffic", "a") in await house.aside()
        assert (await house.field()).evidence.calls["success"] > 9, "what was counted is kept"
        for _ in range(2):
            await house.second({"o1": {"a": {"failure": 3}}})
        assert await house.state() == "OPEN"

    asyncio.run(tell())


@story
async def test_a_memory_of_another_policy_begins_anew(house: House) -> None:
    await house.second({"o1": {"a": {"failure": 4}}})
    await register(house.store, [], [], [Pool(name="shop", passive=PolicyChoice("consecutive", {"failure_threshold": 6}))])
    await house.second({"o1": {"a": {"failure": 1}}})
    assert await house.state() == "CLOSED", "the same kind goes on with what it knows"
    await house.second({"o1": {"a": {"failure": 1}}})
    assert await house.state() == "OPEN"


@story
async def test_a_policy_that_is_switched_off_counts_and_judges_nothing(house: House) -> None:
    await house.second({"o1": {"a": {"failure": 4}}})
    await register(house.store, [], [], [Pool(name="shop", passive=PolicyChoice("none"))])
    for _ in range(3):
        await house.second(TWO)
    assert await house.state() == "CLOSED"
    field = await house.field()
    assert (field.kind, field.evidence.failed > 20) == ("", True)


@story
async def test_a_renamed_endpoint_keeps_what_is_known_of_its_traffic(house: House) -> None:
    await house.second({"o1": {"a": {"failure": 4}}})
    await rename(house.store, "a", "new", actor="ada")
    await house.second({"o1": {"new": {"failure": 1}}})
    assert await house.state("new") == "OPEN"
    assert set((await house.store.load_pool("shop")).traffic.fields) == {"new", "b", "c"}


@story
async def test_who_has_lost_the_lease_tells_nobody_anything(house: House) -> None:
    house.clock.advance(1_000)
    for observer, found in TWO.items():
        house.report(observer, found)
    leases = await house.claim()
    house.clock.advance(6_000)
    others = await house.claim()
    await house.step.judge(leases)
    assert await house.state() == "CLOSED"
    await house.step.judge(others)
    assert await house.state() == "OPEN"
    with pytest.raises(Stale):
        await house.store.commit_traffic(TrafficCommit(pool="shop", token_ms=leases[0].token_ms, ver=0, next_ver=1, head=b""))
