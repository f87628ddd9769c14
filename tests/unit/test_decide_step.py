"""What one result's commit says to the pool that it belongs to: for how long it vouches, and when to weigh it again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from alert_rules.files.rule_file import load_rules, parse_rule_text
from alert_rules.rules.memory import decode_assertion, decode_memory
from alert_rules.rules.rule import RuleSet
from monitor import registry
from monitor.clock import FakeClock
from monitor.core.breaker import Event
from monitor.core.endpoint import Endpoint
from monitor.core.errors import StoreError, StoreRefusal
from monitor.core.observation import TrafficRuling
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.core.record import Breaker, decode_record
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Commit, Committed, Lease
from monitor.store.queues import Queue
from tests.registering import register
from workers.journey.counters import Counters
from workers.journey.decide import COMMIT_MAX, WEIGH_MS, DecideStep, Probed
from workers.journey.endpoint_cache import EndpointCache
from workers.journey.quarantine import Quarantine

SUCCESS, FAILURE, INCONCLUSIVE = Outcome.SUCCESS, Outcome.FAILURE, Outcome.INCONCLUSIVE
HOUR_MS = 3_600_000


class House:
    """A store in memory with one endpoint, and the step that decides about its results."""

    def __init__(self, rules: RuleSet | None = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.published: list[str] = []
        self.due: list[tuple[Queue, str, int]] = []
        self.endpoint = Endpoint(**{"id": "e", "url": "http://127.0.0.1:1/", "pool": "shop", "failure_threshold": 2, **settings})
        self.counters = counters = Counters()
        quarantine = Quarantine(self.store, counters)
        self.cache = EndpointCache(self.store, self.clock, lambda _: object(), quarantine)  # type: ignore[arg-type,return-value]
        self.step = DecideStep(
            store=self.store,
            clock=self.clock,
            cache=self.cache,
            rules=rules or load_rules(),
            publish=lambda pool, _slot, _mark_ms: self.published.append(pool),
            route=lambda _slot: None,
            counters=counters,
            quarantine=quarantine,
            soon=lambda queue, _slot, member, due_ms: self.due.append((queue, member, due_ms - self.clock.now_ms())),
        )

    async def result(self, outcome: Outcome, late_ms: int = 0) -> None:
        """Claim the endpoint at its next turn, and decide about a result of it."""
        await register(self.store, [self.endpoint], [], [])
        self.clock.advance(self.endpoint.interval_ms)
        (claimed,) = (await self.store.claim_probes(0, 10, HOUR_MS)).items
        now_ms = self.clock.now_ms() - late_ms
        failure = FailureClass.STATUS if outcome is FAILURE else None
        result = Result(
            outcome=outcome, at_ms=now_ms, started_ms=now_ms, duration_ms=3.0, scheduled_ms=claimed.due_ms, failure=failure, text=""
        )
        ended = asyncio.Event()
        self.step.submit(Probed(self.cache.make(self.endpoint), claimed.token_ms, result, ended.set), asyncio.get_running_loop())
        await ended.wait()

    async def many(self, n: int) -> list[Probed]:
        """Register this many endpoints and claim them; a success of each."""
        await register(self.store, [replace(self.endpoint, id=f"e{i}") for i in range(n)])
        self.clock.advance(self.endpoint.interval_ms)
        prepared = await self.cache.ready(0, 1, [f"e{i}" for i in range(n)])
        now_ms = self.clock.now_ms()
        result = Result(outcome=SUCCESS, at_ms=now_ms, started_ms=now_ms, duration_ms=3.0, scheduled_ms=now_ms)
        claim = await self.store.claim_probes(0, n, HOUR_MS)
        return [Probed(prepared[claimed.id], claimed.token_ms, result, lambda: None) for claimed in claim.items]

    async def firing(self) -> list[str]:
        """The rules whose alerts fire."""
        (loaded,) = await self.store.load(["e"])
        return [state.rule for state in decode_memory(loaded.memory).firing]

    def vouched_for_ms(self) -> int:
        """For how long from now somebody vouches for the pool; 0 or less: nobody does."""
        return self.store._slots[0].judged.get("shop", 0) - self.clock.now_ms()


@pytest.mark.parametrize(
    ("outcome", "interval_ms", "wanted_ms"),
    [(SUCCESS, 1_000, 15_000), (FAILURE, 1_000, 15_000), (SUCCESS, 30_000, 90_000), (SUCCESS, HOUR_MS, 3 * HOUR_MS)],
)
def test_a_conclusive_result_vouches_for_its_pool_for_three_intervals_and_a_ttl_at_least(
    outcome: Outcome, interval_ms: int, wanted_ms: int
) -> None:
    async def story() -> None:
        house = House(interval_ms=interval_ms)
        await house.result(outcome)
        assert house.vouched_for_ms() == wanted_ms
        house.store._queue(Queue.DIRTY, 0).clear()  # It is published meanwhile.
        house.clock.advance(wanted_ms)
        assert await house.store.lagging() == []
        house.clock.advance(1)
        assert await house.store.lagging() == ["shop"]

    asyncio.run(story())


def test_an_overtaken_result_changes_nothing_and_is_counted() -> None:
    async def story() -> None:
        house = House(interval_ms=1_000)
        await house.result(SUCCESS)
        house.counters.take()
        await house.result(FAILURE, late_ms=1_500)
        assert house.counters.take()["observations_refused"] == 1
        (loaded,) = await house.store.load(["e"])
        assert decode_record(loaded.record).probes.run_outcome is SUCCESS

    asyncio.run(story())


def test_a_result_that_taught_nothing_vouches_for_nothing() -> None:
    async def story() -> None:
        house = House(interval_ms=1_000)
        await house.result(SUCCESS)
        before_ms = house.vouched_for_ms()
        await house.result(INCONCLUSIVE)
        assert house.vouched_for_ms() == before_ms - 1_000

    asyncio.run(story())


def test_no_time_passes_for_the_rules_of_an_endpoint_while_the_timeline_is_tilted() -> None:
    async def story() -> None:
        rules = parse_rule_text("groups: [{name: one, rules: [{alert: Failing, expr: failures > 0, for: 1h}]}]")
        house = House(rules, interval_ms=1_000)
        await house.result(FAILURE)
        house.clock.jump(HOUR_MS)
        await house.result(FAILURE)
        assert await house.firing() == []
        house.clock.advance(HOUR_MS)
        await house.result(FAILURE)
        assert len(await house.firing()) == 1

    asyncio.run(story())


@pytest.mark.parametrize("step_ms", [HOUR_MS, -HOUR_MS])
@pytest.mark.parametrize("for_s", [60, 3_600])
def test_what_a_rule_had_waited_before_a_step_of_time_does_not_count_the_step(step_ms: int, for_s: int) -> None:
    async def story() -> None:
        rules = parse_rule_text(f"groups: [{{name: one, rules: [{{alert: Failing, expr: failures > 0, for: {for_s}s}}]}}]")
        house = House(rules, interval_ms=1_000, failure_threshold=1_000)
        await house.result(FAILURE)
        house.clock.jump(step_ms)
        failing_s = 0
        while not await house.firing():
            await house.result(FAILURE)
            failing_s += 1
        assert for_s <= failing_s <= for_s + 31

    asyncio.run(story())


def test_a_change_of_state_is_published_at_once_and_a_change_of_quality_in_its_time() -> None:
    async def story() -> None:
        house = House(interval_ms=1_000)
        for _ in range(20):
            await house.result(SUCCESS)
        house.published.clear()
        house.due.clear()
        await house.result(FAILURE)
        assert (house.published, house.due) == ([], [(Queue.DIRTY, "shop", WEIGH_MS)])
        house.due.clear()
        await house.result(FAILURE)
        assert (house.published, house.due) == (["shop"], [])

    asyncio.run(story())


def test_a_result_is_judged_by_the_endpoint_as_it_is_registered_and_not_as_it_was_claimed() -> None:
    """An operator edits between the claim and the commit: the edit's threshold decides, and its re-evaluation is not lost."""

    async def story() -> None:
        house = House(failure_threshold=1)
        await register(house.store, [house.endpoint])
        house.clock.advance(house.endpoint.interval_ms)
        (claimed,) = (await house.store.claim_probes(0, 10, HOUR_MS)).items
        cached = await house.cache.ready(0, 1, ["e"])
        edited = replace(house.endpoint, failure_threshold=5, labels={"team": "shop"})
        await register(house.store, [edited])
        now_ms = house.clock.now_ms()
        failed = Result(outcome=FAILURE, at_ms=now_ms, started_ms=now_ms, duration_ms=3.0, scheduled_ms=now_ms, text="refused")
        await house.step._commit_results([Probed(cached["e"], claimed.token_ms, failed, lambda: None)])
        (loaded,) = await house.store.load(["e"])
        assert decode_record(loaded.record).breaker.state is Breaker.CLOSED
        assert decode_memory(loaded.memory).version.endswith(house.cache.make(edited).digest)

    asyncio.run(story())


