"""Adding, changing, pausing and removing an endpoint takes effect within one interval, without a restart of anything."""

from __future__ import annotations

from monitor import registry
from tests.acceptance.system import BUSY_S, CLOCK, System, eventually, manifest
from tests.acceptance.targets import Targets

INTERVAL_MS = 1_000
WITHIN_S = INTERVAL_MS / 1000 + 1 + BUSY_S


def probed(targets: Targets, name: str) -> None:
    from_ms = CLOCK.now_ms()
    eventually(lambda: targets.since(name, from_ms), WITHIN_S, f"{name} to be probed")


def left_alone(targets: Targets, name: str) -> None:
    """What was claimed before the change may still come; then nothing does."""
    quiet_ms = CLOCK.now_ms() + INTERVAL_MS + 1_000
    eventually(lambda: CLOCK.now_ms() > quiet_ms + 2 * INTERVAL_MS, 10)
    assert not targets.since(name, quiet_ms), f"{name} is still probed"


def test_without_a_restart(system: System, targets: Targets) -> None:
    system.start("beat", "worker", "worker")
    system.register(manifest(targets, ["a", "b"], interval_ms=INTERVAL_MS))
    probed(targets, "a")
    probed(targets, "b")

    system.register(manifest(targets, ["c"], interval_ms=INTERVAL_MS))
    probed(targets, "c")

    system.execute(lambda store: registry.edit(store, "a", {"url": targets.url("moved")}, actor="tester"))
    probed(targets, "moved")
    left_alone(targets, "a")

    system.execute(lambda store: registry.set_paused(store, ["b"], paused=True, actor="tester"))
    left_alone(targets, "b")
    system.execute(lambda store: registry.set_paused(store, ["b"], paused=False, actor="tester"))
    probed(targets, "b")

    system.execute(lambda store: registry.remove(store, ["b"], actor="tester"))
    left_alone(targets, "b")
    probed(targets, "c")
    system.register(manifest(targets, ["b"], interval_ms=INTERVAL_MS))
    probed(targets, "b")
