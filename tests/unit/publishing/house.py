"""One pool of three in a store in memory, and publishers, as the tests of this folder move them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from alert_rules.files.rule_file import parse_rule_text
from alert_rules.rules.memory import decode_assertion
from alert_rules.rules.rule import RuleSet
from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Outcome
from monitor.core.record import Breaker, BreakerState, ProbeStatistics, Record, Transition, encode_record
from monitor.pool.compose import decode_snapshot
from monitor.pool.snapshot import Snapshot
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Commit, Committed
from tests.registering import register
from workers.journey.counters import Counters
from workers.journey.publish import Publisher
from workers.journey.quarantine import Quarantine

RULES = parse_rule_text("groups: [{name: pools, rules: [{alert: PoolDown, expr: pool_admitted == 0 && pool_size > 0}]}]")
IDS = ("a", "b", "c")


class House:
    """A store with one pool of three, and any number of publishers."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.counters = Counters()
        self.routed: list[int] = []
        self.due: list[tuple[str, int]] = []
        """What was said to fall due: pools, and how long from then."""
        self.publisher = self.another()

    def another(self, rules: RuleSet = RULES) -> Publisher:
        return Publisher(
            store=self.store,
            clock=self.clock,
            rules=rules,
            route=self.routed.append,
            counters=self.counters,
            quarantine=Quarantine(self.store, self.counters),
            soon=lambda _queue, _slot, pool, due_ms: self.due.append((pool, due_ms - self.clock.now_ms())),
        )

    async def opened(self) -> House:
        await register(self.store, [endpoint(one) for one in IDS], [], [])
        await self.become(Breaker.CLOSED, *IDS)
        return self

    async def become(self, breaker: Breaker, *ids: str) -> None:
        """Let the breakers of these endpoints be so."""
        for one, held in zip(ids, await self.store.load(ids), strict=True):
            probes = ProbeStatistics(Outcome.SUCCESS, 5, results=5, last_success_ms=self.clock.now_ms())
            state = BreakerState(state=breaker, reason="a test")
            record = encode_record(Record(breaker=state, probes=probes, since_ms=1, decided_ms=self.clock.now_ms()))
            commit = Commit(id=one, token_ms=None, ver=held.ver, next_ver=held.ver + 1, record=record, reevaluate_ms=0, pool="shop")
            assert await self.store.commit([commit]) == [Committed.OK]

    async def snapshot(self) -> Snapshot | None:
        return decode_snapshot((await self.store.snapshots(["shop"]))[0])

    async def weights(self) -> dict[str, int]:
        snapshot = await self.snapshot()
        assert snapshot is not None
        return {one.id: one.weight for one in snapshot.endpoints}

    async def panics(self) -> list[tuple[str, str]]:
        """The pool's own transitions so far."""
        events = [msgspec.json.decode(data, type=Transition) for _, data in await self.store.events(1_000)]
        return [(one.old, one.new) for one in events if one.kind == "pool"]

    async def alerts(self) -> list[list[str]]:
        """What the rules have asserted since the last call: the names of all that fires, each time."""
        token_ms, events = await self.store.claim_alert_events(0, 100, 1_000)
        if events:
            await self.store.ack_alert_events(0, token_ms, [entry_id for entry_id, _ in events])
        return [[alert.labels["alertname"] for alert in decode_assertion(data).alerts] for _, data in events]

    async def ends(self) -> list[str]:
        """The reasons of what has ended since the last call of `alerts`, or of this."""
        _, events = await self.store.claim_alert_events(0, 100, 1_000)
        return [alert.end_reason for _, data in events for alert in decode_assertion(data).ended]

    async def aside(self) -> list[tuple[str, str]]:
        """What was kept aside because it could not be read."""
        return [(item.kind, item.key) for item in await self.store.aside()]

    async def subject(self) -> bytes:
        return (await self.store.load_subject("pool:shop"))[1]


def endpoint(endpoint_id: str) -> Endpoint:
    return Endpoint(id=endpoint_id, url=f"http://127.0.0.1/{endpoint_id}", pool="shop")


def story(tell: Callable[[House], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is a coroutine and takes a house."""

    def test() -> None:
        async def run() -> None:
            await tell(await House().opened())

        asyncio.run(run())

    test.__name__, test.__doc__ = tell.__name__, tell.__doc__
    return test
