"""Two processes that claim and commit on one server: no endpoint twice in a slot, none forgotten."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from monitor.core.endpoint import Endpoint
from monitor.store.redis.store import RedisStore
from tests.registering import register

ENDPOINTS = 2_000
INTERVAL_MS = 2_000
SECONDS = 5

CLAIMER = """
import asyncio, json, sys
from monitor.store.port import Commit, Committed
from monitor.store.redis.store import RedisStore

async def main(url, seconds):
    store = RedisStore(url)
    await store.open(create=True)
    until_ms, done = await store.now_ms() + seconds * 1_000, []
    while await store.now_ms() < until_ms:
        claim = await store.claim_probes(0, 100, 0)
        loaded = await store.load([item.id for item in claim.items])
        commits = [
            Commit(id=item.id, token_ms=item.token_ms, ver=held.ver, next_ver=held.ver + 1, record=b"r", reevaluate_ms=None, pool="shop")
            for item, held in zip(claim.items, loaded)
        ]
        for item, answer in zip(claim.items, await store.commit(commits)):
            done.append([item.id, item.due_ms, answer])
        if len(claim.items) < 100:
            await asyncio.sleep(0.005)
    await store.close()
    print(json.dumps(done))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def test_two_processes_probe_each_endpoint_once_per_slot(redis_url):
    async def begin() -> None:
        store = RedisStore(redis_url)
        await store.open(create=True)
        endpoints = [Endpoint(id=f"e{i}", url="http://127.0.0.1:1/", pool="shop", interval_ms=INTERVAL_MS) for i in range(ENDPOINTS)]
        await register(store, endpoints, [], [])
        await store.close()

    asyncio.run(begin())
    command = [sys.executable, "-c", CLAIMER, redis_url, str(SECONDS)]
    root = Path(__file__).parents[2]
    claimers = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) for _ in range(2)]
    shares = [json.loads(claimer.communicate(timeout=60)[0]) for claimer in claimers]

    assert all(shares)
    assert {answer for share in shares for _, _, answer in share} == {"ok"}
    dues: dict[str, list[int]] = defaultdict(list)
    for share in shares:
        for name, due_ms, _ in share:
            dues[name].append(due_ms)
    assert len(dues) == ENDPOINTS
    for times in map(sorted, dues.values()):
        gaps = {later - earlier for earlier, later in itertools.pairwise(times)}
        assert all(gap > 0 and gap % INTERVAL_MS == 0 for gap in gaps), times
