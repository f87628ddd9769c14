"""Whoever judges, dies, is late or hears no answer, and whatever comes twice: no call is counted twice, and none is lost."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from monitor.core.errors import StoreError
from monitor.pool.traffic.fold import QUIET_MS
from monitor.query.traffic import read_traffic_history
from monitor.store.port import TrafficCommit
from monitor.store.queues import QUEUES, Queue
from tests.unit.traffic.house import House
from workers.journey.traffic import TrafficStep

OBSERVERS = ("o1", "o2", "o3")
FATES = ("lives", "lives", "dies before", "dies after", "hears nothing")
LEASE_MS = QUEUES[Queue.TRAFFIC].lease_ms


class Judging(RuleBasedStateMachine):
    """Three consumers, two judges."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.house = self.runner.run(House("a", "b").opened())
        self.judges = (self.house.step, self.house.another())
        self.sent: list[bytes] = []
        self.late = 0

    @rule(observer=st.sampled_from(OBSERVERS))
    def reports(self, observer: str) -> None:
        entry = self.house.entry(observer, {"a": {"success": 1}})
        self.sent.append(entry)
        self.house.store.report("shop", entry)

    @rule(back=st.integers(0, 20))
    def repeats(self, back: int) -> None:
        """An answer was lost, so the consumer sends it again; or the network does."""
        if self.sent:
            self.house.store.report("shop", self.sent[-1 - back % len(self.sent)])

    @rule(ms=st.sampled_from([100, 500, 1_000, LEASE_MS + 1_000]))
    def passes(self, ms: int) -> None:
        self.house.clock.advance(ms)

    @rule(judge=st.integers(0, 1), fate=st.sampled_from(FATES))
    def judges_what_is_due(self, judge: int, fate: str) -> None:
        self.runner.run(self._judge(self.judges[judge], fate))

    @rule()
    def two_judge_at_once(self) -> None:
        """The lease of the first has ended, and he does not know."""
        self.runner.run(self._two())

    @invariant()
    def nothing_counts_twice(self) -> None:
        assert self.runner.run(self._counted()) <= len(self.sent)

    def teardown(self) -> None:
        for _ in range(3):
            self.house.clock.advance(LEASE_MS if self.late else QUIET_MS)
            self.runner.run(self._judge(self.judges[0], "lives"))
        counted, late = self.runner.run(self._counted()), self.late + self.house.counters.take().get("reports_late", 0)
        assert counted <= len(self.sent)
        assert counted == len(self.sent) or late or self.runner.run(self.house.store.reports("shop", 9))
        self.runner.close()

    async def _two(self) -> None:
        first = await self.house.claim()
        self.house.clock.advance(LEASE_MS + 1_000)
        second = await self.house.claim()
        await asyncio.gather(self.judges[0].judge(first), self.judges[1].judge(second))

    async def _judge(self, judge: TrafficStep, fate: str) -> None:
        store: Any = self.house.store
        commit = store.commit_traffic

        async def fails(change: TrafficCommit) -> None:
            if fate != "dies before":
                await commit(change)
            raise StoreError("the connection is lost")

        if fate in {"dies before", "hears nothing"}:
            store.commit_traffic = fails
        leases = await self.house.claim()
        await judge.judge(leases)
        store.commit_traffic = commit
        if fate == "dies after":  # He never said when to judge next.
            for lease in leases:
                store._queue(Queue.TRAFFIC)[lease.member] = lease.token_ms

    async def _counted(self) -> int:
        return (await read_traffic_history(self.house.store, "a", self.house.clock.now_ms())).whole.ok


TestJudging = Judging.TestCase
TestJudging.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
