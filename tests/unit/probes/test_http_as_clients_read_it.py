"""Answers that break a rule: what browsers, curl and Go read on is read, and what is not whole is a failure, however it comes."""

from __future__ import annotations

import gzip
import zlib

import pytest

from monitor.core.outcome import FailureClass, Outcome
from monitor.probes.response import NotHttpError, ResponseReader
from tests.unit.probes.servers import response
from tests.unit.probes.test_http import against

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: 5\r\n\r\nready"

FORGIVEN = {
    "lines that end in LF": b"HTTP/1.1 200 OK\nX: 1\nContent-Length: 5\n\nready",
    "some lines that end in LF": b"HTTP/1.1 200 OK\nX: 1\r\nContent-Length: 5\n\r\nready",
    "chunks whose lines end in LF": b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nready\n0\n\n",
    "a folded header": OK + b"X: 1\r\n  2\r\n\t3\r\n" + LENGTH,
    "a folded length": OK + b"Content-Length:\r\n 5\r\n\r\nready",
    "a header folded over nothing": OK + b"X: 1\r\n \r\n" + LENGTH,
    "control characters": OK + b"Set-Cookie: a=\x01\x1b\x7f\r\nX: \x00\r1\r\n" + LENGTH,
    "bytes above 127": b"HTTP/1.1 200 \xe9\r\nX: \xff\r\n" + LENGTH,
    "control characters in the reason": b"HTTP/1.1 200 \0O\rK\x1b\r\n" + LENGTH,
    "odd names": OK + b"\0Content-Length: 9\r\n\rContent-Length: 9\r\nX(y): 1\r\nX y: 1\r\n\xe9: 1\r\n: 1\r\nX : 1\r\n" + LENGTH,
    "one length twice": OK + b"Content-Length: 5\r\n" + LENGTH,
    "one length twice in a line": OK + b"Content-Length: 5, 5\r\n\r\nready",
    "two CRs at the end of a line": b"HTTP/1.1 200 OK\r\r\nContent-Length: 5\r\r\n\r\nready",
    "zeros before a length": OK + b"Content-Length: " + b"0" * 9_000 + b"5\r\n\r\nready",
    "a length beside chunks": CHUNKED + b"Content-Length: 99\r\n\r\n5\r\nready\r\n0\r\n\r\n",
    "chunks beside a length": OK + b"Content-Length: 1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nready\r\n0\r\n\r\n",
    "spaces after a chunk's size": CHUNKED + b"\r\n5  \r\nready\r\n0 \r\n\r\n",
    "zeros before a chunk's size": CHUNKED + b"\r\n00000000000000000000000005\r\nready\r\n000\r\n\r\n",
    "extensions of a chunk": CHUNKED + b'\r\n5 ; a = "b"; c\r\nready\r\n0;x\r\n\r\n',
    "trailers": CHUNKED + b"\r\n5\r\nready\r\n0\r\nContent-Length: 1\r\nX: 1\r\n 2\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\n" + LENGTH,
    "a space too many": b"HTTP/1.1  200 OK\r\n" + LENGTH,
    "a later version": b"HTTP/1.2 200 OK\r\n" + LENGTH,
    "identity as a transfer coding": OK + b"Transfer-Encoding: identity\r\n" + LENGTH,
    "interim responses": b"HTTP/1.1 100\r\n\r\nHTTP/1.1 103 Early\nX: 1\nContent-Length: 9\n\n" + OK + LENGTH,
    "bytes after the end": OK + LENGTH + b"more",
    "a charset as a coding": response(200, b"ready", "Content-Encoding: utf-8"),
    "none as a coding": response(200, b"ready", "Content-Encoding: none", "Content-Encoding: ISO-8859-1"),
    "a media type as a coding": response(200, b"ready", "Content-Encoding: text/plain"),
    "other slips as codings": response(200, b"ready", "Content-Encoding: off", "Content-Encoding: aws-chunked, charset=utf-8"),
    "a coding in quotes": response(200, gzip.compress(b"ready"), 'Content-Encoding: "gzip";q=1'),
    "identity among codings": response(200, gzip.compress(b"ready"), "Content-Encoding: identity, gzip"),
    "two codings": response(200, gzip.compress(zlib.compress(b"ready")), "Content-Encoding: deflate, gzip"),
    "two members of gzip": response(200, gzip.compress(b"rea") + gzip.compress(b"dy"), "Content-Encoding: gzip"),
    "no bytes in gzip": response(200, gzip.compress(b"ready") + gzip.compress(b""), "Content-Encoding: x-gzip"),
    "a bare deflate with a checksum": response(200, zlib.compress(b"ready")[2:], "Content-Encoding: deflate"),
}  # fmt: skip

