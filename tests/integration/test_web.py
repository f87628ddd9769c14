"""The web listener on a real store: liveness, readiness, and a scrape that Prometheus can read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import redis
from prometheus_client.parser import text_string_to_metric_families

from monitor.clock import FakeClock, SystemClock
from monitor.config.settings import Settings
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Outcome, Phases, StaleAnswer
from monitor.core.process import Process
from monitor.core.record import Breaker, BreakerState, LastResult, ProbeStatistics, Record, encode_record
from monitor.pool.snapshot import PublishedEndpoint, Snapshot
from monitor.pool.traffic.shapes import ObserverState, TrafficHead
from monitor.store import keys
from monitor.store.names import name_of
from monitor.store.port import Commit, Committed, Publication, TrafficCommit
from monitor.store.queues import Queue
from monitor.store.redis.store import RedisStore
from monitor.web.app import SCRAPE_TTL_MS, create_app
from monitor.web.metrics import FAMILIES
from tests.conftest import RedisServer
from tests.registering import register

encode = msgspec.json.Encoder().encode


@asynccontextmanager
async def web(url: str, clock: FakeClock | None = None) -> AsyncIterator[tuple[RedisStore, httpx.AsyncClient]]:
    """A store to write with, and a client of an application that reads with a store of its own."""
    store, own = RedisStore(url), RedisStore(url, timeout_s=0.5)
    app = create_app(own, Settings(), clock=clock or SystemClock())
    await store.open(create=True)
    try:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://web") as client,
        ):
            await opened(client)
            yield store, client
    finally:
        await store.close()


async def opened(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while True:
            if (await client.get("/metrics")).status_code == 200:
                return
            await asyncio.sleep(0.01)


async def beat(store: RedisStore, *parts: str) -> None:
    for number, part in enumerate(parts):
        process = Process(part=part, host="h", pid=number, started_ms=1, at_ms=SystemClock().now_ms(), lateness_p50_ms=2, lateness_p99_ms=9)
        await store.heartbeat(f"{part}:h:{number}", encode(process))


async def keep(store: RedisStore, endpoints: Sequence[Endpoint], record: Record) -> None:
    """Commit the record for each endpoint, as a decision without a result."""
    body = encode_record(record)
    for start in range(0, len(endpoints), 1_000):
        commits = [
            Commit(id=item.id, token_ms=None, ver=0, next_ver=1, record=body, reevaluate_ms=0, pool=item.pool)
            for item in endpoints[start : start + 1_000]
        ]
        assert set(await store.commit(commits)) == {Committed.OK}


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Name -> labels -> value, as Prometheus' own parser reads them."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert tuple(sorted(sample.labels.items())) not in found.setdefault(sample.name, {}), f"{sample.name} twice"
            found[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    return found


def run(story: Any) -> None:
    asyncio.run(story())


def test_healthy_answers_get_and_head(redis_url: str) -> None:
    async def story() -> None:
        async with web(redis_url) as (_, client):
            assert (await client.get("/-/healthy")).text == "ok\n"
            head = await client.head("/-/healthy")
            assert (head.status_code, head.text) == (200, "")
            assert (await client.post("/-/healthy")).status_code == 405

    run(story)


def test_ready_only_when_every_part_lives(redis_url: str) -> None:
    async def story() -> None:
        async with web(redis_url) as (store, client):
            answer = await client.get("/-/ready")
            assert answer.status_code == 503
            assert answer.json()["missing"] == ["beat", "worker", "alert-worker"]
            await beat(store, "beat", "worker")
            assert (await client.get("/-/ready")).json() == {"ready": False, "missing": ["alert-worker"], "why": "no heartbeat"}
            await beat(store, "beat", "worker", "alert-worker")
            answer = await client.get("/-/ready")
            assert answer.status_code == 200
            assert answer.json()["processes"] == ["alert-worker:h:2", "beat:h:0", "worker:h:1"]
            assert (await client.head("/-/ready")).status_code == 200
            await store.deregister("beat:h:0")
            assert (await client.get("/-/ready")).json()["missing"] == ["beat"]

    run(story)


def test_a_lost_store_is_not_ready_but_healthy(new_server: Any) -> None:
    async def story() -> None:
        server: RedisServer = new_server()
        async with web(server.url, FakeClock()) as (store, client):
            await beat(store, "beat", "worker", "alert-worker")
            assert (await client.get("/-/ready")).status_code == 200
            server.kill()
            answer = await client.get("/-/ready")
            assert (answer.status_code, answer.json()["missing"]) == (503, ["store"])
            assert (await client.get("/-/healthy")).status_code == 200

    run(story)


def test_the_scrape_says_what_is_known(redis_url: str) -> None:
    odd = 'we"ird\\id'
    last = LastResult(
        at_ms=1_700_000_000_500,
        outcome=Outcome.FAILURE,
        status=503,
        duration_ms=12.5,
        phases=Phases(resolve_ms=1.0, connect_ms=2.0, tls_ms=3.0, first_byte_ms=4.0, transfer_ms=2.5),
        certificate_not_after_ms=1_800_000_000_000,
        ip="::1",
        stale=StaleAnswer(1_699_999_900_500, "the resolver says SERVFAIL"),
    )
    record = Record(breaker=BreakerState(state=Breaker.OPEN), probes=ProbeStatistics(Outcome.FAILURE, last=last))

    async def story() -> None:
        async with web(redis_url, clock := FakeClock()) as (store, client):
            probed = Endpoint(id=odd, url="http://127.0.0.1:1/", pool="shop")
            await register(store, [probed, Endpoint(id="new", url="tcp://127.0.0.1:2", pool="shop", kind="tcp")], [], [])
            await keep(store, [probed], record)
            published = PublishedEndpoint(
                id=odd, url="", addr="", port=1, labels={}, weight=250, breaker="OPEN", override=None, gen=0, verdict="UNHEALTHY",
                since_ms=0, open_until_ms=0, latency_ms=0, reason="",
            )  # fmt: skip
            snapshot = Snapshot(pool="shop", epoch=1, ver=1, ts_ms=1, panic=0.25, shed=0.0, endpoints=(published,))
            await store.publish(Publication(pool="shop", epoch=await store.epoch(), ver=1, snapshot=encode(snapshot), delta=b"{}"))
            await beat(store, "worker")
            await store.announce_reports(["shop"])
            (lease,) = await store.claim(Queue.TRAFFIC, 0, 1, 9_000)
            seen = ObserverState(1, 1, 1, 0, 1, 1)
            head = TrafficHead(ok=75.0, failed=25.0, observers={"a": seen, "b": msgspec.structs.replace(seen, quarantined_ms=5)})
            await store.commit_traffic(TrafficCommit(pool="shop", token_ms=lease.token_ms, ver=0, next_ver=1, head=encode(head)))
            await store.count({"probes_success": 41})
            await store.count({"probes_success": 1})
            clock.advance(SCRAPE_TTL_MS)
            answer = await client.get("/metrics")
            assert answer.headers["content-type"].startswith("text/plain; version=")
            found = samples(answer.text)
            at = (("endpoint", odd), ("pool", "shop"))
            assert found["probe_success"] == {at: 0}
            assert found["probe_duration_seconds"] == {at: 0.0125}
            assert found["probe_http_status_code"] == {at: 503}
            assert {dict(labels)["phase"]: value for labels, value in found["probe_http_duration_seconds"].items()} == {
                "resolve": 0.001, "connect": 0.002, "tls": 0.003, "processing": 0.004, "transfer": 0.0025,
            }  # fmt: skip
            assert found["probe_ssl_earliest_cert_expiry"] == {at: 1_800_000_000}
            assert found["probe_ip_protocol"] == {at: 6}
            assert found["watchkeeper_stale_answer_timestamp_seconds"] == {at: 1_699_999_900.5}
            assert found["watchkeeper_breaker_state"] == {at: 2}
            assert found["watchkeeper_weight"] == {at: 250}
            assert found["watchkeeper_last_result_timestamp_seconds"] == {at: 1_700_000_000.5}
            assert found["watchkeeper_pool_panic_ratio"] == {(("pool", "shop"),): 0.25}
            assert found["watchkeeper_observers"] == {(("pool", "shop"),): 2}
            assert found["watchkeeper_observers_quarantined"] == {(("pool", "shop"),): 1}
            assert found["watchkeeper_pool_traffic_success_ratio"] == {(("pool", "shop"),): 0.75}
            assert found["watchkeeper_endpoints"] == {(): 2}
            assert found["watchkeeper_probes_success_total"] == {(): 42}
            assert sorted(dict(labels)["quantile"] for labels in found["watchkeeper_process_lateness_seconds"]) == ["0.5", "0.99"]
            assert set(FAMILIES) <= set(found)

    run(story)


def test_what_a_hand_left_in_the_store_makes_no_scrape_unreadable(redis_url: str) -> None:
    odd = 'a "pool"\nof\\two\rlines'
    good, last = Record(probes=ProbeStatistics(Outcome.SUCCESS)), LastResult(at_ms=7, outcome=Outcome.SUCCESS)
    vast = b"9" * 400

    async def story() -> None:
        async with web(redis_url, clock := FakeClock()) as (store, client):
            await register(store, [Endpoint(id=name, url="http://127.0.0.1:1/", pool=name) for name in (odd, "vast")], [], [])
            vast_record = encode_record(Record(probes=ProbeStatistics(last=last))).replace(b"7", vast)
            for name, record in ((odd, encode_record(good)), ("vast", vast_record)):
                commit = Commit(id=name, token_ms=None, ver=0, next_ver=1, record=record, reevaluate_ms=0, pool=name)
                assert await store.commit([commit]) == [Committed.OK]
            await beat(store, "beat", "worker", "alert-worker", 'a "part"\nof two')
            process = Process(part="worker", host="h", pid=9, started_ms=1, at_ms=7)
            await store.heartbeat(name_of(b"\xff"), encode(process).replace(b"7", vast))
            await store.count({"probes_success": 1})
            with redis.Redis.from_url(redis_url) as hand:
                hand.hset(keys.COUNTERS, mapping={b"\xff": 1, "two words": 1, "upper_Case": 1, "vast": b"9" * 5_000})
                for pool in (odd, "vast"):
                    hand.set(keys.snapshot(pool), encode(Snapshot(pool=odd, epoch=1, ver=1, ts_ms=1, panic=0.25, shed=0.0, endpoints=())))
            clock.advance(SCRAPE_TTL_MS)
            found = samples((await client.get("/metrics")).text)
            assert found["watchkeeper_probes_success_total"] == {(): 1}
            assert [name for name in found if "words" in name or "Case" in name] == []
            assert found["probe_success"] == {(("endpoint", odd), ("pool", odd)): 1}
            assert found["watchkeeper_pool_panic_ratio"] == {(("pool", odd),): 0.25}
            assert 'a "part"\nof two' in {dict(labels)["part"] for labels in found["watchkeeper_process_heartbeat_age_seconds"]}
            answer = await client.get("/-/ready")
            assert (answer.status_code, r"\xff" in answer.json()["processes"]) == (200, True)

    run(story)


def test_one_scrape_serves_everybody_for_a_second(redis_url: str) -> None:
    async def story() -> None:
        async with web(redis_url, clock := FakeClock()) as (store, client):
            before = (await client.get("/metrics")).text
            await store.count({"probes_success": 1})
            clock.advance(SCRAPE_TTL_MS - 1)
            assert (await client.get("/metrics")).text == before
            clock.advance(1)
            assert "watchkeeper_probes_success_total 1\n" in (await client.get("/metrics")).text

    run(story)


def test_ten_thousand_endpoints_are_scraped_in_two_seconds(redis_url: str) -> None:
    last = LastResult(at_ms=1, outcome=Outcome.SUCCESS, status=200, duration_ms=1.0, ip="127.0.0.1")
    record = Record(probes=ProbeStatistics(Outcome.SUCCESS, last=last))

    async def story() -> None:
        async with web(redis_url, clock := FakeClock()) as (store, client):
            endpoints = [
                Endpoint(id=f"shop-{number}", url=f"http://127.0.0.1:{number}/", pool=f"pool-{number % 5_000}") for number in range(10_000)
            ]
            await register(store, endpoints, [], [])
            await keep(store, endpoints, record)
            clock.advance(SCRAPE_TTL_MS)
            began = time.perf_counter()
            answer = await client.get("/metrics")
            took_s = time.perf_counter() - began
            assert len(samples(answer.text)["probe_success"]) == 10_000
            assert took_s < 2.0, f"it took {took_s:.2f} s"

    run(story)
