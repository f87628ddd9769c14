"""The five lines of the README balance a real request."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import redis

from examples.targets import Target
from monitor.client import PublishedEndpoint, Snapshot
from monitor.store import keys
from tests.docs.pages import blocks


def published(target: Target) -> Snapshot:
    endpoint = PublishedEndpoint(
        id="shop-1",
        url=target.health_url,
        addr="127.0.0.1",
        port=target.port,
        labels={},
        weight=1000,
        breaker="CLOSED",
        override=None,
        gen=0,
        verdict="HEALTHY",
        since_ms=0,
        open_until_ms=0,
        latency_ms=1,
        reason="",
    )
    return Snapshot(pool="shop", epoch=1, ver=1, ts_ms=0, panic=0.0, shed=0.0, endpoints=(endpoint,))


def test_they_run(redis_url: str) -> None:
    (code,) = [block.text for block in blocks("python") if block.page.name == "README.md" and block.page.parent.name != "service"]
    with Target(name="shop-1") as target, redis.Redis.from_url(redis_url) as client:
        client.sadd(keys.POOLS, "shop")
        client.set(keys.snapshot("shop"), msgspec.json.encode(published(target)))
        names: dict[str, Any] = {"httpx": httpx}
        exec(code.replace("redis://127.0.0.1:6379/0", redis_url), names)
        assert names["endpoint"].id == "shop-1"
        assert names["response"].text == "shop-1\n"
