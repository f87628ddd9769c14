"""Two beats and two workers with 200 endpoints: each probed once in each slot, nobody waits for those that hang."""

from __future__ import annotations

import statistics
from itertools import pairwise

from tests.acceptance.checks import check_history, check_slots
from tests.acceptance.system import CLOCK, System, eventually, manifest, probed_again
from tests.acceptance.targets import Targets

INTERVAL_MS = 1_000
NAMES = [f"e{number}" for number in range(200)]
LATE_MEDIAN_MAX_MS = 300


def run_for(targets: Targets, slots: int) -> None:
    """Let the slots pass."""
    until_ms = CLOCK.now_ms() + slots * INTERVAL_MS
    eventually(lambda: CLOCK.now_ms() > until_ms, slots * INTERVAL_MS / 1000 + 10)


def test_each_is_probed_once_in_each_slot(system: System, targets: Targets) -> None:
    system.start("beat", "beat", "worker", "worker")
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    run_for(targets, 8)
    endpoints = system.execute(lambda store: store.endpoints())
    until_ms = CLOCK.now_ms()
    for name in NAMES:
        check_slots(targets, endpoints[name], until_ms, missed_max=2)
    assert system.counter("results_lost") == 0, "a probe was made twice"


def test_those_that_hang_delay_nobody(system: System, targets: Targets) -> None:
    hanging, lively = NAMES[::5], [name for number, name in enumerate(NAMES) if number % 5]
    for name in hanging:
        targets.mode[name] = "hang"
    system.start("beat", "worker", "worker", "alert-worker")
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    eventually(lambda: all(system.breaker(name) == "OPEN" for name in hanging), 20)
    began_ms = CLOCK.now_ms()
    run_for(targets, 6)

    endpoints = system.execute(lambda store: store.endpoints())
    late = [(at_ms - endpoints[name].phase_ms) % INTERVAL_MS for name in lively for at_ms in targets.seen[name] if at_ms >= began_ms]
    assert statistics.median(late) < LATE_MEDIAN_MAX_MS, f"half of the probes start later than {statistics.median(late)} ms"
    gaps = [after - before for name in lively for before, after in pairwise(at for at in targets.seen[name] if at >= began_ms)]
    assert abs(statistics.median(gaps) - INTERVAL_MS) < INTERVAL_MS // 5
    for name in lively:
        last = system.record(name).probes.last
        assert CLOCK.now_ms() - last.at_ms < 3 * INTERVAL_MS, f"the result of {name} is old"
        assert not system.breaker_events(name)
    check_history(system)


def test_a_restart_of_everything_keeps_the_phases_and_causes_no_burst(system: System, targets: Targets) -> None:
    system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
    first = system.start("beat", "worker")
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    run_for(targets, 2)
    for process in first:
        process.kill()
    system.server.kill()
    system.server.start()
    system.start("beat", "worker")
    restarted_ms = CLOCK.now_ms()
    probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
    run_for(targets, 4)

    passed = (CLOCK.now_ms() - restarted_ms) // INTERVAL_MS + 2
    assert all(targets.since(name, restarted_ms) <= passed for name in NAMES), "somebody was probed more than once in a slot"
    endpoints = system.execute(lambda store: store.endpoints())
    settled_ms = CLOCK.now_ms() - 3 * INTERVAL_MS
    late = [(at_ms - endpoints[name].phase_ms) % INTERVAL_MS for name in NAMES for at_ms in targets.seen[name] if at_ms >= settled_ms]
    assert statistics.median(late) < LATE_MEDIAN_MAX_MS, "the phases have moved"
