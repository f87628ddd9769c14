"""A process's heartbeat: what it tells of itself, and what the rules about ourselves make of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from alert_rules.files.rule_file import parse_rule_text
from alert_rules.rules.memory import decode_assertion
from alert_rules.rules.rule import RuleSet
from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint
from monitor.core.errors import StoreError
from monitor.core.parts import PartName
from monitor.core.process import Process, decode_process, encode_process
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Commit, Committed
from monitor.store.queues import Queue
from tests.registering import register
from workers.journey.counters import Counters
from workers.journey.quarantine import Quarantine
from workers.journey.system import SystemStep
from workers.runtime.heartbeat import Heartbeat

RULES = parse_rule_text("groups: [{name: ours, rules: [{alert: Tilted, expr: system_tilted}]}]")
MAX_AGE_MS = 10_000


class House:
    """One worker's heart on a store in memory."""

    def __init__(self, alive_file: Path | None = None, duties: Mapping[str, Callable[[], Awaitable[None]]] | None = None) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.counters = Counters()
        self.learnt = 0
        self.silent = False
        self.asserted: list[str] = []
        self.heart = Heartbeat(
            store=self.store,
            clock=self.clock,
            learn=self.learn,
            counters=self.counters,
            part="worker",
            location="fra-1",
            interval_ms=2_000,
            alive_file=alive_file,
            duties=duties or {},
        )

    async def learn(self) -> bool:
        self.learnt += 1
        if self.silent:
            raise StoreError("simulated")
        return True

    async def beat(self) -> bool:
        """Beat once, and tell whether the process says that it is tilted."""
        await self.heart.beat()
        (process,) = [decode_process(data) for data in (await self.store.heartbeats(MAX_AGE_MS)).values()]
        return process.tilted

    def system(self, rules: RuleSet = RULES) -> SystemStep:
        """Who evaluates the rules about the system."""
        return SystemStep(
            store=self.store,
            clock=self.clock,
            rules=rules,
            heartbeat_age_max_ms=MAX_AGE_MS,
            route=lambda _: None,
            quarantine=Quarantine(self.store, self.counters),
        )

    async def alerts(self, system: SystemStep, *, beat: bool = False) -> list[str]:
        """The names of the alerts that the rules about the system assert now; with `beat` as a heartbeat has them evaluated."""
        await (system.beat() if beat else system.evaluate())
        token_ms, events = await self.store.claim_alert_events(0, 100, 1_000)
        if events:
            await self.store.ack_alert_events(0, token_ms, [entry_id for entry_id, _ in events])
            self.asserted = [alert.labels["alertname"] for alert in decode_assertion(events[-1][1]).alerts]
        return self.asserted


def test_a_clock_that_jumps_is_told_to_the_rules_and_forgotten_after_half_a_minute() -> None:
    async def story() -> None:
        house = House()
        system = house.system()
        assert not await house.beat()
        assert await house.alerts(system) == []
        house.clock.jump(3_600_000)
        house.clock.advance(2_000)
        assert await house.beat()
        assert await house.alerts(system) == ["Tilted"]
        house.clock.advance(30_000)
        assert not await house.beat()
        assert await house.alerts(system) == []

    asyncio.run(story())


def test_no_time_passes_for_the_rules_about_the_system_while_the_timeline_is_tilted() -> None:
    async def story() -> None:
        house = House()
        rules = parse_rule_text(
            "groups: [{name: ours, rules: [{alert: Workers, expr: system_workers > 0, for: 1m}, {alert: Tilted, expr: system_tilted}]}]"
        )
        system = house.system(rules)
        await house.beat()
        assert await house.alerts(system) == []
        house.clock.jump(3_600_000)
        await house.beat()
        assert await house.alerts(system) == ["Tilted"]
        house.clock.advance(30_000)
        await house.beat()
        assert await house.alerts(system) == []
        house.clock.advance(30_000)
        await house.beat()
        assert await house.alerts(system) == ["Workers"]

    asyncio.run(story())


def test_after_an_outage_of_ours_each_process_gets_the_time_for_a_heartbeat() -> None:
    async def story() -> None:
        house = House()
        rules = parse_rule_text("groups: [{name: ours, rules: [{alert: Workers, expr: system_workers < 2}]}]")
        system = house.system(rules)

        async def others() -> None:
            worker = Process(part=PartName.WORKER, host="h", pid=1, started_ms=1, at_ms=1)
            for name in ("worker:h:1", "worker:h:2"):
                await house.store.heartbeat(name, encode_process(worker))

        await others()
        assert await house.alerts(system, beat=True) == []
        house.clock.advance(35_000)  # The store does not answer anybody.
        assert await house.alerts(system, beat=True) == []
        await others()
        house.clock.advance(MAX_AGE_MS)
        await others()
        assert await house.alerts(system, beat=True) == []
        house.clock.advance(35_000)
        assert await house.alerts(system, beat=True) == []
        house.clock.advance(MAX_AGE_MS)
        assert await house.alerts(system, beat=True) == ["Workers"], "now they are missing"

    asyncio.run(story())


def test_a_pool_whose_results_stop_is_told_to_the_rules() -> None:
    async def story() -> None:
        house = House()
        rules = parse_rule_text("groups: [{name: ours, rules: [{alert: Lagging, expr: system_pools_lagging > 0}]}]")
        system = house.system(rules)
        endpoint = Endpoint(id="e", url="http://127.0.0.1:1/", pool="shop", interval_ms=1_000)
        await register(house.store, [endpoint], [], [])
        ver = 0

        async def judged() -> None:
            nonlocal ver
            ver += 1
            commit = Commit(id="e", token_ms=None, ver=ver - 1, next_ver=ver, record=b"r", reevaluate_ms=0, pool="shop", vouched_ms=15_000)
            assert await house.store.commit([commit]) == [Committed.OK]
            for lease in await house.store.claim(Queue.DIRTY, 0, 10, 1_000):
                await house.store.finish(Queue.DIRTY, 0, lease.member, lease.token_ms, None)

        await judged()
        assert await house.alerts(system) == []
        house.clock.advance(15_000)
        assert await house.alerts(system) == []
        house.clock.advance(1)
        assert await house.alerts(system) == ["Lagging"]
        await judged()
        assert await house.alerts(system) == []

    asyncio.run(story())


def test_an_alive_file_that_cannot_be_touched_does_not_stop_the_heart(tmp_path: Path) -> None:
    async def story() -> None:
        done: list[str] = []

        async def duty() -> None:
            done.append("duty")

        house = House(tmp_path / "no such folder" / "alive", {"a duty": duty})
        house.counters.add("probes_success", 3)
        await house.beat()
        assert done == ["duty"]
        assert await house.store.counters() == {"probes_success": 3}

    asyncio.run(story())


def test_without_the_servers_time_there_is_no_heartbeat_and_no_count_is_lost() -> None:
    async def story() -> None:
        house = House()
        house.silent = True
        house.counters.add("publications")
        await house.heart.beat()
        assert await house.store.heartbeats(MAX_AGE_MS) == {}
        house.silent = False
        await house.beat()
        assert house.learnt == 2
        assert await house.store.counters() == {"publications": 1}

    asyncio.run(story())


def test_a_process_that_leaves_hands_over_its_counts_and_deregisters() -> None:
    async def story() -> None:
        house = House()
        await house.beat()
        house.counters.add("publications")
        await house.heart.stop()
        assert await house.store.heartbeats(MAX_AGE_MS) == {}
        assert await house.store.counters() == {"publications": 1}

    asyncio.run(story())
