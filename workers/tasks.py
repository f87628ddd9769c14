"""Celery tasks: parse what came, hand it to the rooms, return. What they carry are ids and leases, never URLs or secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from celery.signals import worker_ready, worker_shutdown

from monitor.store.port import Lease
from workers.app import ALERT_QUEUE, PROBE_QUEUE, app
from workers.wiring import RUNTIME

PROBE_BATCH_S = 86_400 + 60
"""The longest interval and its slack: a batch is bounded by its probes' own time limits, this only bounds our patience."""
WORK_S = 120

Leases = Sequence[tuple[str, int, int]]


def _run(work: Coroutine[Any, Any, None], timeout_s: float) -> None:
    RUNTIME.loop.run(work, timeout_s)


def _leases(items: Leases) -> list[Lease]:
    return [Lease(member, token_ms, due_ms) for member, token_ms, due_ms in items]


@app.task(name="probe_batch", queue=PROBE_QUEUE)  # type: ignore[untyped-decorator]
def probe_batch(slot: int, rev: int, items: Leases) -> None:
    """Probe claimed endpoints and settle their results."""
    _run(RUNTIME.rooms().pipeline.probe_batch(slot, rev, items), PROBE_BATCH_S)


@app.task(name="weigh_pools", queue=ALERT_QUEUE)  # type: ignore[untyped-decorator]
def weigh_pools(slot: int, items: Leases) -> None:
    """Weigh and publish pools whose time has come: warm-up, damping, a change that its committer did not live to publish."""
    _run(RUNTIME.rooms().publisher.settle_all((slot, lease) for lease in _leases(items)), WORK_S)


@app.task(name="watch_endpoints", queue=ALERT_QUEUE)  # type: ignore[untyped-decorator]
def watch_endpoints(slot: int, items: Leases) -> None:
    """Let rules look at endpoints whose time has come without a result."""
    _run(RUNTIME.rooms().pipeline.watch(slot, _leases(items)), WORK_S)


@app.task(name="route_alerts", queue=ALERT_QUEUE)  # type: ignore[untyped-decorator]
def route_alerts(slot: int) -> None:
    """Put alerts into groups that their committer did not live to route."""
    _run(RUNTIME.rooms().alerting.route(slot), WORK_S)


@app.task(name="flush_groups", queue=ALERT_QUEUE)  # type: ignore[untyped-decorator]
def flush_groups(slot: int, items: Leases) -> None:
    """Let groups whose timer has come decide what to send."""
    del slot
    _run(RUNTIME.rooms().alerting.flush(_leases(items)), WORK_S)


@app.task(name="deliver", queue=ALERT_QUEUE)  # type: ignore[untyped-decorator]
def deliver(slot: int, items: Leases) -> None:
    """Send notifications that are due."""
    del slot
    _run(RUNTIME.rooms().alerting.deliver(_leases(items)), WORK_S)


@worker_ready.connect  # type: ignore[untyped-decorator]
def start_heart(sender: Any, **_: Any) -> None:
    """Open the rooms before the first batch comes, and let the process show that it lives."""
    RUNTIME.part = "worker" if PROBE_QUEUE in sender.app.amqp.queues.consume_from else "alert-worker"
    asyncio.run_coroutine_threadsafe(RUNTIME.rooms().heart.run(), RUNTIME.loop.loop())


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def stop_heart(**_: Any) -> None:
    """Take the sign of life back, so that readiness does not count a process that has left."""
    RUNTIME.close()
