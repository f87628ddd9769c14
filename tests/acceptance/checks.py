"""What must be true of every run, whatever happened in it."""

from __future__ import annotations

from itertools import pairwise

from monitor.core.endpoint import Endpoint
from monitor.core.record import Transition
from monitor.pool.snapshot import WEIGHT_SUM
from tests.acceptance.system import System
from tests.acceptance.targets import Targets


def check_history(system: System) -> None:
    """No transition of a breaker is lost or duplicated: each begins where the one before it ended, and the last one is the present."""
    chains: dict[str, list[Transition]] = {}
    for event in system.events():
        if event.kind == "breaker":
            chains.setdefault(event.endpoint, []).append(event)
    for endpoint, chain in chains.items():
        assert (chain[0].old, chain[0].gen) == ("CLOSED", 1), chain[0]
        for before, after in pairwise(chain):
            assert (after.old, after.gen) == (before.new, before.gen + 1), (before, after)
        breaker = system.record(endpoint).breaker
        if breaker.gen == chain[-1].gen:  # Otherwise it has gone on since we read.
            assert breaker.state.value == chain[-1].new, (breaker, chain[-1])


def check_published(system: System, pool: str) -> None:
    """Versions never go back nor leave one out, and the weights sum to 1000."""
    versions = system.published(pool)
    assert versions
    for (epoch, version), (next_epoch, next_version) in pairwise(versions):
        assert next_epoch >= epoch
        assert next_version == version + 1
    assert sum(system.weights(pool).values()) == WEIGHT_SUM


def check_slots(targets: Targets, endpoint: Endpoint, until_ms: int, *, missed_max: int = 0) -> None:
    """No slot of the endpoint's grid was probed twice, and at most `missed_max` of those before `until_ms` not at all.

    A late probe may fall into the next slot's time. So what is compared is how many probes have come with how many slots have begun.
    """
    seen = targets.seen[endpoint.id]
    slots = [_slot(endpoint, at_ms) for at_ms in seen]
    for count, slot in enumerate(slots):
        assert count <= slot - slots[0], f"{endpoint.id} was probed twice in a slot: {seen[: count + 1]}"
    due = _slot(endpoint, until_ms) - slots[0]
    assert len(seen) >= due - missed_max, f"{endpoint.id} was probed {len(seen)} times in {due} slots: {seen}"


def _slot(endpoint: Endpoint, at_ms: int) -> int:
    """The slot that has begun by then; clocks of two processes may read a few milliseconds apart."""
    return (at_ms + 20 - endpoint.phase_ms) // endpoint.interval_ms
