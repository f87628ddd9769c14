"""Published state as consumers read it, spoiled in every way: one bad pool, entry, hint or file harms itself alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from monitor.client import HealthView, NoEndpoint, lastgood
from monitor.client.view import View
from monitor.store import keys
from tests.fuzz.play import cases
from tests.fuzz.spoiling import document, rubbish
from tests.integration.test_client_redis import Publisher, weights_of
from tests.waiting import until

DELTA = {name: value for name, value in document(pool="odd", ver=2).items() if name not in ("ttl_ms", "max_stale_ms")} | {"removed": ["b"]}
SAVED = {"schema": 1, "saved_ms": 0, "pools": [{"snapshot": document(), "age_ms": 5}, {"snapshot": document(pool="other"), "age_ms": 5}]}
TRACEBACK = "the view cannot be followed"


class Reader:
    """A view of a real server on a loop of its own, which goes on from one case to the next."""

    def __init__(self, url: str) -> None:
        self.publisher = Publisher(url)
        self.loop = asyncio.new_event_loop()
        self.view = HealthView(url, poll_ms=60_000)
        self.publisher.publish({"a": 1_000, "b": 0})
        self.loop.run_until_complete(self.view.astart())
        self.turn = 0

    def sees_what_is_published_next(self) -> bool:
        """Whether another pool's next version arrives."""
        self.turn = (self.turn + 1) % 1_000
        wanted = {"a": 1_000 - self.turn, "b": self.turn}
        self.publisher.publish(wanted)

        return bool(self.loop.run_until_complete(until(lambda: weights_of(self.view) == wanted)))

    def close(self) -> None:
        self.loop.run_until_complete(self.view.aclose())
        self.loop.close()
        self.publisher.redis.close()


@pytest.fixture
def reader(redis_url: str) -> Iterator[Reader]:
    reader = Reader(redis_url)
    yield reader
    reader.close()


def used(view: HealthView, pool: str) -> None:
    """All that a consumer may ask of a pool: an answer, or that there is none."""
    view.endpoints(pool), view.freshness(pool), view.shed(pool), view.panic(pool), view.pools()
    for _ in range(3):
        with suppress(NoEndpoint):
            view.report(view.pick(pool, shed=True), ok=False)


@given(
    snapshot=rubbish(document(pool="odd", ver=2)),
    delta=rubbish(DELTA),
    hint=st.sampled_from([b"1-2", b"1-999", b"9" * 5_000 + b"-1", b"", b"\xff", b"-1-1"]),
    name=st.binary(max_size=6),
    alive=st.one_of(st.none(), rubbish([1, "odd"]), st.binary(max_size=30)),
)
@cases(60)
def test_a_pool_that_cannot_be_read_spoils_no_other(
    reader: Reader, caplog: pytest.LogCaptureFixture, snapshot: bytes, delta: bytes, hint: bytes, name: bytes, alive: bytes | None
) -> None:
    caplog.set_level(logging.ERROR, "watchkeeper.client")
    caplog.clear()
    server: redis.Redis = reader.publisher.redis
    with server.pipeline(transaction=False) as pipeline:
        pipeline.set(keys.snapshot("odd"), snapshot)
        pipeline.delete(keys.log("odd"))
        pipeline.xadd(keys.log("odd"), {"d": delta}, id="1-2")
        pipeline.sadd(keys.POOLS, "odd", name)
        pipeline.set(keys.snapshot("\0").encode().replace(b"\0", name), snapshot)
        pipeline.publish(keys.channel("\0").encode().replace(b"\0", name), hint)
        if alive is not None:
            pipeline.set(keys.ALIVE, alive)
        pipeline.publish(keys.channel("odd"), hint)
        pipeline.execute()
    assert reader.sees_what_is_published_next()
    used(reader.view, "odd")
    used(reader.view, "shop")
    assert caplog.records == []
    if reader.turn % 10 == 0:  # What was known of it is forgotten now and then, so that a first reading is spoiled too.
        reader.view._view._pools.pop("odd", None)
        server.srem(keys.POOLS, name)


@given(content=rubbish(SAVED))
@cases(60)
def test_a_file_that_was_spoiled_starts_nobody_into_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "pools.json"
    path.write_bytes(content)
    saved, away_ms = lastgood.read(path, 1_000)
    view = View(bytes)
    view.restore(saved, away_ms, 0)
    view.tick(10**9)
    for pool in view.pools():
        picked: list[Any] = [next(view.wheels[pool], None) for _ in range(3)]
        assert all(one is None or one.weight > 0 for one in picked)
        assert isinstance(next(view.gates[pool]), bool)
    lastgood.write(path, view.saved(10**9), 2_000)
    assert all(entry in lastgood.read(path, 2_000)[0] for entry in view.saved(10**9))
