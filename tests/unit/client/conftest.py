"""A timeline for the pure view: `at(3_000).publish(...)`, `at(20_000).expect(FROZEN)`."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Callable, Mapping
from typing import Self

import pytest

from monitor.client.records import Change, Freshness
from monitor.client.view import Fetch, View
from monitor.pool.snapshot import PublishedEndpoint, Snapshot

SERVER_AHEAD_MS = 1_700_000_000_000
"""The server's clock minus the consumer's monotonic clock: they share nothing but their rate."""


def endpoint(key: str, weight: int, **fields: object) -> PublishedEndpoint:
    port = 9000 + int.from_bytes(hashlib.sha256(key.encode()).digest()[:1])
    values: dict[str, object] = {
        "url": f"http://127.0.0.1:{port}/health",
        "addr": "127.0.0.1",
        "port": port,
        "labels": {},
        "breaker": "CLOSED" if weight else "OPEN",
        "override": None,
        "gen": 0,
        "verdict": "HEALTHY" if weight else "UNHEALTHY",
        "since_ms": 0,
        "open_until_ms": 0,
        "latency_ms": 3,
        "reason": "" if weight else "3 failures in a row",
    }
    return PublishedEndpoint(id=key, weight=weight, **(values | fields))  # type: ignore[arg-type]


def snapshot(
    weights: Mapping[str, int], *, epoch: int = 1, ver: int = 1, ts_ms: int = SERVER_AHEAD_MS, pool: str = "shop", **more: object
) -> Snapshot:
    values: dict[str, object] = {
        "panic": 0.0,
        "shed": 0.0,
        "endpoints": tuple(endpoint(key, weight) for key, weight in sorted(weights.items())),
    }
    return Snapshot(pool=pool, epoch=epoch, ver=ver, ts_ms=ts_ms, **(values | more))  # type: ignore[arg-type]


class Timeline:
    """Drives a view by hand; `at` sets the consumer's clock, and the server's runs SERVER_AHEAD_MS before it."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.view = View(lambda count: hashlib.shake_256(b"seed").digest(count), self.changes.extend)
        self.now_ms = 0
        self.version = (1, 0)

    def at(self, now_ms: int) -> Self:
        self.now_ms = now_ms
        self.view.tick(now_ms)
        return self

    def fetch(self, *, alive: bool = False, lagging: tuple[str, ...] = ()) -> Fetch:
        server_ms = SERVER_AHEAD_MS + self.now_ms
        return Fetch(server_ms, server_ms if alive else None, self.now_ms, frozenset(lagging))

    def publish(self, weights: Mapping[str, int], *, skew_ms: int = 0, **more: object) -> Self:
        """A new version, written now and read at once."""
        self.version = (self.version[0], self.version[1] + 1)
        ts_ms = SERVER_AHEAD_MS + self.now_ms + skew_ms
        assert self.view.offer(snapshot(weights, epoch=self.version[0], ver=self.version[1], ts_ms=ts_ms, **more), self.fetch())
        return self

    def poll(self, *, alive: bool, lagging: tuple[str, ...] = ()) -> Self:
        """Redis answers; the snapshot there is the one that we have."""
        self.view.confirm("shop", self.fetch(alive=alive, lagging=lagging))
        return self

    def expect(self, freshness: Freshness, age_ms: int | None = None) -> Self:
        staleness = self.view.staleness("shop", self.now_ms)
        assert staleness.freshness is freshness
        assert age_ms is None or staleness.age_ms == age_ms
        return self

    def picks(self, count: int = 1_000) -> dict[str, int]:
        return dict(collections.Counter(next(self.view.wheels["shop"]).id for _ in range(count)))

    def report(self, key: str, *oks: bool) -> Self:
        for ok in oks:
            self.view.report(key, ok, self.now_ms)
        return self


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


@pytest.fixture
def make_snapshot() -> Callable[..., Snapshot]:
    return snapshot


@pytest.fixture(scope="session")
def make_snapshot_of() -> Callable[..., Snapshot]:
    """As `make_snapshot`, for property tests, which outlive a function's fixtures."""
    return snapshot
