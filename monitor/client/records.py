"""What a consumer holds in its hands: endpoints as they are in use now, changes, and how old the knowledge is."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from monitor.core.errors import WatchkeeperError
from monitor.pool.snapshot import PublishedEndpoint


class Freshness(StrEnum):
    """How far a pool's published state may be trusted."""

    FRESH = "FRESH"
    """Younger than the snapshot's `ttl_ms`, or unchanged while its endpoints are being judged."""
    FROZEN = "FROZEN"
    """Older, or nobody judges its endpoints, but younger than `max_stale_ms`: the last weights are kept as they were."""
    EXPIRED = "EXPIRED"
    """Older than `max_stale_ms`: equal weights and the local breaker."""
    COLD = "COLD"
    """Nothing read from Redis since this process started: the last-known-good file, or nothing."""


class Staleness(msgspec.Struct, frozen=True):
    """`age_ms` is the time since somebody knew the state to be true; None when nothing is known."""

    freshness: Freshness
    age_ms: int | None


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint as this consumer uses it.

    `weight` is the weight in use: the published one, or an equal share once the state has expired.
    The other facts are the last published ones.
    """

    id: str
    pool: str
    url: str
    """The address that is probed, path and all."""
    base_url: str
    """scheme://addr:port, where requests of the consumer's own go."""
    addr: str
    port: int
    labels: dict[str, str]
    weight: int
    breaker: str
    override: str | None
    verdict: str
    reason: str
    since_ms: int
    open_until_ms: int
    latency_ms: int
    gen: int
    freshness: Freshness


class Change(msgspec.Struct, frozen=True):
    """`old` is None for an endpoint that is new to the watcher, `new` for one that is gone."""

    pool: str
    id: str
    old: EndpointView | None
    new: EndpointView | None
    why: str


class NoEndpoint(WatchkeeperError):  # noqa: N818 - an answer that callers plan for
    """No endpoint may take this request. `reason` is a word to branch on: unknown, removed, weightless, shed or gone."""

    def __init__(self, pool: str, reason: str, text: str) -> None:
        super().__init__(f"pool {pool!r}: {text}" if pool else text)
        self.pool = pool
        self.reason = reason


def endpoint_view(pool: str, published: PublishedEndpoint, weight: int, freshness: Freshness) -> EndpointView:
    """The published endpoint with the weight in use."""
    scheme = published.url.partition("://")[0]
    host = f"[{published.addr}]" if ":" in published.addr else published.addr
    return EndpointView(
        id=published.id,
        pool=pool,
        url=published.url,
        base_url=f"{scheme}://{host}:{published.port}",
        addr=published.addr,
        port=published.port,
        labels=published.labels,
        weight=weight,
        breaker=published.breaker,
        override=published.override,
        verdict=published.verdict,
        reason=published.reason,
        since_ms=published.since_ms,
        open_until_ms=published.open_until_ms,
        latency_ms=published.latency_ms,
        gen=published.gen,
        freshness=freshness,
    )


def why(old: EndpointView | None, new: EndpointView | None) -> str:
    """What a person wants to read first about a change."""
    if old is None:
        return "known" if new is None or not new.reason else new.reason
    if new is None:
        return "removed"
    if old.freshness is not new.freshness:
        return f"{old.freshness} -> {new.freshness}"
    if (old.breaker, old.override, old.verdict) == (new.breaker, new.override, new.verdict) and old.weight != new.weight:
        return f"weight {old.weight} -> {new.weight}"
    return new.reason or "changed"
