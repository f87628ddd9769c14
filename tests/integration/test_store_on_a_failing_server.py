"""The store when its server dies, hangs, forgets its scripts, and when its caller gives up or changes loops."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from monitor.clock import SystemClock
from monitor.core.endpoint import Endpoint
from monitor.core.errors import StoreError
from monitor.core.record import Override
from monitor.registry import set_override
from monitor.store.port import EpochEnded, Publication
from monitor.store.redis import wire
from monitor.store.redis.store import RedisStore
from tests.registering import register


def endpoint(name: str) -> Endpoint:
    return Endpoint(id=name, url="http://127.0.0.1:1/", pool="shop")


def test_what_was_answered_survives_a_killed_server(new_server):
    async def scenario() -> None:
        server = new_server(appendonly=True)
        store = RedisStore(server.url)
        await store.open(create=True)
        await register(store, [endpoint("e")], [], [])
        server.kill()
        with pytest.raises(StoreError):
            await store.endpoints()
        server.start()
        assert await store.endpoints() == {"e": endpoint("e")}
        await store.close()

    asyncio.run(scenario())


def test_a_restart_between_two_calls_is_not_noticed(new_server):
    async def scenario() -> None:
        server = new_server(appendonly=True)
        store = RedisStore(server.url)
        await store.open(create=True)
        await asyncio.gather(*(store.now_ms() for _ in range(8)))  # several connections, all dead after the restart
        server.kill()
        server.start()
        await register(store, [endpoint("e")], [], [])
        assert await store.endpoints() == {"e": endpoint("e")}
        await store.close()

    asyncio.run(scenario())


def test_what_an_operator_says_is_not_said_again_when_the_connection_is_lost(new_server, monkeypatch):
    """It may have been heard, and another may have taken it back since: what was read is so again then, and nothing would refuse it."""

    async def scenario() -> None:
        server = new_server(appendonly=True)
        store, other = RedisStore(server.url), RedisStore(server.url)
        await store.open(create=True)
        await other.open()
        await register(store, [endpoint("e")], [], [])
        exchange, lost = wire.Wire._exchange, []

        async def losing(self: wire.Wire, commands: list[bytes]) -> list[object]:
            replies = await exchange(self, commands)
            if self is store._wire and any(b"DRAIN" in command for command in commands) and not lost:
                lost.append(commands)
                await set_override(other, "e", None, "it is needed", actor="bob")
                raise RedisConnectionError("Connection closed by server.")
            return replies

        monkeypatch.setattr(wire.Wire, "_exchange", losing)
        with pytest.raises(StoreError):
            await set_override(store, "e", Override.DRAIN, "a repair", actor="ann")
        assert lost
        (loaded,) = await other.load(["e"])
        assert loaded.override == b"", "bob's word is the later one"
        await store.close()
        await other.close()

    asyncio.run(scenario())


def test_a_hung_server_costs_no_more_than_the_timeout(new_server):
    async def scenario() -> None:
        server = new_server()
        store = RedisStore(server.url, timeout_s=0.3)
        await store.open(create=True)
        server.pause()
        started = time.monotonic()
        with pytest.raises(StoreError):
            await store.count({"probes": 1})
        assert time.monotonic() - started < 3
        server.resume()
        assert await store.now_ms() > 0
        await store.close()

    asyncio.run(scenario())


def test_nobody_at_the_address_is_a_store_error():
    async def scenario() -> None:
        with pytest.raises(StoreError):
            await RedisStore("redis://127.0.0.1:1/0").open()

    asyncio.run(scenario())


def test_a_store_that_is_not_open_says_so():
    with pytest.raises(StoreError, match="not open"):
        asyncio.run(RedisStore("redis://127.0.0.1:1/0").now_ms())


def test_a_new_run_of_the_server_is_a_new_and_larger_epoch(new_server):
    async def scenario() -> None:
        server = new_server(appendonly=True)
        store = RedisStore(server.url)
        await store.open(create=True)
        first = await store.epoch()
        first = await store.publish(Publication(pool="shop", epoch=first, ver=9, snapshot=b"s", delta=b"d"))
        server.kill()
        server.start()
        second = await store.epoch(first)
        assert second.number > first.number
        await store.publish(Publication(pool="shop", epoch=second, ver=1, snapshot=b"s", delta=b"d", after=(first.number, 9)))
        with pytest.raises(EpochEnded):
            await store.publish(Publication(pool="shop", epoch=first, ver=10, snapshot=b"s", delta=b"d"))
        await store.close()

    asyncio.run(scenario())


def test_a_server_that_forgot_its_scripts_learns_them_again(redis_url):
    async def scenario() -> None:
        store = RedisStore(redis_url, slots=3)
        await store.open(create=True)
        with redis.Redis.from_url(redis_url) as client:
            client.script_flush()
        await register(store, [endpoint(f"e{i}") for i in range(9)], [], [])
        assert len(await store.load([f"e{i}" for i in range(9)])) == 9
        await store.close()

    asyncio.run(scenario())


def test_a_caller_who_gives_up_leaves_no_foreign_answer_behind(redis_url):
    async def scenario() -> None:
        store = RedisStore(redis_url)
        await store.open(create=True)
        await register(store, [endpoint(f"e{i}") for i in range(500)], [], [])
        for turns in range(40):
            task = asyncio.create_task(store.endpoints())
            for _ in range(turns % 8):
                await asyncio.sleep(0)
            task.cancel()
            assert abs(await store.now_ms() - SystemClock().now_ms()) < 10_000
        await store.close()

    asyncio.run(scenario())


def test_one_store_serves_several_loops_in_turn_and_leaves_no_connection(redis_url):
    store = RedisStore(redis_url)

    async def scenario() -> None:
        await store.open(create=True)
        await asyncio.gather(*(store.now_ms() for _ in range(30)))
        await store.close()

    for _ in range(3):
        asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        deadline = time.monotonic() + 5
        while len(client.client_list()) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(client.client_list()) == 1


@pytest.mark.parametrize("name", ["\ud800", object()], ids=["a lone surrogate", "no text at all"])
def test_a_command_that_cannot_be_written_fails_alone(new_server, name):
    """Up to 64 askers share an exchange: one of them must not leave the others without an answer."""

    async def scenario() -> None:
        server = new_server()
        store = RedisStore(server.url)
        await store.open(create=True)
        async with asyncio.timeout(5):
            bad, *good = await asyncio.gather(
                store.heartbeat(name, b"x"), *(store.now_ms() for _ in range(40)), store.heartbeat("fine", b"y"), return_exceptions=True
            )
        assert isinstance(bad, StoreError)
        assert not [answer for answer in good if isinstance(answer, BaseException)]
        assert await store.heartbeats(60_000) == {"fine": b"y"}
        await store.close()

    asyncio.run(scenario())


def test_whatever_breaks_an_exchange_reaches_everybody_who_waits_for_it(new_server, monkeypatch):
    async def scenario() -> None:
        server = new_server()
        store = RedisStore(server.url)
        await store.open(create=True)

        async def breaks(*_args: object, **_kwargs: object) -> list[object]:
            raise RuntimeError("a bug of ours")

        monkeypatch.setattr(store._wire, "_exchange", breaks)
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*(store.now_ms() for _ in range(5)), return_exceptions=True)
        assert [str(answer) for answer in answers] == ["a bug of ours"] * 5
        assert all(isinstance(answer, StoreError) for answer in answers)
        monkeypatch.undo()
        await store.close()

    asyncio.run(scenario())


def test_listening_ends_with_its_connection_and_says_so(new_server):
    async def scenario() -> None:
        server = new_server()
        store = RedisStore(server.url)
        await store.open(create=True)
        begun = asyncio.Event()
        listening = asyncio.ensure_future(store.listen(lambda _: None, begun.set))
        async with asyncio.timeout(10):
            await begun.wait()
            server.kill()
            with pytest.raises(StoreError):
                await listening
            with pytest.raises(StoreError):
                await store.listen(lambda _: None, begun.set)
        await store.close()

    asyncio.run(scenario())


def test_a_hung_server_ends_listening_too_and_a_quiet_one_does_not(new_server, monkeypatch):
    monkeypatch.setattr(wire, "_LISTEN_SILENCE_S", 0.3)

    async def scenario() -> None:
        server = new_server()
        store = RedisStore(server.url)
        await store.open(create=True)
        begun = asyncio.Event()
        listening = asyncio.ensure_future(store.listen(lambda _: None, begun.set))
        done, _ = await asyncio.wait([listening], timeout=1.5)
        assert not done
        assert begun.is_set()
        server.pause()
        async with asyncio.timeout(5):
            with pytest.raises(StoreError):
                await listening
        server.resume()
        await store.close()

    asyncio.run(scenario())
