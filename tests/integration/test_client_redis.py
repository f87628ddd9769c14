"""A consumer against a real server that is killed, hung, emptied, trimmed and silent."""

from __future__ import annotations

import asyncio
import collections
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec
import pytest
import redis

from monitor.client import Freshness, HealthView, NoEndpoint, PublishedEndpoint, Snapshot
from monitor.pool.snapshot import diff
from monitor.store import keys
from tests.slow_line import slow_line

HALF, OTHER = {"a": 500, "b": 500}, {"a": 250, "b": 750}


class Publisher:
    """Writes the published keys as the evaluator does."""

    def __init__(self, url: str) -> None:
        self.redis = redis.Redis.from_url(url, socket_timeout=5)
        self.last: dict[str, Snapshot] = {}

    def now_ms(self) -> int:
        seconds, micros = self.redis.time()
        return seconds * 1_000 + micros // 1_000

    def publish(
        self,
        weights: Mapping[str, int],
        *,
        pool: str = "shop",
        epoch: int | None = None,
        log: bool = True,
        hint: bool = True,
        **more: object,
    ) -> Snapshot:
        last = self.last.get(pool)
        endpoints = tuple(
            PublishedEndpoint(
                id=key, url=f"http://127.0.0.1:{9_000 + ord(key)}/health", addr="127.0.0.1", port=9_000 + ord(key), labels={},
                weight=weight, breaker="CLOSED", override=None, gen=0, verdict="HEALTHY", since_ms=0, open_until_ms=0,
                latency_ms=1, reason="",
            )
            for key, weight in sorted(weights.items())
        )  # fmt: skip
        values: dict[str, object] = {"panic": 0.0, "shed": 0.0, "ts_ms": self.now_ms(), "endpoints": endpoints} | more
        new = Snapshot(pool=pool, epoch=epoch or (last.epoch if last else 1), ver=last.ver + 1 if last else 1, **values)  # type: ignore[arg-type]
        pipeline = self.redis.pipeline(transaction=True)
        pipeline.set(keys.snapshot(pool), msgspec.json.encode(new))
        pipeline.sadd(keys.POOLS, pool)
        if log:
            pipeline.xadd(keys.log(pool), {"d": msgspec.json.encode(diff(last, new))}, id=f"{new.epoch}-{new.ver}")
        if hint:
            pipeline.publish(keys.channel(pool), f"{new.epoch}-{new.ver}")
        pipeline.execute()
        self.last[pool] = new
        return new

    def beat(self, *lagging: str) -> None:
        self.redis.set(keys.ALIVE, keys.heartbeat_value(self.now_ms(), lagging), px=keys.ALIVE_TTL_MS)

    def subscribers(self) -> int:
        return self.redis.pubsub_numpat()


@pytest.fixture
def publisher(redis_url: str) -> Iterator[Publisher]:
    publisher = Publisher(redis_url)
    yield publisher
    publisher.redis.close()


def weights_of(view: HealthView, pool: str = "shop") -> dict[str, int]:
    return {endpoint.id: endpoint.weight for endpoint in view.endpoints(pool)}


