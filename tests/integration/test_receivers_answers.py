"""What a service answers is read in part: its size is bounded before and after it is unpacked."""

from __future__ import annotations

import gzip
import resource
import socket
import threading
import zlib

import pytest

from tests.receiving import Service, answers, peer, read_request, refused, sent, to
from workers.receivers.answers import ANSWER_BYTES_MAX

BIG = 128 * 1024 * 1024
"""Bytes that a small answer holds."""
GROWS_KIB_MAX = 32 * 1024


@pytest.fixture(scope="module")
def bomb() -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    piece = bytes(1024 * 1024)
    return b"".join(packer.compress(piece) for _ in range(BIG // len(piece))) + packer.flush()


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


SCHEMES = [
    "json://127.0.0.1:{port}/",
    "ntfy://127.0.0.1:{port}/topic",
    "mmost://127.0.0.1:{port}/abcdefghijklmnopqrstuvwx",
    "matrix://u:pass@127.0.0.1:{port}/#room",
]


@pytest.mark.parametrize("url", SCHEMES)
@pytest.mark.parametrize("codings", ["gzip", "gzip, gzip", "identity"])
def test_a_small_answer_that_holds_a_huge_one_costs_little(service: Service, bomb: bytes, url: str, codings: str) -> None:
    service.answer = gzip.compress(bomb) if codings == "gzip, gzip" else bomb
    service.headers = {"Content-Encoding": codings}
    before_kib = peak_kib()
    for status in (200, 500):
        service.status = status
        if status == 500 or url.startswith("matrix"):
            refused(to(url.format(port=service.port)))
        else:
            assert "HTTP 200" in sent(to(url.format(port=service.port)))
    assert peak_kib() - before_kib < GROWS_KIB_MAX


def endless(first: bytes, piece: bytes) -> object:
    def play(connection: socket.socket, over: threading.Event) -> None:
        read_request(connection)
        connection.sendall(first)
        while not over.is_set():
            connection.sendall(piece)

    return play


@pytest.mark.parametrize(
    ("head", "piece", "accepted"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65_536 + b"\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 65_536, True),
        (b"HTTP/1.1 307 Temporary Redirect\r\nLocation: ftp://x/\r\n\r\n", b"x" * 65_536, False),
        (b"HTTP/1.1 200 " + b"x" * 70_000, b"x" * 65_536, False),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65_536, False),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10_000, False),
    ],
)
def test_an_answer_without_an_end_costs_little(head: bytes, piece: bytes, accepted: bool) -> None:
    before_kib = peak_kib()
    with peer(endless(head, piece)) as service:  # type: ignore[arg-type]
        one = to(f"json://127.0.0.1:{service.port}/")
        if accepted:
            assert "HTTP 200" in sent(one)
        else:
            refused(one)
    assert peak_kib() - before_kib < GROWS_KIB_MAX


def test_a_mail_servers_reply_without_an_end_costs_little() -> None:
    def play(connection: socket.socket, over: threading.Event) -> None:
        while not over.is_set():
            connection.sendall(b"220-" + b"x" * 8_000 + b"\r\n")

    before_kib = peak_kib()
    with peer(play) as service:
        error = refused(to(f"mailto://127.0.0.1:{service.port}?from=a@example.org&to=b@example.org"))
    assert f"the server says more than {ANSWER_BYTES_MAX} bytes" in str(error)
    assert peak_kib() - before_kib < GROWS_KIB_MAX


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 100\r\n\r\ncut short",
        b"Transfer-Encoding: chunked\r\n\r\n9\r\ncut short\r\n",
        b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\ncut short",
        b"Content-Encoding: nothing-known\r\nContent-Length: 9\r\n\r\ncut short",
        b"Content-Type: text/plain; charset=nothing-known\r\nContent-Length: 9\r\n\r\ncut short",
    ],
)
def test_a_damaged_body_does_not_undo_what_the_status_says(body: bytes) -> None:
    """The service has accepted the message: to send it again would be to say it twice."""
    with peer(answers(b"HTTP/1.1 200 OK\r\n" + body)) as service:
        assert "HTTP 200 OK" in sent(to(f"json://127.0.0.1:{service.port}/"))
    with peer(answers(b"HTTP/1.1 500 Oh\r\n" + body)) as service:
        error = refused(to(f"json://127.0.0.1:{service.port}/"))
        assert "HTTP 500 Oh cut short" in str(error)
        assert not error.unheard


def test_a_head_that_only_announces_an_answer_is_none() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    with peer(answers(interim + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")) as service:
        assert sent(to(f"json://127.0.0.1:{service.port}/")) == "JSON: HTTP 200 OK done"


def test_the_answer_to_an_earlier_request_is_not_that_to_one_that_got_none() -> None:
    """A plugin that logs in first: the failure is the message's."""
    answered = threading.Event()

    def play(connection: socket.socket, _over: threading.Event) -> None:
        read_request(connection)
        if not answered.is_set():
            answered.set()
            said = b'{"status": "success", "data": {"authToken": "t", "userId": "u"}}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))

    with peer(play) as service:
        error = refused(to(f"rocket://user:password@127.0.0.1:{service.port}/#room"))
    assert "HTTP 200" not in str(error)
    assert "Remote end closed connection" in str(error)
    assert error.unheard


def test_a_machine_without_room_for_a_watch_over_a_body_does_not_undo_what_the_status_says(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", full)
    assert "HTTP 200 OK" in sent(to(f"json://127.0.0.1:{service.port}/"))
