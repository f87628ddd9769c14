"""A pool of three that is really published: two that are well, and one that consumers' requests try."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from monitor.core.endpoint import Endpoint
from monitor.core.record import Breaker, BreakerState, Evidence, Record, UserTrials, encode_record
from monitor.store import keys
from monitor.store.port import Commit, Committed
from tests.integration.plant import Plant
from tests.registering import register

WELL = Record(weighing=Evidence(10, 10, 5.0, 10, 1))
TRIALS = UserTrials(permitted=5, concurrent=4, lease_ms=10_000, until_ms=52_009)
TRIED = Record(breaker=BreakerState(state=Breaker.HALF_OPEN, since_ms=9, gen=2, policy="cusum", rule="cusum", trials=TRIALS))
RECORDS = {"shop-1": WELL, "shop-2": WELL, "shop-3": TRIED}


def publish_pool(redis_url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Register, commit and publish them; return snapshot and delta as they are written."""
    return asyncio.run(_publish(redis_url))


async def _publish(redis_url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    plant = await Plant(redis_url).open()
    await register(plant.store, [Endpoint(id=key, url="http://127.0.0.1:1/", pool="shop") for key in RECORDS])
    for key, record in RECORDS.items():
        (held,) = await plant.store.load([key])
        commit = Commit(
            id=key, token_ms=None, ver=held.ver, next_ver=held.ver + 1, record=encode_record(record), reevaluate_ms=0, pool="shop"
        )
        assert await plant.store.commit([commit]) == [Committed.OK]
    await plant.publisher.publish("shop")
    wire = plant.store._wire
    snapshot = await wire.execute_one("GET", keys.snapshot("shop"))
    ((_, (_, delta)),) = await wire.execute_one("XRANGE", keys.log("shop"), "-", "+")
    await plant.store.close()
    return json.loads(snapshot), json.loads(delta)
