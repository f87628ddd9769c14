"""The HTTP prober against real servers: what it accepts, and what it says when it does not."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
import time
import zlib
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.probes.exchange import HttpExchange
from monitor.probes.network import Destination
from monitor.probes.policy import TargetPolicy
from monitor.probes.runner import make_context
from tests.unit.probes.servers import answering, closed_port, probe, response, run, serving


def against(*pieces: bytes, path: str = "/", server: dict[str, Any] | None = None, host: str = "127.0.0.1", **options: Any) -> Result:
    async def main() -> Result:
        async with serving(answering(*pieces, **(server or {})), host) as port:
            shown = f"[{host}]" if ":" in host else host
            return await probe(f"http://{shown}:{port}{path}", **options)

    result: Result = run(main())
    return result


def test_success_carries_what_was_seen() -> None:
    result = against(response(200, b"ready"))
    assert (result.outcome, result.status, result.text, result.failure) == (Outcome.SUCCESS, 200, "", None)
    assert (result.ip, result.http_version, result.body_bytes, result.attempts) == ("127.0.0.1", "1.1", 5, 1)
    assert result.phases.connect_ms > 0
    assert result.phases.first_byte_ms > 0
    assert result.phases.tls_ms == result.phases.resolve_ms == 0
    assert result.scheduled_ms == 1_000
    assert result.at_ms >= result.started_ms > 0


@pytest.mark.parametrize(
    ("status", "wanted", "text"),
    [
        (500, "2xx", "status 500, want 2xx"),
        (204, "200", "status 204, want 200"),
        (404, "200-299,301", "status 404, want 200-299,301"),
        (204, "2xx", ""),
        (404, "200,404", ""),
        (304, "304", ""),
    ],
)
def test_status(status: int, wanted: str, text: str) -> None:
    body = b"" if status in (204, 304) else b"x"
    result = against(response(status, body), expect_status=wanted)
    assert result.text == text
    assert result.failure == (FailureClass.STATUS if text else None)


def test_body_must_match() -> None:
    assert against(response(200, b"all is ready"), expect_body="ready$").outcome is Outcome.SUCCESS
    result = against(response(200, b"starting up\n"), expect_body="ready")
    assert result.failure is FailureClass.ASSERTION
    assert result.text == 'body does not match /ready/ (got "starting up\\n")'
    long = against(response(200, b"starting " * 50), expect_body="ready")
    assert long.text.endswith('…")')


def test_body_must_not_match() -> None:
    result = against(response(200, b"fatal: no disk"), expect_body_not="fatal")
    assert result.text == 'body matches /fatal/, want no match (got "fatal: no disk")'


def test_headers() -> None:
    served = response(200, b"", "X-Version: 12", "Set-Cookie: a=1", "Set-Cookie: b=2")
    assert against(served, expect_headers={"x-version": "^1", "set-cookie": "b=", "server": None}).outcome is Outcome.SUCCESS
    assert against(served, expect_headers={"x-version": "^2"}).text == 'header x-version does not match /^2/ (got "12")'
    assert against(served, expect_headers={"server": "nginx"}).text == "header server is absent, want /nginx/"
    assert against(served, expect_headers={"x-version": None}).text == 'header x-version is present, want it absent (got "12")'


def test_headers_that_may_carry_a_secret_are_not_quoted() -> None:
    served = response(302, b"", "Set-Cookie: id=s3cret", "Location: http://h/?token=s3cret")
    for name in ("set-cookie", "location"):
        result = against(served, expect_status="302", max_redirects=0, expect_headers={name: "^2"})
        assert result.text == f"header {name} does not match /^2/"
        result = against(served, expect_status="302", max_redirects=0, expect_headers={name: None})
        assert result.text == f"header {name} is present, want it absent"


def test_response_time() -> None:
    result = against(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n", b"Y: 1\r\n", b"Content-Length: 0\r\n\r\n", expect_response_time=5)
    assert result.failure is FailureClass.ASSERTION
    assert result.text.startswith("response took ")
    assert result.text.endswith(" ms, want ≤ 5 ms")


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nre", b"ady\r\n3\r\n ok\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\nready", b" ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" + response(200, b"ready ok")),
        (response(200, gzip.compress(b"ready ok"), "Content-Encoding: gzip"),),
        (response(200, zlib.compress(b"ready ok"), "Content-Encoding: deflate"),),
        (response(200, zlib.compress(b"ready ok")[2:-4], "Content-Encoding: deflate"),),
        tuple(bytes([byte]) for byte in response(200, b"ready ok")),
    ],
    ids=["chunked", "until-close", "interim", "gzip", "deflate", "raw-deflate", "byte-by-byte"],
)
def test_bodies_as_servers_send_them(pieces: tuple[bytes, ...]) -> None:
    result = against(*pieces, expect_body="^ready ok$")
    assert (result.outcome, result.text, result.body_bytes) == (Outcome.SUCCESS, "", 8)


def test_gzip_bomb_is_capped() -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    result = against(response(200, bomb, "Content-Encoding: gzip"), expect_body="ready", timeout_ms=10_000)
    assert result.body_bytes == 1_048_576
    assert result.failure is FailureClass.ASSERTION


def test_endless_body_is_capped() -> None:
    result = against(b"HTTP/1.0 200 OK\r\n\r\n", *(b"x" * 400_000 for _ in range(10)))
    assert (result.outcome, result.body_bytes) == (Outcome.SUCCESS, 1_048_576)


def test_damaged_and_unknown_codings() -> None:
    assert "damaged" in against(response(200, b"no gzip", "Content-Encoding: gzip"), expect_body="x").text
    assert against(response(200, b"?", "Content-Encoding: snappy"), expect_body="x").failure is FailureClass.PROTOCOL


def test_head_has_no_body() -> None:
    requests: list[bytes] = []
    served = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    assert against(served, server={"hang": True, "requests": requests}, method="HEAD").outcome is Outcome.SUCCESS
    assert requests[0].startswith(b"HEAD / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ((b"SSH-2.0-OpenSSH_9.2\r\n",), 'not a valid HTTP response: it does not begin with HTTP/ (got "SSH-2.0-OpenSSH_9.2\\r\\n")'),
        ((), "connection closed without a response"),
        ((b"HTTP/1.1 200 OK\r\nX",), "connection closed before the end of the headers"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",), "connection closed before the end of the body"),
        ((b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000,), "response headers exceed 65536 bytes"),
        ((b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 65_536 + b"\r\nContent-Length: 0\r\n\r\n",), "response headers exceed 65536 bytes"),
    ],
    ids=["garbage", "nothing", "half-headers", "half-body", "huge-headers", "large-headers"],
)
def test_protocol_failures(pieces: tuple[bytes, ...], text: str) -> None:
    result = against(*pieces)
    assert (result.outcome, result.failure, result.text) == (Outcome.FAILURE, FailureClass.PROTOCOL, text)


def test_reset_in_mid_body() -> None:
    result = against(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", server={"reset": True})
    assert (result.failure, result.text) == (FailureClass.PROTOCOL, "connection reset by peer in transfer")


def test_connection_refused() -> None:
    result = run(probe(f"http://127.0.0.1:{closed_port()}/"))
    assert (result.failure, result.text) == (FailureClass.CONNECT, "connection refused")


@pytest.mark.parametrize(
    ("pieces", "phase"),
    [
        ((), "first_byte"),
        ((b"HTTP/1.1 200 OK\r\n",), "transfer"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",), "transfer"),
    ],
    ids=["hang", "slow-headers", "slow-body"],
)
def test_timeouts_name_their_phase(pieces: tuple[bytes, ...], phase: str) -> None:
    result = against(*pieces, server={"hang": True}, timeout_ms=200)
    assert (result.failure, result.text) == (FailureClass.TIMEOUT, f"timeout after 200ms in {phase}")
    assert result.duration_ms >= 200


def test_timeout_in_connect() -> None:
    async def main() -> Result:
        # A full backlog drops further handshakes.
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(server.getsockname())
            result = await probe(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout_ms=200)
            for filler in fillers:
                filler.close()
            return result

    assert run(main()).text == "timeout after 200ms in connect"


def test_ipv6() -> None:
    result = against(response(200), host="::1")
    assert (result.outcome, result.ip) == (Outcome.SUCCESS, "::1")


def test_localhost_falls_back_to_the_other_family() -> None:
    async def main() -> Result:
        async with serving(answering(response(200)), "::1") as port:
            return await probe(f"http://localhost:{port}/")

    result = run(main())
    assert (result.outcome, result.ip) == (Outcome.SUCCESS, "::1")


def test_a_machine_without_ipv6_asks_the_other_address(monkeypatch: pytest.MonkeyPatch) -> None:
    made = socket.SocketType

    def without_ipv6(family: int, kind: int) -> socket.SocketType:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "")
        return made(family, kind)

    async def main() -> tuple[int, Result]:
        async with serving(answering(response(200))) as port:
            monkeypatch.setattr(socket, "SocketType", without_ipv6)
            context = make_context(SystemClock())
            exchange = HttpExchange(context.network, Destination("x", port, addresses=("::1", "127.0.0.1")), b"GET / HTTP/1.1\r\n\r\n")
            await exchange.run(time.perf_counter() + 5, 5_000)
            await context.close()
            return exchange.status, await probe("http://[::1]:1/")

    status, result = run(main())
    assert status == 200
    assert (result.failure, result.text) == (FailureClass.CONNECT, "address family not supported by protocol")


def test_the_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "s3cret")
    (tmp_path / "key").write_text("k3y\n")
    requests: list[bytes] = []
    headers = {"X-Token": "env:SHOP_TOKEN", "X-Key": f"file:{tmp_path}/key", "User-Agent": "mine"}
    against(response(200), path="/a?b=c#d", server={"requests": requests}, headers=headers, method="POST", body="hé")
    lines = requests[0].decode().split("\r\n")
    assert lines[0] == "POST /a?b=c HTTP/1.1"
    assert lines[1].startswith("Host: 127.0.0.1:")
    assert {"X-Token: s3cret", "X-Key: k3y", "User-Agent: mine", "Content-Length: 3", "Connection: close"} <= set(lines)


def test_redirects_are_followed_and_judged_at_their_end() -> None:
    async def main() -> tuple[str, Result, Result, Result]:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
            step = int(path[1:2])
            writer.write(response(302, b"", f"Location: /{step + 1}?token=s3cret") if step < 3 else response(200, b"end"))
            await writer.drain()
            writer.close()

        async with serving(script) as port:
            url = f"http://127.0.0.1:{port}/0"
            followed = await probe(url, expect_body="end")
            limited = await probe(url, max_redirects=2)
            stayed = await probe(url, max_redirects=0, expect_status="302")
        place = f"http://127.0.0.1:{port}"
        assert followed.final_url == f"{place}/3?…"
        return place, followed, limited, stayed

    place, followed, limited, stayed = run(main())
    assert followed.outcome is Outcome.SUCCESS
    assert (limited.failure, limited.text) == (FailureClass.ASSERTION, f"more than 2 redirects, the last to {place}")
    assert (stayed.outcome, stayed.final_url) == (Outcome.SUCCESS, "")


def test_credentials_stay_with_their_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")

    async def main() -> tuple[bytes, bytes]:
        away: list[bytes] = []
        home: list[bytes] = []
        async with serving(answering(response(200), requests=away)) as other:
            start = answering(response(302, b"", f"Location: http://127.0.0.1:{other}/x"), requests=home)
            async with serving(start) as port:
                headers = {"Authorization": "Bearer t", "cookie": "c=1", "X-Api": "env:TOKEN", "X-Plain": "p"}
                assert (await probe(f"http://127.0.0.1:{port}/", headers=headers)).outcome is Outcome.SUCCESS
        return home[0], away[0]

    home, away = run(main())
    assert b"Bearer t" in home
    assert b"s3cret" in home
    assert b"X-Plain: p" in away
    for private in (b"Bearer", b"c=1", b"s3cret"):
        assert private not in away


@pytest.mark.parametrize(
    ("location", "failure", "text"),
    [
        ("http://169.254.169.254/latest", FailureClass.POLICY, "address 169.254.169.254 is denied (metadata)"),
        ("ftp://127.0.0.1/", FailureClass.POLICY, "redirect to ftp://127.0.0.1, want http or https"),
        ("ftp://me:s3cret@files:2121/key?token=s3cret#s3cret", FailureClass.POLICY, "redirect to ftp://files:2121, want http or https"),
        ("javascript:s3cret", FailureClass.POLICY, "redirect to javascript:, want http or https"),
        ("http://[::bad", FailureClass.PROTOCOL, "redirect to what is not a URL"),
    ],
)
def test_redirects_that_are_not_followed(location: str, failure: FailureClass, text: str) -> None:
    result = against(response(302, b"", f"Location: {location}"))
    assert (result.failure, result.text) == (failure, text)


def test_policy_refuses_the_address() -> None:
    result = against(response(200), policy=TargetPolicy(deny=["loopback"]), retries=2)
    assert (result.failure, result.text, result.attempts) == (FailureClass.POLICY, "address 127.0.0.1 is denied (loopback)", 1)


def test_a_request_larger_than_the_socket_takes_at_once() -> None:
    async def main() -> tuple[int, int]:
        received = 0

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal received
            await reader.readuntil(b"\r\n\r\n")
            while received < size:
                received += len(await reader.read(65_536))
            writer.write(response(200))
            await writer.drain()

        size = 8_000_000
        async with serving(script) as port:
            context = make_context(SystemClock())
            head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
            exchange = HttpExchange(context.network, Destination("127.0.0.1", port), head + bytes(size))
            await exchange.run(time.perf_counter() + 20, 20_000)
            await context.close()
        return exchange.status, received

    assert run(main()) == (200, 8_000_000)


def test_endless_trailers_are_capped() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
    result = against(head, *(b"y" * 1_000_000 for _ in range(12)))
    assert result.text == "response exceeds 8388608 bytes on the wire"
