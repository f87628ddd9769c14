"""Registering on the command line: the real command, a real server, real targets."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
import yaml

from monitor.core.record import OverrideRecord, Transition
from monitor.store.redis.store import RedisStore
from tests.integration.commands import WATCHKEEPER, Run
from tests.unit.probes.servers import dns_in_a_thread

SHOP = """\
pools:
  shop: {failure_threshold: 3, max_ejection_percent: 40}
defaults: {interval: 10s, timeout: 2s}
endpoints:
  - {id: shop-1, url: "http://127.0.0.1:9001/health", pool: shop, labels: {team: shop}}
  - {id: db, url: "tcp://127.0.0.1:5432"}
"""


@pytest.fixture
def target() -> Iterator[str]:
    """A service that is healthy, but for /bad."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500 if self.path == "/bad" else 200)
            self.end_headers()
            self.wfile.write(b"ready")

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def cpu_s() -> float:
    """Processor time of the commands that have ended: a busy machine changes it less than the time on the wall."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def listed(run: Run) -> dict[str, dict[str, object]]:
    return {row["id"]: row for row in json.loads(run("endpoint", "list", "-o", "json").stdout)}


# endpoint -----------------------------------------------------------------------------------------------------------
def test_add_registers_and_probes_at_once(run: Run, target: str):
    done = run(
        "endpoint",
        "add",
        f"{target}/",
        "--id",
        "shop-1",
        "--pool",
        "shop",
        "--label",
        "team=shop",
        "--interval",
        "3s",
        "--expect-body",
        "rea",
    )
    assert "HEALTHY" in done.stdout
    assert "connect=" in done.stdout
    assert "first_byte=" in done.stdout
    assert "registered in pool shop" in done.stderr
    row = listed(run)["shop-1"]
    assert (row["pool"], row["interval"], row["timeout"], row["labels"], row["expect_body"]) == (
        "shop",
        "3s",
        "3s",
        {"team": "shop"},
        "rea",
    )


def test_an_unhealthy_target_is_registered_too(run: Run, target: str):
    done = run("endpoint", "add", f"{target}/bad", "--id", "bad", "--retries", "0")
    assert "UNHEALTHY" in done.stdout
    assert "500" in done.stdout
    assert "bad" in listed(run)


def test_an_id_is_added_once(run: Run, target: str):
    run("endpoint", "add", target, "--id", "a")
    done = run("endpoint", "add", target, "--id", "a", "--interval", "7s", code=2)
    assert "registered already" in done.stderr
    assert "endpoint edit a" in done.stderr
    assert listed(run)["a"]["interval"] == "10s"


def test_add_names_the_wrong_options_and_registers_nothing(run: Run):
    done = run(
        "endpoint", "add", "http://u:hunter2@h/", "--interval", "1ms", "--label", "9=x", "--expect-body", "(", "--retries", "99", code=2
    )
    for option in ("URL: url", "--interval", "--label", "--expect-body", "--retries"):
        assert f"error: {option}" in done.stderr
    assert "hunter2" not in done.stderr
    assert listed(run) == {}


def test_edit_changes_what_is_given_and_keeps_the_rest(run: Run):
    run("apply", "-f", "-", stdin=SHOP)
    done = run("endpoint", "edit", "shop-1", "--interval", "30s", "--label", "team=", "--label", "env=prod", "--expect-status", "200,301")
    assert "interval 10s -> 30s" in done.stdout
    row = listed(run)["shop-1"]
    assert (row["interval"], row["timeout"], row["labels"], row["expect_status"]) == ("30s", "2s", {"env": "prod"}, "200,301")
    assert "nothing to change" in run("endpoint", "edit", "shop-1", "--interval", "30s").stderr
    assert "at most 1s" in run("endpoint", "edit", "shop-1", "--interval", "1s", code=2).stderr
    run("endpoint", "edit", "shop-1", code=2)


def test_show_list_and_unknown_ids(run: Run):
    run("apply", "-f", "-", stdin=SHOP)
    assert yaml.safe_load(run("endpoint", "show", "shop-1", "-o", "yaml").stdout)["url"] == "http://127.0.0.1:9001/health"
    assert [row["id"] for row in json.loads(run("endpoint", "list", "--pool", "shop", "-o", "json").stdout)] == ["shop-1"]
    assert "shop-1" in run("endpoint", "list").stdout
    assert "did you mean shop-1?" in run("endpoint", "show", "shop-l", code=2).stderr


def test_pause_resume_and_what_apply_leaves_alone(run: Run):
    run("apply", "-f", "-", stdin=SHOP)
    assert "db paused" in run("endpoint", "pause", "db").stdout
    assert "already" in run("endpoint", "pause", "db").stdout
    assert "2 unchanged" in run("apply", "-f", "-", stdin=SHOP).stderr
    assert listed(run)["db"]["paused"] == "true" or listed(run)["db"]["paused"] is True
    run("endpoint", "resume", "db")
    assert listed(run)["db"]["paused"] in (False, "false")


def test_rm_refuses_what_others_depend_on(run: Run):
    run("apply", "-f", "-", stdin=SHOP + "  - {id: web, url: 'http://127.0.0.1:1', depends_on: [db, shop-1]}\n")
    done = run("endpoint", "rm", "db", "shop-1", code=2)
    assert "web depends on it" in done.stderr
    assert set(listed(run)) == {"db", "shop-1", "web"}
    run("endpoint", "rm", "db", "--force")
    assert listed(run)["web"]["depends_on"] == ["shop-1"]
    run("endpoint", "rm", "web", "shop-1")
    assert listed(run) == {}


def test_a_rename_keeps_everything_but_the_name(run: Run):
    run("apply", "-f", "-", stdin=SHOP + "  - {id: child, url: 'tcp://127.0.0.1:1', depends_on: shop-1}\n")
    run("pool", "drain", "shop-1", "--reason", "kernel update")
    renamed = run("endpoint", "rename", "shop-1", "checkout-1", "--by", "ann", "--reason", "one service")
    assert renamed.stdout == "endpoint shop-1 renamed to checkout-1\nendpoint child depends on checkout-1\n"
    rows = {row["id"]: row for row in json.loads(run("endpoint", "list", "-o", "json").stdout)}
    assert sorted(rows) == ["checkout-1", "child", "db"]
    assert (rows["checkout-1"]["pool"], rows["checkout-1"]["labels"], rows["child"]["depends_on"]) == (
        "shop",
        {"team": "shop"},
        ["checkout-1"],
    )
    explained = run("explain", "checkout-1").stdout
    assert "kernel update" in explained
    assert "registry RENAMED -> REGISTERED: one service: it was shop-1 (by ann)" in explained
    told = [(row["endpoint"], row["new"], row["reason"]) for row in json.loads(run("events", "-o", "json").stdout)]
    assert told[-3:] == [
        ("shop-1", "RENAMED", "one service: to checkout-1"),
        ("checkout-1", "REGISTERED", "one service: it was shop-1"),
        ("child", "CHANGED", "one service: depends_on shop-1 -> checkout-1"),
    ]
    for new, said in (
        ("db", "an endpoint of this name is registered already"),
        ("a b", "a name has no white space"),
        ("shop-1", "what is left of it is still being taken away"),
    ):
        assert said in run("endpoint", "rename", "checkout-1", new, code=2).stderr
    assert "there is no endpoint of this id" in run("endpoint", "rename", "shop-9", "x", code=2).stderr


def test_secrets_are_shown_nowhere(run: Run, target: str):
    args = ("endpoint", "add", target, "--id", "a", "--headers", "Authorization: env:TOKEN", "--headers", "X-Plain: words")
    done = run(*args, env={"TOKEN": "hunter2"})
    assert "HEALTHY" in done.stdout
    shown = run("endpoint", "show", "a", env={"TOKEN": "hunter2"}).stdout + run("endpoint", "list", "-o", "json").stdout
    assert "words" not in shown
    exported = run("export", env={"TOKEN": "hunter2"}).stdout
    assert "env:TOKEN" in exported
    assert "hunter2" not in done.stdout + done.stderr + shown + exported


def test_a_secret_that_only_workers_can_read_hinders_no_registration(run: Run, target: str):
    done = run("endpoint", "add", target, "--id", "a", "--headers", "Authorization: env:NOWHERE_SET")
    assert "not probed from here" in done.stderr
    assert "a" in listed(run)


# apply and export ---------------------------------------------------------------------------------------------------
def test_apply_says_what_it_does_and_twice_changes_nothing(run: Run):
    dry = run("apply", "-f", "-", "--dry-run", stdin=SHOP)
    assert "endpoint shop-1 created" in dry.stdout
    assert "nothing was applied" in dry.stderr
    assert listed(run) == {}
    assert "2 created, 0 changed, 0 removed, 0 unchanged" in run("apply", "-f", "-", stdin=SHOP).stderr
    again = run("apply", "-f", "-", stdin=SHOP)
    assert again.stdout == ""
    assert "0 created, 0 changed, 0 removed, 2 unchanged" in again.stderr
    changed = run("apply", "-f", "-", stdin=SHOP.replace("timeout: 2s", "timeout: 3s").replace("40", "45"))
    assert "endpoint shop-1 changed: timeout 2s -> 3s" in changed.stdout
    assert "pool shop set" in changed.stdout


def test_apply_reads_folders_and_prunes(run: Run, tmp_path: Path):
    folder = tmp_path / "many files"
    folder.mkdir()
    (folder / "a.yml").write_text(SHOP)
    (folder / "b.yaml").write_text("endpoints: [{id: web, url: 'http://h', depends_on: [db]}]")
    (folder / "notes.txt").write_text("no manifest")
    assert "3 created" in run("apply", "-f", str(folder)).stderr
    (folder / "a.yml").unlink()
    refused = run("apply", "-f", str(folder), "--prune", code=2)
    assert "depends_on" in refused.stderr
    (folder / "b.yaml").write_text("endpoints: [{id: web, url: 'http://h'}]")
    done = run("apply", "-f", str(folder), "--prune", "-o", "json")
    assert json.loads(done.stdout)["removed"] == ["db", "shop-1"]
    assert json.loads(done.stdout)["pools_removed"] == ["shop"]
    assert set(listed(run)) == {"web"}


def test_one_bad_entry_names_itself_and_nothing_is_applied(run: Run, tmp_path: Path):
    lines = [f"  - {{id: e{n}, url: 'http://127.0.0.1:{n + 1}/', interval: 10s}}" for n in range(1_000)]
    lines[499] = lines[499].replace("10s", "10")
    (tmp_path / "big.yml").write_text("endpoints:\n" + "\n".join(lines))
    done = run("apply", "-f", "big.yml", code=2)
    assert done.stderr.startswith("error: big.yml:501: interval: ")
    assert "'10'" in done.stderr
    assert "500ms, 10s or 1h30m" in done.stderr
    assert listed(run) == {}


def test_ten_thousand_endpoints_apply_within_ten_seconds_and_come_back(run: Run, tmp_path: Path):
    entries = (f"  - {{id: e{n}, url: 'http://127.0.0.1:9001/{n}', pool: p{n % 100}, labels: {{n: '{n}'}}}}\n" for n in range(10_000))
    (tmp_path / "big.yml").write_text("pools: {p1: {retries: 1}}\nendpoints:\n" + "".join(entries))
    before_s = cpu_s()
    assert "10000 created" in run("apply", "-f", "big.yml").stderr
    assert cpu_s() - before_s < 10
    assert "0 created, 0 changed, 0 removed, 10000 unchanged" in run("apply", "-f", "-", stdin=run("export").stdout).stderr


def test_export_into_an_empty_registry_gives_the_same(run: Run, environment: dict[str, str], new_server: Callable[..., object]):
    text = SHOP + "  - {url: 'https://h/', headers: {Authorization: 'env:T'}, expect_response_time: 500ms, paused: true, depends_on: db}\n"
    run("apply", "-f", "-", stdin=text)
    exported = run("export").stdout
    other = {"WATCHKEEPER_REDIS_URL": new_server().url}
    run("init", env=other)
    run("apply", "-f", "-", stdin=exported, env=other)
    assert run("export", env=other).stdout == exported
    assert "unchanged" in run("apply", "-f", "-", "--prune", stdin=exported).stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("l0: &l0 [x]\n" + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 20)), "aliases multiply"),
        ("[" * 5_000, "nested deeper"),
        ("endpoints: [", "this is not YAML"),
        ("x" * (33 * 1024 * 1024), "larger than"),
    ],
)
def test_bombs_and_broken_files_are_refused_at_once(run: Run, text: str, said: str):
    start = time.monotonic()
    assert said in run("apply", "-f", "-", stdin=text, code=2).stderr
    assert time.monotonic() - start < 10


def test_rules_that_could_cost_much_are_refused_by_all_who_read_them(run: Run, tmp_path: Path):
    expr = "true"
    for level in range(10):
        expr = f"[1,2,3,4,5,6,7,8,9,10].all(x{level}, {expr})"
    rules = tmp_path / "rules.yml"
    rules.write_text(f"groups:\n- name: g\n  rules:\n  - alert: A\n    expr: '{expr}'\n    annotations:\n      x: '{{{{ 1 / 0 }}}}'\n")
    for command in (("rules", "check", str(rules)), ("up", "--rules", str(rules), "--data-dir", str(tmp_path / "data"))):
        said = run(*command, code=2).stderr
        assert f"{rules}:5: A.expr: the expression could take more than 50000 steps" in said
    rules.write_text("groups:\n- name: g\n  rules:\n  - &a {alert: A, expr: flapping, for: 1m}\n  - {<<: *a, alert: B}\n")
    rows = json.loads(run("rules", "check", str(rules), "-o", "json").stdout)
    assert [(row["alert"], row["for"]) for row in rows] == [("A", "1m"), ("B", "1m")]


def test_files_that_cannot_be_read_are_named(run: Run, tmp_path: Path):
    (tmp_path / "latin.yml").write_bytes(b"endpoints:\n  - {id: \xe9}\n")
    (tmp_path / "empty").mkdir()
    assert "latin.yml:2" in run("apply", "-f", "latin.yml", code=2).stderr
    assert "nowhere.yml" in run("apply", "-f", "nowhere.yml", code=2).stderr
    assert "holds no" in run("apply", "-f", "empty", code=2).stderr


def test_a_terminal_sees_a_progress_bar(environment: dict[str, str], tmp_path: Path):
    (tmp_path / "big.yml").write_text("endpoints:\n" + "".join(f"  - {{id: e{n}, url: 'http://h/{n}'}}\n" for n in range(3_000)))
    master, slave = pty.openpty()
    with subprocess.Popen(
        [str(WATCHKEEPER), "apply", "-f", "big.yml"],
        stdout=subprocess.DEVNULL,
        stderr=slave,
        cwd=tmp_path,
        env={**environment, "TERM": "xterm"},
    ) as process:
        os.close(slave)
        seen = b""
        try:
            while chunk := os.read(master, 65_536):
                seen += chunk
        except OSError:  # Linux's way to say that the terminal was closed.
            pass
        assert process.wait(30) == 0
    os.close(master)
    assert "applying" in seen.decode()
    assert "3000 created" in seen.decode()


# probe --------------------------------------------------------------------------------------------------------------
def test_probe_needs_no_system(run: Run, target: str):
    nothing = {"WATCHKEEPER_REDIS_URL": ""}
    assert "HEALTHY" in run("probe", target, env=nothing).stdout
    result = json.loads(run("probe", f"{target}/bad", "-o", "json", code=1, env=nothing).stdout)
    assert (result["outcome"], result["failure"], result["status"]) == ("FAILURE", "status", 500)
    assert "attempts" in run("probe", target, "--debug", env=nothing).stdout
    assert json.loads(run("probe", target, "--expect-body", "absent", "-o", "json", code=1, env=nothing).stdout)["failure"] == "assertion"
    assert "target_allow" in run("probe", "http://169.254.169.254/", code=2, env=nothing).stderr
    assert "target_allow" in run("probe", target, code=2, env={**nothing, "WATCHKEEPER_TARGET_DENY": "127.0.0.0/8"}).stderr


def test_probes_from_here_ask_the_resolvers_that_workers_ask(run: Run, target: str):
    port = target.rpartition(":")[2]
    with dns_in_a_thread({"shop.test": "127.0.0.1"}) as resolver:
        asking = {"WATCHKEEPER_NAMESERVERS": resolver.server}
        assert "HEALTHY" in run("probe", f"http://shop.test:{port}/", env={**asking, "WATCHKEEPER_REDIS_URL": ""}).stdout
        assert "HEALTHY" in run("endpoint", "add", f"http://shop.test:{port}/", env=asking).stdout
    assert set(resolver.asked) == {"shop.test"}


# pool and breaker ---------------------------------------------------------------------------------------------------
def test_an_operators_word_is_stored_with_its_reason(run: Run, redis_url: str):
    run("apply", "-f", "-", stdin=SHOP)
    pools = {row["pool"]: row for row in json.loads(run("pool", "list", "-o", "json").stdout)}
    assert (pools["shop"]["members"], pools["shop"]["max_ejection_percent"], pools["db"]["members"]) == (1, 40, 1)

    assert "AUTO -> DRAIN" in run("pool", "drain", "shop-1", "--reason", "kernel update").stderr
    assert "nothing to change" in run("pool", "drain", "shop-1").stderr
    override, transitions = asyncio.run(_words(redis_url, "shop-1"))
    assert (override.override, override.reason) == ("DRAIN", "kernel update")
    assert [(t.kind, t.old, t.new, t.reason) for t in transitions] == [("override", "AUTO", "DRAIN", "kernel update")]

    assert "DRAIN -> AUTO" in run("pool", "undrain", "shop-1").stderr
    run("breaker", "open", "shop-1", "--reason", "wrong prices")
    assert "not under DRAIN" in run("pool", "undrain", "shop-1", code=2).stderr
    run("breaker", "close", "shop-1", "--reason", "it works")
    run("breaker", "auto", "shop-1", "--reason", "prices are right again")
    override, transitions = asyncio.run(_words(redis_url, "shop-1"))
    assert override is None
    assert [t.new for t in transitions] == ["DRAIN", "AUTO", "FORCED_OPEN", "FORCED_CLOSED", "AUTO"]
    assert "--reason" in run("breaker", "open", "shop-1", code=2).stderr
    assert "reason" in run("breaker", "open", "shop-1", "--reason", " ", code=2).stderr


async def _words(redis_url: str, endpoint_id: str) -> tuple[OverrideRecord | None, list[Transition]]:
    store = RedisStore(redis_url)
    await store.open(create=True)
    try:
        (loaded,) = await store.load([endpoint_id])
        override = msgspec.json.decode(loaded.override, type=OverrideRecord) if loaded.override else None
        transitions = [msgspec.json.decode(data, type=Transition) for _, data in await store.events(100)]
        return override, [transition for transition in transitions if transition.kind == "override"]
    finally:
        await store.close()


# The command itself -------------------------------------------------------------------------------------------------
def test_without_a_system_a_hint_is_given(run: Run):
    assert "watchkeeper up" in run("endpoint", "list", code=2, env={"WATCHKEEPER_REDIS_URL": ""}).stderr
    assert "watchkeeper up" in run("endpoint", "list", code=3, env={"WATCHKEEPER_REDIS_URL": "redis://127.0.0.1:1/0"}).stderr


def test_the_system_is_found_by_option(run: Run, redis_url: str):
    run("apply", "-f", "-", stdin=SHOP)
    nothing = {"WATCHKEEPER_REDIS_URL": ""}
    assert "shop-1" in run("endpoint", "list", "--redis-url", redis_url, env=nothing).stdout


def test_help_is_quick_and_full_of_examples(run: Run):
    times = []
    for _ in range(5):
        before_s = cpu_s()
        run("--help")
        times.append(cpu_s() - before_s)
    assert min(times) < 0.3
    groups = {"endpoint": "add list show edit rm pause resume", "pool": "list drain undrain", "breaker": "open close auto"}
    commands = [(group, name) for group, names in groups.items() for name in names.split()]
    for command in [*commands, ("apply",), ("export",), ("probe",)]:
        assert "Example" in run(*command, "--help").stdout
    assert "did you mean endpoint?" in run("endpont", code=2).stderr


def test_a_reader_that_stops_reading_is_no_error(run: Run, environment: dict[str, str]):
    run("apply", "-f", "-", stdin="endpoints:\n" + "".join(f"  - {{id: e{n}, url: 'http://h/{n}'}}\n" for n in range(2_000)))
    line = f"'{WATCHKEEPER}' export | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
