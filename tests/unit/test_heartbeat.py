"""A process's sign of life: what it tells of itself, and what the rules about ourselves make of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from alert_rules.files.rule_file import parse_rule_text
from alert_rules.rules.alert import Alert
from alert_rules.rules.rule import RuleSet
from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Commit, Committed, Queue
from workers.journey.counters import Counters
from workers.runtime.heartbeat import Heartbeat, decode_process, look_at_ourselves

RULES = parse_rule_text("groups: [{name: ours, rules: [{alert: Tilted, expr: system_tilted}]}]")
MAX_AGE_MS = 10_000


class House:
    """One worker's heart on a store in memory."""

    def __init__(self, alive_file: Path | None = None, duties: Mapping[str, Callable[[], Awaitable[None]]] | None = None) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.counters = Counters()
        self.heart = Heartbeat(
            store=self.store,
            clock=self.clock,
            counters=self.counters,
            part="worker",
            location="fra-1",
            interval_ms=2_000,
            alive_file=alive_file,
            duties=duties or {},
        )

    async def beat(self) -> bool:
        """Beat once, and tell whether the process says that it is tilted."""
        await self.heart.beat()
        (process,) = [decode_process(data) for data in (await self.store.heartbeats(MAX_AGE_MS)).values()]
        return process.tilted

    async def alerts(self, rules: RuleSet = RULES) -> list[tuple[str, bool]]:
        """What the rules about ourselves have to say now: names, and whether they have ended."""
        await look_at_ourselves(self.store, self.clock, rules, MAX_AGE_MS, lambda _: None)
        token_ms, events = await self.store.claim_alert_events(0, 100, 1_000)
        if events:
            await self.store.ack_alert_events(0, token_ms, [entry_id for entry_id, _ in events])
        found = [msgspec.json.decode(data, type=Alert) for _, data in events]
        return [(alert.labels["alertname"], alert.ends_at_ms > 0) for alert in found]


def test_a_clock_that_jumps_is_told_to_the_rules_and_forgotten_after_half_a_minute() -> None:
    async def story() -> None:
        house = House()
        assert not await house.beat()
        assert await house.alerts() == []
        house.clock.jump(3_600_000)
        house.clock.advance(2_000)
        assert await house.beat()
        assert await house.alerts() == [("Tilted", False)]
        house.clock.advance(30_000)
        assert not await house.beat()
        assert await house.alerts() == [("Tilted", True)]

    asyncio.run(story())


def test_a_pool_whose_results_stop_is_told_to_the_rules() -> None:
    async def story() -> None:
        house = House()
        rules = parse_rule_text("groups: [{name: ours, rules: [{alert: Lagging, expr: system_pools_lagging > 0}]}]")
        endpoint = Endpoint(id="e", url="http://127.0.0.1:1/", pool="shop", interval_ms=1_000)
        await house.store.register([endpoint], [], [])
        ver = 0

        async def judged() -> None:
            nonlocal ver
            fresh_until_ms = house.clock.now_ms() + 15_000
            ver += 1
            commit = Commit(
                id="e", token_ms=None, ver=ver - 1, next_ver=ver, record=b"r", reevaluate_ms=0, pool="shop", fresh_until_ms=fresh_until_ms
            )
            assert await house.store.commit([commit]) == [Committed.OK]
            for lease in await house.store.claim(Queue.DIRTY, 0, 10, 1_000):
                await house.store.finish(Queue.DIRTY, 0, lease.member, lease.token_ms, None)

        await judged()
        assert await house.alerts(rules) == []
        house.clock.advance(15_000)
        assert await house.alerts(rules) == []
        house.clock.advance(1)
        assert await house.alerts(rules) == [("Lagging", False)]
        await judged()
        assert await house.alerts(rules) == [("Lagging", True)]

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


def test_a_process_that_leaves_hands_over_its_counts_and_takes_its_sign_of_life_back() -> None:
    async def story() -> None:
        house = House()
        await house.beat()
        house.counters.add("publications")
        await house.heart.stop()
        assert await house.store.heartbeats(MAX_AGE_MS) == {}
        assert await house.store.counters() == {"publications": 1}

    asyncio.run(story())
