"""What consumers report with two commands ejects an endpoint within seconds, and never for a failure that is not its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from monitor.core.reports import REPORT_SLOT_MS
from monitor.query.status import read_pools
from monitor.query.traffic import Observer
from tests.acceptance.system import BUSY_S, CLOCK, System, eventually, manifest
from tests.acceptance.targets import Targets

NAMES = [f"s{n}" for n in range(6)]
CONSUMERS = 5
CALLS = 20
EJECTED_WITHIN_S = 3

Failing = Callable[[int, str], int]
"""How many of a consumer's CALLS calls of an endpoint fail in one second."""


class Consumers:
    """Each reports once a second, all at different moments; they see what `failing` says."""

    def __init__(self, url: str) -> None:
        self.failing: Failing = lambda _consumer, _name: 0
        self.first_report_ms = 0
        self._client = redis.Redis.from_url(url)
        self._stop = threading.Event()

    def run(self) -> None:
        turn = 0
        while not self._stop.wait(REPORT_SLOT_MS / 1_000 / CONSUMERS):
            turn += 1
            consumer = turn % CONSUMERS
            seconds, micros = self._client.time()
            slot_ms = (seconds * 1_000 + micros // 1_000) // REPORT_SLOT_MS * REPORT_SLOT_MS - REPORT_SLOT_MS
            failed = {name: self.failing(consumer, name) for name in NAMES}
            endpoints = {
                name: {"calls": {"success": CALLS - n, "failure/500": n} if n else {"success": CALLS}} for name, n in failed.items()
            }
            entry = {"schema": 1, "observer": f"web-{consumer}", "seq": turn, "slot_ms": slot_ms, "endpoints": endpoints}
            if any(failed.values()):
                self.first_report_ms = self.first_report_ms or CLOCK.now_ms()
            self._client.xadd("wk:v1:{shop}:reports", {"r": json.dumps(entry)}, maxlen=10_000, approximate=True)
            self._client.zadd("wk:v1:reports", {"shop": 0}, nx=True)

    def see(self, failing: Failing) -> None:
        self.first_report_ms = 0
        self.failing = failing

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def consumers(url: str) -> Iterator[Consumers]:
    made = Consumers(url)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join()


@pytest.fixture
def plant(system: System, targets: Targets) -> System:
    """Six endpoints whose probes succeed."""
    system.start("beat", "worker", "alert-worker")
    system.register(manifest(targets, NAMES, interval_ms=1_000))
    eventually(lambda: all(system.record(name).probes.results for name in NAMES), 20, "the first results")
    return system


def breakers(system: System) -> dict[str, str]:
    return {name: system.record(name).breaker.state.value for name in NAMES}


def reported(system: System, count: int) -> None:
    """Wait until so many more reports are judged."""

    before = system.counter("reports")
    eventually(lambda: system.counter("reports") >= before + count, 40, "reports to be judged")


def test_what_users_see_ejects_and_one_broken_consumer_does_not(plant: System) -> None:
    with consumers(plant.url) as seen:
        reported(plant, 25)
        seen.see(lambda _consumer, name: CALLS // 2 if name == "s3" else 0)
        eventually(lambda: plant.record("s3").breaker.state == "OPEN", 15, "s3 to be ejected")
        breaker = plant.record("s3").breaker
        assert breaker.since_ms - seen.first_report_ms < (EJECTED_WITHIN_S + BUSY_S) * 1_000
        assert (breaker.source, breaker.policy) == ("passive", "cusum")
        eventually(lambda: plant.weights("shop")["s3"] <= 10, 5, "s3 to lose its traffic")

        seen.see(lambda _consumer, _name: 0)
        eventually(lambda: plant.record("s3").breaker.state == "CLOSED", 20, "users' calls to bring s3 back")
        assert "HALF_OPEN" in plant.breaker_events("s3")
        assert plant.record("s3").breaker.source == "passive"

        seen.see(lambda consumer, _name: CALLS if consumer == 2 else 0)
        eventually(lambda: [one.name for one in observers(plant) if one.quarantined_ms] == ["web-2"], 30, "web-2 to be quarantined")
        assert set(breakers(plant).values()) == {"CLOSED"}


def test_a_failure_that_all_share_ejects_nobody(plant: System) -> None:
    with consumers(plant.url) as seen:
        reported(plant, 25)
        seen.see(lambda _consumer, _name: CALLS * 8 // 10)
        reported(plant, 60)
        assert set(breakers(plant).values()) == {"CLOSED"}
        eventually(lambda: success_percent(plant) < 80, 30, "the pool's success to fall")


def observers(system: System) -> list[Observer]:
    (pool,) = system.execute(lambda store: read_pools(store, ["shop"]))
    return list(pool.observers)


def success_percent(system: System) -> int:
    (pool,) = system.execute(lambda store: read_pools(store, ["shop"]))
    return pool.success_percent
