"""Looking on the command line: the real command on a real server, for people and for programs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
import yaml

from monitor.clock import SystemClock
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Outcome, StaleAnswer
from monitor.core.record import LastResult, Override, ProbeStatistics, Record, encode_record
from monitor.registry import set_override
from monitor.store import keys
from monitor.store.port import Commit, Committed
from monitor.store.redis.store import RedisStore
from tests.conftest import RedisServer
from tests.integration.commands import WATCHKEEPER, Run, make_data_set
from tests.registering import register
from tests.waiting import wait_for

LITERAL = "a-secret-written-out"


@pytest.fixture
def registered(run: Run) -> None:
    pools = "pools: {web: {headers: {X-Pool: " + LITERAL + "}}}"
    endpoint = "{id: web-1, url: 'http://127.0.0.1:1/', pool: web, headers: {X-Shop: " + LITERAL + ", X-Other: 'env:TOKEN'}}"
    run("apply", "-f", "-", stdin=f"{pools}\nendpoints:\n  - {endpoint}\n")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(("output", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_what_programs_read_of_an_explanation_hides_secrets(run: Run, output: str, parse: object):
    done = run("explain", "web-1", "-o", output)
    assert callable(parse)
    found = parse(done.stdout)
    assert LITERAL not in done.stdout
    assert found["status"]["endpoint"]["headers"] == {"X-Shop": "<secret>", "X-Other": "env:TOKEN"}
    assert found["pool"]["name"] == "web"
    assert done.stdout.startswith("{") is (output == "json")


@pytest.mark.usefixtures("registered")
def test_since_is_the_operators_word_or_the_run_where_the_breaker_never_moved(run: Run, redis_url: str):
    since_ms = SystemClock().now_ms() - 7_200_000
    probes = ProbeStatistics(
        run_outcome=Outcome.SUCCESS,
        run_length=720,
        run_since_ms=since_ms,
        last=LastResult(at_ms=since_ms + 7_000_000, outcome=Outcome.SUCCESS),
        last_success_ms=since_ms + 7_000_000,
    )
    asyncio.run(_commit(redis_url, Record(probes=probes, since_ms=since_ms)))
    assert "  2h  " in run("status").stdout
    run("breaker", "close", "web-1", "--reason", "seen to work")
    line = run("status").stdout.splitlines()[1]
    assert "seen to work" in line
    assert "2h" not in line


@pytest.mark.usefixtures("registered")
def test_an_address_from_a_stale_answer_is_told_to_people_and_to_programs(run: Run, redis_url: str):
    now_ms = SystemClock().now_ms()
    stale = StaleAnswer(now_ms - 3_600_000, "the resolver says SERVFAIL")
    last = LastResult(at_ms=now_ms, outcome=Outcome.SUCCESS, stale=stale)
    probes = ProbeStatistics(run_outcome=Outcome.SUCCESS, run_length=9, results=9, run_since_ms=now_ms, last=last, last_success_ms=now_ms)
    asyncio.run(_commit(redis_url, Record(probes=probes, since_ms=now_ms)))
    line = run("status").stdout.splitlines()[1]
    assert "DEGRADED" in line
    assert "the address comes from an answer of 1h" in line
    assert "SERVFAIL" in line
    (row,) = json.loads(run("status", "-o", "json").stdout)
    assert (row["verdict"], row["stale_answer"]) == ("DEGRADED", {"at_ms": stale.at_ms, "why": stale.why})
    assert "DEGRADED; the address comes from an answer of 1h" in run("explain", "web-1").stdout
    known = json.loads(run("explain", "web-1", "-o", "json").stdout)["status"]["record"]["probes"]["last"]
    assert known["stale"] == row["stale_answer"]


@pytest.mark.usefixtures("registered")
def test_status_names_the_pools_whose_results_have_stopped(run: Run, redis_url: str):
    run("endpoint", "add", "tcp://127.0.0.1:1", "--pool", "db", "--id", "db-1")
    with redis.Redis.from_url(redis_url) as client:
        client.zadd(keys.in_slot(0, "judged"), {"web": 1, "db": SystemClock().now_ms() + 3_600_000})
    assert "pool web: no results come" in run("status").stderr
    assert "no results come" not in run("status", "db").stderr
    assert {row["pool"]: row["pool_lagging"] for row in json.loads(run("status", "-o", "json").stdout)} == {"web": True, "db": False}
    asyncio.run(_commit(redis_url, Record(), vouched_ms=60_000))
    assert "no results come" not in run("status").stderr


def test_receivers_are_tried_for_people_and_for_programs(run: Run, tmp_path: Path):
    configs = {"there": "console:", "gone": "json://127.0.0.1:1/x", "silent": None}
    receivers = [{"name": name, "apprise_configs": [{"url": url}] if url else []} for name, url in configs.items()]
    (tmp_path / "routing.yml").write_text(yaml.safe_dump({"route": {"receiver": "there"}, "receivers": receivers}))

    def tried(name: str, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return run("receivers", "test", name, "--alerting", "routing.yml", *options, code=code)

    assert "there/apprise/0: accepted: printed" in tried("there").stdout
    (row,) = json.loads(tried("gone", "-o", "json", code=1).stdout)
    assert (row["integration"], row["result"]) == ("gone/apprise/0", "failed")
    assert "refused" in row["answer"]
    assert "it sends nowhere (got silent)" in tried("silent", code=2).stderr
    assert "did you mean there?" in tried("ther", code=2).stderr
    told = {"route": {"receiver": "there", "routes": [{"matchers": ["foo="]}]}, "receivers": receivers}
    (tmp_path / "routing.yml").write_text(yaml.safe_dump(told))
    assert "routing.yml:" in tried("there").stderr, "what the file says is read otherwise than it may be meant"


def test_programs_can_read_settings_and_the_first_probe(run: Run):
    rows = {row["name"]: row for row in json.loads(run("settings", "-o", "json", env={"WATCHKEEPER_WORKERS": "3"}).stdout)}
    assert (rows["workers"]["value"], rows["workers"]["source"]) == ("3", "WATCHKEEPER_WORKERS")
    added = run("endpoint", "add", "tcp://127.0.0.1:1", "-o", "yaml")
    assert yaml.safe_load(added.stdout)["verdict"] == "UNHEALTHY"


@pytest.mark.parametrize("command", [("events", "-f"), ("status", "--watch")])
def test_who_watches_sees_the_server_go_and_come_back(
    environment: dict[str, str], new_server: Callable[..., RedisServer], tmp_path: Path, command: tuple[str, ...]
):
    server = new_server(appendonly=True)
    make_data_set(server.url)
    said = tmp_path / "said"
    with said.open("wb") as file:
        argv = [WATCHKEEPER, *command, "--redis-url", server.url]
        watcher = subprocess.Popen(argv, env=environment, stdout=file, stderr=file, preexec_fn=_hear_interrupts)  # noqa: PLW1509 - one call, no lock
    try:
        asyncio.run(_add(server.url, "before"))
        wait_for(lambda: "before" in said.read_text())
        server.kill()
        wait_for(lambda: "trying again" in said.read_text())
        server.start()
        asyncio.run(_add(server.url, "after"))
        wait_for(lambda: "after" in said.read_text())
        assert said.read_text().count("trying again") == 1
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(10) == 130
        assert "Traceback" not in said.read_text()
    finally:
        watcher.kill()
        watcher.wait()


def _hear_interrupts() -> None:
    """Tests that a shell runs in the background are started deaf to SIGINT, and so would be their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def _add(url: str, endpoint_id: str) -> None:
    store = RedisStore(url)
    await store.open(create=True)
    try:
        endpoint = Endpoint(id=endpoint_id, url="http://h/", pool="p")
        await register(store, [endpoint], [], [])
        await set_override(store, endpoint_id, Override.DRAIN, "to see it", actor="tester")
    finally:
        await store.close()


