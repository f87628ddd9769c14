"""How endpoints and pools stand: one view for the command line, pages and metrics."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence

import msgspec

from alert_rules.rules.alert import AlertState
from alert_rules.rules.memory import Memory, decode_memory
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import ConfigError, Problem, did_you_mean
from monitor.core.history import Sample, read_samples
from monitor.core.record import NO_EVIDENCE, Evidence, OverrideRecord, Record, Transition, Verdict, decode_override, decode_record
from monitor.core.verdict import verdict
from monitor.pool.balancer import Factors
from monitor.pool.compose import MemberState, compose, decode_snapshot, override_of, silent
from monitor.pool.snapshot import PublishedEndpoint, Snapshot
from monitor.pool.traffic.shapes import NO_HEAD, NO_TRAFFIC, EndpointTraffic, TrafficHead, decode_field, decode_head
from monitor.pool.trials import TrialState
from monitor.query.events import decode_transition
from monitor.query.readable import readable
from monitor.query.traffic import Observer, TrafficStatus, observers, traffic_status
from monitor.registry.known import find
from monitor.store.entries import endpoint_entry, read_pool
from monitor.store.port import Loaded, Store

SAMPLES_SHOWN = 30
_ROUNDS_MAX = 3


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
    unreadable: tuple[str, ...] = ()
    """Ids of members whose entries cannot be read."""
    observers: tuple[Observer, ...] = ()
    """Who reports on it, by name."""
    success_percent: int = 100
    """Of the calls that consumers reported lately."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an endpoint's present state and weight follow from. `published` is what consumers see."""

    status: EndpointStatus
    pool: Pool
    snapshot: Snapshot | None
    published: PublishedEndpoint | None
    factors: Factors | None
    transitions: tuple[Transition, ...]
    parents: Mapping[str, Verdict]
    traffic: TrafficStatus = TrafficStatus()
    trials: TrialState | None = None
    """Where users try it: what became of the permits, and who holds a token now."""


async def read_pools(store: Store, names: Sequence[str] = ()) -> list[PoolStatus]:
    """All pools, or those named (a page of them reads these and no others); ConfigError for a name that has no member."""
    wanted = list(dict.fromkeys(names)) or [name for name, size in (await store.pool_sizes()).items() if size]
    found = await asyncio.gather(*(_read_pool(store, name) for name in wanted))  # Side by side, so that they share exchanges.
    for status in found:
        if names and not status.members and not status.unreadable:
            raise await _no_pool(store, status.pool.name)
    return [status for status in found if status.members or status.unreadable]


async def _read_pool(store: Store, name: str) -> PoolStatus:
    found = await _load(store, name)
    members = await asyncio.gather(*(_status(store, view, found.snapshot) for view in found.views))
    return PoolStatus(
        pool=found.pool,
        snapshot=found.snapshot,
        members=tuple(members),
        unreadable=found.unreadable,
        observers=observers(found.head),
        success_percent=found.head.success_percent,
    )


class _Loaded(msgspec.Struct, frozen=True):
    """A pool's settings, what is published of it, and its members in the order of their ids."""

    pool: Pool
    snapshot: Snapshot | None
    views: list[_View]
    unreadable: tuple[str, ...]
    head: TrafficHead
    fields: dict[str, EndpointTraffic]


async def _load(store: Store, name: str, now_ms: int = 0) -> _Loaded:
    load = await store.load_pool(name)
    settings = readable(functools.partial(read_pool, name), load.settings) if load.settings else None
    snapshot = readable(decode_snapshot, load.snapshot)
    entries = {member.id: endpoint_entry(member.id, member.spec) for member in load.members if member.spec}
    found = [entry.value for _, entry in sorted(entries.items()) if entry.value is not None]
    unreadable = tuple(sorted(key for key, entry in entries.items() if entry.value is None))
    fields = {key: readable(decode_field, data) or NO_TRAFFIC for key, data in load.traffic.fields.items()}
    shown = {key: field.evidence.for_weights(now_ms) for key, field in fields.items()}
    head = readable(decode_head, load.traffic.head) or NO_HEAD
    return _Loaded(settings or Pool(name=name), snapshot, await _views(store, found, snapshot, shown), unreadable, head, fields)


class MemberWeight(msgspec.Struct, frozen=True, kw_only=True):
    """One member's weight and what it is made of now. `weight` is the published one (None: not published yet)."""

    endpoint: str
    weight: int | None
    breaker: str
    override: str | None
    factors: Factors


class PoolWeights(msgspec.Struct, frozen=True, kw_only=True):
    """A pool's weights; `panic` and `shed` are the published ones."""

    pool: str
    panic: float
    shed: float
    members: tuple[MemberWeight, ...]


