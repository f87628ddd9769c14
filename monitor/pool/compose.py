"""What is published of a pool, whether it is worth telling, and what has changed about the pool itself.

A pool is a subject like an endpoint: its record (store.keys: subjects) holds what was last told of it. So what has changed is
found by comparing the record with what is published, and nothing is lost where a process dies between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from monitor.core.endpoint import DEFAULT_PORTS, Endpoint, Pool
from monitor.core.record import NO_EVIDENCE, Evidence, Override, OverrideRecord, Record, Transition
from monitor.core.tilt import SKEW_MAX_MS, stepped_ms
from monitor.core.verdict import verdict
from monitor.pool.balancer import Candidate, Weighing, weigh, worth_publishing
from monitor.pool.snapshot import PublishedEndpoint, Snapshot

GAP = 2
"""How far a version goes ahead of one whose snapshot could not be read: consumers miss a delta, and read the snapshot instead."""


@dataclass(frozen=True, slots=True)
class MemberState:
    """What is known of a member of a pool."""

    endpoint: Endpoint
    record: Record
    override: OverrideRecord | None
    traffic: Evidence = NO_EVIDENCE
    """What consumers' requests have shown."""


class PoolRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was last told of a pool, and what the alert rules remember of it (JSON that only they read)."""

    panic: bool = False
    since_ms: int = 0
    """When `panic` last changed; 0 before it first did."""
    size: int = 0
    """How many members it had, while its rules hold an alert; else 0."""
    memory: msgspec.Raw = msgspec.Raw()


NOTHING_TOLD = PoolRecord()

_encode = msgspec.json.Encoder().encode
_decode_record = msgspec.json.Decoder(PoolRecord).decode
_decode_snapshot = msgspec.json.Decoder(Snapshot).decode


def decode_snapshot(data: bytes) -> Snapshot | None:
    """Return the published snapshot, or None for b"" (nothing published yet). Raises msgspec.MsgspecError where it cannot be read."""
    return _decode_snapshot(data) if data else None


def decode_pool_record(data: bytes) -> PoolRecord:
    """Return the pool's record, or an empty one for b"". Raises msgspec.MsgspecError where it cannot be read."""
    return _decode_record(data) if data else NOTHING_TOLD


def encode_pool_record(record: PoolRecord) -> bytes:
    """Write the record down; one of which nothing is to be remembered is b""."""
    return _encode(record) if record != NOTHING_TOLD else b""


def silent(state: MemberState) -> bool:
    """Whether results had stopped coming when it was last decided: only whoever decides knows since when they could have come."""
    return state.record.silent and not state.endpoint.paused


def candidate(state: MemberState, now_ms: int, *, tilted: bool = False) -> Candidate:
    """What the balancer sees of a member."""
    record = state.record
    warm_up_since_ms = record.warm_up_since_ms
    if warm_up_since_ms:
        warm_up_since_ms += stepped_ms(record.decided_ms, now_ms, tilted=tilted)
    return Candidate(
        id=state.endpoint.id,
        weight=state.endpoint.weight,
        breaker=record.breaker.state,
        override=state.override.override if state.override else None,
        evidence=record.weighing,
        flapping=record.probes.flapping,
        warm_up_since_ms=warm_up_since_ms,
        verdict=verdict(record, no_data=silent(state)),
        traffic=state.traffic,
        user_trials=record.breaker.trials is not None,
    )


def compose(
    pool: Pool, states: Sequence[MemberState], previous: Snapshot | None, epoch: int, now_ms: int, *, ver: int = 0, tilted: bool = False
) -> tuple[Snapshot, Weighing]:
    """Weigh a pool and write its next snapshot.

    `previous` is what is published now, None where nothing is or where it cannot be read; `ver` is then the version to begin with.
    While `tilted` nothing rises because time has passed.
    """
    before = _weights_before(previous, states) if previous else None
    candidates = [candidate(state, now_ms, tilted=tilted) for state in states]
    previous_ms = previous.ts_ms + stepped_ms(previous.ts_ms, now_ms, tilted=tilted) if previous else now_ms
    weighing = weigh(pool, candidates, before, previous_ms, now_ms)
    snapshot = Snapshot(
        pool=pool.name,
        epoch=epoch,
        ver=previous.ver + 1 if previous else max(ver, 1),
        ts_ms=now_ms,
        panic=round(weighing.panic, 4),
        shed=round(weighing.shed, 4),
        endpoints=tuple(_published(state, weighing, seen) for state, seen in zip(states, candidates, strict=True)),
        tombstone=msgspec.UNSET if states else True,
    )
    return snapshot, weighing


