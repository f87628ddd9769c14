"""Operators on the command line: who did what, whose endpoints these are, two at once, and entries that nobody can read."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import msgspec
import pytest
import redis

from monitor.store import keys
from monitor.store.port import SetAside
from tests.integration.commands import WATCHKEEPER, Run

SHOP = """\
owner: team-shop
pools: {shop: {warm_up: 1s}}
endpoints:
  - {id: shop-1, url: "http://127.0.0.1:9001/health", pool: shop}
  - {id: shop-2, url: "http://127.0.0.1:9002/health", pool: shop}
"""
SPEC = keys.in_slot(0, "spec")


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def events(run: Run) -> list[dict[str, object]]:
    return list(json.loads(run("events", "-o", "json").stdout))


def test_who_did_what_is_shown_wherever_one_looks(run: Run) -> None:
    run("apply", "-f", "-", "--by", "ann", "--reason", "the move", stdin=SHOP)
    run("endpoint", "edit", "shop-1", "--interval", "30s", "--by", "bob")
    run("endpoint", "pause", "shop-1", "--by", "carol", "--reason", "kernel update")
    run("pool", "drain", "shop-2", "--by", "dave")
    told = [(row["endpoint"] or row["pool"], row["kind"], row["old"], row["new"], row["actor"], row["reason"]) for row in events(run)]
    assert told == [
        ("shop", "registry", "ABSENT", "REGISTERED", "ann", "the move"),
        ("shop-1", "registry", "ABSENT", "REGISTERED", "ann", "the move"),
        ("shop-2", "registry", "ABSENT", "REGISTERED", "ann", "the move"),
        ("shop-1", "registry", "REGISTERED", "CHANGED", "bob", "interval 10s -> 30s"),
        ("shop-1", "registry", "ACTIVE", "PAUSED", "carol", "kernel update"),
        ("shop-2", "override", "AUTO", "DRAIN", "dave", "drained by an operator"),
    ]
    explained = run("explain", "shop-1").stdout
    assert "owner:      team-shop" in explained
    assert "changed:    by carol" in explained
    assert "registry ACTIVE -> PAUSED: kernel update (by carol)" in explained
    assert "drained by an operator (dave, " in run("explain", "shop-2").stdout
    shown = json.loads(run("endpoint", "show", "shop-1", "-o", "json").stdout)
    assert shown["owner"] == "team-shop"
    assert " by carol: registry ACTIVE -> PAUSED (kernel update)" in shown["changed"]
    assert {row["owner"] for row in json.loads(run("endpoint", "list", "-o", "json").stdout)} == {"team-shop"}
    assert json.loads(run("pool", "list", "-o", "json").stdout)[0]["owner"] == "team-shop"
    assert " carol " in run("events").stdout


def test_without_a_name_the_system_user_did_it(run: Run) -> None:
    run("apply", "-f", "-", stdin=SHOP, env={"LOGNAME": "erin"})
    assert {row["actor"] for row in events(run)} == {"erin"}
    assert "--by" in run("endpoint", "pause", "shop-1", "--by", "", code=2).stderr


def test_pruning_says_whose_it_pruned_and_what_it_left(run: Run) -> None:
    run("apply", "-f", "-", stdin=SHOP)
    run("endpoint", "add", "tcp://127.0.0.1:1", "--id", "by-hand", "--retries", "0")
    done = run("apply", "-f", "-", "--prune", stdin="owner: team-shop\nendpoints: []")
    assert "endpoint shop-1 removed" in done.stdout
    assert "pruned only what team-shop registered; 1 of others left" in done.stderr
    assert [row["id"] for row in json.loads(run("endpoint", "list", "-o", "json").stdout)] == ["by-hand"]
    taken = run("apply", "-f", "-", "--owner", "ops", stdin="endpoints: [{id: by-hand, url: 'tcp://127.0.0.1:1', retries: 0}]")
    assert "endpoint by-hand changed: owner manual -> ops" in taken.stdout
    run("endpoint", "edit", "by-hand", "--owner", "manual")
    assert json.loads(run("endpoint", "show", "by-hand", "-o", "json").stdout)["owner"] == "manual"


def test_two_operators_at_once_undo_nothing_of_each_other(run: Run, environment: dict[str, str]) -> None:
    run("apply", "-f", "-", stdin=SHOP)
    acts = [
        ("endpoint", "pause", "shop-1", "--by", "ann"),
        ("endpoint", "edit", "shop-1", "--interval", "30s", "--by", "bob"),
        ("endpoint", "edit", "shop-1", "--weight", "7", "--by", "carol"),
        ("pool", "drain", "shop-1", "--by", "dave"),
    ]
    started = [subprocess.Popen([str(WATCHKEEPER), *act], env=environment, stdout=subprocess.DEVNULL) for act in acts]
    assert [process.wait(30) for process in started] == [0] * len(acts)
    row = json.loads(run("endpoint", "show", "shop-1", "-o", "json").stdout)
    assert (row["interval"], str(row["weight"]), str(row["paused"]).lower()) == ("30s", "7", "true")
    assert {str(row["actor"]) for row in events(run)} >= {"ann", "bob", "carol", "dave"}


@pytest.mark.parametrize("spec", [b"garbage", b'{"id":"shop-1","url":"http://h/","pool":"shop","kind":7}'])
def test_an_entry_that_cannot_be_read_hides_nothing_and_can_be_removed(run: Run, client: redis.Redis, spec: bytes) -> None:
    run("apply", "-f", "-", stdin=SHOP)
    client.hset(SPEC, "shop-1", spec)
    listed = run("endpoint", "list", "-o", "json")
    assert [row["id"] for row in json.loads(listed.stdout)] == ["shop-2"]
    assert "endpoint shop-1 cannot be read: " in listed.stderr
    assert "`watchkeeper endpoint rm shop-1`" in listed.stderr
    assert "shop-1 cannot be read" in run("pool", "list").stderr
    assert "shop-2" in run("status").stdout
    run("explain", "shop-2")
    assert "not exported: endpoint shop-1 cannot be read" in run("export").stderr
    for command in (("show",), ("pause",), ("edit", "--interval", "30s")):
        assert "its entry cannot be read" in run("endpoint", command[0], "shop-1", *command[1:], code=2).stderr
    assert "registered already" in run("endpoint", "add", "tcp://127.0.0.1:1", "--id", "shop-1", code=2).stderr
    assert "endpoint shop-1 removed" in run("endpoint", "rm", "shop-1", "--by", "ann").stdout
    assert run("endpoint", "list").stderr == ""
    assert client.smembers(keys.members(0, "shop")) == {b"shop-2"}
    assert (events(run)[-1]["old"], events(run)[-1]["new"], events(run)[-1]["actor"]) == ("UNREADABLE", "REMOVED", "ann")


def test_an_entry_that_cannot_be_read_is_written_anew_by_applying(run: Run, client: redis.Redis) -> None:
    run("apply", "-f", "-", stdin=SHOP)
    client.hset(SPEC, "shop-1", b"garbage")
    client.hset(keys.REGISTRY_POOLS, "shop", b'{"name":"shop","policy":["newer"]}')
    assert "the settings of pool shop cannot be read" in run("endpoint", "list").stderr
    assert "shop-2" in run("status").stdout
    done = run("apply", "-f", "-", stdin=SHOP)
    assert "endpoint shop-1 changed: entry unreadable -> written anew" in done.stdout
    assert "pool shop set" in done.stdout
    assert "0 created, 1 changed, 0 removed, 1 unchanged" in done.stderr
    assert run("endpoint", "list").stderr == ""


@pytest.mark.parametrize("settings", [b"garbage", b'{"name":"shop","policy":["newer"]}', None])
def test_a_pools_settings_are_taken_away_whether_they_can_be_read_or_not(run: Run, client: redis.Redis, settings: bytes | None) -> None:
    run("apply", "-f", "-", stdin=SHOP)
    before = {row["pool"]: row for row in json.loads(run("pool", "list", "-o", "json").stdout)}
    if settings:
        client.hset(keys.REGISTRY_POOLS, "shop", settings)
        assert "write them anew with `watchkeeper apply`, or remove them with `watchkeeper pool reset shop`" in run("pool", "list").stderr
    assert "built-in settings" in run("pool", "reset", "shop", "--by", "ann", "--reason", "try the defaults").stderr
    (row,) = json.loads(run("pool", "list", "-o", "json").stdout)
    assert (row["members"], row["warm_up"]) == (2, "30s")
    assert before["shop"]["warm_up"] != "30s"
    last = events(run)[-1]
    old = "UNREADABLE" if settings else "REGISTERED"
    assert (last["pool"], last["old"], last["new"], last["actor"], last["reason"]) == ("shop", old, "REMOVED", "ann", "try the defaults")
    assert "nothing to change" in run("pool", "reset", "shop").stderr
    assert "did you mean shop?" in run("pool", "reset", "shpo", code=2).stderr


@pytest.mark.parametrize("held", [b"garbage", b'{"override":"FROM_A_NEWER_RELEASE","reason":"r","at_ms":1}'])
def test_an_override_that_cannot_be_read_is_cleared(run: Run, client: redis.Redis, held: bytes) -> None:
    run("apply", "-f", "-", stdin=SHOP)
    client.hset(keys.in_slot(0, "ovr"), "shop-1", held)
    assert {"shop-1", "shop-2"} <= set(run("status").stdout.split())
    run("explain", "shop-1")
    assert "not under DRAIN" in run("pool", "undrain", "shop-1", code=2).stderr
    assert "UNREADABLE -> AUTO" in run("breaker", "auto", "shop-1", "--reason", "unreadable").stderr
    assert client.hget(keys.in_slot(0, "ovr"), "shop-1") is None


def test_an_event_that_cannot_be_read_is_left_out(run: Run, client: redis.Redis) -> None:
    run("apply", "-f", "-", stdin=SHOP)
    client.xadd(keys.in_slot(0, "events"), {"d": b"garbage"})
    client.rpush(keys.of_endpoint(0, "log", "shop-1"), b"garbage")
    assert len(events(run)) == 3
    assert "REGISTERED" in run("explain", "shop-1").stdout


def test_who_follows_goes_on_behind_an_event_that_cannot_be_read(run: Run, client: redis.Redis, redis_url: str) -> None:
    run("apply", "-f", "-", stdin=SHOP)
    follower = subprocess.Popen([WATCHKEEPER, "events", "-f", "-n", "1", "--redis-url", redis_url], stdout=subprocess.PIPE, text=True)
    try:
        assert follower.stdout is not None
        assert "shop-2" in follower.stdout.readline()
        for _ in range(3):
            client.xadd(keys.in_slot(0, "events"), {"d": b"garbage"})
        run("endpoint", "pause", "shop-1")
        assert "PAUSED" in follower.stdout.readline()
    finally:
        follower.kill()
        follower.wait()


def test_what_cannot_be_read_of_a_pool_is_said_where_one_looks(run: Run, client: redis.Redis) -> None:
    run("apply", "-f", "-", stdin=SHOP)
    client.hset(keys.in_slot(0, "spec"), "shop-2", b"garbage")
    client.hset(keys.in_slot(0, "rec"), "shop-1", b"0000000000001garbage")
    done = run("status", "shop")
    assert "shop-1" in done.stdout
    assert "endpoint shop-2 of pool shop cannot be read" in done.stderr
    assert "of shop-1 something cannot be read" in done.stderr
    client.hset(keys.in_slot(0, "spec"), "shop-1", b"garbage")
    for names in ((), ("shop",)):
        done = run("status", *names)
        assert "endpoint shop-1 of pool shop cannot be read" in done.stderr
    listed = run("endpoint", "list", "--pool", "shop")
    assert "endpoint shop-1 cannot be read" in listed.stderr
    assert "did you mean shop?" in run("status", "shopp", code=2).stderr


def test_who_deletes_a_copy_says_who_it_was(run: Run, client: redis.Redis) -> None:
    for key in ("a", "b"):
        copy = msgspec.msgpack.encode(SetAside("record", key, b"garbage", "it is no JSON", 1))
        client.hset(keys.ASIDE, keys.aside_field("record", key), copy)
    run("quarantine", "rm", "record", "a", "--by", "ann", "--reason", "seen")
    run("quarantine", "rm", "--all", "--by", "bob")
    told = [(row["old"], row["new"], row["actor"], row["reason"]) for row in events(run)]
    assert told == [
        ("UNREADABLE", "DISCARDED", "ann", "seen: 1 deleted from the quarantine: record a"),
        ("UNREADABLE", "DISCARDED", "bob", "1 deleted from the quarantine: record b"),
    ]
    assert "there is no copy of record a" in run("quarantine", "rm", "record", "a", code=1).stderr


@pytest.mark.parametrize(
    "args",
    [
        ["endpoint", "show", b"\xff"],
        ["endpoint", "add", "http://h/", "--id", b"a\xed\xa0\x80"],
        ["breaker", "open", "shop-1", "--reason", b"caf\xe9"],
        ["status", b"\xff"],
    ],
)
def test_an_argument_that_is_no_text_is_refused(environment: dict[str, str], args: list[str | bytes]) -> None:
    command = [os.fsencode(WATCHKEEPER), *(argument if isinstance(argument, bytes) else argument.encode() for argument in args)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert f"error: argument {len(args)}: this is no UTF-8 text" in done.stderr
    assert "Traceback" not in done.stderr
