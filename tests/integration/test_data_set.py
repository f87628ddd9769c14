"""The data set: made once, by `init` or `up`, with a number of slots that nobody changes by accident."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import redis

from monitor.core.errors import ConfigError, NoDataSetError
from monitor.store import keys
from monitor.store.redis.store import RedisStore
from tests.conftest import RedisServer
from tests.integration.commands import WATCHKEEPER, Run
from tests.waiting import wait_for


def on(store: RedisStore, use: Callable[[RedisStore], Awaitable[None]], *, create: bool = False) -> int:
    """Open, use, close; the number of slots."""

    async def session() -> int:
        await store.open(create=create)
        try:
            await use(store)
            return store.slots
        finally:
            await store.close()

    return asyncio.run(session())


async def nothing(_: RedisStore) -> None: ...


@pytest.fixture
def bare(environment: dict[str, str], redis_url: str) -> str:
    """The server of `run`, without a data set."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


def test_only_who_is_told_to_makes_the_data_set(redis_url: str) -> None:
    with pytest.raises(NoDataSetError, match="watchkeeper init"):
        on(RedisStore(redis_url, slots=3), nothing)
    assert on(RedisStore(redis_url, slots=3), nothing, create=True) == 3
    assert on(RedisStore(redis_url), nothing) == 3
    assert on(RedisStore(redis_url), nothing, create=True) == 3
    for create in (False, True):
        with pytest.raises(ConfigError, match="the data set has 3"):
            on(RedisStore(redis_url, slots=7), nothing, create=create)
    assert on(RedisStore(redis_url, slots=3), nothing) == 3


def test_a_number_of_slots_that_cannot_be_read_is_said(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.SLOTS, "many")
    with pytest.raises(Exception, match="cannot be read"):
        on(RedisStore(redis_url), nothing)


def test_a_heartbeat_gives_a_lost_data_set_its_slots_back(redis_url: str) -> None:
    async def lose(store: RedisStore) -> None:
        await store._wire.execute_one("FLUSHALL")
        await store.heartbeat("worker:h:1", b"{}")

    assert on(RedisStore(redis_url, slots=3), lose, create=True) == 3
    assert on(RedisStore(redis_url), nothing) == 3


def test_a_process_of_the_old_data_set_does_not_go_on_in_a_new_one(redis_url: str) -> None:
    async def lose(store: RedisStore) -> None:
        await store._wire.execute_one("FLUSHALL")
        await store._wire.execute_one("SET", keys.SLOTS, 4)
        with pytest.raises(ConfigError, match="the data set has 4"):
            await store.heartbeat("worker:h:1", b"{}")

    on(RedisStore(redis_url), lose, create=True)


def test_init_makes_it_once_and_refuses_another_number(run: Run, bare: str) -> None:
    assert "4 slots" in run("init", "--slots", "4").stderr
    assert "4 slots" in run("init").stderr
    assert "the data set has 4" in run("init", "--slots", "2", code=2).stderr
    with redis.Redis.from_url(bare) as client:
        assert client.get(keys.SLOTS) == b"4"


def test_no_command_makes_it_and_each_says_what_to_do(run: Run, bare: str) -> None:
    started = time.monotonic()
    for command in (("endpoint", "list"), ("apply", "-f", "-")):
        said = run(*command, code=3, stdin="endpoints: []", env={"WATCHKEEPER_SLOTS": "3"}).stderr
        assert "watchkeeper init" in said
    assert time.monotonic() - started >= 2 * 3.0, "each waits for a system that is starting"
    with redis.Redis.from_url(bare) as client:
        assert client.keys() == []


def test_a_command_waits_for_a_system_that_gives_the_data_set_back(environment: dict[str, str], bare: str) -> None:
    command = [str(WATCHKEEPER), "endpoint", "list", "-o", "json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        with redis.Redis.from_url(bare) as client:
            client.config_resetstat()
            wait_for(lambda: client.info("commandstats").get("cmdstat_get", {}).get("calls", 0) > 1)
            client.set(keys.SLOTS, 2)
        out, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, out.strip(), err) == (0, "[]", "")


@pytest.mark.parametrize("command", ["worker", "alert-worker", "beat", "web"])
def test_every_part_refuses_a_data_set_of_another_number(run: Run, command: str) -> None:
    said = run(command, code=2, env={"WATCHKEEPER_SLOTS": "3", "WATCHKEEPER_LISTEN": "127.0.0.1:0"}).stderr
    assert "slots: the data set has 1" in said
    assert "got 3" in said


def test_a_command_with_another_number_is_refused_and_fixes_nothing(run: Run, redis_url: str) -> None:
    assert "the data set has 1" in run("endpoint", "list", code=2, env={"WATCHKEEPER_SLOTS": "3"}).stderr
    assert run("endpoint", "list", "-o", "json").stdout.strip() == "[]"


def test_up_makes_it_and_refuses_another_number(
    new_server: Callable[..., RedisServer], environment: dict[str, str], tmp_path: Path
) -> None:
    server = new_server()
    common = ["up", "--redis-url", server.url, "--data-dir", str(tmp_path / "up"), "--listen", "127.0.0.1:0", "--workers", "1"]
    with subprocess.Popen([str(WATCHKEEPER), *common, "--slots", "2"], env=environment, stderr=subprocess.DEVNULL) as up:
        try:
            with redis.Redis.from_url(server.url) as client:
                wait_for(lambda: client.get(keys.SLOTS) == b"2")
        finally:
            up.terminate()
            up.wait(20)
    done = subprocess.run(
        [str(WATCHKEEPER), *common, "--slots", "5"], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "the data set has 2" in done.stderr
