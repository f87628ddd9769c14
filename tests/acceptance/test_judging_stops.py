"""Judging stops and nothing else does: consumers must see it, of the pools that it concerns and of no other."""

from __future__ import annotations

import redis

from monitor.client import Freshness, HealthView
from monitor.pool.snapshot import TTL_MS
from monitor.store import keys
from tests.acceptance.system import BUSY_S, CLOCK, HEARTBEAT_MS, System, eventually, manifest, probed_again
from tests.acceptance.targets import Targets

INTERVAL_MS = 1_000
POLL_MS = 500
NAMES = ["e0", "e1", "e2"]
OTHERS = ["o0", "o1"]
SEEN_WITHIN_S = (TTL_MS + HEARTBEAT_MS + 2 * POLL_MS) / 1000 + BUSY_S
"""From the last result to consumers that know: the time to live, a heartbeat, a poll."""
FRESH, FROZEN = Freshness.FRESH, Freshness.FROZEN


def freshness(view: HealthView, *pools: str) -> list[Freshness]:
    return [view.freshness(pool).freshness for pool in pools]


def test_beat_stands_still_and_goes_on(system: System, targets: Targets) -> None:
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    beat, *_ = system.start("beat", "worker", "alert-worker")
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    with HealthView(system.url, poll_ms=POLL_MS) as view:
        eventually(lambda: len(view.endpoints("shop")) == len(NAMES), 10)
        held = {endpoint.id: endpoint.weight for endpoint in view.endpoints("shop")}
        stands_for_ms = 2 * HEARTBEAT_MS
        eventually(lambda: freshness(view, "shop") == [FRESH], 5)
        assert system.lagging() == []

        beat.pause()
        paused_ms = CLOCK.now_ms()
        eventually(lambda: freshness(view, "shop") == [FROZEN], SEEN_WITHIN_S + INTERVAL_MS / 1000)
        assert CLOCK.now_ms() - paused_ms > TTL_MS - INTERVAL_MS - stands_for_ms, "three results may be missing before anybody is told"
        assert {endpoint.id: endpoint.weight for endpoint in view.endpoints("shop")} == held
        assert system.lagging() == ["shop"]

        beat.resume()
        eventually(lambda: freshness(view, "shop") == [FRESH], INTERVAL_MS / 1000 + BUSY_S + 5)
        assert system.lagging() == []


def test_one_pool_that_cannot_be_read_is_frozen_alone_until_it_is_registered_again(system: System, targets: Targets) -> None:
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    system.register(manifest(targets, OTHERS, interval_ms=INTERVAL_MS, pool="other"))
    system.start("beat", "worker", "alert-worker")
    probed_again(targets, [*NAMES, *OTHERS], interval_ms=INTERVAL_MS)
    with HealthView(system.url, poll_ms=POLL_MS) as view:
        eventually(lambda: freshness(view, "shop", "other") == [FRESH, FRESH], 10)
        with redis.Redis.from_url(system.url, socket_timeout=5) as client:
            client.hset(keys.in_slot(0, "spec"), mapping=dict.fromkeys(OTHERS, "{"))
            client.hset(keys.in_slot(0, "rec"), mapping=dict.fromkeys(OTHERS, "?"))
            client.incr(keys.in_slot(0, "rev"))
        eventually(lambda: freshness(view, "other") == [FROZEN], SEEN_WITHIN_S + INTERVAL_MS / 1000)
        assert freshness(view, "shop") == [FRESH]
        assert system.lagging() == ["other"]
        assert sum(endpoint.weight for endpoint in view.endpoints("other")) == 1_000, "its consumers keep what they have"
        probed_again(targets, NAMES, interval_ms=INTERVAL_MS)

        system.register(manifest(targets, OTHERS, interval_ms=INTERVAL_MS, pool="other"))
        eventually(lambda: freshness(view, "shop", "other") == [FRESH, FRESH], INTERVAL_MS / 1000 + BUSY_S + 10)
        assert system.lagging() == []


def test_flushed_and_applied_again_under_running_parts_and_consumers(system: System, targets: Targets) -> None:
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    system.start("beat", "worker", "alert-worker")
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    with HealthView(system.url, poll_ms=POLL_MS) as view:
        eventually(lambda: freshness(view, "shop") == [FRESH], 10)
        targets.mode["e0"] = "fail"
        eventually(lambda: view.state("e0").weight == 0, 10)
        before = system.snapshot("shop")
        with redis.Redis.from_url(system.url, socket_timeout=5) as client:
            client.flushall()
        targets.mode["e0"] = "ok"
        system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
        eventually(lambda: view.state("e0").weight > 300 and freshness(view, "shop") == [FRESH], INTERVAL_MS / 1000 + BUSY_S + 10)
        assert system.snapshot("shop").epoch > before.epoch
        targets.mode["e1"] = "fail"
        eventually(lambda: view.state("e1").weight == 0, 10)