def eventually(condition: Callable[[], object], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


def timed(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


def test_five_lines_of_a_consumer(redis_url: str, publisher: Publisher) -> None:
    publisher.publish({"a": 700, "b": 300, "c": 0})
    with HealthView(redis_url) as view:
        counts = collections.Counter(view.pick("shop").id for _ in range(1_000))
        assert counts == {"a": 700, "b": 300}
        assert view.state("c").weight == 0
        assert view.state("a").base_url == f"http://127.0.0.1:{9_000 + ord('a')}"
        assert view.pools() == ("shop",)
        assert view.freshness("shop").freshness is Freshness.FRESH
        with pytest.raises(NoEndpoint) as refusal:
            view.pick("nope")
        assert refusal.value.reason == "unknown"


def test_the_same_in_asyncio(redis_url: str, publisher: Publisher) -> None:
    asyncio.run(_the_same_in_asyncio(redis_url, publisher))


async def _the_same_in_asyncio(redis_url: str, publisher: Publisher) -> None:
    await asyncio.to_thread(publisher.publish, HALF)
    async with HealthView(redis_url) as view:
        watch = view.watch("shop")
        assert {(await anext(watch)).id for _ in range(2)} == {"a", "b"}
        await asyncio.to_thread(publisher.publish, OTHER)
        changes = [await anext(watch) for _ in range(2)]
        assert {(change.id, change.old.weight, change.new.weight) for change in changes if change.old and change.new} == {
            ("a", 500, 250),
            ("b", 500, 750),
        }
        assert weights_of(view) == OTHER
    assert [change async for change in watch] == []


def test_a_hint_is_followed_at_once_through_the_log(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    with HealthView(redis_url, poll_ms=60_000) as view:
        publisher.redis.config_resetstat()
        latencies = []
        for turn in range(40):
            wanted = {"a": 400 + turn, "b": 600 - turn}
            publisher.publish(wanted)
            latencies.append(timed(lambda wanted=wanted: eventually(lambda: weights_of(view) == wanted)))
        assert sorted(latencies)[len(latencies) // 2] < 0.05
        used = publisher.redis.info("commandstats")
        assert used["cmdstat_xrange"]["calls"] > 0
        assert "cmdstat_get" not in used or used["cmdstat_get"]["calls"] == used["cmdstat_xrange"]["calls"]  # the heartbeat's
        assert view.freshness("shop").freshness is Freshness.FRESH


def test_lost_hints_are_made_up_for_by_the_poll(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    with HealthView(redis_url, poll_ms=200) as view:
        publisher.publish(OTHER, hint=False)
        eventually(lambda: weights_of(view) == OTHER)
        publisher.publish(HALF, pool="late", hint=False)
        eventually(lambda: view.pools() == ("late", "shop"))


@pytest.mark.parametrize("damage", ["trimmed", "deleted", "not written", "of another type", "nonsense"])
def test_a_damaged_log_leads_to_the_snapshot(redis_url: str, publisher: Publisher, damage: str) -> None:
    publisher.publish(HALF)
    log = keys.log("shop")
    with HealthView(redis_url, poll_ms=60_000) as view:
        for weight in (100, 200, 300):
            publisher.publish({"a": weight, "b": 1_000 - weight}, hint=False, log=damage != "not written")
        if damage == "trimmed":
            publisher.redis.xtrim(log, maxlen=1, approximate=False)
        else:
            publisher.redis.delete(log)
        if damage == "of another type":
            publisher.redis.set(log, "?")
        if damage == "nonsense":
            publisher.redis.xadd(log, {"d": "{"}, id="1-4")
        publisher.redis.publish(keys.channel("shop"), "1-4")
        eventually(lambda: weights_of(view) == {"a": 300, "b": 700})


def test_one_bad_pool_spoils_no_other(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    publisher.redis.sadd(keys.POOLS, "nonsense", "number", "list")
    publisher.redis.set(keys.snapshot("nonsense"), "{")
    publisher.redis.set(keys.snapshot("number"), "7")
    publisher.redis.lpush(keys.snapshot("list"), "x")
    with HealthView(redis_url, poll_ms=200) as view:
        publisher.publish(OTHER, hint=False)
        eventually(lambda: weights_of(view) == OTHER)
        assert view.pools() == ("shop",)


def test_pools_can_be_chosen(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    publisher.publish(HALF, pool="other")
    with HealthView(redis_url, pools=["shop", "to-come"], poll_ms=60_000) as view:
        assert view.pools() == ("shop",)
        publisher.publish(HALF, pool="to-come")
        eventually(lambda: view.pools() == ("shop", "to-come"))


def test_names_and_documents_that_are_no_text_blind_nobody(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    publisher.publish(HALF, pool="broken")
    publisher.redis.sadd(keys.POOLS, b"no \xff text", "deep")
    publisher.redis.set(keys.snapshot("broken"), b'{"schema":1,"pool":"\xff"}')
    publisher.redis.set(keys.snapshot("deep"), b'{"schema":1,"pool":' + b"[" * 10_000)
    with HealthView(redis_url, poll_ms=60_000) as view:
        assert view.pools() == ("shop",)
        publisher.redis.publish(keys.channel("\0").encode().replace(b"\0", b"\xff"), "1-2")
        publisher.redis.xadd(keys.log("shop"), {"d": b'{"pool":"\xff"}'}, id="1-2")
        publisher.redis.publish(keys.channel("shop"), "1-2")
        publisher.publish(OTHER, log=False)
        eventually(lambda: weights_of(view) == OTHER)


def test_a_tombstone_removes_and_a_missing_key_does_not(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    with HealthView(redis_url, poll_ms=100) as view:
        publisher.redis.flushall()
        publisher.redis.config_resetstat()
        eventually(lambda: publisher.redis.info("commandstats").get("cmdstat_getrange", {}).get("calls", 0) >= 3)
        assert weights_of(view) == HALF
        publisher.publish({}, tombstone=True)
        eventually(lambda: view.pools() == ())
        with pytest.raises(NoEndpoint) as refusal:
            view.pick("shop")
        assert refusal.value.reason == "removed"


def test_killed_and_restarted_empty(new_server) -> None:
    server = new_server()
    publisher = Publisher(server.url)
    publisher.publish(HALF, ttl_ms=500)
    with HealthView(server.url, poll_ms=200) as view:
        server.kill()
        eventually(lambda: view.freshness("shop").freshness is Freshness.FROZEN)
        assert collections.Counter(view.pick("shop").id for _ in range(1_000)) == HALF
        server.start()
        eventually(lambda: publisher_is_up(publisher))
        assert weights_of(view) == HALF
        publisher.last.clear()
        publisher.publish(OTHER, epoch=2)
        eventually(lambda: weights_of(view) == OTHER)
    publisher.redis.close()


def publisher_is_up(publisher: Publisher) -> bool:
    try:
        return bool(publisher.redis.ping())
    except redis.RedisError:
        return False


def test_an_unchanged_pool_is_fresh_while_the_evaluator_lives(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF, ts_ms=publisher.now_ms() - 3_600_000, ttl_ms=1_000)
    with HealthView(redis_url, poll_ms=100) as view:
        assert view.freshness("shop").freshness is Freshness.EXPIRED
        for wanted in (Freshness.FRESH, Freshness.FROZEN, Freshness.FRESH):
            if wanted is Freshness.FRESH:
                publisher.beat()
            eventually(lambda wanted=wanted: view.freshness("shop").freshness is wanted)


def test_a_pool_that_lags_is_frozen_beside_one_that_is_fresh(redis_url: str, publisher: Publisher) -> None:
    names = ('shop "2"', "cart")
    for pool in names:
        publisher.publish(HALF, pool=pool)

    def freshness(view: HealthView) -> list[Freshness]:
        return [view.freshness(pool).freshness for pool in names]

    with HealthView(redis_url, poll_ms=100) as view:
        publisher.beat(names[0])
        eventually(lambda: freshness(view) == [Freshness.FROZEN, Freshness.FRESH])
        publisher.beat()
        eventually(lambda: freshness(view) == [Freshness.FRESH, Freshness.FRESH])
        publisher.redis.set(keys.ALIVE, "0")
        eventually(lambda: freshness(view) == [Freshness.FROZEN, Freshness.FROZEN])


@pytest.mark.parametrize("heartbeat", ["", "soon", '17000 ["cart"', "1700 cart", "[]"])
def test_a_heartbeat_that_cannot_be_read_makes_nobody_younger(redis_url: str, publisher: Publisher, heartbeat: str) -> None:
    publisher.publish(HALF, ttl_ms=300)
    publisher.redis.set(keys.ALIVE, heartbeat)
    with HealthView(redis_url, poll_ms=100) as view:
        assert weights_of(view) == HALF
        eventually(lambda: view.freshness("shop").freshness is Freshness.FROZEN)


def test_expiry_gives_equal_weights_and_says_so(redis_url: str, publisher: Publisher) -> None:
    publisher.publish({"a": 900, "b": 100}, ttl_ms=100, max_stale_ms=300)
    with HealthView(redis_url) as view, view.watch("shop") as watch:
        for change in watch:
            if change.new and change.new.freshness is Freshness.EXPIRED:
                break
        assert weights_of(view) == HALF
        for _ in range(5):
            view.report(view.state("a"), ok=False)
        assert {view.pick("shop").id for _ in range(1_000)} == {"b"}


def test_a_hung_server_blocks_neither_pick_nor_close(new_server) -> None:
    server = new_server()
    publisher = Publisher(server.url)
    publisher.publish(HALF, ttl_ms=300)
    view = HealthView(server.url, poll_ms=200, timeout_ms=500)
    view.start()
    server.pause()
    eventually(lambda: view.freshness("shop").freshness is Freshness.FROZEN)
    slowest = max(timed(lambda: view.pick("shop")) for _ in range(20_000))
    assert slowest < 0.45  # less than one time-out of a reading; the rest is the machine's other work
    assert timed(view.close) < 1.0
    start = HealthView(server.url, timeout_ms=300)
    assert timed(start.start) < 1.0
    with pytest.raises(NoEndpoint):
        start.pick("shop")
    assert timed(start.close) < 1.0
    server.resume()
    publisher.redis.close()


def test_a_hung_server_in_asyncio(new_server) -> None:
    asyncio.run(_a_hung_server_in_asyncio(new_server()))


async def _a_hung_server_in_asyncio(server) -> None:
    publisher = Publisher(server.url)
    publisher.publish(HALF, ttl_ms=300)
    async with HealthView(server.url, poll_ms=200, timeout_ms=500) as view:
        watch = view.watch("shop")
        server.pause()
        async for change in watch:
            if change.new and change.new.freshness is Freshness.FROZEN:
                break
        assert view.pick("shop").id in HALF
        server.resume()
        await asyncio.to_thread(publisher.publish, OTHER)
        async for change in watch:
            if change.new and change.new.weight == OTHER[change.id]:
                break
        server.pause()
        start = time.monotonic()
    assert time.monotonic() - start < 1.0
    server.resume()
    publisher.redis.close()


def test_a_server_that_trickles_does_not_hold_the_view() -> None:
    """A peer that sends one byte a tenth of a second resets every per-read timeout; the whole reading is bounded."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                while not stop.wait(0.1):
                    try:
                        connection.sendall(b"+")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        view = HealthView(f"redis://127.0.0.1:{listener.getsockname()[1]}/0", timeout_ms=300)
        assert timed(view.start) < 1.0
        assert timed(view.close) < 1.0
        stop.set()
        thread.join()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def test_across_an_ocean_the_first_state_costs_four_round_trips(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    with slow_line(port_of(redis_url), 0.3) as line, HealthView(f"redis://127.0.0.1:{line.port}/0", poll_ms=60_000) as view:
        eventually(lambda: weights_of(view) == HALF)
        assert line.connections == 2
        assert line.flights <= 4  # subscribe; names, snapshots; and the first ping, for which nobody waits
        publisher.publish(OTHER)
        eventually(lambda: weights_of(view) == OTHER)


def test_a_server_that_is_slower_than_the_timeout_is_waited_for_longer(redis_url: str, publisher: Publisher) -> None:
    """Each exchange takes three times the timeout, and longer than a poll: neither is taken for a loss for ever."""
    publisher.publish(HALF)
    with (
        slow_line(port_of(redis_url), 0.3) as line,
        HealthView(f"redis://127.0.0.1:{line.port}/0", poll_ms=100, timeout_ms=100) as view,
    ):
        eventually(lambda: weights_of(view) == HALF)
        lines = line.connections
        publisher.publish(OTHER, hint=False)
        eventually(lambda: weights_of(view) == OTHER)
        publisher.redis.config_resetstat()
        eventually(lambda: publisher.redis.info("commandstats").get("cmdstat_getrange", {}).get("calls", 0) >= 4)
        assert line.connections == lines


def test_a_dead_channel_is_noticed(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    with HealthView(redis_url, poll_ms=300) as view:
        publisher.redis.client_kill_filter(_type="pubsub")
        eventually(lambda: publisher.subscribers() == 1)
        publisher.publish(OTHER)
        eventually(lambda: weights_of(view) == OTHER)


def test_a_cold_start_from_the_file(redis_url: str, publisher: Publisher, tmp_path) -> None:
    file = tmp_path / "pools.json"
    publisher.publish(OTHER)
    with HealthView(redis_url, cache_file=file):
        pass
    assert json.loads(file.read_bytes())["schema"] == 1
    with HealthView("redis://127.0.0.1:1/0", cache_file=file) as view:
        assert collections.Counter(view.pick("shop").id for _ in range(1_000)) == OTHER
        assert view.freshness("shop").freshness is Freshness.COLD
    with HealthView(redis_url, cache_file=file) as view:
        assert view.freshness("shop").freshness is Freshness.FRESH
    file.write_text('{"schema":1,"saved_ms":')
    with HealthView("redis://127.0.0.1:1/0", cache_file=file) as view:
        assert view.pools() == ()
    assert [path.name for path in tmp_path.iterdir()] == ["pools.json"]


def test_a_view_may_be_entered_again(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    view = HealthView(redis_url, poll_ms=200)
    for weights in (HALF, OTHER):
        with view:
            publisher.publish(weights)
            eventually(lambda weights=weights: weights_of(view) == weights)
    assert view.pick("shop").id in OTHER


def test_a_fixed_view_for_unit_tests(publisher: Publisher) -> None:
    snapshot = publisher.publish(HALF, shed=0.5)
    view = HealthView.from_snapshots([snapshot])
    assert collections.Counter(view.pick("shop").id for _ in range(1_000)) == HALF
    outcomes: collections.Counter[str] = collections.Counter()
    for _ in range(1_000):
        try:
            outcomes[view.pick("shop", shed=True).id] += 1
        except NoEndpoint as refusal:
            outcomes[refusal.reason] += 1
    assert outcomes["shed"] == 500
