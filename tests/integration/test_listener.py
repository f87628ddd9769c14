"""The web listener on real sockets: a peer that sends too much, too slowly or takes nothing is dropped, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from monitor.web.connection import Connection
from tests.waiting import until
from workers.part import open_listener

GET = b"GET /ok HTTP/1.1\r\nHost: h\r\n\r\n"
LARGE = 20_000_000


class Hasty(Connection):
    """So that no test has to wait for long."""

    request_timeout_s = 1.0
    answer_timeout_s = 1.0
    idle_timeout_s = 1
    connections_max = 50


async def _ok(_: Request) -> Response:
    return PlainTextResponse("ok")


async def _large(_: Request) -> Response:
    return PlainTextResponse("x" * LARGE)


async def _read(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _stuck(_: Request) -> Response:
    await asyncio.sleep(600)
    return PlainTextResponse("late")


APP = Starlette(routes=[Route("/ok", _ok), Route("/large", _large), Route("/read", _read, methods=["POST"]), Route("/stuck", _stuck)])


@contextlib.asynccontextmanager
async def listener(limits: type[Connection] = Hasty) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    sock = open_listener("127.0.0.1:0")
    idle_s = limits.idle_timeout_s
    config = uvicorn.Config(APP, http=limits, ws="none", timeout_keep_alive=idle_s, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    await until(lambda: server.started)
    yield server, sock.getsockname()[1]
    server.should_exit = True
    await serving


def played(story: Callable[[uvicorn.Server, int], Awaitable[None]], limits: type[Connection] = Hasty) -> None:
    async def play() -> None:
        async with listener(limits) as (server, port):
            await story(server, port)

    asyncio.run(play())


async def asked(port: int, *pieces: bytes) -> bytes:
    """Send, and return everything that comes until the listener closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = bytearray()
    try:
        async with asyncio.timeout(20):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            while data := await reader.read(65_536):
                answer += data
    except ConnectionError:
        pass
    finally:
        writer.close()
    return bytes(answer)


def status(answer: bytes) -> str:
    return answer.partition(b"\r\n")[0].decode()


