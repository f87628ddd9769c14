"""However a service holds a message, the message ends at its deadline, and holds no other service's."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from monitor.core.errors import DeliveryError
from monitor.probes.policy import TargetPolicy
from tests.receiving import HOUSE, Service, drips, hangs, note, peer, refused, sent, to
from tests.waiting import wait_for
from workers.receivers import answers, plugins
from workers.receivers import send as sending
from workers.receivers.send import Receivers

DEADLINE_S = 0.6
HANGING = 40
"""Services that hang, each told several messages."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
Play = Callable[[socket.socket, threading.Event], None]


def mail_drips(connection: socket.socket, over: threading.Event) -> None:
    """A mail server that begins as others do, and goes on with the reply to a command for ever."""
    connection.sendall(b"220 mail.example.org\r\n")
    connection.recv(1_000)
    while not over.wait(0.05):
        connection.sendall(b"250-AGAIN\r\n")


def hello_drips(connection: socket.socket, over: threading.Event) -> None:
    """A TLS record that never gets whole."""
    connection.sendall(b"\x16\x03\x03\x40\x00")
    while not over.wait(0.05):
        connection.sendall(b"\0")


@pytest.fixture(autouse=True)
def loaded() -> None:
    """apprise, so that no deadline of a test is spent on importing it."""
    plugins.apprise()


