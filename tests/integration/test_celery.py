"""Celery under the configuration of workers/app.py, on real servers: it outlives what a broker does."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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

app.conf.include = []
seen = redis.Redis.from_url(os.environ["REDIS_URL"])

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


@pytest.mark.parametrize(
    "body",
    ["nonsense", [1, 2], {"a": 1}, [[], {}], [{}, [], {}], [1, 2, 3], None],
    ids=["text", "two", "map", "short", "turned", "numbers", "null"],
)
def test_a_message_of_another_shape_is_dropped_and_ends_nobody(redis_url: str, start_worker: Start, body: object) -> None:
    send(redis_url, "as a model")
    with redis.Redis.from_url(redis_url) as client:
        message = json.loads(client.lrange("probe", 0, -1)[0])
        message["body"] = base64.b64encode(json.dumps(body).encode()).decode()
        client.lpush("probe", json.dumps(message))
    send(redis_url, "after")
    worker = start_worker(redis_url)
    wait_for(lambda: b"after" in marks(redis_url))
    assert worker.poll() is None


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
