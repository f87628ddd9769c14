"""Whatever consumers write is counted or refused in words and harms nobody else; what is left of their traffic is read or set aside."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor.core.endpoint import PolicyChoice
from monitor.core.reports import ReportError, decode
from monitor.pool.traffic.fold import JUDGE_MS
from monitor.store.port import Traffic
from monitor.store.queues import Queue
from tests.fuzz.play import cases
from tests.fuzz.spoiling import mangled, rubbish, spoiled
from tests.unit.traffic.house import House

REPORT = {
    "schema": 1, "observer": "web-1:4711", "seq": 17, "slot_ms": 0,
    "endpoints": {"a": {"calls": {"success": 10, "failure/503": 2, "timeout": 1}, "slow": 1, "latency": {"37": 3}}, "b": {}},
}  # fmt: skip
TRIAL = {"schema": 1, "trial": {"endpoint": "a", "gen": 7, "outcome": "success", "duration_ms": 3.5, "code": 200, "observer": "web-1"}}
KINDS = ("cusum", "consecutive", "envoy", "hystrix", "resilience4j")


@given(rubbish(REPORT) | rubbish(TRIAL))
@cases(300)
def test_an_entry_is_read_or_refused_in_words(data: bytes) -> None:
    try:
        found = decode(data)
    except ReportError as error:
        words = str(error)
    else:
        words = type(found).__name__
    assert 0 < len(words) < 1_000


def current(entry: Any, slot_ms: int) -> bytes:
    """An entry of the second that has just ended, where nobody spoiled that."""
    if isinstance(entry, dict) and entry.get("slot_ms") == 0:
        entry = {**entry, "slot_ms": slot_ms}
    return json.dumps(entry).encode()


@given(st.lists(spoiled(REPORT) | spoiled(TRIAL), min_size=1, max_size=6), st.sampled_from(KINDS))
@cases(25)
def test_whatever_stands_in_the_stream_is_judged_and_a_good_entry_beside_it_counts(entries: list[Any], kind: str) -> None:
    async def told() -> None:
        house = await House(passive=PolicyChoice(kind)).opened()
        house.clock.advance(1_000)
        for entry in entries:
            house.store.report("shop", current(entry, house.clock.now_ms() - 1_000))
        house.report("good", {"c": {"success": 7}})
        await house.judge()
        await house.second({"good": {"c": {"success": 7}}})
        counted = house.counters.take()
        assert counted["reports"] == len(entries) + 2
        assert "unjudged" not in counted
        assert await house.store.reports("shop", 9) == []
        assert (await house.field("c")).evidence.calls["success"] >= 13

    asyncio.run(told())


async def known(kind: str) -> tuple[House, Traffic]:
    """What is left of three seconds of traffic, with a ruling among it."""
    house = await House(passive=PolicyChoice(kind)).opened()
    for _ in range(3):
        await house.second({one: {"a": {"success": 2, "failure": 8}, "b": {"success": 9}, "c": {"success": 9}} for one in ("o1", "o2")})
    return house, house.store._traffic["shop"]


@given(st.data(), st.sampled_from(KINDS))
@cases(25)
def test_whatever_is_left_of_what_was_known_is_read_or_set_aside(data: st.DataObject, kind: str) -> None:
    async def told() -> None:
        house, left = await known(kind)
        head = data.draw(st.just(left.head) | spoiled(json.loads(left.head)).map(lambda one: json.dumps(one).encode()) | mangled(left.head))
        field = left.fields["a"]
        spoilt = data.draw(spoiled(json.loads(field)).map(lambda one: json.dumps(one).encode()) | mangled(field))
        house.store._traffic["shop"] = replace(left, head=head, fields={**left.fields, "a": spoilt})
        house.clock.advance(JUDGE_MS)
        house.store._queue(Queue.TRAFFIC)["shop"] = 0
        house.counters.take()
        await house.judge()
        for _ in range(2):
            await house.second({one: {"a": {"success": 9}, "b": {"success": 9}, "c": {"success": 9}} for one in ("o1", "o2")})
        assert "unjudged" not in house.counters.take()
        assert (await house.field("b")).evidence.calls["success"] > 9
        assert await house.state("b") == "CLOSED"

    asyncio.run(told())
