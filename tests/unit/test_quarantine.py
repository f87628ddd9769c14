"""What cannot be read is held in small: a digest of what was spoken of, and no more than the store would keep of what waits for it."""

from __future__ import annotations

import asyncio
import json
import tracemalloc

import pytest

from monitor.clock import FakeClock
from monitor.core.errors import StoreError
from monitor.store.keys import ASIDE_BYTES_MAX, ASIDE_MAX
from monitor.store.memory.store import MemoryStore
from monitor.store.port import SetAside
from workers.journey.counters import Counters
from workers.journey.quarantine import Quarantine

MIB = 1_048_576


class LostStore(MemoryStore):
    """Takes nothing while it is away, and remembers what it is given in one call."""

    away = True
    given: tuple[SetAside, ...] = ()

    async def set_aside(self, items: list[SetAside]) -> None:
        if self.away:
            raise StoreError("gone")
        self.given = tuple(items)
        await super().set_aside(items)


def test_of_a_long_value_no_more_than_a_copy_is_held() -> None:
    quarantine = Quarantine(MemoryStore(FakeClock()), Counters())
    tracemalloc.start()
    try:
        for number in range(20):
            quarantine.read("record", f"e{number}", bytes([number]) * MIB, json.loads)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20 * 2 * ASIDE_BYTES_MAX


def test_what_waits_for_the_store_has_a_cap() -> None:
    store = LostStore(FakeClock())
    quarantine = Quarantine(store, Counters())
    for number in range(ASIDE_MAX + 5):
        quarantine.read("record", f"e{number}", b"x" * (ASIDE_BYTES_MAX + 1 if number == 0 else 1), json.loads)

    async def story() -> None:
        with pytest.raises(StoreError):
            await quarantine.flush()
        store.away = False
        await quarantine.flush()
        await quarantine.flush()

    asyncio.run(story())
    assert len(store.given) == ASIDE_MAX
    assert len(store.given[0].data) == ASIDE_BYTES_MAX


def test_of_one_value_it_speaks_once_and_again_when_it_is_another() -> None:
    counters = Counters()
    quarantine = Quarantine(MemoryStore(FakeClock()), counters)
    for data in (b"x", b"x", b"y", b""):
        assert quarantine.read("record", "e", data, json.loads) is None
    assert counters.take() == {"unreadable": 3}


def test_a_writer_that_goes_on_to_write_what_cannot_be_read_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    quarantine = Quarantine(MemoryStore(FakeClock()), counters)
    for number in range(100):
        quarantine.read("report", "shop", f"{{{number}".encode(), json.loads)
    quarantine.read("report", "other", b"{", json.loads)
    assert [record.getMessage().partition(" cannot")[0] for record in caplog.records] == ["the report of shop", "the report of other"]
    assert counters.take()["unreadable"] == 101
