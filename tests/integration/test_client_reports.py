"""What consumers report arrives once in the pool's stream, whatever Redis does meanwhile, and no request ever waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
import redis

from monitor.client import HealthView
from monitor.client import reporter as reporter_module
from monitor.core.reports import Report, decode
from monitor.store import keys
from tests.integration.test_client_redis import HALF, Publisher, publisher, timed
from tests.waiting import wait_for

__all__ = ["publisher"]  # The fixture.


def reports(client: redis.Redis, pool: str = "shop") -> list[Report]:
    found = [decode(fields[b"r"]) for _, fields in client.xrange(keys.reports(pool))]
    return [report for report in found if isinstance(report, Report)]


def counted(client: redis.Redis, pool: str = "shop") -> Counter[tuple[str, str]]:
    """Calls by endpoint and word, each entry once."""
    entries = {(report.observer, report.seq): report for report in reports(client, pool)}
    found: Counter[tuple[str, str]] = Counter()
    for report in entries.values():
        for endpoint, one in report.endpoints.items():
            found.update({(endpoint, word): n for word, n in one.calls.items()})
    return found


def test_a_second_of_calls_is_one_entry(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    publisher.publish({"c": 1000}, pool="cart")
    with HealthView(redis_url, observer="web-1") as view:
        began_ms = publisher.now_ms()
        for _ in range(10):
            view.report("a", "success", 0.0035, 200)
        view.report(view.state("b"), "failure", 0.1, code=503)
        view.report("b", ok=False)
        view.report("c", True)
        view.report("nobody", "success", 0.1)
        wait_for(lambda: counted(publisher.redis) and counted(publisher.redis, "cart"))
        ended_ms = publisher.now_ms()
        assert wait_for(lambda: view.reports.sent == 2)
        assert (view.reports.unknown, view.reports.refused, view.reports.dropped, view.reports.waiting) == (1, 0, 0, 0)
    assert counted(publisher.redis) == {("a", "success/200"): 10, ("b", "failure/503"): 1, ("b", "failure"): 1}
    assert counted(publisher.redis, "cart") == {("c", "success"): 1}
    (report,) = reports(publisher.redis)
    assert report.observer == "web-1"
    assert report.slot_ms % 1_000 == 0
    assert began_ms - 1_500 <= report.slot_ms <= ended_ms, "the first is cut before the server's time is known"
    assert report.endpoints["a"].latency == {37: 10}
    assert publisher.redis.zrange(keys.REPORTS, 0, -1, withscores=True) == [(b"cart", 0.0), (b"shop", 0.0)]


def test_what_was_counted_last_is_sent_when_the_view_is_closed(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    with HealthView(redis_url) as view:
        view.report("a", "success")
    assert sum(counted(publisher.redis).values()) == 1

    async def in_asyncio() -> None:
        async with HealthView(redis_url) as view:
            view.report("a", "success")

    asyncio.run(in_asyncio())
    assert sum(counted(publisher.redis).values()) == 2


def test_views_of_one_process_have_names_of_their_own_and_a_child_has_another(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    with HealthView(redis_url) as first, HealthView(redis_url) as second:
        assert first.observer == f"{socket.gethostname()}:{os.getpid()}"
        assert second.observer != first.observer
        first.report("a", "success")
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, first.observer.encode() + b"%d" % len(first._counts.take()))
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        assert os.read(reading, 100) == b"0"
        os.close(reading)
    assert sum(counted(publisher.redis).values()) == 1
    with pytest.raises(ValueError, match="1 to 200 printable characters"):
        HealthView(redis_url, observer="x" * 201)


@pytest.mark.parametrize("name", ["web-1", None])
def test_a_view_that_was_made_before_a_fork_and_started_after_it_reports(redis_url: str, publisher: Publisher, name: str | None) -> None:
    publisher.publish(HALF)
    view = HealthView(redis_url, observer=name)
    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            try:
                with view:
                    view.report("a", "success")
                os._exit(0)
            except BaseException:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert sum(counted(publisher.redis).values()) == 2
    named = [f"web-1:{child}" if name else f"{socket.gethostname()}:{child}" for child in children]
    assert sorted(report.observer for report in reports(publisher.redis)) == sorted(named)


def test_a_name_that_comes_again_goes_on_above_what_it_sent(redis_url: str, publisher: Publisher) -> None:
    publisher.publish(HALF)
    for _ in range(3):
        with HealthView(redis_url, observer="web-1") as view:
            view.report("a", "success")
    sequences = [report.seq for report in reports(publisher.redis)]
    assert len(sequences) == 3
    assert sequences == sorted(set(sequences))


def test_a_second_that_is_larger_than_an_entry_may_be_is_several(
    redis_url: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter_module, "REPORT_BYTES_MAX", 300)
    publisher.publish({chr(ord("a") + n): 100 for n in range(10)})
    with HealthView(redis_url) as view:
        for endpoint in view.endpoints("shop"):
            view.report(endpoint, "success", 0.01)
    found = reports(publisher.redis)
    assert len(found) > 1
    assert sum(counted(publisher.redis).values()) == 10
    assert max(len(fields[b"r"]) for _, fields in publisher.redis.xrange(keys.reports("shop"))) <= 300


class LossyServer:
    """Stands before a real server and loses answers: the first that confirms an entry never arrives."""

    def __init__(self, url: str) -> None:
        self._target = ("127.0.0.1", redis.connection.parse_url(url)["port"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.lost = 0
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._ends += near, far
            threading.Thread(target=self._up, args=(near, far), daemon=True).start()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        """One exchange after the other; a client's whole batch comes in one write here."""
        threading.Thread(target=self._down, args=(near, far), daemon=True).start()
        with contextlib.suppress(OSError):  # The test is over.
            while data := self._read(near):
                if b"XADD" in data and not self.lost:
                    self.lost += 1
                    far.sendall(data)
                    far.recv(1 << 20)
                    near.shutdown(socket.SHUT_RDWR)
                    return
                far.sendall(data)

    def _down(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := self._read(far):
                near.sendall(data)

    @staticmethod
    def _read(end: socket.socket) -> bytes:
        """What comes, b"" at the end, however it ends."""
        try:
            return end.recv(1 << 20)
        except OSError:
            return b""

    def close(self) -> None:
        """The server is shared with other tests, which see every connection that is left."""
        self._listener.close()
        for end in self._ends:
            with contextlib.suppress(OSError):  # A thread may wait for it: closing it alone would wait as well.
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def lossy(redis_url: str) -> Iterator[LossyServer]:
    server = LossyServer(redis_url)
    yield server
    server.close()


def test_an_entry_whose_answer_was_lost_comes_again_unchanged(lossy: LossyServer, publisher: Publisher) -> None:
    publisher.publish(HALF)
    with HealthView(lossy.url, observer="web-1") as view:
        view.report("a", "success")
        wait_for(lambda: view.reports.sent == 1)
    assert lossy.lost == 1
    first, *again = [fields[b"r"] for _, fields in publisher.redis.xrange(keys.reports("shop"))]
    assert set(again) <= {first}
    assert sum(counted(publisher.redis).values()) == 1


def test_while_redis_is_away_memory_is_bounded_and_requests_go_on(new_server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter_module, "WAITING_MAX", 2)
    server = new_server()
    publisher = Publisher(server.url)
    publisher.publish(HALF)
    with HealthView(server.url, poll_ms=200, timeout_ms=500) as view:
        view.report("a", "success")
        wait_for(lambda: view.reports.sent == 1)
        server.kill()

        def dropped() -> int:
            view.report("a", "success")
            assert timed(lambda: view.report("b", "failure")) < 0.1
            assert view.reports.waiting <= 1 + 60
            return view.reports.dropped

        assert wait_for(dropped)
        server.start()
        publisher.publish(HALF, epoch=2)
        view.report("a", "success")
        wait_for(lambda: view.reports.sent > 1)
    publisher.redis.close()


def test_a_server_that_hangs_does_not_hold_up_the_loop_of_a_service(new_server) -> None:
    server = new_server()
    publisher = Publisher(server.url)
    publisher.publish(HALF)

    async def play() -> float:
        view, slowest_s = HealthView(server.url, poll_ms=200, timeout_ms=200), 0.0
        await view.astart()
        server.pause()
        for _ in range(300):
            began_s = asyncio.get_running_loop().time()
            view.report(view.pick("shop"), "failure", 0.1, 500)
            await asyncio.sleep(0)
            slowest_s = max(slowest_s, asyncio.get_running_loop().time() - began_s)
            await asyncio.sleep(0.005)
        began_s = asyncio.get_running_loop().time()
        await view.aclose()
        assert asyncio.get_running_loop().time() - began_s < 3
        return slowest_s

    try:
        assert asyncio.run(play()) < 1
    finally:
        server.resume()
        publisher.redis.close()


@pytest.mark.parametrize("weather", ["hung", "rubbish"])
def test_a_server_that_hangs_or_talks_rubbish_keeps_nobody_waiting(weather: str, new_server) -> None:
    server = new_server()
    publisher = Publisher(server.url)
    publisher.publish(HALF)
    view = HealthView(server.url, poll_ms=200, timeout_ms=200)
    view.start()
    try:
        if weather == "hung":
            server.pause()
        else:
            publisher.redis.set(keys.reports("shop"), "no stream")
            publisher.redis.set(keys.REPORTS, "no sorted set")
        for _ in range(1_000):
            assert timed(lambda: view.report("a", "failure", 0.1, 500)) < 0.1
        if weather == "rubbish":
            wait_for(lambda: view.reports.waiting)
        assert timed(view.close) < 3
    finally:
        server.resume()
        publisher.redis.close()