async def _commit(redis_url: str, record: Record, *, vouched_ms: int = 0) -> None:
    store = RedisStore(redis_url)
    await store.open(create=True)
    try:
        (held,) = await store.load(["web-1"])
        commit = Commit(
            id="web-1",
            token_ms=None,
            ver=held.ver,
            next_ver=held.ver + 1,
            record=encode_record(record),
            reevaluate_ms=0,
            pool="web",
            vouched_ms=vouched_ms,
        )
        assert await store.commit([commit]) == [Committed.OK]
    finally:
        await store.close()


COMMANDS = [
    ("--help",), ("settings",), ("status",), ("status", "-o", "json"), ("status", "--watch"), ("events", "-o", "yaml"), ("events", "-f"),
    ("explain", "web-1"), ("history", "web-1"), ("export",), ("endpoint", "list"), ("alerts", "list", "-o", "json"), ("receivers", "list"),
    ("rules", "check", "rules.yml"), ("apply", "-f", "more.yml", "--dry-run"),
]  # fmt: skip


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_reader_that_has_gone_is_no_failure(environment: dict[str, str], tmp_path: Path, command: tuple[str, ...]):
    (tmp_path / "more.yml").write_text("endpoints: [{url: 'http://127.0.0.1:2/'}]")
    (tmp_path / "rules.yml").write_text("groups: []")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [str(WATCHKEEPER), *command], stdout=gone, stderr=subprocess.PIPE, cwd=tmp_path, env=environment, timeout=60, check=False
        )
    assert (done.returncode, b"Broken" in done.stderr, b"Traceback" in done.stderr) == (0, False, False), done.stderr.decode()


