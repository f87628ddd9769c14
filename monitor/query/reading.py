"""The state of things as people see it, read once for the command line, pages and metrics."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from alert_rules.rules.alert import AlertState
from alert_rules.rules.memory import Memory, decode_memory
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import ConfigError, Problem, did_you_mean
from monitor.core.history import PERIODS, Row, Sample, open_rows, read_rows, read_samples, report
from monitor.core.record import OverrideRecord, Record, Transition, Verdict, decode_override, decode_record
from monitor.core.verdict import verdict
from monitor.pool.balancer import Factors
from monitor.pool.compose import Reading, compose, decode_snapshot, silent
from monitor.pool.snapshot import PublishedEndpoint, Snapshot
from monitor.query.readable import readable
from monitor.registry.known import find
from monitor.store.port import Loaded, Store

SAMPLES_SHOWN = 30

T = TypeVar("T")
_decode_transition = msgspec.json.Decoder(Transition).decode


class EndpointStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint as it stands. `weight` None: its pool has not been published yet."""

    endpoint: Endpoint
    record: Record
    override: OverrideRecord | None
    verdict: Verdict
    weight: int | None
    samples: tuple[Sample, ...]
    alerts: tuple[AlertState, ...]
    unreadable: bool = False
    """What is stored of it cannot be read; it is shown as if nothing was known."""


class PoolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A pool as people see it: its settings, what is published (None: nothing yet), and its members."""

    pool: Pool
    snapshot: Snapshot | None
    members: tuple[EndpointStatus, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an endpoint's present state and weight follow from. `published` is what consumers see."""

    status: EndpointStatus
    pool: Pool
    snapshot: Snapshot | None
    published: PublishedEndpoint | None
    factors: Factors | None
    transitions: tuple[Transition, ...]
    parents: Mapping[str, Verdict]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint's rows of one period, oldest first, the present one included, and what they come to together."""

    endpoint: Endpoint
    rows: tuple[Row, ...]
    whole: Row
    samples: tuple[Sample, ...]


async def read_pools(store: Store, now_ms: int, names: Sequence[str] = ()) -> list[PoolStatus]:
    """All pools, or those named; ConfigError for a name that has no member."""
    endpoints = await store.endpoints()
    settings = await store.pools()
    by_pool: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints.values():
        by_pool.setdefault(endpoint.pool, []).append(endpoint)
    for name in names:
        if name not in by_pool:
            hint = did_you_mean(name, sorted(by_pool), "`watchkeeper pool list` lists the pools")
            raise ConfigError([Problem("", "pool", name, "there is no such pool", hint)])
    wanted = sorted(names or by_pool)
    snapshots = dict(zip(wanted, map(_snapshot, await store.snapshots(wanted)), strict=True))
    views = await _views(store, [endpoint for name in wanted for endpoint in sorted(by_pool[name], key=lambda one: one.id)])
    # Read side by side, so that their commands share exchanges.
    statuses = await asyncio.gather(*(_status(store, view, snapshots[view.reading.endpoint.pool], now_ms) for view in views))
    members: dict[str, list[EndpointStatus]] = defaultdict(list)
    for status in statuses:
        members[status.endpoint.pool].append(status)
    return [
        PoolStatus(pool=settings.get(name) or Pool(name=name), snapshot=snapshots[name], members=tuple(members[name])) for name in wanted
    ]


async def read_history(store: Store, endpoint_id: str, period_name: str, now_ms: int) -> History:
    """ConfigError when there is no such endpoint; `period_name` is min, hour or day."""
    endpoint = await find(store, endpoint_id)
    period = next(period for period in PERIODS if period.name == period_name)
    record = decode_record((await store.load([endpoint_id]))[0].record)
    rows = read_rows(period, await store.samples(endpoint_id, period.name), now_ms)
    present = open_rows(record.history, endpoint, now_ms).get(period.name, [])
    newer = {row.start_ms for row in present}
    rows = [*(row for row in rows if row.start_ms not in newer), *present]
    return History(
        endpoint=endpoint,
        rows=tuple(rows),
        whole=report(rows, now_ms),
        samples=tuple(read_samples(await store.samples(endpoint_id, "ring"))),
    )


async def read_explanation(store: Store, endpoint_id: str, now_ms: int, transitions_max: int = 10) -> Explanation:
    """ConfigError when there is no such endpoint."""
    endpoint = await find(store, endpoint_id)
    pool = (await store.pools()).get(endpoint.pool) or Pool(name=endpoint.pool)
    load = await store.load_pool(endpoint.pool)
    found = await store.endpoints([member.id for member in load.members])
    views = await _views(store, [found[key] for key in sorted({*found, endpoint_id}) if key in found])
    snapshot = _snapshot(load.snapshot)
    _, weighing = compose(pool, [view.reading for view in views], snapshot, snapshot.epoch if snapshot else 0, now_ms)
    status = await _status(store, next(view for view in views if view.reading.endpoint.id == endpoint_id), snapshot, now_ms)
    parents = await store.endpoints(endpoint.depends_on)
    verdicts = {view.reading.endpoint.id: _verdict(view.reading, now_ms) for view in await _views(store, list(parents.values()))}
    transitions = [read for data in await store.transitions(endpoint_id) if (read := readable(_decode_transition, data)) is not None]
    return Explanation(
        status=status,
        pool=pool,
        snapshot=snapshot,
        published=next((one for one in snapshot.endpoints if one.id == endpoint_id), None) if snapshot else None,
        factors=weighing.factors.get(endpoint_id),
        transitions=tuple(transitions[-transitions_max:]),
        parents=verdicts,
    )


async def read_events(store: Store, limit: int, after: str = "") -> list[tuple[str, Transition]]:
    """Transitions with their cursors, oldest first."""
    found = [(cursor, readable(_decode_transition, data)) for cursor, data in await store.events(limit, after)]
    return [(cursor, transition) for cursor, transition in found if transition is not None]


class _View(msgspec.Struct, frozen=True):
    reading: Reading
    memory: Memory
    unreadable: bool


async def _views(store: Store, endpoints: Sequence[Endpoint]) -> list[_View]:
    loaded = await store.load([endpoint.id for endpoint in endpoints])
    return [_view(endpoint, one) for endpoint, one in zip(endpoints, loaded, strict=True)]


def _view(endpoint: Endpoint, loaded: Loaded) -> _View:
    """What is stored of an endpoint; what cannot be read of it is as if it were not there."""
    record = readable(decode_record, loaded.record)
    memory = readable(decode_memory, loaded.memory)
    override = readable(decode_override, loaded.override)
    unreadable = record is None or memory is None or (override is None and bool(loaded.override))
    return _View(Reading(endpoint, record or Record(), override), memory or Memory(), unreadable)


def _snapshot(data: bytes) -> Snapshot | None:
    return readable(decode_snapshot, data)


def _verdict(reading: Reading, now_ms: int) -> Verdict:
    return verdict(reading.record, no_data=silent(reading, now_ms))


async def _status(store: Store, view: _View, snapshot: Snapshot | None, now_ms: int) -> EndpointStatus:
    reading, endpoint = view.reading, view.reading.endpoint
    weights = {one.id: one.weight for one in snapshot.endpoints} if snapshot else {}
    return EndpointStatus(
        endpoint=endpoint,
        record=reading.record,
        override=reading.override,
        verdict=_verdict(reading, now_ms),
        weight=weights.get(endpoint.id),
        samples=tuple(read_samples(await store.samples(endpoint.id, "ring"))[-SAMPLES_SHOWN:]),
        alerts=view.memory.states,
        unreadable=view.unreadable,
    )
