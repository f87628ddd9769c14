"""A policy of probes that compares members sees all of its pool, as it was within the last second; others see nothing of it."""

from __future__ import annotations

import asyncio
from typing import Any

from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint, PolicyChoice, Pool
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.core.policies.envoy_state import Gathered
from monitor.core.record import Breaker, decode_record
from monitor.core.subject import Subject
from monitor.store.memory.store import MemoryStore
from tests.registering import register
from tests.unit.test_decide_step import HOUR_MS, House
from workers.journey.counters import Counters
from workers.journey.decide import Probed
from workers.journey.pool_view import POOL_VIEW_MAX_AGE_MS, PoolViews
from workers.journey.quarantine import Quarantine

ENVOY = Pool(name="shop", active=PolicyChoice("envoy", {"consecutive_5xx": 2, "max_ejection_percent": 40}))


def endpoints(n: int) -> list[Endpoint]:
    return [Endpoint(id=f"e{i}", url="http://127.0.0.1:1/", pool="shop", interval_ms=1_000) for i in range(n)]


class Counted(MemoryStore):
    reads = 0

    async def load_pool(self, pool: str) -> Any:
        self.reads += 1
        return await super().load_pool(pool)


def test_a_pool_is_read_once_a_second_and_only_for_a_policy_that_compares_members() -> None:
    async def story() -> None:
        clock = FakeClock()
        store = Counted(clock)
        members = endpoints(5)
        await register(store, members, [], [ENVOY])
        views = PoolViews(store, clock, Quarantine(store, Counters()))
        plain = Subject(members[0], Pool(name="shop"))
        assert await views.completed(plain, b"{}") is plain
        assert store.reads == 0
        for _ in range(3):
            seen = await views.completed(Subject(members[0], ENVOY), b"{}")
            assert isinstance(seen.gathered, Gathered)
            assert (seen.gathered.hosts, seen.gathered.ejected) == (5, 0)
        assert store.reads == 1
        clock.advance(POOL_VIEW_MAX_AGE_MS + 1)
        await views.completed(Subject(members[0], ENVOY), b"{}")
        assert store.reads == 2

    asyncio.run(story())


def test_of_a_pool_whose_probes_all_fail_no_more_are_ejected_than_may_be() -> None:
    async def story() -> None:
        house = House()
        members = endpoints(5)
        await register(house.store, members, [], [ENVOY])
        for _ in range(4):
            house.clock.advance(1_000)
            await fail(house)
        loaded = await house.store.load([member.id for member in members])
        found = [decode_record(one.record).breaker.state for one in loaded]
        assert (found.count(Breaker.OPEN), found.count(Breaker.CLOSED)) == (2, 3)

    async def fail(house: House) -> None:
        """Let every endpoint that is due fail a probe, all of them in one batch."""
        claimed = (await house.store.claim_probes(0, 10, HOUR_MS)).items
        prepared = await house.cache.ready(0, 1, [one.id for one in claimed])
        ended = [asyncio.Event() for _ in claimed]
        for one, end in zip(claimed, ended, strict=True):
            now_ms = house.clock.now_ms()
            result = Result(
                outcome=Outcome.FAILURE,
                at_ms=now_ms,
                started_ms=now_ms,
                duration_ms=3.0,
                scheduled_ms=one.due_ms,
                failure=FailureClass.STATUS,
                status=500,
            )
            ready = prepared[one.id]
            assert ready is not None
            house.step.submit(Probed(ready, one.token_ms, result, end.set), asyncio.get_running_loop())
        for end in ended:
            await end.wait()

    asyncio.run(story())
