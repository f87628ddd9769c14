"""Renaming an endpoint in a running system: it is probed and published under its new name, and nothing is left of the old one."""

from __future__ import annotations

from monitor import registry
from monitor.core.history import read_samples
from monitor.core.record import Breaker
from tests.acceptance.system import BUSY_S, CLOCK, System, eventually, manifest
from tests.acceptance.targets import Targets


def samples(system: System, endpoint: str) -> int:
    return len(read_samples(system.execute(lambda store: store.samples(endpoint, "ring"))))


def test_a_rename_while_the_system_runs(system: System, targets: Targets) -> None:
    targets.mode["b"] = "fail"
    system.start("beat", "worker", "alert-worker")
    system.register(manifest(targets, ["a", "b"]))
    eventually(lambda: system.weights("shop")["b"] == 0 and samples(system, "b") > 3, 20 + BUSY_S, "b to be taken out of traffic")
    before, held, version = system.record("b"), samples(system, "b"), system.snapshot("shop").ver

    renamed_ms = CLOCK.now_ms()
    system.execute(lambda store: registry.rename(store, "b", "c", actor="tester"))
    eventually(lambda: list(system.weights("shop")) == ["a", "c"], 10 + BUSY_S, "c to be published in the place of b")
    assert system.snapshot("shop").ver > version
    assert system.weights("shop") == {"a": 1000, "c": 0}
    eventually(lambda: samples(system, "c") > held, 10 + BUSY_S, "c to be probed")
    assert targets.since("b", renamed_ms)
    after = system.record("c")
    assert (after.breaker.state, after.breaker.gen, after.breaker.since_ms) == (Breaker.OPEN, before.breaker.gen, before.breaker.since_ms)
    assert after.probes.run_length > before.probes.run_length
    eventually(lambda: system.execute(lambda store: store.load(["b"]))[0].ver == 0, 15 + BUSY_S, "what is left of b to be taken away")
    assert system.breaker_events("c") == []

    targets.mode["b"] = "ok"
    eventually(lambda: system.weights("shop")["c"] > 0, 20 + BUSY_S, "c to come back")
