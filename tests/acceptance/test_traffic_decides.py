"""Ten services and twenty consumers that balance over a HealthView and report: what they see decides, and only where it should.

Probes ask each service for /NAME/health, which is always well: all that is wrong is wrong with real requests.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monitor.core.errors import StoreError
from monitor.pool.traffic.shapes import decode_head
from tests.acceptance.checks import check_history, check_published
from tests.acceptance.receiver import Receiver
from tests.acceptance.system import BUSY_S, CLOCK, System, eventually
from tests.acceptance.targets import Targets
from tests.conftest import die_with_parent

POOL = "shop"
SERVICES = [f"svc-{number}" for number in range(10)]
CONSUMERS = [f"consumer-{number}" for number in range(20)]
REPORT_S = 1.0
"""A second's calls are sent when it is over."""
EJECTED_WITHIN_S = 3.0
"""From the first report of a service's failures."""
ENOUGH_REQUESTS = 150
"""So many failing or suspicious requests must lead to nothing: far more than those that eject the service that fails half."""

TRIALS_MAX = 30


class Consumers:
    """Twenty processes. `folder / "NAME.broken"` breaks one."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.processes = [self._spawn(url, name) for name in CONSUMERS]

    def broken(self, name: str) -> Path:
        return self.folder / f"{name}.broken"

    def check(self) -> None:
        ended = [name for name, process in zip(CONSUMERS, self.processes, strict=True) if process.poll() is not None]
        assert not ended, "\n".join((self.folder / f"{name}.log").read_text()[-2000:] for name in ended)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    def _spawn(self, url: str, name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("consumer.py")), url, POOL, name, str(self.broken(name))],
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no other way to die with the parent
            )


@pytest.fixture
def consumers(alerting_system: System, targets: Targets, tmp_path: Path) -> Iterator[Consumers]:
    """The system with ten services, once each of them has been asked by consumers."""
    system = alerting_system
    common = {"pool": POOL, "interval": "1s", "timeout": "500ms", "retries": 0}
    endpoints = [{"id": name, "url": targets.url(f"{name}/health"), **common} for name in SERVICES]
    system.register({"pools": {POOL: {"open": "1s", "warm_up": "1s"}}, "endpoints": endpoints})
    system.start("beat", "worker", "worker", "alert-worker")
    eventually(lambda: all(system.weights(POOL).get(name) for name in SERVICES), 30)
    consumers = Consumers(system.url, tmp_path)
    eventually(lambda: consumers.check() or all(len(targets.seen[name]) > 20 for name in SERVICES), 60, "all services to be asked")
    yield consumers
    consumers.close()


def calm(system: System) -> None:
    """Nothing happens."""


def redis_is_killed(system: System) -> None:
    """For as long as it takes to start it again and to read its data, in the middle of what is being found out."""
    system.server.kill()
    system.server.start()
    eventually(lambda: answers(system), 20)


def answers(system: System) -> bool:
    try:
        return bool(system.snapshot(POOL))
    except StoreError:
        return False


@pytest.mark.timeout(300)
@pytest.mark.parametrize("weather", [calm, redis_is_killed])
def test_what_consumers_report_decides(
    weather: Callable[[System], None], alerting_system: System, consumers: Consumers, targets: Targets, receiver: Receiver
) -> None:
    system = alerting_system
    one_fails_half_of_its_requests_and_is_ejected(weather, system, targets)
    settled = len(system.events())
    one_fails_a_twentieth_and_is_not(system, targets)
    all_share_a_failure_and_none_is(weather, system, targets, receiver)
    one_consumer_alone_sees_errors_and_is_quarantined(weather, system, consumers, targets, receiver)
    assert [event for event in system.events()[settled:] if event.kind == "breaker"] == []
    assert {told.endpoint for told in receiver.told if told.rule == "EndpointDown"} == {"svc-3"}
    consumers.check()
    check_history(system)
    check_published(system, POOL)


def one_fails_half_of_its_requests_and_is_ejected(weather: Callable[[System], None], system: System, targets: Targets) -> None:
    name = "svc-3"
    targets.failing[name] = 0.5
    eventually(lambda: targets.failed[name], 10)
    weather(system)
    begun_ms = targets.failed[name][0] if weather is calm else CLOCK.now_ms()
    eventually(lambda: system.breaker_events(name), 30, f"{name} to be ejected")
    opened = next(event for event in system.events() if event.endpoint == name and event.kind == "breaker")
    assert (opened.new, opened.source, opened.policy) == ("OPEN", "passive", "cusum")
    assert opened.at_ms - begun_ms <= (REPORT_S + EJECTED_WITHIN_S + BUSY_S) * 1000, opened
    assert {event.endpoint for event in system.events() if event.kind == "breaker"} == {name}
    eventually(lambda: system.weights(POOL)[name] == 0, 5)
    spared(targets, name)
    targets.failing[name] = 0.0
    eventually(lambda: system.breaker_events(name)[-1] == "CLOSED", 60, f"{name} to return by its consumers' trials")


def one_fails_a_twentieth_and_is_not(system: System, targets: Targets) -> None:
    targets.failing["svc-5"] = 0.05
    asked(targets, "svc-5")
    targets.failing["svc-5"] = 0.0
    assert system.breaker_events("svc-5") == []


def all_share_a_failure_and_none_is(weather: Callable[[System], None], system: System, targets: Targets, receiver: Receiver) -> None:
    for name in SERVICES:
        targets.failing[name] = 0.8
    asked(targets, "svc-0", ENOUGH_REQUESTS // 3)
    weather(system)
    asked(targets, "svc-0")
    eventually(lambda: receiver.of("", "PoolDegraded") == ["firing"], 20, f"one alert: {receiver.told}")
    for name in SERVICES:
        targets.failing[name] = 0.0
    eventually(lambda: receiver.of("", "PoolDegraded") == ["firing", "resolved"], 60, f"its end: {receiver.told}")


def one_consumer_alone_sees_errors_and_is_quarantined(
    weather: Callable[[System], None], system: System, consumers: Consumers, targets: Targets, receiver: Receiver
) -> None:
    alone = consumers.broken("consumer-7")
    alone.touch()
    weather(system)
    eventually(lambda: quarantined(system) == ["consumer-7"], 30, "its quarantine")
    asked(targets, "svc-7")
    eventually(lambda: receiver.of("", "ObserverSuspect") == ["firing"], 60, f"its alert: {receiver.told}")
    alone.unlink()
    eventually(lambda: quarantined(system) == [], 30, "its end")
    eventually(lambda: receiver.of("", "ObserverSuspect") == ["firing", "resolved"], 30, f"the alert's end: {receiver.told}")


def quarantined(system: System) -> list[str]:
    head = decode_head(system.execute(lambda store: store.load_pool(POOL)).traffic.head)
    return [name for name, observer in head.observers.items() if observer.quarantined_ms]


def spared(targets: Targets, name: str) -> None:
    """While it stays so, an ejected service is asked by trials alone: a few at a time, and again after longer and longer pauses."""
    before = len(targets.seen[name])
    asked(targets, "svc-0")
    assert len(targets.seen[name]) - before <= TRIALS_MAX


def asked(targets: Targets, name: str, requests: int = ENOUGH_REQUESTS) -> None:
    """Wait until a service has been asked so often from now on."""
    before = len(targets.seen[name])
    eventually(lambda: len(targets.seen[name]) >= before + requests, 60, f"{requests} requests to {name}")
