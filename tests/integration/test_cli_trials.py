"""Who tries a half-open endpoint is published with its pool, and `explain` shows it to people and to programs."""

from __future__ import annotations

import json

import redis

from monitor.client import HealthView
from monitor.store import keys
from tests.integration.commands import Run
from tests.integration.published_pool import publish_pool
from tests.waiting import wait_for


def test_explain_shows_permits_tokens_and_their_holders(run: Run, redis_url: str) -> None:
    publish_pool(redis_url)
    with redis.Redis.from_url(redis_url) as client, HealthView(redis_url, observer="web-1:4711") as view:
        assert client.hgetall(keys.trials("shop")) == {b"shop-3": b"2 5 4 10000"}
        assert 0 < client.pttl(keys.trials("shop")) <= 10_000
        client.persist(keys.trials("shop"))
        with view.trial("shop-3") as trial:
            assert trial is not None
        wait_for(lambda: not client.zcard(keys.trial("shop", "shop-3")))
        with view.trial("shop-3") as trial:
            assert trial is not None
            text, row = run("explain", "shop-3").stdout, json.loads(run("explain", "shop-3", "-o", "json").stdout)
    assert "trials:     1 of 5 trials succeeded, 0 failed, 0 leases lost; at most 2 at a time now, each within 10s" in text
    assert "web-1:4711 tries it, for " in text
    assert row["trials"]["terms"] == {"gen": 2, "permitted": 5, "concurrent": 4, "lease_ms": 10_000}
    assert row["trials"]["count"] == {"lost": 0, "ok": 1, "failed": 0}
    assert [one["holder"] for one in row["trials"]["live"]] == ["web-1:4711"]
    assert "trials" not in run("explain", "shop-1").stdout
    assert json.loads(run("explain", "shop-1", "-o", "json").stdout)["trials"] is None
