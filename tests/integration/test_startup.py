"""A part that cannot work says why and ends; it takes no messages that it would fail. One whose Redis is late waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.conftest import RedisServer, free_port
from tests.integration.commands import make_data_set
from tests.waiting import wait_for

NewServer = Callable[..., RedisServer]
PARTS = ("worker", "alert-worker", "beat")
PROCESSES = "wk:i:{sys}:procs"


def command(part: str) -> list[str]:
    return [sys.executable, "-m", "workers.part", part]


def environment(url: str, folder: Path, **variables: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WATCHKEEPER_", "REDIS_"))}
    return {
        **own,
        "WATCHKEEPER_REDIS_URL": url,
        "WATCHKEEPER_DATA_DIR": str(folder / "data"),
        "WATCHKEEPER_HEARTBEAT_MS": "200",
        **variables,
    }


def ends(part: str, env: dict[str, str]) -> tuple[int, str]:
    """Run a part that must end by itself; its exit status, and what it wrote."""
    done = subprocess.run(command(part), env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def alive(url: str, part: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=1) as client:
            return any(name.decode().startswith(f"{part}:") for name in client.hkeys(PROCESSES))
    except redis.RedisError:
        return False


@pytest.mark.parametrize("part", ["worker", "alert-worker"])
def test_a_rules_file_that_cannot_be_read_ends_the_worker_with_the_reason(part: str, redis_url: str, tmp_path: Path) -> None:
    make_data_set(redis_url)
    rules = tmp_path / "broken.yml"
    rules.write_text("groups: [{name: x, rules: [{alert: A, expr: 'nonsense ('}]}]\n")
    status, said = ends(part, environment(redis_url, tmp_path, WATCHKEEPER_RULES=f'["{rules}"]'))
    assert status != 0
    assert "broken.yml" in said.strip().splitlines()[-1]
    assert "Traceback" not in said
    assert not alive(redis_url, part)


@pytest.mark.parametrize("part", PARTS)
def test_a_redis_that_does_not_come_is_waited_for_and_then_ends_the_part(part: str, tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    status, said = ends(part, environment(url, tmp_path, WATCHKEEPER_STORE_WAIT_MS="1500"))
    assert status != 0
    assert "waiting for the store" in said
    assert "given up after 1.5 s" in said.strip().splitlines()[-1]


@pytest.mark.parametrize("part", PARTS)
def test_a_redis_that_comes_late_is_enough(part: str, new_server: NewServer, tmp_path: Path) -> None:
    server = new_server()
    server.kill()
    log = tmp_path / "log"
    with (
        log.open("wb") as file,
        subprocess.Popen(command(part), env=environment(server.url, tmp_path), stdout=file, stderr=file) as process,
    ):
        try:
            wait_for(lambda: b"waiting for the store" in log.read_bytes())
            server.start()
            make_data_set(server.url)
            wait_for(lambda: alive(server.url, part))
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_nobody_lets_in_says_so_in_words(part: str, tmp_path: Path) -> None:
    status, said = ends(part, environment("redis://:wrong@127.0.0.1:1/0", tmp_path, WATCHKEEPER_STORE_WAIT_MS="200"))
    assert status == 1
    assert "error: given up after 0.2 s: the store does not answer" in said
    assert "Traceback" not in said
