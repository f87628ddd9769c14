"""No resolver answers, or not for one name: what we cannot resolve says nothing of the targets, what nobody can is their failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from monitor.core.outcome import FailureClass, Outcome
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
    assert eventually(lambda: system.record("a").probes.last.stale, 20).ours
    assert {one.id: one.verdict for one in system.snapshot("shop").endpoints}["a"] == "HEALTHY"
    assert not system.breaker_events("a")
    assert not system.breaker_events("b")
    assert min(system.weights("shop").values()) > 0

    resolver.silent = False
    probed_again(targets, ["a", "b"], interval_ms=INTERVAL_MS)
    eventually(lambda: system.record("b").probes.last.outcome is Outcome.SUCCESS, 10)


def test_a_name_that_alone_is_not_resolved_is_told_at_once_and_fails_after_its_time(
    system: System, targets: Targets, resolver: Dns
) -> None:
    system.variables |= {"WATCHKEEPER_NAMESERVERS": resolver.server, "WATCHKEEPER_DNS_STALE_MS": "3000"}
    system.start("beat", "worker", "alert-worker")
    for name, host in (("a", KNOWN), ("b", UNKNOWN)):
        system.register(named(targets, name, host))
    eventually(lambda: system.record("a").probes.results and system.record("b").probes.results, 10)

    resolver.codes[KNOWN] = 2
    stale = eventually(lambda: system.record("a").probes.last.stale, 10)
    assert stale.why == f"the resolver says SERVFAIL for {KNOWN}"
    assert not system.breaker_events("a")
    eventually(lambda: {one.id: one.verdict for one in system.snapshot("shop").endpoints}["a"] == "DEGRADED", 10)
    assert min(system.weights("shop").values()) > 0
    failed = FailureClass.RESOLVE, f"the resolver says SERVFAIL for {KNOWN}"
    eventually(lambda: (system.record("a").probes.last.failure, system.record("a").probes.last.text) == failed, 20)
    eventually(lambda: system.breaker_events("a"), 10)
    assert not system.breaker_events("b")

    resolver.codes.clear()
    eventually(lambda: system.record("a").probes.last.outcome is Outcome.SUCCESS, 10)
    assert system.record("a").probes.last.stale is None
    assert system.record("b").probes.last.stale is None
