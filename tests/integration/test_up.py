"""`watchkeeper up` as a person runs it: the whole system in real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from monitor.config.settings import Running, read_running
from monitor.core.endpoint import Endpoint
from monitor.store.redis.store import RedisStore
from tests.registering import register
from tests.waiting import alive, wait_for

READY_DEADLINE_S = 60.0
STOP_LIMIT_S = 10.0


class Up:
    """One `watchkeeper up`, and what it says."""

    def __init__(self, data_dir: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.said_file = data_dir.parent / f"said-{time.monotonic_ns()}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WATCHKEEPER_") and name != "REDIS_URL"}
        env = inherited | (env or {})
        argv = [
            sys.executable,
            "-m",
            "monitor.cli.main",
            "up",
            "--data-dir",
            str(data_dir),
            "--listen",
            "127.0.0.1:0",
            "--workers",
            "1",
            *options,
        ]
        with self.said_file.open("wb") as said:
            self.process = subprocess.Popen(argv, env=env, stdout=said, stderr=said, cwd=data_dir.parent)

    @property
    def said(self) -> str:
        return self.said_file.read_text()

    def ready(self) -> Running:
        wait_for(lambda: "watchkeeper is ready" in self.said or self.process.poll() is not None, READY_DEADLINE_S)
        running = read_running(self.data_dir)
        assert running is not None, self.said
        return running

    def descendants(self) -> dict[str, int]:
        """Command line -> pid of its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip(): int(pid) for pid in children}

    def child(self, part: str) -> int | None:
        return next((pid for line, pid in self.descendants().items() if part in f"{line} "), None)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(STOP_LIMIT_S + 10)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data of mine"


@pytest.fixture
def up(data_dir: Path) -> Iterator[Up]:
    system = Up(data_dir)
    yield system
    system.stop()


def fetch(running: Running, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{running.listen}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_it_comes_up_and_stops_within_its_limits(up: Up) -> None:
    running = up.ready()
    assert [fetch(running, path) for path in ("/-/healthy", "/-/ready", "/metrics")] == [200, 200, 200]
    ready_line = next(line for line in up.said.splitlines() if "is ready" in line)
    assert f"http://{running.listen}" in ready_line
    password = running.redis_url.partition("@")[0].rpartition(":")[2]
    assert password not in up.said
    with redis.Redis.from_url(running.redis_url) as client:
        assert client.ping()
    pids = list(up.descendants().values())
    assert len(pids) == 5
    began = time.monotonic()
    up.stop(signal.SIGINT)
    assert time.monotonic() - began < STOP_LIMIT_S
    assert up.process.returncode == 0
    assert not any(map(alive, pids))
    assert read_running(up.data_dir) is None


def test_what_dies_is_started_again(up: Up) -> None:
    running = up.ready()
    for part in (" worker ", " beat ", " web ", "valkey-server"):
        before = wait_for(lambda part=part: up.child(part))
        os.kill(before, signal.SIGKILL)
        wait_for(lambda part=part, before=before: up.child(part) not in {None, before})
    wait_for(lambda: fetch(running, "/-/ready") == 200, READY_DEADLINE_S)
    assert up.said.count("was killed by SIGKILL") == 4


def test_its_logs_and_its_words_tell_nothing_that_nobody_asked_for(up: Up, data_dir: Path) -> None:
    running = up.ready()
    asyncio.run(_register(running.redis_url))
    with redis.Redis.from_url(running.redis_url, decode_responses=True) as client:
        wait_for(lambda: client.exists("wk:v1:{quiet}:snap"))
    up.stop()
    logs = {log.stem: log.read_text() for log in (data_dir / "logs").iterdir()}
    assert {"beat", "worker-1", "alert-worker", "web", "server"} <= logs.keys()
    for name in ("beat", "worker-1", "alert-worker", "web"):
        assert all(line[:2] == "20" for line in logs[name].splitlines() if line and "Warm shutdown" not in line), logs[name]
        assert "succeeded in" not in logs[name]
        assert "] received" not in logs[name]
    assert [line for line in up.said.splitlines() if "is ready" not in line] == ["stopping"]


async def _register(url: str) -> None:
    store = RedisStore(url)
    await store.open(create=True)
    try:
        await register(store, [Endpoint(id="quiet", url="http://127.0.0.1:1/", pool="quiet", kind="http", interval_ms=500)], [], [])
    finally:
        await store.close()


def test_two_on_one_folder_are_an_error_that_names_the_first(up: Up) -> None:
    up.ready()
    second = Up(up.data_dir)
    assert second.process.wait(20) == 2
    assert f"another `watchkeeper up` works on this folder: process {up.process.pid}" in second.said


def test_killed_it_leaves_nobody_and_the_next_starts_with_its_data(up: Up, data_dir: Path) -> None:
    first = up.ready()
    with redis.Redis.from_url(first.redis_url) as client:
        client.set("kept", "yes")
    pids = list(up.descendants().values())
    up.process.kill()
    up.process.wait()
    second = Up(data_dir)
    try:
        running = second.ready()
        assert running.redis_url == first.redis_url
        with redis.Redis.from_url(running.redis_url) as client:
            assert client.get("kept") == b"yes"
        wait_for(lambda: not any(map(alive, pids)))
    finally:
        second.stop()


def test_only_the_workers_that_read_references_have_our_variables(data_dir: Path) -> None:
    system = Up(data_dir, env={"SHOP_TOKEN": "canary-7391", "WATCHKEEPER_TOKEN": "canary-7391", "LC_TEST": "any program's"})
    try:
        system.ready()
        held = {line: Path(f"/proc/{pid}/environ").read_bytes() for line, pid in system.descendants().items()}
        assert len(held) == 5
        for line, variables in held.items():
            if "workers.part" in line:  # Valkey writes its title over its variables: test_supervisor.py looks at what it is given.
                assert b"LC_TEST=any program's" in variables
            assert (b"canary-7391" in variables) == line.endswith("worker"), line
    finally:
        system.stop()


def test_a_redis_of_ones_own(redis_url: str, data_dir: Path) -> None:
    system = Up(data_dir, "--redis-url", redis_url)
    try:
        assert system.ready().redis_url == redis_url
        assert len(system.descendants()) == 4
        assert not (data_dir / "server").exists()
    finally:
        system.stop()


def test_a_redis_that_does_not_answer_is_named_at_once(data_dir: Path) -> None:
    system = Up(data_dir, "--redis-url", "redis://:hunter2@127.0.0.1:1/0")
    try:
        wait_for(lambda: "waiting for it" in system.said)
        assert "redis://:<secret>@127.0.0.1:1/0: the store does not answer: " in system.said
    finally:
        system.stop()


@pytest.mark.parametrize(
    ("option", "content", "said"),
    [
        ("--rules", "groups: [{name: a, rules: [{alert: A, expr: 'nonsense('}]}]", "expr"),
        ("--alerting", "route: 1", "route"),
        ("--listen", None, "cannot listen"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(option: str, content: str | None, said: str, data_dir: Path, tmp_path: Path) -> None:
    value = "192.0.2.1:1"
    if content is not None:
        value = str(tmp_path / "file.yml")
        (tmp_path / "file.yml").write_text(content)
    system = Up(data_dir, option, value)
    assert system.process.wait(20) == 2
    assert said in system.said
    assert not (data_dir / "running.json").exists()


def test_a_part_takes_as_many_descriptors_as_it_may() -> None:
    program = (
        "import resource\n"
        "from workers.part import FILES_WANTED, raise_file_limit\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "raise_file_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(FILES_WANTED, hard))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