HELD: list[tuple[str, Play]] = [
    ("json://127.0.0.1:{port}/", hangs),
    ("json://127.0.0.1:{port}/", drips(b"", b"H")),
    ("json://127.0.0.1:{port}/", drips(HEAD, b"X: y\r\n")),
    ("json://127.0.0.1:{port}/", drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    ("json://127.0.0.1:{port}/", drips(HEAD + b"Content-Length: 100000\r\n\r\n", b"x")),
    ("json://127.0.0.1:{port}/", drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")),
    ("json://127.0.0.1:{port}/", drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1")),
    ("json://127.0.0.1:{port}/", drips(HEAD + b"\r\n", b"x")),
    ("jsons://127.0.0.1:{port}/", hangs),
    ("jsons://127.0.0.1:{port}/", hello_drips),
    ("mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org", hangs),
    ("mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org", drips(b"220-", b"x", at_once=True)),
    ("mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org", mail_drips),
    ("mailtos://127.0.0.1:{port}?from=a@example.org&to=b@example.org&mode=ssl", hello_drips),
]


@pytest.mark.parametrize(("url", "play"), HELD)
def test_a_service_that_goes_on_for_ever_is_given_up_at_the_deadline(url: str, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread ends too: what it was connected to has been closed."""
    monkeypatch.setattr(sending, "SEND_TIMEOUT_S", DEADLINE_S)
    house = Receivers(TargetPolicy())
    with peer(play) as service:
        error = refused(to(url.format(port=service.port), key="held"), house)
        assert (str(error), error.permanent, error.unheard) == ("no end within 1 s", False, True)
        wait_for(lambda: not house._turns.taken("held"), deadline_s=3.0)
        assert service.taken == 1


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"Content-Length: 100000\r\n\r\n", b"x"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"Transfer-Encoding: chunked\r\n\r\n2;", b"extension"),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"Trailer: x\r\n"),
        (b"Content-Length: 100000\r\n\r\nx", b""),
        (b"\r\n", b"x"),
    ],
)
def test_a_body_that_drips_does_not_undo_what_the_status_says(head: bytes, drop: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """To send it again would be to say it twice."""
    monkeypatch.setattr(answers, "BODY_TIMEOUT_S", DEADLINE_S)
    with peer(drips(HEAD + head, drop)) as service:
        assert "HTTP 200 OK" in sent(to(f"json://127.0.0.1:{service.port}/"))


def mail(connection: socket.socket, last: bytes) -> None:
    """A dialogue up to the mail itself; what the server says to that is the test's."""
    connection.sendall(b"220 mail.example.org\r\n")
    lines = connection.makefile("rb")
    for line in lines:
        if line.upper().startswith(b"DATA"):
            connection.sendall(b"354 go on\r\n")
            while lines.readline() != b".\r\n":
                pass
            connection.sendall(last)
            return
        connection.sendall(b"250 OK\r\n")


def test_a_mail_server_that_does_not_say_goodbye_has_taken_the_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SEND_TIMEOUT_S", DEADLINE_S)

    def play(connection: socket.socket, over: threading.Event) -> None:
        mail(connection, b"250 taken\r\n")
        while not over.wait(0.05):
            connection.sendall(b"221-and\r\n")

    with peer(play) as service:
        answer = sent(to(f"mailto://127.0.0.1:{service.port}?from=a@example.org&to=b@example.org"))
        assert answer == "accepted (1), with no end within 1 s"


def test_a_mail_server_that_goes_away_before_its_answer_may_have_taken_the_mail() -> None:
    with peer(lambda connection, _: mail(connection, b"")) as service:
        error = refused(to(f"mailto://127.0.0.1:{service.port}?from=a@example.org&to=b@example.org"))
        assert (error.permanent, error.unheard) == (False, True)


def test_services_that_hang_delay_no_other_and_blame_none_that_was_not_asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SEND_TIMEOUT_S", 3.0)
    house = Receivers(TargetPolicy())

    async def story(port: int) -> None:
        held = [
            asyncio.ensure_future(house.send(to(f"json://127.0.0.1:{port}/{name}", key=f"hangs {name}"), note()))
            for name in range(HANGING)
            for _ in range(3)
        ]
        await asyncio.sleep(0)  # Each of them asks for its turn before the other does.
        other = to(f"json://127.0.0.1:{service.port}/", key="well")
        async with asyncio.timeout(2.0):
            answers = await asyncio.gather(*(house.send(other, note()) for _ in range(20)))
        assert all("HTTP 200" in answer for answer in answers)
        assert not any(one.done() for one in held)
        errors = await asyncio.gather(*held, return_exceptions=True)
        assert {str(error) for error in errors} == {"no end within 3 s"}

    with peer(hangs) as slow:
        asyncio.run(asyncio.wait_for(story(slow.port), 60))


def test_who_never_had_a_turn_is_said_to_have_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SEND_TIMEOUT_S", 3.0)
    house = Receivers(TargetPolicy())

    async def story(port: int) -> None:
        hanging = to(f"json://127.0.0.1:{port}/", key="hangs")
        held = [asyncio.ensure_future(house.send(hanging, note())) for _ in range(sending.SENDS_PER_SERVICE_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(DeliveryError) as caught:
            await house.send(hanging, note(), patience_s=1.0)
        assert str(caught.value) == "it waited 1 s for its turn behind others (8 in flight to the same service), and was not sent"
        assert (caught.value.asked, caught.value.permanent, caught.value.unheard) == (False, False, False)
        await asyncio.gather(*held, return_exceptions=True)

    with peer(hangs) as slow:
        asyncio.run(asyncio.wait_for(story(slow.port), 60))
        assert slow.taken == sending.SENDS_PER_SERVICE_MAX


def test_a_plugin_that_waits_for_no_connection_holds_only_its_own_service(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread cannot be ended; its service has one turn until it ends."""
    released = threading.Event()
    original = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "resolver-hangs.test":
            released.wait(30)
        return original(host, *args, **kwargs)

    monkeypatch.setattr(sending, "SEND_TIMEOUT_S", DEADLINE_S)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    house = Receivers(TargetPolicy())
    stuck = to("json://resolver-hangs.test/", key="stuck")
    error = refused(stuck, house)
    assert (str(error), error.unheard) == ("no end within 1 s", False)
    with pytest.raises(DeliveryError, match="waited") as caught:
        asyncio.run(house.send(stuck, note(), patience_s=0.1))
    assert not caught.value.asked
    assert "HTTP 200" in asyncio.run(house.send(to(f"json://127.0.0.1:{service.port}/"), note()))
    released.set()
    wait_for(lambda: not house._turns.taken("stuck"))


def test_a_service_that_answers_again_is_told_several_messages_at_once_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SEND_TIMEOUT_S", DEADLINE_S)
    one = to(f"json://127.0.0.1:{service.port}/", key="recovers")
    service.silent.set()
    refused(one)
    turns = [HOUSE._turns.ask("recovers") for _ in range(2)]
    assert [turn.done() for turn in turns] in ([True, False], [False, False])  # Its first thread may still be ending.
    service.silent.clear()
    service.released.set()
    for turn in turns:
        HOUSE._turns.end("recovers", turn)
    assert "HTTP 200" in asyncio.run(HOUSE.send(one, note()))
    turns = [HOUSE._turns.ask("recovers") for _ in range(2)]
    assert all(turn.done() for turn in turns)
    for turn in turns:
        HOUSE._turns.end("recovers", turn)
