"""Celery under the configuration of workers/app.py, on real servers: it outlives what a broker does."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection
from redis.connection import parse_url

from tests.conftest import RedisServer
from tests.waiting import wait_for
from workers.app import broker_url, configuration

# A worker of workers.app with one small task of its own; on demand its consumer fails as kombu does after a lost connection.
WORKER = """
import os, sys
import redis
from celery import bootsteps
from workers.app import app
from workers.broker import INSPECTOR, SHAPES

app.conf.include = []
seen = redis.Redis.from_url(os.environ["REDIS_URL"])
SHAPES["mark"] = tuple[str]
INSPECTOR.count = seen.incrby
INSPECTOR.tell = lambda queue, data, why: seen.rpush("told", f"{queue} {len(data)} {why}")

@app.task(name="mark")
def mark(name):
    seen.sadd("marks", name)

class Unlucky(bootsteps.StartStopStep):
    requires = ("celery.worker.consumer.tasks:Tasks",)
    failures = int(sys.argv[1])
    def __init__(self, c, **kwargs): super().__init__(c, **kwargs)
    def start(self, c):
        if Unlucky.failures:
            Unlucky.failures -= 1
            raise AttributeError("'NoneType' object has no attribute 'hostname'")

app.steps["consumer"].add(Unlucky)
worker = app.Worker(pool_cls="threads", concurrency=4, queues=["probe"], without_gossip=True, without_mingle=True, quiet=True)
worker.start()
sys.exit(worker.exitcode)
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Start]:
    """Starts workers on a URL; they are ended with the test."""
    workers: list[subprocess.Popen[bytes]] = []

    def start(url: str, failures: int = 0) -> subprocess.Popen[bytes]:
        with (tmp_path / "worker.log").open("ab") as log:
            env = {**os.environ, "REDIS_URL": url}
            workers.append(subprocess.Popen([sys.executable, "-c", WORKER, str(failures)], env=env, stdout=log, stderr=log))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()


def send(url: str, name: str) -> None:
    """Publish one message as beat does."""
    app = Celery("sender", set_as_current=False)
    app.conf.update(configuration(url))
    with app.connection_for_write() as connection:
        app.send_task(
            "mark", args=[name], queue="probe", connection=connection, retry=True, retry_policy={"max_retries": 200, "interval_max": 0.1}
        )


def marks(url: str) -> set[bytes]:
    try:
        with redis.Redis.from_url(url, socket_timeout=1) as client:
            return set(client.smembers("marks"))
    except redis.RedisError:
        return set()


def test_a_connection_lost_while_it_is_renewed_does_not_end_the_worker(redis_url: str, start_worker: Start) -> None:
    worker = start_worker(redis_url, failures=3)
    send(redis_url, "after the failures")
    wait_for(lambda: marks(redis_url) == {b"after the failures"})
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0


def altered(message: dict[str, Any], *, body: object = None, **changes: Any) -> bytes:
    """The message with another body, and with other headers and properties where these are mappings."""
    made = {**message, "body": base64.b64encode(json.dumps(body).encode()).decode()} if body is not None else dict(message)
    for name, value in changes.items():
        key = name.replace("_", "-")
        made[key] = {**message[key], **value} if isinstance(value, dict) and value else value
    return json.dumps(made).encode()