NOT_WHOLE = {
    "lengths that differ": OK + b"Content-Length: 4\r\n" + LENGTH,
    "lengths that differ in a line": OK + b"Content-Length: 5, 6\r\n\r\nready",
    "no length": OK + b"Content-Length: \r\n\r\nready",
    "a length below zero": OK + b"Content-Length: -5\r\n\r\nready",
    "a length that no number holds": OK + b"Content-Length: 99999999999999999999\r\n\r\nready",
    "fewer bytes than announced": OK + b"Content-Length: 6\r\n\r\nready",
    "no last chunk": CHUNKED + b"\r\n5\r\nready\r\n",
    "no end of the trailers": CHUNKED + b"\r\n5\r\nready\r\n0\r\n",
    "a chunk longer than its size": CHUNKED + b"\r\n4\r\nready\r\n0\r\n\r\n",
    "a size that is no number": CHUNKED + b"\r\n0x5\r\nready\r\n0\r\n\r\n",
    "a size below zero": CHUNKED + b"\r\n-5\r\nready\r\n0\r\n\r\n",
    "a size that no number holds": CHUNKED + b"\r\nfffffffffffffffffff\r\nready\r\n0\r\n\r\n",
    "an endless line of a chunk": CHUNKED + b"\r\n5;" + b"x" * 20_000,
    "a trailer without a colon": CHUNKED + b"\r\n5\r\nready\r\n0\r\nX\r\n\r\n",
    "another transfer coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nready\r\n0\r\n\r\n",
    "chunks that are not the last coding": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\nready",
    "a header without a colon": OK + b"X\r\n" + LENGTH,
    "a fold before the colon": OK + b"Content-\r\n Length: 5\r\n\r\nready",
    "a first header that is folded": OK + b" X: 1\r\n" + LENGTH,
    "a control character before the status": b"HTTP/1.1\0 200 OK\r\n" + LENGTH,
    "NUL after the transfer coding": OK + b"Transfer-Encoding: chunked\0\r\n\r\n5\r\nready\r\n0\r\n\r\n",
    "a status that is none": b"HTTP/1.1 000 OK\r\n" + LENGTH,
    "a status of two digits": b"HTTP/1.1 20 OK\r\n" + LENGTH,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n" + LENGTH,
    "a version that is none": b"HTTP/1.1a 200 OK\r\n" + LENGTH,
    "another protocol": b"RTSP/1.0 200 OK\r\n" + LENGTH,
    "an empty line first": b"\r\n" + OK + LENGTH,
    "gzip cut short": response(200, gzip.compress(b"ready and more")[:-9], "Content-Encoding: gzip"),
    "gzip without its trailer": response(200, gzip.compress(b"ready")[:-8], "Content-Encoding: gzip"),
    "a second member cut short": response(200, gzip.compress(b"ready") + gzip.compress(b"more")[:-3], "Content-Encoding: gzip"),
    "zeros after gzip": response(200, gzip.compress(b"ready") + bytes(9), "Content-Encoding: gzip"),
    "bytes after deflate": response(200, zlib.compress(b"ready") + b"more", "Content-Encoding: deflate"),
    "more members of gzip than are read": response(200, gzip.compress(b"ready") + gzip.compress(b"") * 300, "Content-Encoding: gzip"),
    "half a member of gzip's magic": response(200, gzip.compress(b"ready") + b"\x1f", "Content-Encoding: gzip"),
    "deflate cut short": response(200, zlib.compress(b"ready")[:-1], "Content-Encoding: deflate"),
    "bare deflate cut short": response(200, zlib.compress(b"ready")[2:-5], "Content-Encoding: deflate"),
    "one coding of two cut short": response(200, gzip.compress(zlib.compress(b"ready")[:-4]), "Content-Encoding: deflate, gzip"),
    "a coding that cannot be undone": response(200, b"ready", "Content-Encoding: zstd"),
    "too many codings": response(200, b"ready", "Content-Encoding: gzip, gzip, gzip, gzip"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGIVEN)
def test_what_is_read_on(name: str) -> None:
    result = against(FORGIVEN[name], expect_body="^ready$")
    assert (result.outcome, result.text, result.status, result.body_bytes) == (Outcome.SUCCESS, "", 200, 5)


@pytest.mark.parametrize("name", NOT_WHOLE)
def test_what_is_not_whole_is_a_failure(name: str) -> None:
    result = against(NOT_WHOLE[name], expect_body="ready")
    assert (result.outcome, result.failure) == (Outcome.FAILURE, FailureClass.PROTOCOL), result.text


@pytest.mark.parametrize("name", [*FORGIVEN, *NOT_WHOLE])
@pytest.mark.parametrize("size", [1, 7])
def test_how_the_bytes_are_cut_changes_nothing(name: str, size: int) -> None:
    answer = FORGIVEN.get(name) or NOT_WHOLE[name]
    assert _read(answer, size) == _read(answer, len(answer))


def _read(answer: bytes, size: int) -> tuple[int, bytes, bool] | None:
    reader, body = ResponseReader(), b""
    try:
        for at in range(0, len(answer), size):
            body += bytes(reader.feed(answer[at : at + size]))
    except NotHttpError:
        return None
    return reader.status, body, reader.done


def test_headers_are_those_of_the_last_response() -> None:
    answer = b"HTTP/1.1 103 Early\r\nX: 0\r\n\r\nHTTP/1.1 200 OK\nX : 1\n  2\nx:\t3 \n\nContent-Length: 9"
    reader = ResponseReader()
    reader.feed(answer)
    assert (reader.values(b"x"), reader.values(b"content-length"), reader.until_close) == ([b"1 2", b"3"], [], True)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_ends_with_its_head(status: int) -> None:
    answer = f"HTTP/1.1 {status} None\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert against(answer, server={"hang": True}, expect_status=str(status)).outcome is Outcome.SUCCESS


def test_what_can_be_decoded_is_named_where_the_body_is_read() -> None:
    for options, named in (({"expect_body": "x"}, True), ({}, False), ({"expect_body": "x", "headers": {"Accept-Encoding": "br"}}, False)):
        requests: list[bytes] = []
        against(response(200, b"x"), server={"requests": requests}, **options)
        assert (b"\r\nAccept-Encoding: gzip, deflate" in requests[0]) is named


LONG = b"a" * 1_048_576


@pytest.mark.parametrize(
    ("body", "options", "text"),
    [
        (LONG + b" fatal", {"expect_body_not": "fatal"}, "body does not match /fatal/ in its first 1048576 bytes, and more were not read"),
        (LONG + b" ready", {"expect_body": "ready"}, "body does not match /ready/ in its first 1048576 bytes, and more were not read"),
        (
            LONG + b"a",
            {"expect_body": "^a*$"},
            "whether the body matches /^a*$/ hangs on bytes after its first 1048576, which were not read",
        ),
        (
            LONG[1:] + b"xx",
            {"expect_body": r"x\b"},
            "whether the body matches /x\\b/ hangs on bytes after its first 1048576, which were not read",
        ),
        (b"ready" + LONG, {"expect_body": "ready"}, ""),
        (b"ready" + LONG, {"expect_body": "(?s)ready.*"}, ""),
        (b"fatal" + LONG, {"expect_body_not": "fatal"}, "body matches /fatal/, want no match"),
        (LONG, {"expect_body_not": "fatal"}, ""),
        (LONG, {"expect_body": "^a*$"}, ""),
    ],
)
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_a_pattern_that_hangs_on_bytes_beyond_the_cap_fails_and_says_so(
    body: bytes, options: dict[str, str], text: str, coding: str
) -> None:
    answer = response(200, gzip.compress(body, 1), "Content-Encoding: gzip") if coding else response(200, body)
    result = against(answer, timeout_ms=20_000, **options)
    assert result.text.startswith(text)
    assert result.failure is (FailureClass.ASSERTION if text else None)


def test_a_head_that_drips_is_gone_through_once(monkeypatch: pytest.MonkeyPatch):
    read = []

    class Counted:
        def match(self, data: bytes) -> None:
            read.append(len(data))

    monkeypatch.setattr("monitor.probes.response._PLAIN_HEAD", Counted())
    head = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000 + b"\r\n"
    reader = ResponseReader(head_only=True)
    for at in range(len(head)):
        reader.feed(head[at : at + 1])
    assert reader.status == 200
    assert sum(read) < 2 * len(head)
