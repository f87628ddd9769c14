"""Patterns as costly as are accepted, on bodies made to be costly: whoever has them waits for them, and nobody else."""

from __future__ import annotations

import hashlib

import pytest

from monitor.core.outcome import Outcome
from monitor.probes.exchange import BODY_BYTES_MAX
from monitor.probes.matching import THREADS_MAX
from tests.acceptance.system import CLOCK, System, eventually
from tests.acceptance.targets import Targets

INTERVAL_MS = 1_000
HEALTHY = 50
COSTLY = THREADS_MAX + 1
PATTERN = r"[a-f]\w{0,250}x"
BODY = hashlib.shake_128(b"costly").digest(BODY_BYTES_MAX).translate(b"ag" * 128)
"""Of each byte RE2 must remember whether it was an a: it has a state of its own for each of them."""


@pytest.mark.timeout(180)
def test_costly_patterns_delay_none_of_fifty_others(system: System, targets: Targets) -> None:
    healthy = [f"healthy{number}" for number in range(HEALTHY)]
    costly = [f"costly{number}" for number in range(COSTLY)]
    for name in costly:
        targets.mode[name] = BODY
    system.start("beat", "worker", "alert-worker")
    common = {"interval": f"{INTERVAL_MS}ms", "timeout": "1s", "retries": 0}
    endpoints = [{"id": name, "url": targets.url(name), "pool": "healthy", "expect_body": "o+k", **common} for name in healthy]
    hostile = {**common, "interval": "500ms", "timeout": "500ms", "expect_body": PATTERN}
    endpoints += [{"id": name, "url": targets.url(name), "pool": "costly", **hostile} for name in costly]
    system.register({"endpoints": endpoints})
    eventually(lambda: all(targets.seen[name] for name in healthy + costly), 20)
    eventually(lambda: system.counter("matches_late") > COSTLY, 20)

    began_ms = CLOCK.now_ms()
    eventually(lambda: CLOCK.now_ms() >= began_ms + 20_000, 25)
    slots = (CLOCK.now_ms() - began_ms) // INTERVAL_MS
    missed = {name: missing for name in healthy if (missing := slots - targets.since(name, began_ms)) > 1}
    assert not missed, f"of {slots} slots were missed: {missed}"
    found = system.execute(lambda store: store.endpoints(healthy))
    late = sorted((at_ms - found[name].phase_ms) % INTERVAL_MS for name in healthy for at_ms in targets.seen[name] if at_ms >= began_ms)
    p50 = late[len(late) // 2]
    assert p50 < 200, f"half of them are later than {p50} ms"
    assert not [name for name in healthy if system.breaker_events(name)]
    assert all(system.record(name).probes.last.outcome is Outcome.SUCCESS for name in healthy)

    for name in costly:
        last = system.record(name).probes.last
        assert last.outcome is not Outcome.SUCCESS
        assert "bytes were still being matched" in last.text or "no processor was free to match" in last.text
