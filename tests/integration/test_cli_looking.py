"""Looking on the command line: the real command on a real server, for people and for programs."""

from __future__ import annotations

import asyncio
import json
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
        client.zadd(keys.in_slot(0, "judged"), {"web": 1})
    assert "pool web: no results come" in run("status").stderr
    assert "no results come" not in run("status", "db").stderr
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