NOTHING: dict[str, None] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
SIGNATURE = {"task": "mark", "args": ["from a signature"], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": True}
BOMB = base64.b64encode(zlib.compress(b"[" * 50_000_000)).decode()


def rubbish(model: dict[str, Any]) -> dict[str, bytes]:
    """What stands in a list of the broker instead of a message, by what is wrong with it."""
    bodies = {
        "text": "nonsense", "two": [1, 2], "map": {"a": 1}, "short": [[], {}], "turned": [{}, [], {}], "numbers": [1, 2, 3],
        "no argument": [[], {}, NOTHING], "two arguments": [["a", "b"], {}, NOTHING], "another type": [[7], {}, NOTHING],
        "named": [["named"], {"name": "named"}, NOTHING], "callback": [["callback"], {}, {**NOTHING, "callbacks": [SIGNATURE]}],
        "chain": [["chain"], {}, {**NOTHING, "chain": [SIGNATURE]}], "datetime": [[{"__type__": "datetime", "__value__": 1}], {}, NOTHING],
    }  # fmt: skip
    return {
        "empty": b"",
        "no JSON": b"nonsense",
        "no UTF-8": b"\xff\xfe\x00",
        "NUL": b"\x00" * 100,
        "a number": b"7",
        "a list": b"[]",
        "null": b"null",
        "an empty map": b"{}",
        "nested": b"[" * 100_000,
        "nested maps": b'{"a":' * 100_000,
        "huge": b"x" * 10_485_760,
        "huge JSON": json.dumps({**model, "more": "x" * 10_485_760}).encode(),
        "a huge number": b'{"body": ' + b"9" * 5_000 + b"}",
        "no base64": json.dumps({**model, "body": "not base64!"}).encode(),
        "base64 of rubbish": json.dumps({**model, "body": base64.b64encode(b"\xff\x00rubbish").decode()}).encode(),
        "base64 of nesting": json.dumps({**model, "body": base64.b64encode(b"[" * 100_000).decode()}).encode(),
        "no body": json.dumps({key: value for key, value in model.items() if key != "body"}).encode(),
        "a body that is no text": json.dumps({**model, "body": [1]}).encode(),
        "no properties": json.dumps({key: value for key, value in model.items() if key != "properties"}).encode(),
        "properties null": altered(model, properties=None),
        "headers null": altered(model, headers=None),
        "headers a list": altered(model, headers=[]),
        "no encoding of the body": altered(model, properties={"body_encoding": None}),
        "pickled": altered(model, content_type="application/x-python-serialize"),
        "yaml": altered(model, content_type="application/x-yaml"),
        "another charset": altered(model, content_encoding="utf-16"),
        "packed": altered({**model, "body": BOMB}, headers={"compression": "application/x-gzip"}),
        "an unknown task": altered(model, headers={"task": "unknown"}),
        "a task of Celery": altered(model, headers={"task": "celery.chord_unlock"}),
        "a task that is no text": altered(model, headers={"task": ["mark"]}),
        "an old protocol": json.dumps({**model, "headers": {}}).encode(),
        **{f"body: {name}": altered(model, body=body) for name, body in bodies.items()},
    }  # fmt: skip


def test_rubbish_in_a_list_of_the_broker_ends_nobody_and_is_counted(redis_url: str, start_worker: Start) -> None:
    send(redis_url, "first")
    with redis.Redis.from_url(redis_url) as client:
        model = json.loads(client.lrange("probe", 0, -1)[0])
        pieces = rubbish(model)
        worker = start_worker(redis_url)
        wait_for(lambda: b"first" in marks(redis_url))
        for name, data in pieces.items():
            client.lpush("probe", data)
            send(redis_url, name)
        wait_for(lambda: marks(redis_url) == {b"first", *(name.encode() for name in pieces)})
        assert int(client.get("messages_refused") or 0) == len(pieces)
        assert client.llen("told") == 1  # The others came too soon after it.
        assert worker.poll() is None
        assert memory_mb(worker.pid) < 400
        client.lpush("probe", *[b"rubbish"] * 20_000)
        send(redis_url, "after a flood")
        wait_for(lambda: b"after a flood" in marks(redis_url))
        assert client.llen("told") < 10
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0


def test_a_message_carries_nothing_but_its_task_and_its_arguments(redis_url: str, start_worker: Start) -> None:
    send(redis_url, "soon")
    with redis.Redis.from_url(redis_url) as client:
        model = json.loads(client.rpop("probe"))
        later = {"eta": "2999-01-01T00:00:00+00:00", "expires": "1999-01-01T00:00:00+00:00", "timelimit": [1, 1], "retries": "x", "id": {}}
        client.lpush("probe", altered(model, headers=later, properties={"delivery_tag": [], "delivery_info": 7, "priority": "x"}))
    worker = start_worker(redis_url)
    wait_for(lambda: marks(redis_url) == {b"soon"})
    assert worker.poll() is None


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1_024


def test_a_worker_goes_on_after_its_redis_was_killed(new_server: Callable[..., RedisServer], start_worker: Start) -> None:
    server = new_server(appendonly=True)
    worker = start_worker(server.url)
    for number in range(3):
        before = f"before {number}"
        send(server.url, before)
        wait_for(lambda before=before: before.encode() in marks(server.url))
        server.kill()
        server.start()
        after = f"after {number}"
        send(server.url, after)
        wait_for(lambda after=after: after.encode() in marks(server.url))
        assert worker.poll() is None


def test_a_worker_waits_for_a_redis_that_is_not_there_yet(new_server: Callable[..., RedisServer], start_worker: Start) -> None:
    server = new_server(appendonly=True)
    server.kill()
    worker = start_worker(server.url)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(3)
    server.start()
    send(server.url, "at last")
    wait_for(lambda: marks(server.url) == {b"at last"})


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://:pw@h:1/2",
        "redis://me:p;w%2F@[::1]:1",
        "redis://h/0?username=m%40e&password=p%26w&db=3",
        "redis://me@h/1",
        "rediss://:pw@h/4?ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_tasks_and_the_store_go_to_one_server_as_one_user(url: str) -> None:
    wanted, found = parse_url(url), Connection(broker_url(url))
    assert (found.hostname, found.port, int(found.virtual_host)) == (wanted["host"], wanted.get("port"), wanted.get("db", 0))
    assert (found.userid, found.password) == (wanted.get("username"), wanted.get("password"))


def test_unix_sockets_as_kombu_writes_them() -> None:
    assert broker_url("unix:///run/my%20redis.sock?db=2") == "redis+socket:///run/my%20redis.sock?virtual_host=2"
    assert broker_url("unix://:p%40w@/run/redis.sock") == "redis+socket://:p%40w@/run/redis.sock?virtual_host=0"
    assert broker_url("unix:///run/r?username=me&password=p%40w") == "redis+socket://me:p%40w@/run/r?virtual_host=0"


def test_tasks_travel_to_the_server_whose_certificate_holds() -> None:
    def trust(url: str) -> object:
        settings = configuration(url)
        return Connection(settings["broker_url"], ssl=settings["broker_use_ssl"]).ssl

    assert trust("rediss://h") == {"ssl_cert_reqs": "required"}
    assert trust("rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem") == {"ssl_cert_reqs": "none", "ssl_ca_certs": "/ca.pem"}
    assert not trust("redis://h")
