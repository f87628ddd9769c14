"""Real services on this machine that take messages, or do anything else: HTTP, mail, and bytes as a test says; and sending to them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from alert_rules.notify.message import Compose, Kind, Message
from alert_rules.routes.route import Integration
from monitor.core.errors import DeliveryError
from monitor.probes.policy import TargetPolicy
from tests.conftest import free_port
from tests.http_server import HttpServer
from workers.receivers.send import Receivers

HOUSE = Receivers(TargetPolicy())


def note(title: str = "t", body: str = "b", kind: str = "info") -> Compose:
    """A message that is the same for every service."""
    return lambda _: Message(title=title, body=body, kind=Kind(kind))


class Service:
    """A real HTTP server that keeps what it was sent; `status`, `headers` and `answer` are what it says next."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.methods: list[str] = []
        self.heads: list[Any] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.answer = b'{"ok": true}'
        self.silent = threading.Event()
        self.released = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                service.requests.append((self.path, body))
                service.methods.append(self.command)
                service.heads.append(self.headers)
                if service.silent.is_set():
                    service.released.wait(10)
                    return
                self.send_response(service.status)
                for name, value in service.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(service.answer)))
                self.end_headers()
                self.wfile.write(service.answer)

            do_GET = do_POST  # noqa: N815 - the library calls it so.

            def log_message(self, *args: Any) -> None:
                return

        self.server = HttpServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Mailbox:
    """A mail server's: `refuse` is what it says to a mail, `refused` what it says to some recipients."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.refuse = ""
        self.refused: dict[str, str] = {}
        self.tries: list[str] = []
        """Recipients that it was asked to take and refused."""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if address in self.refused:
            self.tries.append(address)
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd calls it so.
        if self.refuse:
            return self.refuse
        self.mails.append(envelope)
        return "250 OK"

    def recipients(self) -> list[str]:
        """Who got a mail, as often as they got one."""
        return sorted(address for mail in self.mails for address in mail.rcpt_tos)


@contextlib.contextmanager
def mail_server() -> Iterator[tuple[Mailbox, int]]:
    """A real mail server, which knows one password."""
    mailbox = Mailbox()

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.password == b"sesame-open", handled=False, message=None)

    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port(), authenticator=authenticate, auth_require_tls=False)
    controller.start()
    yield mailbox, controller.port
    controller.stop()


class Peer:
    """Takes connections and does with each what `play` says; `over` is set when the test has ended."""

    def __init__(self, play: Callable[[socket.socket, threading.Event], None]) -> None:
        self.over = threading.Event()
        self.taken = 0
        self._play = play
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.taken += 1
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._play(connection, self.over)

    def stop(self) -> None:
        self.over.set()
        self._listener.close()


@contextlib.contextmanager
def peer(play: Callable[[socket.socket, threading.Event], None]) -> Iterator[Peer]:
    """A Peer for as long as the test needs it."""
    one = Peer(play)
    try:
        yield one
    finally:
        one.stop()


def answers(data: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Read a request, say this, and close."""

    def play(connection: socket.socket, _over: threading.Event) -> None:
        read_request(connection)
        connection.sendall(data)

    return play


def drips(first: bytes, drop: bytes, every_s: float = 0.05, *, at_once: bool = False) -> Callable[[socket.socket, threading.Event], None]:
    """Say something, and then a little for ever."""

    def play(connection: socket.socket, over: threading.Event) -> None:
        if not at_once:
            read_request(connection)
        connection.sendall(first)
        while not over.wait(every_s):
            connection.sendall(drop)

    return play


def hangs(connection: socket.socket, over: threading.Event) -> None:
    """Say nothing."""
    over.wait(60)


def read_request(connection: socket.socket) -> bytes:
    """A request of HTTP with its body, as far as one without chunks goes."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def to(url: str, key: str = "r/apprise/0", **more: Any) -> Integration:
    return Integration(key=key, receiver="r", url=url, **more)


def sent(integration: Integration, title: str = "Title", body: str = "Body", kind: str = "failure", house: Receivers = HOUSE) -> str:
    return asyncio.run(house.send(integration, note(title, body, kind)))


def refused(integration: Integration, house: Receivers = HOUSE) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        sent(integration, house=house)
    return caught.value