def _weights_before(previous: Snapshot, states: Sequence[MemberState]) -> dict[str, int]:
    """The weights that are published, those of renamed members under their new names: a name moves no traffic."""
    before = {endpoint.id: endpoint.weight for endpoint in previous.endpoints}
    gone = before.keys() - {state.endpoint.id for state in states}
    for state in states if gone else ():
        if state.endpoint.id not in before and state.record.renamed_from in gone:
            before[state.endpoint.id] = before[state.record.renamed_from]
    return before


def worth_telling(old: Snapshot | None, new: Snapshot, weighing: Weighing, *, tilted: bool = False) -> bool:
    """Whether a consumer would do or show anything else: another epoch, a change of state, weights that moved
    (balancer.worth_publishing), or the exact end of a movement whose steps were published. A movement goes on from the date of what
    is published, so one that a step of time has left wrong is published anew."""
    if old is None or (old.epoch, old.tombstone) != (new.epoch, new.tombstone):
        return True
    if [_state_of(e) for e in old.endpoints] != [_state_of(e) for e in new.endpoints]:
        return True
    if not weighing.at_rest and abs(stepped_ms(old.ts_ms, new.ts_ms, tilted=tilted)) > SKEW_MAX_MS:
        return True
    before = {endpoint.id: endpoint.weight for endpoint in old.endpoints}
    return worth_publishing(before, weighing) or (weighing.at_rest and before != weighing.weights)


def override_of(override: OverrideRecord | None, stored: bytes, previous: Snapshot | None, endpoint_id: str) -> OverrideRecord | None:
    """The override that holds: the one that was read, or where that cannot be read (None, though something is stored) the published one."""
    if override is not None or not stored:
        return override
    for one in previous.endpoints if previous else ():
        if one.id == endpoint_id and one.override in frozenset(Override):
            return OverrideRecord(override=Override(one.override), reason=one.reason, at_ms=one.since_ms)
    return None


def tell(name: str, record: PoolRecord, snapshot: Snapshot, now_ms: int) -> tuple[PoolRecord, tuple[Transition, ...]]:
    """The pool's record once what is published has been told, and the transitions that tell it."""
    panic = snapshot.panic > 0
    if panic == record.panic:
        return record, ()
    if snapshot.endpoints:
        reason = f"{snapshot.panic:.0%} of the traffic goes to endpoints that should have none"
    else:
        reason = "the pool has no endpoint any more"
    transition = Transition(
        endpoint="",
        pool=name,
        kind="pool",
        old="PANIC" if record.panic else "NORMAL",
        new="PANIC" if panic else "NORMAL",
        reason=reason,
        at_ms=now_ms,
    )
    return msgspec.structs.replace(record, panic=panic, since_ms=now_ms), (transition,)


def _state_of(endpoint: PublishedEndpoint) -> tuple[object, ...]:
    return (endpoint.id, endpoint.breaker, endpoint.override, endpoint.gen, endpoint.verdict, endpoint.url, endpoint.labels, endpoint.base)


def _published(state: MemberState, weighing: Weighing, seen: Candidate) -> PublishedEndpoint:
    endpoint, record, override = state.endpoint, state.record, state.override
    address, factors = urlsplit(endpoint.url), weighing.factors[endpoint.id]
    return PublishedEndpoint(
        id=endpoint.id,
        url=endpoint.url,
        addr=address.hostname or "",
        port=address.port or DEFAULT_PORTS.get(address.scheme, 0),
        labels=endpoint.labels,
        weight=weighing.weights[endpoint.id],
        breaker=record.breaker.state.value,
        override=override.override.value if override else None,
        gen=record.breaker.gen,
        verdict=seen.verdict.value,
        since_ms=max(record.breaker.since_ms, override.at_ms if override else 0),
        open_until_ms=record.breaker.open_until_ms,
        latency_ms=round(record.weighing.latency_ms),
        reason=override.reason if override else record.breaker.reason,
        base=round(factors.base, 4),
        policy=record.breaker.policy,
        rule=record.breaker.rule,
        trial_share=round(factors.trial, 4),
        why=factors.why,
    )
