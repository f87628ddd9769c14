"""Where redirects lead: what a target asks for is followed as browsers do, or is its failure; and cookies live for one probe."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.probes.cookies import COOKIE_LINE_BYTES_MAX, COOKIES_MAX
from monitor.probes.hops import Hops
from tests.unit.probes.servers import dns, probe, response, run, serving
from tests.unit.probes.test_http import against

Answer = Callable[[str, bytes], bytes]
"""Takes a path and the whole request, returns the response."""


def site(answer: Answer, path: str = "/", **options: Any) -> tuple[Result, list[bytes]]:
    """Probe a site that answers by path; returns the result and every request."""
    requests: list[bytes] = []

    async def main() -> Result:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(b"\r\n\r\n")
            requests.append(request)
            writer.write(answer(request.split()[1].decode(), request))
            await writer.drain()
            writer.close()

        async with serving(script) as port:
            return await probe(f"http://127.0.0.1:{port}{path}", **options)

    return run(main()), requests


def moved(location: str, *cookies: str) -> bytes:
    return response(302, b"", f"Location: {location}", *(f"Set-Cookie: {cookie}" for cookie in cookies))


@pytest.mark.parametrize(
    ("location", "why"),
    [
        (b"http://127.0.0.1:99999/", ": the port is not from 1 to 65535"),
        (b"http://127.0.0.1:-1/", ": the port is not from 1 to 65535"),
        (b"http://127.0.0.1:0/", ": the port is not from 1 to 65535"),
        (b"//127.0.0.1:65536", ": the port is not from 1 to 65535"),
        (b"http://127.0.0.1:port/", ""),
        (b"http://127.0.0.1:+80/", ": the port is no number"),
        (b"http://127.0.0.1:8_0/", ": the port is no number"),
        ("http://127.0.0.1:\uff18\uff10/".encode(), ": the port is no number"),
        (b"http:///x", ": it has no host"),
        (b"http://", ": it has no host"),
        (b"///x", ": it has no host"),
        (b"/a\0b", ""),
        (b"http://[fe80::1%25eth0]/", ": a zone names an interface of one machine, and every worker may probe"),
        (b"http://[fe80::1%eth0]/", ": a zone names an interface of one machine, and every worker may probe"),
        (b"http://[::1", ""),
        (b"http://[::1]x/", ""),
        (b"http://[::1::2]/", ""),
        (b"http://[v1.x]/", ""),
        (b"http://127.0.0.256/", ""),
        (b"http://1.2.3.4.5/", ": the host ends in a number, but is no address in the usual form"),
        (b"http://0x7f.1/", ": the host ends in a number, but is no address in the usual form"),
        (b"http://2130706433/", ": the host ends in a number, but is no address in the usual form"),
        (b"http://a..b/", ": the host is neither a name nor an address"),
        (b"http://" + b"a" * 64 + b".test/", ": no name is that long"),
        (b"http://" + b"a." * 127 + b"test/", ": no name is that long"),
        (b"http://me%3As3cret%40h/", ": the host is neither a name nor an address"),
        (b"http://me:s3cret@h:99999/", ": the port is not from 1 to 65535"),
        (b"http://\xe9.test/", ": the host is neither a name nor an address"),
        ("http://①.test/".encode(), ""),
        (b"http://a\x01b/", ""),
        (b"/" + b"a" * 70_000, ""),
        (b"/" + b"a" * 20_000, ""),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_the_targets_failure(location: bytes, why: str) -> None:
    result = against(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n")
    assert result.outcome is Outcome.FAILURE
    assert result.failure is FailureClass.PROTOCOL
    if len(location) < 60_000:
        assert result.text == (
            f"redirect to what is not a URL{why}" if len(location) < 20_000 else "redirect to what is longer than 16384 bytes"
        )


def test_a_later_hop_that_does_not_exist_is_the_targets_failure() -> None:
    async def main() -> Result:
        async with dns({"first.test": "127.0.0.1"}) as server:

            async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(moved("http://second.test/"))
                await writer.drain()

            async with serving(script) as port:
                return await probe(f"http://first.test:{port}/", nameservers=[server.server])

    result = run(main())
    assert (result.outcome, result.failure, result.text) == (Outcome.FAILURE, FailureClass.RESOLVE, "second.test does not exist")


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (b"/caf\xe9?q=\xff", b"/caf%E9?q=%FF"),
        ("/café".encode(), b"/caf%C3%A9"),
        (b"next", b"/a/next"),
        (b"?q=1", b"/a/b?q=1"),
        (b"?", b"/a/b?"),
        (b"?#x", b"/a/b?"),
        (b"http://127.0.0.1:00PORT/x", b"/x"),
        (b"//127.0.0.1:PORT/x#y", b"/x"),
        (b"http:x", b"/a/x"),
        (b"http://me:s3cret@127.0.0.1:PORT/x", b"/x"),
        (b"http://localhost.:PORT/x", b"/x"),
        (b"../../x y", b"/x%20y"),
    ],
)
def test_what_is_followed(location: bytes, path: bytes) -> None:
    answers = [response(200), b"HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n"]

    def answer(_: str, request: bytes) -> bytes:
        port = request.split(b"\r\nHost: ")[1].split()[0].rpartition(b":")[2]
        return answers.pop().replace(b"%s", location.replace(b"PORT", port))

    result, requests = site(answer, "/a/b?before=1")
    assert (result.outcome, result.text) == (Outcome.SUCCESS, "")
    assert requests[1].split()[1] == path
    assert b"s3cret" not in requests[1]
    assert "s3cret" not in result.final_url


@pytest.mark.parametrize(
    "rest",
    [
        "Content-Length: 99\r\n\r\nshort",
        "Transfer-Encoding: chunked\r\n\r\nno chunk",
        "Content-Encoding: gzip\r\n\r\nno gzip",
        "Content-Encoding: zstd\r\n\r\n",
    ],
)
def test_nobody_judges_the_body_of_a_redirect(rest: str) -> None:
    moving = f"HTTP/1.1 302 Found\r\nLocation: /in\r\n{rest}".encode()
    result, _ = site(lambda path, _: response(200, b"in") if path == "/in" else moving, expect_body="in")
    assert (result.outcome, result.text) == (Outcome.SUCCESS, "")


@pytest.mark.parametrize("head", ["", "Location: \r\n", "Location:\r\n"])
def test_a_redirect_that_leads_nowhere_is_judged_itself(head: str) -> None:
    answer = f"HTTP/1.1 302 Found\r\n{head}Content-Length: 0\r\n\r\n".encode()
    assert against(answer).text == "status 302, want 2xx"
    assert against(answer, expect_status="200,302").outcome is Outcome.SUCCESS


def test_a_password_in_a_redirect_is_neither_sent_nor_told() -> None:
    def answer(_: str, request: bytes) -> bytes:
        host = request.split(b"Host: ")[1].split()[0].decode()
        return moved(f"http://me:s3cret@{host}/?token=s3cret")

    result, requests = site(answer)
    assert result.text.startswith("more than 5 redirects, the last to http://127.0.0.1:")
    assert "s3cret" not in f"{result}"
    assert not any(b"me" in line or b"Authorization" in line for request in requests for line in request.split(b"\r\n")[1:])


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        (301, "POST", b"GET", b""),
        (302, "POST", b"GET", b""),
        (303, "PUT", b"GET", b""),
        (307, "POST", b"POST", b"said"),
        (308, "PUT", b"PUT", b"said"),
        (302, "GET", b"GET", b"said"),
    ],
)
def test_a_body_goes_where_its_method_goes(status: int, method: str, then: bytes, body: bytes) -> None:
    answers = [response(200), response(status, b"", "Location: /", "Set-Cookie: a=1")]
    result, requests = site(lambda _, __: answers.pop(), method=method, body="said")
    assert result.outcome is Outcome.SUCCESS
    assert requests[1].startswith(then + b" / ")
    assert (b"Content-Length: 4" in requests[1]) is bool(body)


def test_a_site_that_sets_a_cookie_and_redirects_to_itself() -> None:
    def answer(path: str, request: bytes) -> bytes:
        return response(200, b"in") if b"\r\nCookie: seen=1\r\n" in request else moved(path, "seen=1; Path=/; HttpOnly")

    result, requests = site(answer, expect_body="in")
    assert (result.outcome, len(requests)) == (Outcome.SUCCESS, 2)
    again, requests = site(answer, expect_body="in")
    assert b"Cookie" not in requests[0]
    assert again.outcome is Outcome.SUCCESS


@pytest.mark.parametrize(
    ("cookies", "sent"),
    [
        (("a=1", "b=2; Path=/", "a=3"), b"a=3; b=2"),
        (("a=1; Path=/x", "b=2; Path=/x/y", "c=3; Path=/xx", "d=4; Path=no"), b"b=2; d=4; a=1"),
        (("a=1; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "b=2; Max-Age=0", "c=3; Max-Age=x", "d=4; Expires=never"),
         b"a=1; c=3; d=4"),
        (("a=1; Expires=Thu, 01 Jan 2099 00:00:00 GMT", "b=1; expires=Thu, 01-Jan-70 00:00:01 GMT"), b"a=1"),
        (("a=1", "a=; Max-Age=-1"), None),
        (("a=1; Secure",), None),
        (("a=1; Domain=127.0.0.1", "b=1; Domain=.127.0.0.1", "c=1; Domain=0.0.1", "d=1; Domain=other.test", "e=1; Domain="),
         b"a=1; b=1; e=1"),
        (("a=1\x01", "=1", "a", "", "b=\t1 ", 'c="x y"'), b'b=1; c="x y"'),
        (("a=" + "x" * 5_000, "b=1"), b"b=1"),
    ],
)  # fmt: skip
def test_cookies_by_their_rules(cookies: tuple[str, ...], sent: bytes | None) -> None:
    result, requests = site(lambda path, _: response(200) if path == "/x/y/z" else moved("/x/y/z", *cookies), "/x/y/")
    line = next((line for line in requests[1].split(b"\r\n") if line.startswith(b"Cookie: ")), None)
    assert line == (None if sent is None else b"Cookie: " + sent)
    assert result.outcome is Outcome.SUCCESS


def test_cookies_go_to_no_other_host() -> None:
    async def main() -> list[bytes]:
        away: list[bytes] = []

        async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            away.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(response(200))
            await writer.drain()

        names = {"www.shop.test": "127.0.0.1", "my.shop.test": "127.0.0.1", "shop.test": "127.0.0.1", "evilshop.test": "127.0.0.1"}
        async with serving(other) as port, dns(names) as server:
            for to in ("my.shop.test", "shop.test", "evilshop.test", "www.shop.test"):

                async def home(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: str = to) -> None:
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(moved(f"http://{to}:{port}/", "host=1", "domain=1; Domain=shop.test", "top=1; Domain=test"))
                    await writer.drain()

                async with serving(home) as first:
                    result = await probe(f"http://www.shop.test:{first}/", nameservers=[server.server])
                    assert result.outcome is Outcome.SUCCESS, result.text
        return [next((line for line in request.split(b"\r\n") if line.startswith(b"Cookie")), b"") for request in away]

    assert run(main()) == [b"Cookie: domain=1", b"Cookie: domain=1", b"", b"Cookie: host=1; domain=1"]


def test_an_operators_cookie_stays_beside_those_of_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COOKIE", "own=1; theirs=0")
    _, requests = site(lambda path, _: response(200) if path == "/in" else moved("/in", "theirs=2"), headers={"Cookie": "env:COOKIE"})
    assert b"\r\nCookie: own=1; theirs=0\r\n" in requests[0]
    assert b"\r\nCookie: own=1; theirs=2\r\n" in requests[1]
    assert requests[1].count(b"Cookie") == 1


def test_cookies_have_a_cap() -> None:
    many = [f"c{number}={'x' * 100}" for number in range(COOKIES_MAX + 50)]
    result, requests = site(lambda path, _: response(200) if path == "/in" else moved("/in", *many))
    assert result.outcome is Outcome.SUCCESS
    (line,) = (line for line in requests[1].split(b"\r\n") if line.startswith(b"Cookie: "))
    assert line.count(b"=") == COOKIES_MAX
    large = [f"c{number}={'x' * 4_000}" for number in range(9)]
    _, requests = site(lambda path, _: response(200) if path == "/in" else moved("/in", *large))
    (line,) = (line for line in requests[1].split(b"\r\n") if line.startswith(b"Cookie: "))
    assert len(line) <= COOKIE_LINE_BYTES_MAX + len("Cookie: ")


def test_an_error_over_what_a_target_sent_is_its_failure_and_one_of_ours_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = "http://me:s3cret@h/"

    def overflowing(*_: Any, **__: Any) -> None:
        raise OverflowError(said)

    monkeypatch.setattr(Hops, "follow", overflowing)
    with caplog.at_level(logging.ERROR):
        result = against(moved("/x"))
    assert (result.failure, result.text) == (FailureClass.PROTOCOL, "what the target sent cannot be understood (OverflowError)")
    assert "OverflowError" in caplog.text
    assert "s3cret" not in caplog.text

    def broken(*_: Any, **__: Any) -> None:
        raise AttributeError("ours")

    monkeypatch.setattr(Hops, "follow", broken)
    with pytest.raises(AttributeError):
        against(moved("/x"))
