"""A pool in a store in memory, consumers that report on it, and the steps that judge them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from msgspec.structs import replace

from alert_rules.files.rule_file import load_rules
from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint, PolicyChoice, Pool
from monitor.core.observation import TrafficRuling
from monitor.core.record import BreakerState, Record, decode_record, encode_record
from monitor.core.reports import Counters as Counted
from monitor.core.reports import Report, encode_report
from monitor.pool.traffic.fold import JUDGE_MS
from monitor.pool.traffic.shapes import EndpointTraffic, TrafficHead, decode_field, decode_head
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Commit, Committed, Lease
from monitor.store.queues import QUEUES, Queue
from tests.registering import register
from workers.journey.counters import Counters
from workers.journey.decide import DecideStep
from workers.journey.endpoint_cache import EndpointCache
from workers.journey.publish import Publisher
from workers.journey.quarantine import Quarantine
from workers.journey.traffic import TrafficStep

RULES = load_rules()
FIVE = PolicyChoice("consecutive", {"failure_threshold": 5})
"""Judges by runs alone, so that a test can count."""


class House:
    """The pool `shop` with these endpoints, judged by `passive`."""

    def __init__(self, *ids: str, passive: PolicyChoice = FIVE) -> None:
        self.clock = FakeClock()
        self.clock.advance(1_000 - self.clock.now_ms() % 1_000)
        self.store = MemoryStore(self.clock)
        self.counters = Counters()
        self.pool = Pool(name="shop", passive=passive)
        self.endpoints = [Endpoint(id=one, url=f"http://127.0.0.1/{one}", pool="shop") for one in ids or ("a", "b", "c")]
        self.seqs: dict[str, int] = {}
        self.due: list[tuple[Queue, str, int]] = []
        self.published: list[str] = []
        quarantine = Quarantine(self.store, self.counters)
        self.cache = EndpointCache(self.store, self.clock, lambda _: object(), quarantine)  # type: ignore[arg-type,return-value]
        self.deciding = DecideStep(
            store=self.store,
            clock=self.clock,
            cache=self.cache,
            rules=RULES,
            publish=lambda pool, _slot, _mark_ms: self.published.append(pool),
            route=lambda _slot: None,
            counters=self.counters,
            quarantine=quarantine,
            soon=self._soon,
        )
        self.publisher = Publisher(
            store=self.store,
            clock=self.clock,
            rules=RULES,
            route=lambda _slot: None,
            counters=self.counters,
            quarantine=quarantine,
            soon=self._soon,
        )
        self.step = self.another()

    def another(self, rule: Callable[[Mapping[str, TrafficRuling]], Any] | None = None) -> TrafficStep:
        """One who judges; `rule` takes the place of the endpoints' records."""
        return TrafficStep(
            store=self.store,
            clock=self.clock,
            rule=rule or self.deciding.rule,
            counters=self.counters,
            quarantine=Quarantine(self.store, self.counters),
            soon=self._soon,
        )

    def _soon(self, queue: Queue, _slot: int, member: str, due_ms: int) -> None:
        self.due.append((queue, member, due_ms - self.clock.now_ms()))

    async def opened(self) -> House:
        await register(self.store, self.endpoints, [], [self.pool])
        return self

    def entry(self, observer: str, calls: Mapping[str, Mapping[str, int]], *, slot_ms: int | None = None, seq: int | None = None) -> bytes:
        """An entry about the second that has just ended."""
        self.seqs[observer] = seq if seq is not None else self.seqs.get(observer, 0) + 1
        at_ms = self.clock.now_ms() // 1_000 * 1_000 - 1_000 if slot_ms is None else slot_ms
        endpoints = {name: Counted(dict(found)) for name, found in calls.items()}
        return encode_report(Report(observer=observer, seq=self.seqs[observer], slot_ms=at_ms, endpoints=endpoints))

    def report(self, observer: str, calls: Mapping[str, Mapping[str, int]], **changes: Any) -> None:
        self.store.report("shop", self.entry(observer, calls, **changes))

    async def claim(self) -> list[Lease]:
        return await self.store.claim(Queue.TRAFFIC, 0, 9, QUEUES[Queue.TRAFFIC].lease_ms)

    async def judge(self, step: TrafficStep | None = None) -> None:
        """Judge what is due."""
        await (step or self.step).judge(await self.claim())

    async def second(self, calls: Mapping[str, Mapping[str, Mapping[str, int]]]) -> None:
        """A second passes, in which observers saw calls of endpoints; then they report and it is judged."""
        self.clock.advance(1_000)
        for observer, found in calls.items():
            self.report(observer, found)
        await self.judge()

    async def settle(self) -> None:
        """Judge once more, a little later: now the records have answered."""
        self.clock.advance(JUDGE_MS)
        await self.judge()

    async def record(self, endpoint_id: str = "a") -> Record:
        (loaded,) = await self.store.load([endpoint_id])
        return decode_record(loaded.record)

    async def becomes(self, breaker: BreakerState, endpoint_id: str = "a", **changes: Any) -> None:
        """Let an endpoint's breaker be so, as if somebody else had decided."""
        (held,) = await self.store.load([endpoint_id])
        record = replace(decode_record(held.record), breaker=breaker, **changes)
        commit = Commit(
            id=endpoint_id, token_ms=None, ver=held.ver, next_ver=held.ver + 1, record=encode_record(record), reevaluate_ms=0, pool="shop"
        )
        assert await self.store.commit([commit]) == [Committed.OK]

    async def state(self, endpoint_id: str = "a") -> str:
        return (await self.record(endpoint_id)).breaker.state.value

    async def field(self, endpoint_id: str = "a") -> EndpointTraffic:
        return decode_field((await self.store.load_pool("shop")).traffic.fields.get(endpoint_id, b""))

    async def head(self) -> TrafficHead:
        return decode_head((await self.store.load_pool("shop")).traffic.head)

    async def aside(self) -> list[tuple[str, str]]:
        return [(item.kind, item.key) for item in await self.store.aside()]


def story(tell: Callable[[House], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is a coroutine and takes a house."""

    def test() -> None:
        async def run() -> None:
            await tell(await House().opened())

        asyncio.run(run())

    test.__name__, test.__doc__ = tell.__name__, tell.__doc__
    return test
