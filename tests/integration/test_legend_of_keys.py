"""The legend of keys is true: what a whole journey leaves in Redis stands in it, as the type that it names."""

from __future__ import annotations

import asyncio
import inspect
import re

import redis

from monitor.core.endpoint import Pool
from monitor.core.record import Override
from monitor.registry import set_override
from monitor.store import keys
from monitor.store.port import Grant
from tests.integration.test_journey import Plant, down
from tests.registering import register

_ROW = re.compile(r"^((?:wk:|_kombu|probe|alert)\S*)\s+(string|hash|set|zset|stream|list)\s", re.MULTILINE)


def legend() -> list[tuple[re.Pattern[str], str]]:
    """A pattern for each key with its type."""
    rows = []
    for key, kind in _ROW.findall(inspect.getdoc(keys) or ""):
        pattern = re.escape(key).replace("sN", r"s\d+").replace("min\\|hour\\|day", "(?:min|hour|day)")
        pattern = re.sub(r"<\w+>", ".+", pattern).replace(re.escape("{pool}"), r"\{[^}]+\}")
        rows.append((re.compile(pattern), kind))
    return rows


def test_keys_that_are_filled_again_stand_in_the_legend_with_their_type() -> None:
    kinds = keys.REFILLED | {keys.in_slot(0, name): kind for name, kind in keys.REFILLED_IN_SLOT.items()}
    rows = legend()
    assert {key: kind for key, kind in kinds.items() if not any(p.fullmatch(key) and kind == k for p, k in rows)} == {}


def test_every_key_of_a_journey_stands_in_the_legend_with_its_type(redis_url: str) -> None:
    async def journey() -> None:
        plant = await Plant(redis_url).open()
        try:
            await register(plant.store, pools=[Pool(name="shop", warm_up_ms=1_000)])
            await down(plant)
            await set_override(plant.store, "other", Override.DRAIN, "kernel update", actor="ada")
            await plant.redis("HSET", keys.in_slot(0, "rec"), "e", "rubbish")
            await plant.round()
            await plant.store.heartbeat("worker:h:1", b"{}")
            await plant.store.count({"probes": 1})
            await plant.store.alive()
            await plant.store.not_published("shop", 0)
            await plant.store.realign(0)
            await plant.redis("XADD", keys.reports("shop"), "*", "r", "{}")
            await plant.redis("ZADD", keys.REPORTS, 0, "shop")
            await plant.redis("HSET", keys.trials("shop"), "e", "1 5 4 60000")
            assert isinstance(await plant.store.grant_trial("shop", "e", "web-1/1"), Grant)
        finally:
            await plant.store.close()

    asyncio.run(journey())
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        found = {key: client.type(key) for key in client.scan_iter(count=1_000)}
    rows = legend()
    seen = {pattern.pattern for key in found for pattern, _ in rows if pattern.fullmatch(key)}
    assert {key: kind for key, kind in found.items() if not any(p.fullmatch(key) and kind == k for p, k in rows)} == {}
    unseen = {pattern.pattern for pattern, _ in rows} - seen
    assert len(unseen) <= len(rows) // 4, f"the journey does not reach {sorted(unseen)}"
