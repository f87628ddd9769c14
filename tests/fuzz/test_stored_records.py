"""Everything in Redis as each part reads it, spoiled: what cannot be read harms itself alone, and every command says so in words."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.main import main
from monitor.core.errors import WatchkeeperError
from monitor.core.record import Override
from monitor.registry import set_override
from monitor.store import keys
from tests.conftest import RedisServer
from tests.fuzz.play import cases
from tests.fuzz.spoiling import mangled, spoiled
from tests.integration.plant import Plant, down, endpoint
from tests.registering import register

COMMANDS = [
    ["status"], ["status", "-o", "json"], ["explain", "e"], ["history", "e"], ["events"], ["events", "-o", "json"], ["alerts", "list"],
    ["alerts", "list", "-o", "json"], ["alerts", "list", "--resolved"], ["alerts", "sent"], ["quarantine", "list"], ["endpoint", "list"],
    ["endpoint", "show", "e"], ["pool", "list"], ["export"],
]  # fmt: skip
SCORES = [0.0, -1.0, 1.0, 0.5, 1e15, 9e15, 1e300, float("inf"), float("-inf")]
NOT_CONCERNED = (b"fine", b"calm")
SHARED = {keys.SLOTS, keys.EPOCH, keys.in_slot(0, "pace"), keys.in_slot(0, "rev")}
LAST = "18446744073709551615-18446744073709551615"


class Data:
    """A data set after a fire: registered, probed, failed, told, overridden; restored for each case."""

    def __init__(self, server: RedisServer) -> None:
        self.url = server.url
        self.redis = redis.Redis.from_url(server.url)
        self.redis.flushall()
        asyncio.run(self._play())
        self.dumps = {key: self.redis.dump(key) for key in sorted(self.redis.scan_iter(count=1_000))}

    async def _play(self) -> None:
        plant = await Plant(self.url).open()
        try:
            await register(plant.store, [endpoint(id="fine", pool="calm")])
            await down(plant)
            await set_override(plant.store, "other", Override.DRAIN, "kernel update", actor="ada")
            await plant.store.heartbeat("worker:h:1", b"{}")
            await plant.store.count({"probes": 1})
            await plant.store.alive()
        finally:
            await plant.store.close()

    def version_of_fine(self) -> bytes:
        """It grows with each result that is committed."""
        return bytes(self.redis.hget(keys.in_slot(0, "rec"), "fine") or b"")[: keys.VERSION_DIGITS]

    def restore(self) -> None:
        with self.redis.pipeline(transaction=False) as pipeline:
            pipeline.flushall()
            for key, dump in self.dumps.items():
                pipeline.restore(key, 0, dump)
            pipeline.execute()


@pytest.fixture(scope="module")
def data(valkey: RedisServer) -> Iterator[Data]:
    data = Data(valkey)
    yield data
    data.redis.close()


@st.composite
def _value(draw: st.DrawFn, content: bytes) -> bytes:
    """What stands there, spoiled: bytes, or the JSON behind its version."""
    head, brace, _ = content.partition(b"{")
    if brace and draw(st.booleans()):
        try:
            document: Any = json.loads(content[len(head) :])
        except ValueError:
            return draw(mangled(content))
        return head + json.dumps(draw(spoiled(document))).encode()
    return draw(mangled(content))


def spoil(draw: Any, data: Data, key: bytes) -> bool:
    """Spoil one item of the key, or now and then the whole key. Returns whether `fine` and its pool have no part in it."""
    server = data.redis
    kind = server.type(key).decode()
    apart = key.decode() not in SHARED and b"calm" not in key and b"fine" not in key
    if draw(st.integers(0, 9)) == 0:
        server.delete(key)
        if draw(st.booleans()):
            (server.set if kind != "string" else server.sadd)(key, draw(st.binary(max_size=10)))
        return apart and (b":e" in key or b"shop" in key)
    if kind == "string":
        server.set(key, draw(_value(server.get(key))))
    elif kind == "hash":
        field, value = draw(st.sampled_from(sorted(server.hgetall(key).items())))
        server.hset(key, draw(st.sampled_from([field, field, field, b"\xff", b""])), draw(_value(value)))
        return apart and field not in NOT_CONCERNED
    elif kind == "zset":
        member = draw(st.sampled_from([*server.zrange(key, 0, -1), b"\xff", b"", b"nobody"]))
        server.zadd(key, {member: draw(st.sampled_from(SCORES))})
        return apart and member not in NOT_CONCERNED
    elif kind == "set":
        server.sadd(key, draw(st.binary(max_size=6)))
    elif kind == "list":
        server.lset(key, 0, draw(_value(server.lindex(key, 0))))
    elif kind == "stream":
        ((_, fields), *_) = server.xrevrange(key, count=1) or [(b"", {b"d": b"{}"})]
        name = draw(st.sampled_from([b"d", b"d", b"x"]))
        server.xadd(key, {name: draw(_value(next(iter(fields.values()))))}, id=draw(st.sampled_from(["*", "*", LAST])))
    return apart


async def worked(data: Data) -> None:
    """One turn of everything that workers do. A store that refuses is told of, and nothing else comes up."""
    plant = Plant(data.url)
    plant.failing = {"e"}
    try:
        await plant.open()
        steps = [
            plant.store.alive(), plant.store.realign(0), plant.store.reindex(0), plant.round(), *(plant.work_once() for _ in range(2)),
        ]  # fmt: skip
        for step in steps:
            try:
                await step
            except WatchkeeperError:
                continue
    except WatchkeeperError:
        pass
    finally:
        await plant.store.close()


def said(data: Data, command: list[str]) -> tuple[Any, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([*command, "--redis-url", data.url])
        except SystemExit as end:
            return end.code, out.getvalue() + err.getvalue()
    return None, ""


@given(draw=st.data(), command=st.sampled_from(COMMANDS))
@cases(25)
def test_what_cannot_be_read_is_told_in_words_and_harms_itself_alone(
    data: Data, caplog: pytest.LogCaptureFixture, draw: Any, command: list[str]
) -> None:
    data.restore()
    before = data.version_of_fine()
    chosen = draw.draw(st.lists(st.sampled_from(sorted(data.dumps)), min_size=1, max_size=3, unique=True))
    others = [spoil(draw.draw, data, key) for key in chosen]
    caplog.clear()
    code, text = said(data, command)
    assert code in (0, 1, 2, 3), text
    assert "Traceback" not in text
    assert all(char.isprintable() or char == "\n" for char in text)
    asyncio.run(worked(data))
    told = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [error for error in told if not isinstance(error, WatchkeeperError)] == []
    if all(others):
        assert data.version_of_fine() > before
