"""Workers and beats that are killed or stand still: everybody is probed again soon, nothing is judged twice or forgotten."""

from __future__ import annotations

import pytest

from monitor.pool.snapshot import TTL_MS
from tests.acceptance.checks import check_history, check_published
from tests.acceptance.receiver import Receiver
from tests.acceptance.system import BUSY_S, CLOCK, System, again_within_s, eventually, manifest, probed_again
from tests.acceptance.targets import Targets

INTERVAL_MS = 1_000
NAMES = [f"e{number}" for number in range(12)]
HANGING = NAMES[:3]
LIVELY = NAMES[3:]


def in_the_midst_of_a_batch(targets: Targets) -> None:
    """Return while a batch is in flight: a target has been connected to and hangs."""
    asked = {name: len(targets.seen[name]) for name in HANGING}
    eventually(lambda: any(len(targets.seen[name]) > asked[name] for name in HANGING), 5)


@pytest.mark.parametrize("others", [1, 0], ids=["another goes on", "the only one is started again"])
def test_a_worker_killed_in_a_batch(alerting_system: System, targets: Targets, receiver: Receiver, others: int) -> None:
    system = alerting_system
    for name in HANGING:
        targets.mode[name] = "hang"
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    _, _, victim, *_ = system.start("beat", "alert-worker", "worker", *["worker"] * others)
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    eventually(lambda: all(system.breaker(name) == "OPEN" for name in HANGING), 10)
    eventually(lambda: all(receiver.of(name) == ["firing"] for name in HANGING), 10)

    in_the_midst_of_a_batch(targets)
    victim.kill()
    died_ms = CLOCK.now_ms()
    if not others:
        system.start("worker")
        died_ms = CLOCK.now_ms()
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS, since_ms=died_ms)

    for name in HANGING:
        targets.mode[name] = "ok"
    eventually(lambda: all(system.breaker(name) == "CLOSED" for name in HANGING), 20)
    eventually(lambda: all(receiver.of(name) == ["firing", "resolved"] for name in HANGING), 10)
    check_history(system)
    check_published(system, "shop")
    assert not any(system.breaker_events(name) for name in LIVELY)


def test_one_of_two_beats_killed(system: System, targets: Targets) -> None:
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    victim, *_ = system.start("beat", "beat", "worker")
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    victim.kill()
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    check_history(system)


def test_the_only_beat_killed_and_started_again(system: System, targets: Targets) -> None:
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    victim, _ = system.start("beat", "worker")
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    victim.kill()
    system.start("beat")
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    assert not any(system.breaker_events(name) for name in NAMES)


def test_both_beats_stand_still_and_go_on_without_a_burst(system: System, targets: Targets) -> None:
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    *beats, _ = system.start("beat", "beat", "worker")
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    for beat in beats:
        beat.pause()
    still_s = again_within_s(INTERVAL_MS)  # Longer than a lease: all of them have run out.
    quiet_ms = CLOCK.now_ms() + 2 * INTERVAL_MS
    eventually(lambda: CLOCK.now_ms() > quiet_ms + still_s * 1000 - 2 * INTERVAL_MS, still_s + 5)
    assert not any(targets.since(name, quiet_ms) for name in NAMES), "somebody probes although both beats stand still"
    for beat in beats:
        beat.resume()
    resumed_ms = CLOCK.now_ms()
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS, since_ms=resumed_ms)

    passed = (CLOCK.now_ms() - resumed_ms) // INTERVAL_MS + 2  # The one at once, and one for each slot since.
    counts = {name: targets.since(name, resumed_ms) for name in NAMES}
    assert all(count <= passed for count in counts.values()), f"{counts} probes in {passed} slots"
    assert not any(system.breaker_events(name) for name in NAMES)


def test_a_worker_that_stands_still_blames_nobody(system: System, targets: Targets) -> None:
    """Its probes' deadlines pass while it is stopped, and the answers lie unread: one failure would open a breaker here."""
    for name in NAMES:
        targets.mode[name] = 0.3
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS, failure_threshold=1))
    worker, *_ = system.start("worker", "beat", "alert-worker")
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    for _ in range(3):
        asked = sum(map(len, targets.seen.values()))
        eventually(lambda asked=asked: sum(map(len, targets.seen.values())) > asked, 5)  # type: ignore[misc]
        worker.pause()
        until_ms = CLOCK.now_ms() + 2_000
        eventually(lambda until_ms=until_ms: CLOCK.now_ms() > until_ms, 5)  # type: ignore[misc]
        worker.resume()
        probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    assert not any(system.breaker_events(name) for name in NAMES)
    assert all(system.weights("shop").values())


def test_no_worker_lives_and_nobody_is_told_that_nothing_is_known_of_the_endpoints(
    alerting_system: System, targets: Targets, receiver: Receiver
) -> None:
    """Beat goes on claiming, and alert workers go on judging."""
    system = alerting_system
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    _, _, worker = system.start("beat", "alert-worker", "worker")
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    worker.kill()
    # Three intervals and a lease have passed before consumers see that results have stopped.
    eventually(lambda: system.lagging() == ["shop"], (TTL_MS + INTERVAL_MS) / 1000 + BUSY_S)
    system.start("worker")
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    eventually(lambda: system.lagging() == [], 5)
    assert [one for one in receiver.told if one.rule == "NoData"] == []
    assert not any(system.record(name).silent for name in NAMES)