@pytest.mark.parametrize("what", ["edit", "remove"])
def test_an_act_between_loading_and_committing_is_decided_afresh(what: str) -> None:
    async def story() -> None:
        house = House(failure_threshold=1)
        await register(house.store, [house.endpoint])
        house.clock.advance(house.endpoint.interval_ms)
        (claimed,) = (await house.store.claim_probes(0, 10, HOUR_MS)).items
        prepared = (await house.cache.ready(0, 1, ["e"]))["e"]
        commit, acted = house.store.commit, False

        async def act_first(items: Sequence[Commit]) -> list[Committed]:
            nonlocal acted
            if not acted:
                acted = True
                puts = [replace(house.endpoint, failure_threshold=5)] if what == "edit" else []
                await register(house.store, puts, [] if puts else ["e"])
            return await commit(items)

        house.store.commit = act_first  # type: ignore[method-assign]
        now_ms = house.clock.now_ms()
        failed = Result(outcome=FAILURE, at_ms=now_ms, started_ms=now_ms, duration_ms=3.0, scheduled_ms=now_ms, text="refused")
        await house.step._commit_results([Probed(prepared, claimed.token_ms, failed, lambda: None)])
        (loaded,) = await house.store.load(["e"])
        record = decode_record(loaded.record)
        assert record.breaker.state is Breaker.CLOSED
        assert bool(record.probes.results) is (what == "edit")

    asyncio.run(story())