async def read_weights(store: Store, name: str, now_ms: int) -> PoolWeights:
    """What the weights of a pool are made of; ConfigError where it has no member."""
    found = await _load(store, name, now_ms)
    if not found.views:
        raise await _no_pool(store, name)
    snapshot, states = found.snapshot, [view.state for view in found.views]
    _, weighing = compose(found.pool, states, snapshot, snapshot.epoch if snapshot else 0, now_ms)
    published = {one.id: one for one in snapshot.endpoints} if snapshot else {}
    return PoolWeights(
        pool=name,
        panic=snapshot.panic if snapshot else 0.0,
        shed=snapshot.shed if snapshot else 0.0,
        members=tuple(
            MemberWeight(
                endpoint=state.endpoint.id,
                weight=published[state.endpoint.id].weight if state.endpoint.id in published else None,
                breaker=state.record.breaker.state.value,
                override=state.override.override.value if state.override else None,
                factors=weighing.factors[state.endpoint.id],
            )
            for state in states
        ),
    )


async def _no_pool(store: Store, name: str) -> ConfigError:
    known = [known for known, size in (await store.pool_sizes()).items() if size]
    hint = did_you_mean(name, known, "`watchkeeper pool list` lists the pools")
    return ConfigError([Problem("", "pool", name, "there is no such pool", hint)])


async def read_explanation(store: Store, endpoint_id: str, now_ms: int, transitions_max: int = 10) -> Explanation:
    """ConfigError when there is no such endpoint, or where it goes from pool to pool meanwhile."""
    for _ in range(_ROUNDS_MAX):
        endpoint = await find(store, endpoint_id)
        found = await _load(store, endpoint.pool, now_ms)
        view = next((view for view in found.views if view.state.endpoint.id == endpoint_id), None)
        if view is not None:
            break
    else:
        raise ConfigError([Problem("", "endpoint", repr(endpoint_id), "it is no member of its pool at this moment", "repeat the command")])
    pool, snapshot = found.pool, found.snapshot
    _, weighing = compose(pool, [view.state for view in found.views], snapshot, snapshot.epoch if snapshot else 0, now_ms)
    status = await _status(store, view, snapshot)
    parents = await store.endpoints(endpoint.depends_on)
    verdicts = {view.state.endpoint.id: _verdict(view.state) for view in await _views(store, list(parents.values()), None)}
    transitions = [read for data in await store.transitions(endpoint_id) if (read := readable(decode_transition, data)) is not None]
    return Explanation(
        status=status,
        pool=pool,
        snapshot=snapshot,
        published=next((one for one in snapshot.endpoints if one.id == endpoint_id), None) if snapshot else None,
        factors=weighing.factors.get(endpoint_id),
        transitions=tuple(transitions[-transitions_max:]),
        parents=verdicts,
        traffic=traffic_status(found.fields.get(endpoint_id, NO_TRAFFIC), now_ms),
        trials=(await store.trials_of(pool.name)).get(endpoint_id) if view.state.record.breaker.trials is not None else None,
    )


class _View(msgspec.Struct, frozen=True):
    state: MemberState
    memory: Memory
    unreadable: bool


async def _views(
    store: Store, endpoints: Sequence[Endpoint], snapshot: Snapshot | None, traffic: Mapping[str, Evidence] | None = None
) -> list[_View]:
    loaded, known = await store.load([endpoint.id for endpoint in endpoints]), traffic or {}
    return [_view(endpoint, one, snapshot, known.get(endpoint.id, NO_EVIDENCE)) for endpoint, one in zip(endpoints, loaded, strict=True)]


def _view(endpoint: Endpoint, loaded: Loaded, snapshot: Snapshot | None, traffic: Evidence) -> _View:
    """What is stored of an endpoint; what cannot be read of it is as if it were not there, but for an override that is published."""
    record = readable(decode_record, loaded.record)
    memory = readable(decode_memory, loaded.memory)
    override = readable(decode_override, loaded.override)
    unreadable = record is None or memory is None or (override is None and bool(loaded.override))
    override = override_of(override, loaded.override, snapshot, endpoint.id)
    return _View(MemberState(endpoint, record or Record(), override, traffic), memory or Memory(), unreadable)


def _verdict(state: MemberState) -> Verdict:
    """As it is published."""
    return verdict(state.record, no_data=silent(state))


async def _status(store: Store, view: _View, snapshot: Snapshot | None) -> EndpointStatus:
    state, endpoint = view.state, view.state.endpoint
    weights = {one.id: one.weight for one in snapshot.endpoints} if snapshot else {}
    return EndpointStatus(
        endpoint=endpoint,
        record=state.record,
        override=state.override,
        verdict=_verdict(state),
        weight=weights.get(endpoint.id),
        samples=tuple(read_samples(await store.samples(endpoint.id, "ring"))[-SAMPLES_SHOWN:]),
        alerts=view.memory.states,
        unreadable=view.unreadable,
    )
