"""A pool's weights, weighed and published as one version."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

import msgspec

from alert_rules.rules.alert import AlertState
from alert_rules.rules.facts import pool_facts
from alert_rules.rules.rule import Evaluation, RuleSet, evaluate, resolve
from monitor.clock import Clock
from monitor.config.kinds import DEFAULT_PORTS
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import Stale, StoreError
from monitor.core.record import DECISION_SKEW_MAX_MS as SKEW_MAX_MS
from monitor.core.record import OverrideRecord, Record, Transition, decode_override, decode_record, next_version
from monitor.core.schedule import silent_after_ms
from monitor.core.verdict import verdict
from monitor.pool.balancer import Candidate, Weighing, weigh, worth_publishing
from monitor.pool.snapshot import PublishedEndpoint, Snapshot, diff
from monitor.store.port import Lease, Publication, Store
from monitor.store.queues import Queue
from workers.journey.counters import Counters
from workers.journey.endpoint_cache import EndpointCache

RISE_MS = 1_000
"""A pool whose weights still move (warm-up, damping) is weighed again after this time."""
ROUNDS_MAX = 8
TOGETHER_MAX = 64

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode_states = msgspec.json.Decoder(tuple[AlertState, ...]).decode


def decode_states(data: bytes) -> tuple[AlertState, ...]:
    return _decode_states(data) if data else ()


encode_states = _encode
_decode_snapshot = msgspec.json.Decoder(Snapshot).decode


class Reading(msgspec.Struct, frozen=True):
    """One member of a pool as it was read for weighing."""

    endpoint: Endpoint
    record: Record
    override: OverrideRecord | None


def decode_snapshot(data: bytes) -> Snapshot | None:
    """Return the published snapshot, or None for b"" (nothing published yet)."""
    return _decode_snapshot(data) if data else None


def candidate(reading: Reading, now_ms: int) -> Candidate:
    """What the balancer sees of a member."""
    state = reading.record
    return Candidate(
        id=reading.endpoint.id,
        weight=reading.endpoint.weight,
        breaker=state.breaker.state,
        override=reading.override.override if reading.override else None,
        evidence=state.weighing,
        flapping=state.probes.flapping,
        warm_up_since_ms=state.warm_up_since_ms,
        verdict=verdict(state, no_data=silent(reading, now_ms)),
    )


def compose(pool: Pool, readings: Sequence[Reading], previous: Snapshot | None, epoch: int, now_ms: int) -> tuple[Snapshot, Weighing]:
    """Weigh a pool and write its next snapshot. Pure."""
    before = {endpoint.id: endpoint.weight for endpoint in previous.endpoints} if previous else None
    candidates = [candidate(reading, now_ms) for reading in readings]
    weighing = weigh(pool, candidates, before, previous.ts_ms if previous else now_ms, now_ms)
    snapshot = Snapshot(
        pool=pool.name,
        epoch=epoch,
        ver=previous.ver + 1 if previous else 1,
        ts_ms=now_ms,
        panic=round(weighing.panic, 4),
        shed=round(weighing.shed, 4),
        endpoints=tuple(_published(reading, weighing, seen) for reading, seen in zip(readings, candidates, strict=True)),
        tombstone=msgspec.UNSET if readings else True,
    )
    return snapshot, weighing


def worth_telling(old: Snapshot | None, new: Snapshot, weighing: Weighing) -> bool:
    """Whether a consumer would do or show anything else: a change of state, weights that moved (balancer.worth_publishing), or the
    exact end of a movement whose steps were published."""
    if old is None or old.tombstone is True or [_state_of(e) for e in old.endpoints] != [_state_of(e) for e in new.endpoints]:
        return True
    before = {endpoint.id: endpoint.weight for endpoint in old.endpoints}
    return worth_publishing(before, weighing) or (weighing.settled and before != weighing.weights)


def _state_of(endpoint: PublishedEndpoint) -> tuple[object, ...]:
    return (endpoint.id, endpoint.breaker, endpoint.override, endpoint.gen, endpoint.verdict, endpoint.url, endpoint.labels)


def _published(reading: Reading, weighing: Weighing, seen: Candidate) -> PublishedEndpoint:
    endpoint, state, override = reading.endpoint, reading.record, reading.override
    address = urlsplit(endpoint.url)
    return PublishedEndpoint(
        id=endpoint.id,
        url=endpoint.url,
        addr=address.hostname or "",
        port=address.port or DEFAULT_PORTS.get(address.scheme, 0),
        labels=endpoint.labels,
        weight=weighing.weights[endpoint.id],
        breaker=state.breaker.state.value,
        override=override.override.value if override else None,
        gen=state.breaker.gen,
        verdict=seen.verdict.value,
        since_ms=max(state.breaker.since_ms, override.at_ms if override else 0),
        open_until_ms=state.breaker.open_until_ms,
        latency_ms=round(state.weighing.latency_ms),
        reason=override.reason if override else state.breaker.reason,
    )


def silent(reading: Reading, now_ms: int) -> bool:
    """Whether results have stopped coming."""
    return reading.record.conclusive_ms + silent_after_ms(reading.endpoint) <= now_ms


class Publisher:
    """Weighs pools and publishes them. Any number of them may run: the store refuses a version that is not the next."""

    def __init__(
        self, *, store: Store, clock: Clock, cache: EndpointCache, rules: RuleSet, route: Callable[[int], None], counters: Counters
    ) -> None:
        self._store = store
        self._clock = clock
        self._specs = cache
        self._rules = rules
        self._route = route
        self._counters = counters
        self._epoch = 0
        self._wanted: dict[str, tuple[int, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def request(self, pool: str, slot: int, token_ms: int) -> None:
        """Publish soon; requests for one pool that come meanwhile are one."""
        self._wanted[pool] = (slot, token_ms)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, {}
            await self.settle_all((slot, Lease(pool, token_ms, token_ms)) for pool, (slot, token_ms) in wanted.items())

    async def settle_all(self, leases: Iterable[tuple[int, Lease]]) -> None:
        """Settle many pools side by side, so that their questions to the store share exchanges."""
        turns = asyncio.Semaphore(TOGETHER_MAX)

        async def turn(slot: int, lease: Lease) -> None:
            async with turns:
                await self.settle(slot, lease)

        await asyncio.gather(*(turn(slot, lease) for slot, lease in leases))

    async def settle(self, slot: int, lease: Lease) -> None:
        """Weigh and publish one dirty pool, and say when to look at it again. What fails stays in the queue."""
        try:
            next_ms = await self.publish(lease.member)
            await self._store.finish(Queue.DIRTY, slot, lease.member, lease.token_ms, next_ms)
        except (StoreError, Stale) as error:
            log.warning("pool %s could not be published yet: %s", lease.member, error)
        except Exception:
            log.exception("pool %s could not be published", lease.member)

    async def publish(self, name: str) -> int | None:
        """Publish the pool if a consumer would notice, and let the pool's rules look; return when to weigh it again."""
        if not self._epoch:
            await self.renew_epoch()
        pool = await self._specs.pool(name)
        for _ in range(ROUNDS_MAX):
            load = await self._store.load_pool(name)
            endpoints = await self._store.endpoints([member.id for member in load.members])
            readings = [
                Reading(endpoints[member.id], decode_record(member.record), decode_override(member.override))
                for member in load.members
                if member.id in endpoints
            ]
            previous = decode_snapshot(load.snapshot)
            now_ms = self._clock.now_ms()
            if previous and 0 < previous.ts_ms - now_ms <= SKEW_MAX_MS:
                now_ms = previous.ts_ms  # Another process's clock is ahead: time does not go back for a pool.
            epoch = max(self._epoch, previous.epoch if previous else 0)
            snapshot, weighing = compose(pool, readings, previous, epoch, now_ms)
            if not worth_telling(previous, snapshot, weighing):
                return await self._look(name, previous or snapshot, previous or snapshot, weighing, now_ms)
            publication = Publication(
                pool=name, epoch=snapshot.epoch, ver=snapshot.ver, snapshot=_encode(snapshot), delta=_encode(diff(previous, snapshot))
            )
            if await self._store.publish(publication):
                self._counters.add("publications")
                if not readings:
                    await self._store.unpublish(name)
                return await self._look(name, snapshot, previous, weighing, now_ms)
        raise Stale(f"pool {name} kept changing")

    async def renew_epoch(self) -> None:
        """Ask which run of the server this is: after a restart that lost the last second, old version numbers come again."""
        self._epoch = await self._store.epoch()

    async def _look(self, name: str, snapshot: Snapshot, old: Snapshot | None, weighing: Weighing, now_ms: int) -> int | None:
        """Let the pool's rules look at what is published now."""
        subject = f"pool:{name}"
        facts = pool_facts(snapshot)
        for _ in range(ROUNDS_MAX):
            ver, data = await self._store.load_subject(subject)
            states = decode_states(data)
            if snapshot.endpoints:
                evaluation = evaluate(self._rules, {"pool": name}, None, facts, states, now_ms)
            else:  # The pool is no more: what fired has ended.
                evaluation = Evaluation(events=resolve(states, now_ms))
            panic = _panic_transition(name, old, snapshot, now_ms) if old else ()
            if evaluation.states == states and not evaluation.events and not panic:
                break
            if await self._store.commit_subject(
                subject,
                ver,
                next_version(ver, now_ms),
                encode_states(evaluation.states),
                alerts=[_encode(e) for e in evaluation.events],
                transitions=panic,
            ):
                if evaluation.events:
                    self._route(0)
                break
        wakes = [evaluation.wake_ms] if evaluation.wake_ms > now_ms else []
        if not weighing.settled:
            wakes.append(now_ms + RISE_MS)
        return min(wakes, default=None)


def _panic_transition(name: str, old: Snapshot | None, new: Snapshot, now_ms: int) -> tuple[bytes, ...]:
    was = old is not None and old.panic > 0
    if was == (new.panic > 0):
        return ()
    transition = Transition(
        endpoint="",
        pool=name,
        kind="pool",
        old="PANIC" if was else "NORMAL",
        new="PANIC" if new.panic > 0 else "NORMAL",
        reason=f"{new.panic:.0%} of the traffic goes to endpoints that should have none",
        at_ms=now_ms,
    )
    return (_encode(transition),)
