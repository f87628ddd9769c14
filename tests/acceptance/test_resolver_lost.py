"""No resolver answers: what we cannot resolve says nothing of the targets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from monitor.core.outcome import Outcome
from tests.acceptance.system import System, eventually, manifest, probed_again
from tests.acceptance.targets import Targets
from tests.unit.probes.servers import Dns

INTERVAL_MS = 1_000
KNOWN, UNKNOWN = "known.test", "unknown.test"


@pytest.fixture
def resolver() -> Iterator[Dns]:
    """A name server of our own in a thread."""
    loop = asyncio.new_event_loop()
    transport, server = loop.run_until_complete(
        loop.create_datagram_endpoint(lambda: Dns({KNOWN: "127.0.0.1", UNKNOWN: "127.0.0.1"}, ttl_s=0), local_addr=("127.0.0.1", 0))
    )
    thread = threading.Thread(target=loop.run_forever, name="resolver")
    thread.start()
    yield server
    loop.call_soon_threadsafe(transport.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


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
