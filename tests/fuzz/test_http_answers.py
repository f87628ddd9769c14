"""Whatever a target answers, redirects to or breaks off with: a verdict on it, within its time, that shows no secret and reaches no address
that the policy denies."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from monitor.clock import SystemClock
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.probes.base import ProbeContext
from monitor.probes.catalog import prepare
from monitor.probes.policy import TargetPolicy
from monitor.probes.resolver import Resolver
from monitor.probes.response import NotHttpError, ResponseReader
from monitor.probes.runner import make_context, run_probe
from tests.fuzz.play import cases
from tests.unit.probes.servers import dns, ending, endpoint, make_tls, response
from tests.unit.probes.test_http_as_clients_read_it import FORGIVEN, NOT_WHOLE

BATCH = 100
CANARY = "s3cret-canary"
TIMEOUT_MS = 30_000
"""Nothing here takes so long, however busy the machine is."""
HANGING_TIMEOUT_MS = 100
BATCH_TIMEOUT_S = 60
CHANCES = st.randoms(use_true_random=True)
"""Seeded by Hypothesis: a batch draws far more than a case may."""

PIECES = (
    b"\r\n", b"\n", b"\r", b"\n\n", b"\r\n\r\n", b"\r\n ", b":", b";", b"\0", b"\x1b[2J", b"\xff", b"0", b"-1", b"99999999999999999999",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100\r\n\r\n", b"HTTP/1.1 302 Found\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n", b"Content-Encoding: deflate, br\r\n", b"Content-Type: x; charset=utf-16\r\n", b"\xff\xfe", b"0\r\n\r\n",
    b"Content-Type: x; charset=punycode\r\n", b"Set-Cookie: a=b; Domain=test; Max-Age=9999999999999\r\n", b"Location: /next\r\n",
    b"Set-Cookie: a=b; Expires=Thu, 99-Foo-99999 99:99:99 +9999\r\n", b"Location: http://[::1\r\n", gzip.compress(b"ready"), b"x" * 70_000,
)  # fmt: skip
ANSWERS = (
    *FORGIVEN.values(),
    *NOT_WHOLE.values(),
    response(302, b"", "Location: /next", "Set-Cookie: a=b; Path=/; Expires=Thu, 01-Jan-70 00:00:01 GMT"),
    response(307, b"", "Location: http://shop.test/"),
    response(200, "größe".encode("utf-16"), "Content-Type: text/html; charset=utf-16"),
    response(200, "服务".encode("gbk"), "Content-Type: text/html; charset=gbk"),
)
OPTIONS: Sequence[dict[str, Any]] = (
    {},
    {"expect_body": "ready"},
    {"expect_body_not": "größe", "expect_headers": {"x": "1"}},
    {"method": "HEAD"},
    {"method": "POST", "body": "x", "expect_status": "200-599"},
)

LOCATION_STARTS = ("", "//", "http://", "https://", "HTTP://", "ftp://", "http:", "javascript:", "?", "#", "/", "\\\\", "http:\\\\")
USERS = ("", f"me:{CANARY}@", f"{CANARY}@", f"me:{CANARY}@@")
PLACES = (
    "127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:169.254.169.254]", "169.254.169.254", "[fe80::1%25eth0]",
    "[64:ff9b::a9fe:a9fe]", "[", "]", "[::1",
    "localhost", "shop.test", "meta.test", "nowhere.test", "xn--53h.test", "xn--.test", "straße.test", "①.test",
    "a..b",
    ".", "", "a" * 64 + ".test", "%31", "a%00b", "a b", "a\tb", "\u202etest", "\x01", "h\u3002test",
)  # fmt: skip
PORTS = ("", ":", ":0", ":-1", ":65536", ":99999", ":80x", ":\uff18\uff10", ":" + "9" * 40, ":HOME", ":HOME", ":HOME")
ENDS = ("", "/", "/x?token=" + CANARY, "/#" + CANARY, "?sig=" + CANARY, "/%", "/\xe9", "/../../x", "/a b", "/" + "a" * 9_000)


def spoiled(answer: bytes, chance: Any) -> bytes:
    """An answer with some of its bytes cut out, repeated, changed or put between."""
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(answer) + 1)
        to = min(len(answer), at + chance.choice((1, 1, 2, 8, 60)))
        match chance.randrange(6):
            case 0:
                answer = answer[:at]
            case 1:
                answer = answer[:at] + answer[to:]
            case 2:
                answer = answer[:to] + answer[at:]
            case 3:
                answer = answer[:at] + chance.randbytes(1) + answer[at + 1 :]
            case _:
                answer = answer[:at] + chance.choice(PIECES) + answer[at:]
    return answer


def location(chance: Any) -> str:
    start = chance.choice(LOCATION_STARTS)
    user = chance.choice(USERS) if start.endswith("//") else ""
    return start + user + chance.choice(PLACES) + chance.choice(PORTS) + chance.choice(ENDS)


class Target(asyncio.Protocol):
    """Answers the path /N by the answer of that number, any other by a plain one; hangs after the answers that say so."""

    answers: Sequence[bytes] = ()
    hanging: frozenset[int] = frozenset()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.request = b""

    def data_received(self, data: bytes) -> None:
        self.request += data
        if self.request.startswith(b"\x16"):  # TLS
            self.transport.abort()
        if b"\r\n\r\n" not in self.request or self.transport.is_closing():
            return
        name = self.request.split()[1][1:]
        number = int(name) if name.isdigit() and len(name) < 9 else len(Target.answers)
        self.transport.write(Target.answers[number] if number < len(Target.answers) else response(200, b"ready"))
        if number not in Target.hanging:
            self.transport.close()


class Prober:
    """One event loop with a target, a name server and what probes."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.loop.run_until_complete(self.open())

    async def open(self) -> None:
        self.server = await self.loop.create_server(Target, "127.0.0.1", 0, backlog=BATCH)
        self.port = self.server.sockets[0].getsockname()[1]
        names = {"shop.test": "127.0.0.1", "xn--53h.test": "127.0.0.1", "meta.test": "169.254.169.254"}
        self.names = dns(names)
        policy = TargetPolicy(allow=["127.0.0.1"], deny=["0.0.0.0/0", "::/0"])
        self.context = make_context(SystemClock(), policy, lag_max_s=BATCH_TIMEOUT_S, count=self.count)
        await self.context.network.resolver.close()
        nameservers = [(await self.names.__aenter__()).server]
        self.context.network.resolver = Resolver(SystemClock(), nameservers, timeout_ms=TIMEOUT_MS // 2)
        self.surprises = 0

    def count(self, name: str, by: int) -> None:
        self.surprises += by if name == "prober_errors" else 0

    async def close(self) -> None:
        await self.context.close()
        await self.names.__aexit__(None, None, None)
        self.server.close()

    def results(self, answers: Sequence[bytes], options: dict[str, Any], hanging: frozenset[int] = frozenset()) -> list[Result]:
        """What a probe says of each answer, all at once."""
        Target.answers, Target.hanging = answers, hanging

        async def every() -> list[Result]:
            probes = [
                self.probe(f"http://127.0.0.1:{self.port}/{number}", HANGING_TIMEOUT_MS if number in hanging else TIMEOUT_MS, options)
                for number in range(len(answers))
            ]
            return await asyncio.wait_for(asyncio.gather(*probes), BATCH_TIMEOUT_S)

        return self.loop.run_until_complete(every())

    async def probe(self, url: str, timeout_ms: int, options: dict[str, Any], context: ProbeContext | None = None) -> Result:
        watched = endpoint(url, interval_ms=2 * TIMEOUT_MS, timeout_ms=timeout_ms, **options)
        return await run_probe(watched, prepare(watched), context or self.context, 1_000)


@pytest.fixture(scope="module")
def prober() -> Iterator[Prober]:
    made = Prober()
    yield made
    made.loop.run_until_complete(made.close())
    made.loop.close()


def is_verdict(result: Result, what: object) -> None:
    """What is promised of every result."""
    assert result.outcome is not Outcome.INCONCLUSIVE, (what, result.text)
    assert (result.failure is None) is (result.outcome is Outcome.SUCCESS), (what, result.text)
    assert bool(result.text) is (result.outcome is Outcome.FAILURE), (what, result.text)
    assert result.ip in ("", "127.0.0.1"), (what, result.ip)
    shown = f"{result.text}{result.final_url}{result.certificate}"
    assert shown.isprintable(), (what, shown)
    assert CANARY not in shown, (what, shown)


@cases(80)
@given(CHANCES)
def test_answers(prober: Prober, chance: Any) -> None:
    answers = [spoiled(chance.choice(ANSWERS), chance) for _ in range(BATCH)]
    hanging = frozenset(chance.sample(range(BATCH), 2))
    options = {**chance.choice(OPTIONS), "headers": {"X-Own": CANARY}}
    for answer, result in zip(answers, prober.results(answers, options, hanging), strict=True):
        is_verdict(result, answer)
    assert not prober.surprises


@cases(20)
@given(CHANCES)
def test_locations(prober: Prober, chance: Any) -> None:
    locations = [location(chance).replace("HOME", str(prober.port)) for _ in range(BATCH)]
    answers = [
        f"HTTP/1.1 {chance.choice((301, 302, 303, 307, 308))} Moved\r\nLocation: ".encode()
        + text.encode(chance.choice(("utf-8", "utf-8", "latin-1", "utf-16-le")), "replace").replace(b"\n", b"")
        + b"\r\nContent-Length: 0\r\n\r\n"
        for text in locations
    ]
    for text, result in zip(locations, prober.results(answers, {}), strict=True):
        is_verdict(result, text)
    assert not prober.surprises


@cases(300)
@given(CHANCES)
def test_how_an_answer_is_cut_into_pieces_changes_nothing(chance: Any) -> None:
    answer = spoiled(chance.choice(ANSWERS), chance)[:4_000]

    def read(pieces: Sequence[bytes]) -> tuple[Any, ...] | None:
        reader, body = ResponseReader(), b""
        try:
            for piece in pieces:
                body += bytes(reader.feed(piece))
        except NotHttpError:
            return None
        return reader.status, reader.http_version, reader.values(b"x"), body, reader.done, reader.until_close

    cuts = sorted(chance.randrange(len(answer) + 1) for _ in range(chance.choice((1, 3, 20))))
    pieces = [answer[start:end] for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    assert read(pieces) == read([answer]), pieces


TLS_ANSWERS = {
    "counted": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nready\r\n0\r\n\r\n",
    "until close": b"HTTP/1.1 200 OK\r\n\r\nready",
}


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return make_tls()


@cases(150)
@given(st.sampled_from(sorted(TLS_ANSWERS)), st.booleans(), CHANCES)
def test_endings_of_tls(tls: tuple[ssl.SSLContext, ssl.SSLContext], name: str, polite: bool, chance: Any) -> None:
    server, client = tls
    intact = True

    def spoil(sent: bytes) -> bytes:
        nonlocal intact
        changed = chance.choice(ENDINGS)(sent, chance)
        intact = changed.startswith(sent) if polite else changed == sent  # nobody reads on after close_notify
        return changed

    async def main() -> Result:
        context = make_context(SystemClock(), verified=client, lag_max_s=BATCH_TIMEOUT_S)
        try:
            async with ending(server, TLS_ANSWERS[name], polite=polite, spoil=spoil) as port:
                watched = endpoint(f"https://localhost:{port}/", interval_ms=2 * TIMEOUT_MS, timeout_ms=TIMEOUT_MS, expect_body="ready")
                return await run_probe(watched, prepare(watched), context, 1_000)
        finally:
            await context.close()

    result = uvloop.run(main())
    is_verdict(result, (name, polite))
    if intact:
        assert (result.outcome is Outcome.SUCCESS) is (polite or name != "until close"), result.text
    elif name == "until close":
        assert result.failure in (FailureClass.PROTOCOL, FailureClass.TLS), result.text


ENDINGS: Sequence[Callable[[bytes, Any], bytes]] = (
    lambda sent, _: sent,
    lambda sent, chance: sent[: chance.randrange(len(sent) + 1)],
    lambda sent, chance: sent[: (at := chance.randrange(len(sent)))] + chance.randbytes(1) + sent[at + 1 :],
    lambda sent, chance: sent[: chance.randrange(len(sent) + 1)] + b"HTTP/1.1 200 OK\r\n\r\nready",
    lambda sent, chance: chance.randbytes(chance.randrange(99)) + sent,
)
"""What may happen to bytes on their way: nothing, a cut, a change, words that are no TLS, rubbish before them."""
