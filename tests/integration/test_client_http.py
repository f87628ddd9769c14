"""Real requests to real services follow what a real store publishes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import msgspec
import pytest

from examples.service.balance import get
from examples.targets import Mode, Target
from monitor.client import Freshness, HealthView, PublishedEndpoint, Snapshot
from monitor.pool.snapshot import diff
from monitor.store.port import Publication
from monitor.store.redis.store import RedisStore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def targets() -> Iterator[list[Target]]:
    targets = [Target(name=name).start() for name in ("a", "b", "c")]
    yield targets
    for target in targets:
        target.stop()


async def publish(url: str, targets: Sequence[Target], weights: Sequence[int], last: Snapshot | None = None) -> Snapshot:
    store = RedisStore(url)
    await store.open(create=True)
    endpoints = tuple(
        PublishedEndpoint(
            id=target.name, url=target.health_url, addr="127.0.0.1", port=target.port, labels={}, weight=weight, breaker="CLOSED",
            override=None, gen=0, verdict="HEALTHY", since_ms=0, open_until_ms=0, latency_ms=1, reason="",
        )
        for target, weight in zip(targets, weights, strict=True)
    )  # fmt: skip
    epoch = await store.epoch()
    new = Snapshot(
        pool="demo",
        epoch=epoch.number,
        ver=last.ver + 1 if last else 1,
        ts_ms=await store.now_ms(),
        panic=0.0,
        shed=0.0,
        endpoints=endpoints,
    )
    delta = msgspec.json.encode(diff(last, new))
    after = (last.epoch, last.ver) if last else (0, 0)
    await store.publish(Publication(pool="demo", epoch=epoch, ver=new.ver, snapshot=msgspec.json.encode(new), delta=delta, after=after))
    await store.alive()
    await store.close()
    return new


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


def hits_of(targets: Sequence[Target], view: HealthView, requests: int) -> list[int]:
    before = [target.hits for target in targets]
    with httpx.Client(timeout=2.0) as http:
        for _ in range(requests):
            assert get(view, http, "demo", "/")[1].is_success
    return [target.hits - count for target, count in zip(targets, before, strict=True)]


def test_traffic_follows_the_weights(redis_url: str, targets: list[Target]) -> None:
    first = asyncio.run(publish(redis_url, targets, (500, 300, 200)))
    with HealthView(redis_url) as view:
        assert hits_of(targets, view, 1_000) == [500, 300, 200]
        assert view.freshness("demo").freshness is Freshness.FRESH
        second = asyncio.run(publish(redis_url, targets, (700, 300, 0), first))
        eventually(lambda: view.state("c").weight == 0)
        assert hits_of(targets, view, 100)[2] == 0
        asyncio.run(publish(redis_url, targets, (334, 333, 333), second))
        eventually(lambda: view.state("c").weight == 333)
        assert min(hits_of(targets, view, 100)) > 25


def test_a_failed_request_is_tried_elsewhere(targets: list[Target], redis_url: str) -> None:
    view = HealthView.from_snapshots([asyncio.run(publish(redis_url, targets, (500, 500, 0)))])
    targets[0].stop()
    with httpx.Client(timeout=2.0) as http:
        answers = []
        for _ in range(100):
            try:
                answers.append(get(view, http, "demo", "/")[0])
            except httpx.ConnectError:
                answers.append("error")
    assert set(answers) <= {"b", "error"}
    assert answers.count("error") < 50


def test_a_target_does_as_it_is_told() -> None:
    with Target(name="t") as target, httpx.Client(base_url=target.url, timeout=0.3) as http:
        assert http.get("/health").text == "t\n"
        assert http.post("/_control?mode=fail").text == "fail\n"
        assert http.get("/health").status_code == 500
        assert http.post("/_control?mode=slow&delay_ms=10").status_code == 200
        assert http.get("/x").elapsed.total_seconds() >= 0.01
        target.mode = Mode.HANG
        with pytest.raises(httpx.ReadTimeout):
            http.get("/health")
        assert http.post("/_control?mode=ok").status_code == 200
        assert http.get("/health").status_code == 200
        assert [http.post(path).status_code for path in ("/_control", "/_control?mode=x", "/other")] == [400, 400, 404]
        assert (target.hits, target.probes) == (1, 4)
        target.stop()
        with pytest.raises(httpx.TransportError):
            httpx.get(target.health_url, timeout=0.3)
        target.start()
        assert httpx.get(target.health_url).status_code == 200


def test_targets_run_as_a_program() -> None:
    command = [sys.executable, "-m", "examples.targets", "--ports", "0", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for _ in range(2):
                word, url = process.stdout.readline().split()
                assert word == "ready"
                assert httpx.get(url).status_code == 200
        finally:
            process.terminate()
        assert process.wait(timeout=5) == 0


def test_the_example_services_run(redis_url: str, targets: list[Target]) -> None:
    asyncio.run(publish(redis_url, targets, (500, 500, 0)))
    for module, words in (("balance", "FRESH"), ("abalance", "weight  500")):
        command = [sys.executable, "-m", f"examples.service.{module}", redis_url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                assert words in process.stdout.readline()
                eventually(lambda: targets[0].hits and targets[1].hits)
            finally:
                process.terminate()
        assert targets[2].hits == 0