def test_a_full_disk_is_told_and_a_closed_output_is_no_failure(environment: dict[str, str]):
    for command in "settings", "settings -o json", "--help":
        full = subprocess.run(
            ["bash", "-c", f"'{WATCHKEEPER}' {command} > /dev/full"], capture_output=True, text=True, env=environment, check=False
        )
        assert (full.returncode, full.stderr) == (1, "error: the output cannot be written: No space left on device\n")
        closed = subprocess.run(
            ["bash", "-c", f"'{WATCHKEEPER}' {command} >&-"], capture_output=True, text=True, env=environment, check=False
        )
        assert (closed.returncode, closed.stderr) == (0, "")


def test_a_failure_is_one_whether_its_output_is_read_to_the_end_or_not(environment: dict[str, str]):
    line = f"'{WATCHKEEPER}' probe tcp://127.0.0.1:1 -o json | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1), done.stderr


@pytest.mark.usefixtures("registered")
def test_programs_are_told_what_the_table_tells(run: Run, redis_url: str):
    at_ms = SystemClock().now_ms() - 7_200_000
    last = LastResult(at_ms=at_ms, outcome=Outcome.INCONCLUSIVE, text="our resolver does not answer")
    probes = ProbeStatistics(
        run_outcome=Outcome.SUCCESS, run_length=7, run_since_ms=at_ms - 60_000, last=last, last_success_ms=at_ms - 10_000
    )
    asyncio.run(_commit(redis_url, Record(probes=probes, since_ms=at_ms)))
    line = run("status").stdout.splitlines()[1]
    (row,) = json.loads(run("status", "-o", "json").stdout)
    assert line.endswith("our resolver does not answer")
    assert "  2h1m  " in line
    assert (row["last_error"], row["last_text"]) == ("our resolver does not answer", "our resolver does not answer")
    assert (row["last_error_at_ms"], row["state_since_ms"], row["unreadable"]) == (at_ms, at_ms - 60_000, False)
    assert (row["pool_panic"], row["pool_shed"], row["pool_lagging"]) == (0.0, 0.0, False)


LONG, SPACED = "x" * 60_000, "a b " * 15_000
"""More than anybody writes."""


@pytest.mark.parametrize(
    "command",
    [
        (LONG,), ("status", f"--{LONG}"), ("status", LONG), ("status", "--verdict", LONG), ("status", "--since", LONG), ("explain", LONG),
        ("events", "-n", LONG), ("breaker", "open", "web-1", "--reason", LONG), ("probe", f"http://u:{LITERAL}@h/{LONG}"),
        ("probe", "http://h/", "--expect-body", LONG), ("probe", "http://h/", "--headers", LONG), ("probe", LONG), ("rules", "check", LONG),
        ("apply", "-f", LONG), ("quarantine", "rm", LONG, LONG), ("status", f"--verdict={LONG}"), ("status", "--verdict", SPACED),
        ("up", "--listen", LONG), ("up", "--workers", LONG), ("up", "--config", LONG), ("receivers", "test", LONG, "--alerting", LONG),
        ("probe", "http://h/", "--headers", f"A: env:{LONG}"), ("probe", "http://h/", "--method", LONG), ("endpoint", LONG),
        ("status", "--redis-url", f"redis://:{LITERAL}@h:{LONG}"),
    ],
    ids=lambda command: " ".join(word[:20] for word in command),
)  # fmt: skip
def test_an_error_does_not_repeat_all_of_what_was_written(environment: dict[str, str], command: tuple[str, ...]):
    done = subprocess.run([str(WATCHKEEPER), *command], capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode in {1, 2}, done.stderr[:500]
    assert "Traceback" not in done.stderr
    assert LITERAL not in done.stderr
    assert 0 < len(done.stderr) < 700
