"""The state of things as people look at it: one reading for the command line, pages and metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from alert_rules.rules.alert import AlertState
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import ConfigError, Problem, did_you_mean
from monitor.core.history import PERIODS, Row, Sample, open_rows, read_rows, read_samples, report
from monitor.core.record import EndpointState, OverrideRecord, Transition, Verdict
from monitor.core.verdict import verdict
from monitor.pool.balancer import Factors
from monitor.pool.snapshot import PublishedEndpoint, Snapshot
from monitor.registry.known import find
from monitor.store.port import Store
from workers.journey.publish import Reading, compose, decode_snapshot, silent
from workers.journey.records import EMPTY, Record, decode_override, decode_record, decode_states

SAMPLES_SHOWN = 30
T = TypeVar("T")
_decode_transition = msgspec.json.Decoder(Transition).decode


class EndpointStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint as it stands. `weight` None: its pool has not been published yet."""

    endpoint: Endpoint
    state: EndpointState
    override: OverrideRecord | None
    verdict: Verdict
    weight: int | None
    samples: tuple[Sample, ...]
    alerts: tuple[AlertState, ...]


class PoolStatus(msgspec.Struct, frozen=True, kw_only=True):
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
    snapshots = dict(zip(wanted, map(decode_snapshot, await store.snapshots(wanted)), strict=True))
    readings = await _readings(store, [endpoint for name in wanted for endpoint in sorted(by_pool[name], key=lambda one: one.id)])
    # Asked side by side, so that their questions share exchanges.
    statuses = await asyncio.gather(*(_status(store, reading, snapshots[reading.endpoint.pool], now_ms) for reading in readings))
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
    state = _record((await store.load([endpoint_id]))[0].record).state
    rows = read_rows(period, await store.samples(endpoint_id, period.name), now_ms)
    present = open_rows(state, endpoint, now_ms).get(period.name)
    rows = [row for row in rows if present is None or row.start_ms != present.start_ms] + ([present] if present else [])
    return History(
        endpoint=endpoint,
        rows=tuple(rows),
        whole=report(rows, endpoint, now_ms),
        samples=tuple(read_samples(await store.samples(endpoint_id, "ring"))),
    )


async def read_explanation(store: Store, endpoint_id: str, now_ms: int, transitions_max: int = 10) -> Explanation:
    """ConfigError when there is no such endpoint."""
    endpoint = await find(store, endpoint_id)
    endpoints = await store.endpoints()
    pool = (await store.pools()).get(endpoint.pool) or Pool(name=endpoint.pool)
    members = sorted((one for one in endpoints.values() if one.pool == endpoint.pool), key=lambda one: one.id)
    readings = await _readings(store, members)
    snapshot = decode_snapshot((await store.snapshots([endpoint.pool]))[0])
    _, weighing = compose(pool, readings, snapshot, snapshot.epoch if snapshot else 0, now_ms)
    status = await _status(store, next(one for one in readings if one.endpoint.id == endpoint_id), snapshot, now_ms)
    parents = {
        one.endpoint.id: _verdict(one, now_ms)
        for one in await _readings(store, [endpoints[p] for p in endpoint.depends_on if p in endpoints])
    }
    history = list(_readable(enumerate(await store.own_log(endpoint_id))))
    return Explanation(
        status=status,
        pool=pool,
        snapshot=snapshot,
        published=next((one for one in snapshot.endpoints if one.id == endpoint_id), None) if snapshot else None,
        factors=weighing.factors.get(endpoint_id),
        transitions=tuple(transition for _, transition in history[-transitions_max:]),
        parents=parents,
    )


async def read_events(store: Store, limit: int, after: str = "") -> list[tuple[str, Transition]]:
    """Transitions with their cursors, oldest first. One that cannot be read is left out."""
    return list(_readable(await store.events(limit, after)))


def _readable(entries: Iterable[tuple[T, bytes]]) -> Iterator[tuple[T, Transition]]:
    for place, data in entries:
        with contextlib.suppress(msgspec.MsgspecError, ValueError):
            yield place, _decode_transition(data)


async def read_alerts(store: Store) -> list[AlertState]:
    """All pending and firing alerts: of endpoints, of pools, of Watchkeeper itself."""
    endpoints = await store.endpoints()
    ids = sorted(endpoints)
    alerts = [alert for loaded in await store.load(ids) for alert in _record(loaded.record).alerts]
    subjects = ["system", *(f"pool:{name}" for name in sorted({endpoint.pool for endpoint in endpoints.values()}))]
    for subject in subjects:
        alerts += decode_states((await store.load_subject(subject))[1])
    return sorted(alerts, key=lambda alert: (alert.active_since_ms, sorted(alert.labels.items())))


async def _readings(store: Store, endpoints: Sequence[Endpoint]) -> list[Reading]:
    loaded = await store.load([endpoint.id for endpoint in endpoints])
    return [Reading(endpoint, _record(one.record), _override(one.override)) for endpoint, one in zip(endpoints, loaded, strict=True)]


def _record(data: bytes) -> Record:
    """The record, or an empty one where it cannot be read: one such record hides nothing of the others."""
    try:
        return decode_record(data)
    except (msgspec.MsgspecError, ValueError):
        return EMPTY


def _override(data: bytes) -> OverrideRecord | None:
    try:
        return decode_override(data)
    except (msgspec.MsgspecError, ValueError):
        return None


def _verdict(reading: Reading, now_ms: int) -> Verdict:
    return verdict(reading.record.state, no_data=silent(reading, now_ms))


async def _status(store: Store, reading: Reading, snapshot: Snapshot | None, now_ms: int) -> EndpointStatus:
    endpoint = reading.endpoint
    weights = {one.id: one.weight for one in snapshot.endpoints} if snapshot else {}
    return EndpointStatus(
        endpoint=endpoint,
        state=reading.record.state,
        override=reading.override,
        verdict=_verdict(reading, now_ms),
        weight=weights.get(endpoint.id),
        samples=tuple(read_samples(await store.samples(endpoint.id, "ring"))[-SAMPLES_SHOWN:]),
        alerts=reading.record.alerts,
    )
