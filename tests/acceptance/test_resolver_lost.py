"""No resolver answers: what we cannot resolve says nothing of the targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from monitor.core.outcome import Outcome
from tests.acceptance.system import System, eventually, manifest, probed_again
from tests.acceptance.targets import Targets
from tests.unit.probes.servers import Dns, dns_in_a_thread

INTERVAL_MS = 1_000
KNOWN, UNKNOWN = "known.test", "unknown.test"


@pytest.fixture
def resolver() -> Iterator[Dns]:
    """A name server of our own."""
    with dns_in_a_thread({KNOWN: "127.0.0.1", UNKNOWN: "127.0.0.1"}, ttl_s=0) as server:
        yield server


def named(targets: Targets, name: str, host: str) -> dict[str, Any]:
    written = manifest(targets, [name], interval_ms=INTERVAL_MS, failure_threshold=1)
    written["endpoints"][0]["url"] = targets.url(name, host)
    return written


def test_nobody_is_ejected(system: System, targets: Targets, resolver: Dns) -> None:
    system.variables["WATCHKEEPER_NAMESERVERS"] = resolver.server
    system.start("beat", "worker", "alert-worker")
    system.register(named(targets, "a", KNOWN))
    probed_again(targets, ["a"], interval_ms=INTERVAL_MS)
    eventually(lambda: system.record("a").probes.results, 10)

    resolver.silent = True
    system.register(named(targets, "b", UNKNOWN))
    asked = len(resolver.asked)
    eventually(lambda: len(resolver.asked) > asked, 10)
    eventually(lambda: system.record("b").probes.last.text, 10)
    probed_again(targets, ["a"], interval_ms=INTERVAL_MS)
    last = system.record("b").probes.last
    assert last.outcome is Outcome.INCONCLUSIVE
    assert "no resolver answered" in last.text
    assert not system.breaker_events("a")
    assert not system.breaker_events("b")
    assert min(system.weights("shop").values()) > 0

    resolver.silent = False
    probed_again(targets, ["a", "b"], interval_ms=INTERVAL_MS)
    eventually(lambda: system.record("b").probes.last.outcome is Outcome.SUCCESS, 10)
