"""The published contract: what a pool looks like to those who balance load (docs/reference/keys.md).

The names and their order are a public interface, versioned by `schema`. A delta holds what changed since the version
before it; `fold` of a snapshot and the deltas after it gives the next snapshot exactly.
"""

from __future__ import annotations

import msgspec

from monitor.core.schedule import FRESH_MS

SCHEMA = 1
TTL_MS = FRESH_MS
MAX_STALE_MS = 180_000
WEIGHT_SUM = 1_000
NUMBER_MAX = 2**63 - 1
WEIGHTS_MAX = 100 * WEIGHT_SUM
"""Of all endpoints of a pool of fewer; readers take it although it is no share of 1000."""


class PublishedEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint as consumers read it (docs/reference/keys.md)."""

    id: str
    url: str
    addr: str
    port: int
    labels: dict[str, str]
    weight: int
    """0 to 1000; the weights of a pool sum to exactly 1000, or to 0 where nobody may take traffic."""
    breaker: str
    override: str | None
    gen: int
    verdict: str
    since_ms: int
    """When the breaker or the override last changed."""
    open_until_ms: int
    latency_ms: int
    reason: str
    base: float = 0.0
    """Base share b / B of the pool's traffic, 0 to 1; 0 for one that an operator has taken out."""
    policy: str = ""
    rule: str = ""
    """The policy and the rule that moved the breaker last."""
    trial_share: float = 0.0
    """Part of the pool's traffic that tries it; `weight` holds it already."""
    why: str = ""
    """Why it has the weight it has, for people."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One pool. `panic` is the share of traffic sent to endpoints that should have none; `shed` the share better refused.

    `tombstone` true with no endpoints: the pool was removed on purpose. It is absent from the JSON otherwise.
    """

    schema: int = SCHEMA
    pool: str
    epoch: int
    ver: int
    ts_ms: int
    ttl_ms: int = TTL_MS
    max_stale_ms: int = MAX_STALE_MS
    panic: float
    shed: float
    endpoints: tuple[PublishedEndpoint, ...]
    tombstone: bool | msgspec.UnsetType = msgspec.UNSET


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A log entry (field `d` of the stream's entry)."""

    schema: int = SCHEMA
    pool: str
    epoch: int
    ver: int
    ts_ms: int
    panic: float
    shed: float
    endpoints: tuple[PublishedEndpoint, ...]
    removed: tuple[str, ...] = ()
    tombstone: bool | msgspec.UnsetType = msgspec.UNSET


def sound(snapshot: Snapshot) -> bool:
    """Whether its numbers are what the contract says, so that whoever computes with them may."""
    numbers = [snapshot.epoch, snapshot.ver, snapshot.ts_ms, snapshot.ttl_ms, snapshot.max_stale_ms]
    for endpoint in snapshot.endpoints:
        numbers += (endpoint.port, endpoint.gen, endpoint.since_ms, endpoint.open_until_ms, endpoint.latency_ms)
    weights = [endpoint.weight for endpoint in snapshot.endpoints]
    return (
        all(0 <= number <= NUMBER_MAX for number in numbers)
        and all(0 <= weight <= WEIGHT_SUM for weight in weights)
        and sum(weights) <= max(WEIGHTS_MAX, len(weights))
        and 0 <= snapshot.panic <= 1
        and 0 <= snapshot.shed <= 1
    )


def fold(snapshot: Snapshot, delta: Delta) -> Snapshot:
    """Return the snapshot that `delta` leads to.

    Raises ValueError when the delta does not follow the snapshot directly.
    """
    if (delta.epoch, delta.ver) <= (snapshot.epoch, snapshot.ver) or (delta.epoch == snapshot.epoch and delta.ver != snapshot.ver + 1):
        raise ValueError(f"delta {delta.epoch}-{delta.ver} does not follow snapshot {snapshot.epoch}-{snapshot.ver}")
    endpoints = {endpoint.id: endpoint for endpoint in snapshot.endpoints if endpoint.id not in delta.removed}
    endpoints.update((endpoint.id, endpoint) for endpoint in delta.endpoints)
    return msgspec.structs.replace(
        snapshot,
        epoch=delta.epoch,
        ver=delta.ver,
        ts_ms=delta.ts_ms,
        panic=delta.panic,
        shed=delta.shed,
        endpoints=tuple(endpoints[key] for key in sorted(endpoints)),
        tombstone=delta.tombstone,
    )


def diff(old: Snapshot | None, new: Snapshot) -> Delta:
    """Return the delta that leads from `old` (or from nothing) to `new`."""
    before = {endpoint.id: endpoint for endpoint in old.endpoints} if old else {}
    after = {endpoint.id for endpoint in new.endpoints}
    return Delta(
        pool=new.pool,
        epoch=new.epoch,
        ver=new.ver,
        ts_ms=new.ts_ms,
        panic=new.panic,
        shed=new.shed,
        endpoints=tuple(endpoint for endpoint in new.endpoints if before.get(endpoint.id) != endpoint),
        removed=tuple(key for key in before if key not in after),
        tombstone=new.tombstone,
    )