def test_a_thousand_slow_peers_are_dropped_in_time_and_others_are_served_meanwhile() -> None:
    async def slow(port: int) -> None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                for byte in b"GET /ok HTTP/1.1\r\nX: " + b"y" * 10_000:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.1):
                            if await reader.read(100) == b"":
                                return

    async def story(server: uvicorn.Server, port: int) -> None:
        peers = [asyncio.create_task(slow(port)) for _ in range(1_000)]
        for _ in range(20):
            assert status(await asked(port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) == "HTTP/1.1 200 OK"
            assert len(server.server_state.connections) <= 1_001
        await asyncio.wait_for(asyncio.gather(*peers), 60)

    played(story)


@pytest.mark.parametrize("sent", [b"", b"GET /ok HT", b"GET /ok HTTP/1.1\r\nHost: h\r\n", b"\r\n\r\n"])
def test_who_does_not_finish_a_head_is_told_so_and_dropped(sent: bytes) -> None:
    async def story(_: uvicorn.Server, port: int) -> None:
        assert status(await asked(port, sent)) == "HTTP/1.1 408 Request Timeout"

    played(story)


@pytest.mark.parametrize("before", [b"", GET])
@pytest.mark.parametrize(
    "head",
    [b"GET /ok HTTP/1.1\r\nX: %s", b"GET /%s", b"GET /ok HTTP/1.1\r\n%s: y", b"\r\n%s", b"GET /ok HTTP/1.1\r\n" + b"X: y\r\n" * 5_000],
    ids=["a value", "a path", "a name", "blank lines", "many headers"],
)
def test_a_vast_head_is_refused_early(head: bytes, before: bytes) -> None:
    async def story(_: uvicorn.Server, port: int) -> None:
        filler = b"\r\n" if head.startswith(b"\r\n") else b"x"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if before:
            writer.write(before)
            assert b"200 OK" in await reader.readuntil(b"ok")
        sent = 0
        with contextlib.suppress(ConnectionError):
            writer.write(head.replace(b"%s", b""))
            while sent < 131_000_000 and not reader.at_eof():
                writer.write(filler * (65_536 // len(filler)))
                await writer.drain()
                await asyncio.sleep(0)
                sent += 65_536
        assert sent < 10_000_000  # What the kernel holds on both sides, and no more.
        writer.close()

    played(story)


def test_the_reason_is_told_to_whom_it_can_reach() -> None:
    async def story(_: uvicorn.Server, port: int) -> None:
        assert status(await asked(port, b"GET /ok HTTP/1.1\r\nX: " + b"x" * 16_384)) == "HTTP/1.1 431 Request Header Fields Too Large"
        assert status(await asked(port, b"POST /read HTTP/1.1\r\nContent-Length: 65537\r\n\r\n")) == "HTTP/1.1 413 Request Entity Too Large"
        assert status(await asked(port, b"HELO mail.example\r\n")) == "HTTP/1.1 400 Bad Request"
        assert status(await asked(port, b"CONNECT h:443 HTTP/1.1\r\n\r\n")) == "HTTP/1.1 400 Bad Request"

    played(story)


def test_what_is_within_the_limits_is_served() -> None:
    async def story(_: uvicorn.Server, port: int) -> None:
        head = b"POST /read HTTP/1.1\r\nX: " + b"x" * 16_000 + b"\r\nContent-Length: 65536\r\nConnection: close\r\n\r\n"
        answer = await asked(port, head, b"y" * 65_536)
        assert (status(answer), answer[-5:]) == ("HTTP/1.1 200 OK", b"65536")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2_000):  # More than a head may have, on one connection.
            writer.write(GET)
            assert await reader.readuntil(b"\r\n\r\nok")
        writer.write(GET * 1_000)
        for _ in range(1_000):
            assert await reader.readuntil(b"\r\n\r\nok")
        writer.close()

    played(story)


def test_a_body_that_was_not_announced_ends_where_it_grows_too_large() -> None:
    async def story(server: uvicorn.Server, port: int) -> None:
        chunk = b"1000\r\n" + b"x" * 4_096 + b"\r\n"
        answer = await asked(port, b"POST /read HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", *([chunk] * 17))
        assert b"200" not in answer
        await until(lambda: not server.server_state.connections)

    played(story)


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /read HTTP/1.1\r\nContent-Length: 5\r\n\r\nab",  # a body that does not come
        b"POST /ok HTTP/1.1\r\nContent-Length: 5\r\n\r\nab",  # answered without it
        b"GET /stuck HTTP/1.1\r\n\r\n",  # an answer that does not come
        GET,  # a next request that does not come
        b"POST /ok HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde",
        GET + b"\r\n",
    ],
)
def test_nothing_stays_for_ever(request_: bytes) -> None:
    async def story(server: uvicorn.Server, port: int) -> None:
        await asked(port, request_)
        await until(lambda: not server.server_state.connections)

    played(story)


def test_a_body_that_comes_after_its_answer_keeps_no_connection() -> None:
    async def story(server: uvicorn.Server, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /ok HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
        assert b"405" in await reader.readuntil(b"\r\n\r\nMethod Not Allowed")
        writer.write(b"cde")
        assert await reader.read() == b""
        assert not server.server_state.connections
        writer.close()

    played(story)


@pytest.mark.parametrize("head", [b"GET /large HTTP/1.1\r\n\r\n", b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n"])
def test_who_takes_no_answer_is_dropped(head: bytes) -> None:
    async def story(server: uvicorn.Server, port: int) -> None:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(head)
        await until(lambda: server.server_state.connections)
        await until(lambda: not server.server_state.connections)
        sock.close()

    played(story)


def test_a_large_answer_is_whole() -> None:
    async def story(_: uvicorn.Server, port: int) -> None:
        answer = await asked(port, b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert len(answer) > LARGE

    played(story, Connection)
