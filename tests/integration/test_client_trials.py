"""A consumer tries a half-open endpoint with a token, and with nothing else; what Redis does meanwhile costs no request anything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections import Counter

import pytest
import redis

from monitor.client import HealthView, NoEndpoint, PublishedEndpoint, Snapshot
from monitor.client.view import Fetch
from monitor.core.policies.call import CallOutcome
from monitor.core.reports import Report, Trial, TrialReport, decode
from monitor.store import keys
from tests.integration.test_client_redis import Publisher, publisher, timed
from tests.waiting import until, wait_for

__all__ = ["publisher"]  # The fixture.

LEASE_MS = 30_000


def endpoint(key: str, weight: int, trial_share: float = 0.0, gen: int = 0) -> PublishedEndpoint:
    return PublishedEndpoint(
        id=key, url="http://127.0.0.1:9000/", addr="127.0.0.1", port=9_000, labels={}, weight=weight,
        breaker="HALF_OPEN" if trial_share else "CLOSED", override=None, gen=gen, verdict="HEALTHY", since_ms=0, open_until_ms=0,
        latency_ms=1, reason="", trial_share=trial_share,
    )  # fmt: skip


def try_b(publisher: Publisher, gen: int = 7, permitted: int = 5, lease_ms: int = LEASE_MS) -> None:
    """`a` is well, and users may try `b`."""
    publisher.redis.hset(keys.trials("shop"), "b", f"{gen} {permitted} 4 {lease_ms}")
    publisher.publish({}, endpoints=(endpoint("a", 990), endpoint("b", 10, 0.01, gen)))


def trials(client: redis.Redis) -> list[Trial]:
    found = [decode(fields[b"r"]) for _, fields in client.xrange(keys.reports("shop"))]
    return [report.trial for report in found if isinstance(report, TrialReport)]


def counted(client: redis.Redis) -> Counter[str]:
    found: Counter[str] = Counter()
    for _, fields in client.xrange(keys.reports("shop")):
        report = decode(fields[b"r"])
        if isinstance(report, Report):
            for key, one in report.endpoints.items():
                found[key] += sum(one.calls.values())
    return found


def live(client: redis.Redis) -> int:
    return client.zcard(keys.trial("shop", "b"))


def issued(client: redis.Redis) -> int:
    return int((client.hget(keys.trials_issued("shop"), "b") or b"0 0").split()[1])


def test_a_block_is_a_trial_and_ends_as_it_ends(redis_url: str, publisher: Publisher) -> None:
    try_b(publisher)
    with HealthView(redis_url, observer="web-1") as view, HealthView(redis_url) as other:
        with view.trial("b") as trial:
            assert trial is not None
            assert trial.endpoint.id == "b"
            with other.trial("b") as second:
                assert second is None, "one at a time at first"
        wait_for(lambda: len(trials(publisher.redis)) == 1)
        with pytest.raises(RuntimeError), view.trial(view.state("b")):
            raise RuntimeError
        with pytest.raises(TimeoutError), view.trial("b"):
            raise TimeoutError
        with view.trial("b") as trial:
            assert trial is not None
            trial.report("failure", 503)
        with view.trial("b"):
            view.report("b", "success", 0.0125, 200)
        wait_for(lambda: len(trials(publisher.redis)) == 5)
        with view.trial("b") as spent, view.trial("a") as well, view.trial("nobody") as unknown:
            assert (spent, well, unknown) == (None, None, None)
    outcomes = [(trial.endpoint, trial.gen, trial.outcome, trial.code) for trial in trials(publisher.redis)]
    assert outcomes == [
        ("b", 7, CallOutcome.SUCCESS, None),
        ("b", 7, CallOutcome.FAILURE, None),
        ("b", 7, CallOutcome.TIMEOUT, None),
        ("b", 7, CallOutcome.FAILURE, 503),
        ("b", 7, CallOutcome.SUCCESS, 200),
    ]
    assert trials(publisher.redis)[-1].duration_ms == 12.5
    assert trials(publisher.redis)[0].observer.startswith("web-1")
    assert counted(publisher.redis) == {}
    assert publisher.redis.zscore(keys.REPORTS, "shop") == 0
    assert live(publisher.redis) == 0


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, KeyboardInterrupt])
def test_what_says_nothing_of_the_endpoint_gives_the_permit_back(error: type[BaseException], redis_url: str, publisher: Publisher) -> None:
    try_b(publisher)
    with HealthView(redis_url) as view:

        def request() -> None:
            with view.trial("b") as trial:
                assert trial is not None
                raise error

        with pytest.raises(error):
            request()
        wait_for(lambda: not live(publisher.redis))
        assert issued(publisher.redis) == 0
        assert trials(publisher.redis) == []


def test_the_same_in_asyncio(redis_url: str, publisher: Publisher) -> None:
    try_b(publisher)

    async def play() -> None:
        async with HealthView(redis_url) as view:
            async with view.trial("b") as trial:
                assert trial is not None
                async with view.trial("b") as second:
                    assert second is None
            await until(lambda: not live(publisher.redis))
            began = asyncio.Event()

            async def request() -> None:
                async with view.trial("b") as trial:
                    assert trial is not None
                    began.set()
                    await asyncio.sleep(60)

            task = asyncio.create_task(request())
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not live(publisher.redis))
            with view.trial("b") as here:
                assert here is None, "the loop's own thread does not wait for the loop"

    asyncio.run(play())
    assert [trial.outcome for trial in trials(publisher.redis)] == [CallOutcome.SUCCESS]


def test_the_blocks_of_a_view_in_a_thread_work_in_a_loop_of_the_service(redis_url: str, publisher: Publisher) -> None:
    try_b(publisher)

    async def request(view: HealthView) -> None:
        async with view.trial("b") as trial:
            assert trial is not None

    with HealthView(redis_url) as view:
        asyncio.run(request(view))
    assert len(trials(publisher.redis)) == 1


def test_a_pick_offers_what_is_tried_only_with_a_token_and_its_report_ends_it(redis_url: str, publisher: Publisher) -> None:
    try_b(publisher)
    with HealthView(redis_url) as view:
        picked: Counter[str] = Counter()

        def five_trials() -> bool:
            for _ in range(100):
                chosen = view.pick("shop")
                picked[chosen.id] += 1
                if chosen.id == "b":
                    assert live(publisher.redis) == 1 or len(trials(publisher.redis)) > 0
                view.report(chosen, "success", 0.001, 200)
            return len(trials(publisher.redis)) == 5

        wait_for(five_trials)
        for _ in range(1_000):
            assert view.pick("shop").id == "a"
        assert picked["b"] == 5
    assert counted(publisher.redis) == {"a": picked["a"]}
    assert issued(publisher.redis) == 5


def test_who_never_reports_is_offered_nothing_to_try(redis_url: str, publisher: Publisher) -> None:
    try_b(publisher)
    with HealthView(redis_url) as silent, HealthView(redis_url) as telling:
        telling.report("a", "success")

        def offered() -> bool:
            assert silent.pick("shop").id == "a"
            return telling.pick("shop").id == "b"

        wait_for(offered)
    assert issued(publisher.redis) == 1


def test_a_token_that_no_request_takes_is_given_back(redis_url: str, publisher: Publisher) -> None:
    try_b(publisher, lease_ms=2_000)
    with HealthView(redis_url) as view:
        view.report("a", "success")
        view.pick("shop")
        wait_for(lambda: live(publisher.redis))
        wait_for(lambda: not live(publisher.redis))
        assert issued(publisher.redis) == 0
    assert trials(publisher.redis) == []


def test_what_is_here_when_a_view_closes_is_given_back(redis_url: str, publisher: Publisher) -> None:
    try_b(publisher)
    with HealthView(redis_url) as view:
        view.report("a", "success")
        view.pick("shop")
        wait_for(lambda: live(publisher.redis))
    assert live(publisher.redis) == 0


def test_where_all_are_tried_a_pick_without_a_token_is_refused(redis_url: str, publisher: Publisher) -> None:
    publisher.publish({}, endpoints=(endpoint("b", 10, 0.01),))
    with HealthView(redis_url) as view, pytest.raises(NoEndpoint) as refusal:
        view.pick("shop")
    assert refusal.value.reason == "weightless"


def test_what_takes_more_than_its_trial_share_needs_no_token(redis_url: str, publisher: Publisher) -> None:
    """Too few others are left: sending it nothing would be worse."""
    publisher.publish({}, endpoints=(endpoint("b", 1_000, 0.01),))
    with HealthView(redis_url) as view:
        assert view.pick("shop").id == "b"


@pytest.mark.parametrize("weather", ["hung", "killed", "rubbish"])
def test_whatever_redis_does_no_request_waits_for_long(weather: str, new_server) -> None:
    server = new_server()
    publisher = Publisher(server.url)
    try_b(publisher)
    view = HealthView(server.url, poll_ms=200, timeout_ms=300)
    view.start()
    try:
        if weather == "hung":
            server.pause()
        elif weather == "killed":
            server.kill()
        else:
            publisher.redis.set(keys.trials("shop"), "no hash")
            publisher.redis.set(keys.trial("shop", "b"), "no set")
        view.report("a", "success")

        def ask() -> None:
            with view.trial("b") as trial:
                assert trial is None

        for _ in range(5):
            assert timed(ask) < 2
            assert timed(lambda: view.pick("shop")) < 0.1
            assert timed(lambda: view.report("b", "failure")) < 0.1
        assert timed(view.close) < 3
    finally:
        if weather == "hung":
            server.resume()
        publisher.redis.close()


class Liar:
    """Answers every write with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(near,), daemon=True).start()

    def _talk(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while near.recv(1 << 16):
                near.sendall(self._answer)

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"+OK\r\n" * 9,
        b":1\r\n" * 9,
        b"*-1\r\n" * 9,
        b"*2\r\n:1\r\n:2\r\n" * 9,
        b"$3\r\nabc\r\n" * 9,
        b"-ERR no\r\n" * 9,
        b"\xff\x00rubbish",
        b"*9",
    ],
)
def test_a_server_that_lies_costs_no_request_anything(answer: bytes) -> None:
    server = Liar(answer)
    view = HealthView(server.url, poll_ms=100, timeout_ms=200)
    view._view.offer(
        Snapshot(pool="shop", epoch=1, ver=1, ts_ms=0, panic=0.0, shed=0.0, endpoints=(endpoint("a", 990), endpoint("b", 10, 0.01, 7))),
        Fetch(0, None, 0),
    )
    view.start()

    def ask() -> None:
        with view.trial("b") as trial:
            assert trial is None

    for _ in range(5):
        view.report("a", "success", 0.01, 200)
        assert view.pick("shop").id == "a"
        assert timed(ask) < 2
    assert timed(view.close) < 3
    server.close()


def test_threads_share_what_there_is(redis_url: str, publisher: Publisher) -> None:
    try_b(publisher, permitted=5)
    tried: list[str] = []
    with HealthView(redis_url) as view:

        def work() -> None:
            for _ in range(30):
                with view.trial("b") as trial:
                    if trial is not None:
                        tried.append(trial.endpoint.id)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: not live(publisher.redis))
    assert len(tried) <= 5
    assert len(trials(publisher.redis)) == len(tried)


def test_a_child_of_a_fork_holds_none_of_its_parents_tokens(redis_url: str, publisher: Publisher) -> None:
    try_b(publisher)
    with HealthView(redis_url) as view, view.trial("b") as trial:
        assert trial is not None
        child = os.fork()
        if not child:
            os._exit(len(view._desk.held))
        assert os.waitpid(child, 0)[1] == 0
        assert live(publisher.redis) == 1
