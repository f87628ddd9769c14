"""Celery tasks: parse what came, hand it to the process's event loop, return. They carry ids and leases, never URLs or secrets.

A task waits until the loop can take its work, and no longer: what has no place yet stays in the broker, where beat counts it. It
does not wait for its work: a batch with targets that hang would hold a slot of the pool until they time out, and a slow
service one until it answers. What is in flight is bounded by the leases: an endpoint, a pool, a group or a delivery has one.
A message carries the ends of its leases on the shared timeline, and what has ended when it comes is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery.signals import worker_ready, worker_shutdown, worker_shutting_down

from monitor.store.port import Lease
from workers.app import app
from workers.broker import INSPECTOR
from workers.runtime.services import RUNTIME

DRAIN_S = 2.0
"""How long a stopping process waits for what is in flight; the leases of the rest expire."""

Leases = Sequence[tuple[str, int, int]]


def _leases(items: Leases) -> list[Lease]:
    """The leases that have not ended yet; the others are counted."""
    kept = RUNTIME.services.current([Lease(member, token_ms, due_ms) for member, token_ms, due_ms in items])
    if len(kept) < len(items):
        RUNTIME.count("hints_expired", len(items) - len(kept))
    return kept


@app.task(name="probe_batch")  # type: ignore[untyped-decorator]
def probe_batch(slot: int, rev: int, items: Leases) -> None:
    """Probe claimed endpoints and commit their results, as soon as this process can."""
    if RUNTIME.admit(items):
        RUNTIME.start(RUNTIME.services.probing.probe_batch(slot, rev, items))
    else:
        RUNTIME.count("probes_expired", len(items))


@app.task(name="weigh_pools")  # type: ignore[untyped-decorator]
def weigh_pools(slot: int, items: Leases) -> None:
    """Weigh and publish pools whose time has come: warm-up, damping, a change that its committer did not live to publish."""
    RUNTIME.start(RUNTIME.services.weigh(slot, _leases(items)))


@app.task(name="reevaluate_endpoints")  # type: ignore[untyped-decorator]
def reevaluate_endpoints(slot: int, items: Leases) -> None:
    """Re-evaluate endpoints whose time has come without a result."""
    RUNTIME.start(RUNTIME.services.deciding.reevaluate(slot, _leases(items)))


@app.task(name="route_alerts")  # type: ignore[untyped-decorator]
def route_alerts(slot: int) -> None:
    """Put alerts into groups that nobody heard of."""
    RUNTIME.start(RUNTIME.services.alerting.route(slot))


@app.task(name="flush_groups")  # type: ignore[untyped-decorator]
def flush_groups(slot: int, items: Leases) -> None:
    """Let groups whose timer has come decide what to send."""
    del slot
    RUNTIME.start(RUNTIME.services.alerting.flush(_leases(items)))


@app.task(name="end_unasserted")  # type: ignore[untyped-decorator]
def end_unasserted(slot: int, items: Leases) -> None:
    """End the alerts of subjects that nobody asserts any more."""
    del slot
    RUNTIME.start(RUNTIME.services.alerting.end_unasserted(_leases(items)))


@app.task(name="deliver")  # type: ignore[untyped-decorator]
def deliver(slot: int, items: Leases) -> None:
    """Send notifications that are due."""
    del slot
    RUNTIME.start(RUNTIME.services.alerting.deliver_announced(_leases(items)))


@app.task(name="judge_traffic")  # type: ignore[untyped-decorator]
def judge_traffic(slot: int, items: Leases) -> None:
    """Judge what consumers of pools have reported."""
    del slot
    RUNTIME.start(RUNTIME.services.traffic.judge(_leases(items)))


def refused(queue: str, data: bytes, why: str) -> None:
    """Set aside a message of the broker that is none of ours."""
    RUNTIME.set_aside("message", queue, data, why)


INSPECTOR.tell, INSPECTOR.count = refused, RUNTIME.count


@worker_ready.connect  # type: ignore[untyped-decorator]
def start_heart(**_: Any) -> None:
    """Let the process show that it lives: its services are open, and it takes messages from now on."""
    RUNTIME.begin()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def stop_starting(**_: Any) -> None:
    """Let no task wait for its turn any more, so that the process can end."""
    RUNTIME.stop()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def stop_heart(**_: Any) -> None:
    """Deregister, so that readiness does not count a process that has left."""
    RUNTIME.close(DRAIN_S)
