"""Whatever a receiver answers: a message ends within its deadline as accepted or refused, tells no secret, and costs little."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import resource
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_rules.routes.route import Integration
from monitor.core.errors import DeliveryError
from monitor.probes.policy import TargetPolicy
from tests.fuzz.play import cases
from tests.receiving import Peer, Service, note, read_request, to
from workers.receivers import plugins
from workers.receivers import send as sending
from workers.receivers.address import services
from workers.receivers.send import Receivers

DEADLINE_S = 1.0
SPARE_S = 2.0
GROWS_KIB_MAX = 96 * 1024
DENIED = "127.0.0.2"
CANARY = "canary-0f9e8d7c6b5a49382716"
BOMB = gzip.compress(bytes(8 * 1024 * 1024))
ECHOES = (CANARY, base64.b64encode(f"user:{CANARY}".encode()).decode(), base64.b64encode(f"\0me\0{CANARY}".encode()).decode())
"""The secret as a service has heard it: in a URL or a header, and as HTTP and SMTP send a password."""
TEXT_LENGTH_MAX = 500


class House:
    """A receiver that says what a case says, one that is well, and one that must never be reached."""

    def __init__(self) -> None:
        self.says: list[bytes] = []
        self.holds = False
        self.mail = False
        self.well = Service()
        self.peer = Peer(self._play)
        self.denied = socket.create_server((DENIED, 0))
        self.denied_port = self.denied.getsockname()[1]
        self.receivers = Receivers(TargetPolicy(deny=[DENIED]))
        self.began_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def _play(self, connection: socket.socket, over: threading.Event) -> None:
        if self.mail:
            connection.settimeout(0.02)  # Who waits for the rest of a reply says nothing.
            for reply in self.says:
                connection.sendall(reply)
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(65_536):
                        return
        else:
            read_request(connection)
            connection.sendall(self.says[0])
            self.says = self.says[1:] or self.says
        if self.holds:
            over.wait(2 * DEADLINE_S)

    def close(self) -> None:
        self.peer.stop()
        self.denied.close()
        self.well.stop()

    def play(self, integration: Integration) -> None:
        """Send to the one that says what it likes and to the one that is well, and look at everything that is promised."""
        text = asyncio.run(asyncio.wait_for(self._both(integration), DEADLINE_S + SPARE_S))
        assert not any(echo in text for echo in ECHOES)
        assert text.isprintable()
        assert len(text) < TEXT_LENGTH_MAX
        self.denied.setblocking(False)
        with pytest.raises(BlockingIOError):
            self.denied.accept()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.began_kib < GROWS_KIB_MAX

    async def _both(self, integration: Integration) -> str:
        (integration,) = await services(integration)
        well = to(f"json://127.0.0.1:{self.well.port}/", key="well")
        texts = await asyncio.gather(self._one(integration), self.receivers.send(well, note("t", "b", "info")))
        assert texts[1].startswith("JSON: HTTP 200")
        return texts[0]

    async def _one(self, integration: Integration) -> str:
        try:
            return await self.receivers.send(integration, note("Down", "shop-1", "failure"))
        except DeliveryError as error:
            return str(error)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    plugins.apprise()
    house = House()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "SEND_TIMEOUT_S", DEADLINE_S)
        patch.setattr("apprise.NotifyBase.request_rate_per_sec", 0)
        yield house
    house.close()


URLS = {
    "json": "json://user:{canary}@127.0.0.1:{port}/{canary}?+X-Token={canary}",
    "ntfy": "ntfy://user:{canary}@127.0.0.1:{port}/topic",
    "mmost": "mmost://127.0.0.1:{port}/{canary}",
    "form": "form://user:{canary}@127.0.0.1:{port}/?method=GET&-key={canary}",
    "gotify": "gotify://127.0.0.1:{port}/{canary}",
    "rocket": "rocket://user:{canary}@127.0.0.1:{port}/#room",
}

names = st.sampled_from(
    ["Location", "Content-Length", "Transfer-Encoding", "Content-Encoding", "Content-Type", "Retry-After", "Set-Cookie", "Connection", "X"]
)
values = st.one_of(
    st.sampled_from(
        [
            "gzip", "deflate", "gzip, gzip", "br", "identity", "chunked", "0", "1", "99999999999", "-1", "text/html; charset=utf-16",
            "application/json; charset=\x00", "Wed, 21 Oct 2065 07:28:00 GMT", "http://127.0.0.1:99999/", "http://[::1", "//", "ftp://x/",
            "/again", "http://169.254.169.254/", CANARY, "close",
            f"http://{DENIED}:PORT/", f"//{DENIED}:PORT/{CANARY}", f"http://user:{CANARY}@{DENIED}:PORT/",
        ]
    ),
    st.text(max_size=30),
)  # fmt: skip
bodies = st.one_of(
    st.sampled_from(
        [b"", b"{}", b'{"ok": true}', b"[" * 20_000, BOMB, gzip.compress(BOMB), CANARY.encode(), b"x" * 300_000, b"5\r\nhello\r\n0\r\n\r\n"]
    ),
    st.binary(max_size=200),
    st.text(max_size=60).map(lambda text: f"{CANARY}\x1b[31m{text}".encode(errors="replace")),
)
held = st.sampled_from([False] * 30 + [True])
statuses = st.sampled_from([200, 200, 201, 204, 301, 302, 303, 307, 308, 400, 401, 429, 500, 503, 100, 0, 999])
spoils = st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["cut", "drop", "put"]), st.binary(min_size=1, max_size=4)), max_size=2)


@st.composite
def http_answers(draw: st.DrawFn) -> bytes:
    """An answer of HTTP, more or less."""
    head = f"HTTP/1.1 {draw(statuses)} {draw(st.sampled_from(['OK', CANARY, '', chr(27) + '[31m']))}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in draw(st.lists(st.tuples(names, values), max_size=4)))
    return _spoiled(head.encode(errors="replace") + b"\r\n" + draw(bodies), draw(spoils))


def _spoiled(data: bytes, how: list[tuple[int, str, bytes]]) -> bytes:
    for place, act, piece in how:
        at = min(place, len(data))
        data = {"cut": data[:at], "drop": data[:at] + data[at + len(piece) :], "put": data[:at] + piece + data[at:]}[act]
    return data


replies = st.one_of(
    st.sampled_from(
        [
            b"220 mail\r\n",
            b"250-mail\r\n250 AUTH PLAIN LOGIN\r\n",
            b"250 OK\r\n",
            b"354 go on\r\n",
            b"334 x\r\n",
            b"235 ok\r\n",
            b"221 bye\r\n",
        ]
    ),
    st.sampled_from(
        [
            *(b"550 " + echo.encode() + b"\r\n" for echo in ECHOES),
            b"\x1b[31m\r\n",
            b"250-" + b"x" * 9_000,
            b"-1 x\r\n",
            b"\xff\xfe",
            b"250\r\n",
            b"999 x\r\n",
        ]
    ),
    st.binary(max_size=20),
)


@pytest.mark.parametrize("scheme", [*URLS])
@cases(40)
@given(says=st.lists(http_answers(), min_size=1, max_size=3), holds=held)
def test_whatever_a_service_answers_a_message_ends(house: House, scheme: str, says: list[bytes], holds: bool) -> None:
    house.mail, house.holds = False, holds
    house.says = [data.replace(b"PORT", str(house.denied_port).encode()) for data in says]
    house.play(to(URLS[scheme].format(canary=CANARY, port=house.peer.port), key=scheme))


@cases(60)
@given(says=st.lists(replies, min_size=1, max_size=9), good=st.integers(0, 9), holds=held)
def test_whatever_a_mail_server_says_a_message_ends(house: House, says: list[bytes], good: int, holds: bool) -> None:
    dialogue = [b"220 mail\r\n", b"250-mail\r\n250 AUTH PLAIN LOGIN\r\n", b"235 ok\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 go on\r\n"]
    house.mail, house.holds = True, holds
    house.says = [*dialogue[:good], *says]
    house.play(to(f"mailto://me:{CANARY}@127.0.0.1:{house.peer.port}?from=a@example.org&to=b@example.org", key="mail"))