def test_a_commit_writes_so_many_results_at_most() -> None:
    async def story() -> None:
        house = House()
        commit, sizes = house.store.commit, []

        async def counted(items: Sequence[Commit]) -> list[Committed]:
            sizes.append(len(items))
            return await commit(items)

        house.store.commit = counted  # type: ignore[method-assign]
        for item in await house.many(2 * COMMIT_MAX + 1):
            house.step.submit(item, asyncio.get_running_loop())
        house.step._start_commit()
        await asyncio.gather(*house.step._running)
        assert sizes == [COMMIT_MAX, COMMIT_MAX, 1]

    asyncio.run(story())


def test_only_what_is_left_counts_as_uncommitted() -> None:
    async def story() -> None:
        house = House()
        commit, rounds = house.store.commit, 0

        async def fails_in_the_second_round(items: Sequence[Commit]) -> list[Committed]:
            nonlocal rounds
            rounds += 1
            if rounds == 2:
                raise StoreError("simulated")
            return [*await commit(items[1:]), Committed.STALE][::-1]

        house.store.commit = fails_in_the_second_round  # type: ignore[method-assign]
        await house.step._commit_results(await house.many(10))
        assert house.counters.take() == {"results_uncommitted": 1}

    asyncio.run(story())


def test_a_commit_that_the_store_refuses_keeps_nobody_else_from_being_committed() -> None:
    async def story() -> None:
        house = House()
        commit = house.store.commit

        async def refuses(items: Sequence[Commit]) -> list[Committed]:
            if any(item.id == "e1" for item in items):
                raise StoreRefusal("simulated")
            return await commit(items)

        house.store.commit = refuses  # type: ignore[method-assign]
        await house.step._commit_results(await house.many(3))
        assert [bool(loaded.record) for loaded in await house.store.load(["e0", "e1", "e2"])] == [True, False, True]
        assert house.counters.take() == {"commits_refused": 1, "results_lost": 1}
        house.clock.advance(1)
        leases = [Lease(f"e{i}", house.clock.now_ms() + 5_000, house.clock.now_ms()) for i in range(3)]
        await house.step.reevaluate(0, leases)
        assert [loaded.ver > 0 for loaded in await house.store.load(["e0", "e1", "e2"])] == [True, False, True]
        assert house.counters.take() == {"commits_refused": 1}

    asyncio.run(story())


