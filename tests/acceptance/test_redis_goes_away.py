"""Redis killed, away, hung: what was true stays true, what happened meanwhile is told once, and consumers keep their weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from monitor.client import Freshness, HealthView
from tests.acceptance.checks import check_history, check_published
from tests.acceptance.receiver import Receiver
from tests.acceptance.system import CLOCK, System, eventually, manifest, probed_again
from tests.acceptance.targets import Targets
from tests.conftest import RedisServer

INTERVAL_MS = 1_000
NAMES = [f"e{number}" for number in range(6)]
AWAY_MS = 30_000
"""Longer than a lease, than every time limit of a client, and than the pauses between its attempts to come back."""


def wait_ms(duration_ms: int) -> None:
    end_ms = CLOCK.monotonic_ms() + duration_ms
    eventually(lambda: CLOCK.monotonic_ms() >= end_ms, duration_ms / 1000 + 5)


def killed(server: RedisServer, meanwhile: Callable[[], None]) -> None:
    server.kill()
    meanwhile()
    server.start()


def away(server: RedisServer, meanwhile: Callable[[], None]) -> None:
    server.kill()
    meanwhile()
    wait_ms(AWAY_MS)
    meanwhile()
    server.start()


def hung(server: RedisServer, meanwhile: Callable[[], None]) -> None:
    server.pause()
    wait_ms(AWAY_MS)
    meanwhile()
    server.resume()


@pytest.mark.parametrize("weather", [killed, away, hung])
def test_redis_is(
    weather: Callable[[RedisServer, Callable[[], None]], None], alerting_system: System, targets: Targets, receiver: Receiver
) -> None:
    system = alerting_system
    before, during, *steady = NAMES
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    parts = system.start("beat", "beat", "worker", "worker", "alert-worker")
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    targets.mode[before] = "fail"
    eventually(lambda: receiver.of(before) == ["firing"], 20)

    with HealthView(system.url, poll_ms=500, timeout_ms=500) as view:
        eventually(lambda: weights(view) == system.weights("shop"), 10)
        assert view.state(before).weight == 0

        def consumers_keep_their_weights() -> None:
            assert weights(view) == held
            assert view.pick("shop").id != before

        targets.mode[during] = "fail"
        held = weights(view)
        weather(system.server, consumers_keep_their_weights)
        back_ms = CLOCK.now_ms()
        probed_again(targets, NAMES, interval_ms=INTERVAL_MS, since_ms=back_ms)
        assert all(process.popen.poll() is None for process in parts)
        eventually(lambda: receiver.of(during) == ["firing"], 20)
        targets.mode[before] = targets.mode[during] = "ok"
        eventually(lambda: [receiver.of(name) for name in (before, during)] == [["firing", "resolved"]] * 2, 30)
        eventually(lambda: weights(view) == system.weights("shop"), 10)
        assert view.freshness("shop").freshness is Freshness.FRESH

    check_history(system)
    check_published(system, "shop")
    assert system.breaker_events(during) == ["OPEN", "HALF_OPEN", "CLOSED"]
    assert not any(system.breaker_events(name) for name in steady), "our own loss of Redis was held against somebody"


def weights(view: HealthView) -> dict[str, int]:
    return {endpoint.id: endpoint.weight for endpoint in view.endpoints("shop")}
