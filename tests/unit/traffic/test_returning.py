"""An endpoint that consumers' reports have ejected returns through their trials, while they report; through probes where nobody does."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.core.record import Breaker, decode_record
from monitor.core.recovery import REPORTS_MAX_AGE_MS
from monitor.store.port import Lease
from monitor.store.queues import QUEUES, Queue
from tests.unit.traffic.house import House, story
from workers.journey.decide import Probed

WELL = {"success": 9}
BAD = {"failure/503": 3}
HOUR_MS = 3_600_000


def seen(a: Mapping[str, int]) -> dict[str, dict[str, Mapping[str, int]]]:
    return {one: {"a": a, "b": WELL, "c": WELL} for one in ("o1", "o2")}


async def probed(house: House, outcome: Outcome = Outcome.SUCCESS) -> None:
    """Let a probe of every endpoint that is due have this outcome, `a`'s at the least."""
    for claimed in (await house.store.claim_probes(0, 10, HOUR_MS)).items:
        now_ms = house.clock.now_ms()
        result = Result(outcome=outcome, at_ms=now_ms, started_ms=now_ms, duration_ms=3.0, failure=FailureClass.STATUS, text="x")
        prepared = (await house.cache.ready(0, 1, [claimed.id]))[claimed.id]
        assert prepared is not None
        await house.deciding._commit_results([Probed(prepared, claimed.token_ms, result, lambda: None)])


async def reevaluated(house: House) -> None:
    """Let everything be re-evaluated that is due."""
    leases: list[Lease] = await house.store.claim(Queue.REEVALUATE, 0, 9, QUEUES[Queue.REEVALUATE].lease_ms)
    await house.deciding.reevaluate(0, leases)


async def until_open_ends(house: House) -> None:
    """Consumers go on reporting until the time of the opening is over; nobody sends calls to `a`."""
    breaker = (await house.record()).breaker
    while house.clock.now_ms() <= breaker.open_until_ms:
        await house.second({one: {"b": WELL, "c": WELL} for one in ("o1", "o2")})
        await reevaluated(house)
        await probed(house)


@story
async def test_while_consumers_report_it_is_theirs_to_try(house: House) -> None:
    await probed(house)
    await house.second(seen(BAD))
    assert await house.state() == "OPEN"
    await until_open_ends(house)
    record = await house.record()
    assert record.breaker.state is Breaker.HALF_OPEN, record.breaker
    assert record.breaker.trials is not None
    assert record.breaker.trials.permitted == 1


@story
async def test_a_minute_after_the_last_report_it_is_the_probes_to_try(house: House) -> None:
    await probed(house)
    await house.second(seen(BAD))
    house.clock.advance(REPORTS_MAX_AGE_MS + 1_000)
    await reevaluated(house)
    assert await house.state() == "OPEN", "a probe has to succeed first"
    await probed(house)
    record = await house.record()
    assert (record.breaker.state, record.breaker.trials) == (Breaker.HALF_OPEN, None)
    house.clock.advance(30_000)
    await probed(house)
    assert await house.state() == "CLOSED"
    (loaded,) = await house.store.load(["a"])
    assert decode_record(loaded.record).breaker.source == "active"