DAMAGED = {
    "a negative count": b'{"history":{"minute":{"start_ms":1,"ok":-5,"failed":-5,"inconclusive":-5}}}',
    "evidence beyond all numbers": b'{"weighing":{"ok":1e308,"total":1e308}}',
    "less than no evidence": b'{"weighing":{"ok":-1e308,"total":1.0}}',
}


@pytest.mark.parametrize("record", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_record_from_which_nothing_can_be_decided_is_set_aside_and_its_endpoint_starts_afresh(record: bytes) -> None:
    async def story() -> None:
        house = House()
        await register(house.store, [house.endpoint])
        house.store._slots[0].records["e"] = (7, record)
        await house.result(SUCCESS)
        (loaded,) = await house.store.load(["e"])
        assert decode_record(loaded.record).probes.results == 1
        assert [(item.kind, item.key, item.data) for item in await house.store.aside()] == [("record", "e", record)]
        assert house.counters.take() == {"unreadable": 1}

    asyncio.run(story())


def test_where_deciding_fails_whatever_the_record_is_it_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        house = House()
        await house.result(SUCCESS)
        before = await house.store.load(["e"])

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr("monitor.core.decide.decide", broken)
        house.counters.take()
        await house.result(SUCCESS)
        assert await house.store.load(["e"]) == before
        assert await house.store.aside() == []
        assert house.counters.take() == {"undecided": 1}

    asyncio.run(story())


def test_the_alert_of_a_renamed_endpoint_ends_and_one_of_its_new_name_begins() -> None:
    async def story() -> None:
        rules = parse_rule_text("groups: [{name: one, rules: [{alert: Failing, expr: failures > 0}]}]")
        house = House(rules, interval_ms=1_000)
        await house.result(FAILURE)
        assert await house.firing() == ["Failing"]
        await registry.rename(house.store, "e", "f", actor="ann", reason="one service")
        house.clock.advance(10)
        leases = await house.store.claim(Queue.REEVALUATE, 0, 10, 10_000)
        await house.step.reevaluate(0, leases)
        _, events = await house.store.claim_alert_events(0, 10, 10_000)
        told = [decode_assertion(data) for _, data in events]
        assert [(one.subject, [alert.labels["endpoint"] for alert in one.alerts]) for one in told[-2:]] == [
            ("endpoint:f", ["f"]),
            ("endpoint:e", []),
        ]
        assert [alert.end_reason for alert in told[-1].ended] == ["renamed by ann: one service: to f"]
        assert told[-1].ver > told[0].ver
        record = decode_record((await house.store.load(["f"]))[0].record)
        assert record.probes.run_outcome is FAILURE
        assert (await house.store.load(["e"]))[0].ver == 0, "nothing is left of the old name"

    asyncio.run(story())


def test_a_ruling_of_the_judge_of_traffic_is_committed_published_and_comes_back_when_its_opening_may_end() -> None:
    async def story() -> None:
        house = House()
        await house.result(SUCCESS)
        said = TrafficRuling(seq=1, gen=0, event=Event.TRIP, policy="cusum", rule="cusum", reason="users", open_ms=5_000)
        house.published.clear()
        await house.step.rule({"e": said, "gone": said})
        (loaded,) = await house.store.load(["e"])
        record = decode_record(loaded.record)
        assert (record.breaker.state, record.breaker.reason, record.traffic_seq) == (Breaker.OPEN, "users", 1)
        assert house.published == ["shop"]
        assert house.store._queue(Queue.REEVALUATE, 0)["e"] <= record.breaker.open_until_ms + 1
        await house.step.rule({"e": said})
        assert house.counters.take()["observations_refused"] == 1
        (gone,) = await house.store.load(["gone"])
        assert not gone.record

    asyncio.run(story())
