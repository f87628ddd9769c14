"""What an address of a receiver holds comes back in no form: not in an answer, not in an error, not in a log, whatever the service says."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
import quopri
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from alert_rules.routes.route import Integration
from monitor.core.errors import DeliveryError
from monitor.probes.policy import TargetPolicy
from tests.echo_service import EchoService, Request
from tests.receiving import note
from workers.receivers.address import services
from workers.receivers.send import Receivers

PASSWORD = "s3 same+/ö"
PATH = "hook/T0kenOfThePath"
HEADER = "valueOfTheHeader"


@pytest.fixture
def service() -> Iterator[EchoService]:
    service = EchoService()
    yield service
    service.stop()


class Log(logging.Handler):
    """What reaches the log of the process."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("mail."):  # The mail server of the test.
            self.text += self.format(record) + "\n"


@pytest.fixture
def log() -> Iterator[Log]:
    """Every level, of every library. (pytest's own also hears loggers that give nothing to the process's.)"""
    log, root = Log(), logging.getLogger()
    level = root.level
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    yield log
    root.removeHandler(log)
    root.setLevel(level)


def said_of(url: str) -> str:
    """What a sender is told of a send: the answer, or the error."""
    try:
        return asyncio.run(Receivers(TargetPolicy()).send(Integration(key="r/apprise/0", receiver="r", url=url), note("Title", "Body")))
    except DeliveryError as error:
        return str(error)


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ECHOES: dict[str, Callable[[Request], str | bytes]] = {
    "the path": lambda request: f"Cannot POST {request.path}",
    "the header": lambda request: json.dumps(request.headers),
    "the password": lambda _: f"wrong password {PASSWORD} of me",
    "the password, quoted": lambda _: quote(PASSWORD, safe=""),
    "the password, quoted in small letters": lambda _: quote(PASSWORD, safe="").lower(),
    "the password in JSON": lambda _: json.dumps({"auth": PASSWORD}),
    "the password in HTML": lambda _: f"<p>{html.escape(PASSWORD)}</p>",
    "user and password in base64": lambda _: basic(f"me:{PASSWORD}"),
    "the password in base64": lambda _: base64.urlsafe_b64encode(PASSWORD.encode()).decode().rstrip("="),
    "the password in Latin-1": lambda _: PASSWORD.encode("latin-1"),
    "the password in Latin-1, quoted": lambda _: quote(PASSWORD, safe="", encoding="latin-1"),
    "the password in UTF-16": lambda _: PASSWORD.encode("utf-16"),
    "the password in hex": lambda _: PASSWORD.encode().hex(),
    "the password over two lines": lambda _: f"{PASSWORD[:4]}\n\t{PASSWORD[4:]}",
    "the token": lambda _: "no hook T0kenOfThePath here",
    "the token, in small letters": lambda _: "no hook t0kenofthepath here",
    "the token where a read ends": lambda _: "x" * 560 + " T0kenOfThePath" * 10,
    "the token where the answer is cut": lambda _: "y" * 250 + " T0kenOfThePath" * 10,
}


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("echo", ECHOES)
def test_no_secret_of_an_address_comes_back_in_an_answer(service: EchoService, status: int, echo: str, log: Log) -> None:
    service.status = status
    said_by_it = ECHOES[echo]
    service.answer = lambda request: said.encode() if isinstance(said := said_by_it(request), str) else said
    said = said_of(f"json://me:{quote(PASSWORD, safe='')}@127.0.0.1:{service.port}/{PATH}?+X-Key={HEADER}")
    assert f"HTTP {status}" in said
    assert "****" in said or "<secret>" in said or echo.startswith("the token where")
    seen = "".join((said + log.text).split()).casefold()
    for secret in (
        PASSWORD,
        "s3same",
        PATH,
        "T0kenOf",
        HEADER,
        basic(f"me:{PASSWORD}"),
        basic(PASSWORD).rstrip("="),
        PASSWORD.encode().hex(),
    ):
        for form in (secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], html.escape(secret)):
            assert "".join(form.split()).casefold() not in seen, form


CODES: dict[str, Callable[[str], str]] = {
    "backwards": lambda text: text[::-1],
    "in base64, backwards": lambda text: basic(text)[::-1].lstrip("="),
    "in octal": lambda text: "".join(f"\\{byte:03o}" for byte in text.encode("latin-1")),
    "in quoted-printable": lambda text: "".join(f"={byte:02X}" for byte in text.encode()),
    "in quoted-printable where it must be": lambda text: quopri.encodestring(text.encode()).decode(),
    "in base32": lambda text: base64.b32encode(text.encode()).decode(),
    "in hex with colons": lambda text: text.encode().hex(":"),
    "as a list of bytes": lambda text: json.dumps([*text.encode()]),
    "as long characters of C": lambda text: "".join(f"\\U{ord(char):08x}" for char in text),
    "as characters of JavaScript": lambda text: "".join(f"\\u{{{ord(char):x}}}" for char in text),
    "as old JavaScript escapes it": lambda text: "".join(f"%u{ord(char):04x}" for char in text),
    "as long entities": lambda text: "".join(f"&#{ord(char):09};" for char in text),
}


@pytest.mark.parametrize("code", CODES)
def test_a_secret_is_found_however_it_is_coded(service: EchoService, code: str) -> None:
    service.status = 500
    service.answer = lambda _: f"it says {CODES[code](PASSWORD)} to you".encode()
    said = said_of(f"json://me:{quote(PASSWORD, safe='')}@127.0.0.1:{service.port}/")
    assert said.replace("[****]", "****").endswith("it says **** to you")


def test_a_part_of_a_long_secret_is_no_less_one(service: EchoService) -> None:
    token = "a7Tz0QmWx9rLb3VcE5nY1kUd"
    service.answer = lambda _: f"no {token[:16]}... here, nor ...{token[-12:]}".encode()
    assert said_of(f"json://127.0.0.1:{service.port}/{token}").endswith("no ****... here, nor ...****")


def test_a_password_of_three_letters_is_blanked_and_ordinary_words_are_not(service: EchoService) -> None:
    service.answer = lambda _: b'bad password "pw1" for the hook of "alerts"; some alerts, a hook, pw12'
    said = said_of(f"json://me:pw1@127.0.0.1:{service.port}/alerts")
    assert said.endswith('bad password "****" for the hook of "****"; some alerts, a hook, pw12')


def test_a_short_password_may_hold_a_space(service: EchoService) -> None:
    service.answer = lambda _: b"not with ab c d, nor ab%20c%20d, ab+c+d"
    assert said_of(f"json://me:ab%20c%20d@127.0.0.1:{service.port}/").endswith("not with ****, nor ****, ****")


def test_of_several_addresses_in_one_file_no_host_is_blanked(service: EchoService, tmp_path: Path) -> None:
    service.answer = lambda request: f"{request.headers['Host']} {request.headers['Content-Type']} {request.path}".encode()
    file = tmp_path / "urls"
    addresses = f"json://localhost:{service.port}/x\njson://me:basic@127.0.0.1:{service.port}/T0ken?format=text"
    file.write_text(addresses)
    each = asyncio.run(services(Integration(key="r/apprise/0", receiver="r", url_file=str(file))))
    said = [asyncio.run(Receivers(TargetPolicy()).send(one, note())) for one in each]
    assert said == [
        f"JSON: HTTP 200 OK localhost:{service.port} application/json /****",
        f"JSON: HTTP 200 OK 127.0.0.1:{service.port} application/json /****",
    ]


def test_a_reason_phrase_is_an_answer_too(service: EchoService) -> None:
    service.status, service.reason = 404, f"No /{PATH}"
    said = said_of(f"json://127.0.0.1:{service.port}/{PATH}")
    assert "HTTP 404 No /****" in said


def test_what_moves_a_cursor_is_shown(service: EchoService) -> None:
    service.answer = lambda _: "\x1b[2J\x1b]0;title\x07 all is \u202ewell\x9b1m\r\nok".encode()
    said = said_of(f"json://127.0.0.1:{service.port}/")
    assert "\\x1b[2J\\x1b]0;title\\x07 all is \\u202ewell\\x9b1m ok" in said
    assert said.isprintable()


def test_a_connection_that_fails_does_not_tell_the_path(log: Log) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        said = said_of(f"json://me:{quote(PASSWORD, safe='')}@127.0.0.1:{nobody.getsockname()[1]}/{PATH}?+X-Key={HEADER}")
    for secret in ("T0kenOfThePath", HEADER, "s3", basic(f"me:{PASSWORD}")):
        assert secret not in said + log.text


def test_an_answer_whose_head_is_broken_does_not_tell_the_path(service: EchoService, log: Log) -> None:
    service.reason = "OK\r\nno header at all\r\nX: y"
    said = said_of(f"json://127.0.0.1:{service.port}/{PATH}")
    assert "T0kenOfThePath" not in said + log.text


def test_a_mail_server_that_repeats_what_it_was_told_gives_nothing_away(log: Log) -> None:

    class Refuses:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd calls it so.
            return f"554 not from me with s3same-open, {basic(chr(0) + 'me' + chr(0) + 's3same-open')}, to ops@example.org \x1b[2J"

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(
        Refuses(), hostname="127.0.0.1", port=port, authenticator=lambda *_: AuthResult(success=True), auth_require_tls=False
    )
    controller.start()
    try:
        said = said_of(f"mailto://me:s3same-open@127.0.0.1:{port}?to=ops@example.org&from=me@example.org&mode=insecure")
    finally:
        controller.stop()
    assert "554" in said
    assert "ops@example.org" in said
    assert said.isprintable()
    for secret in ("s3same", basic("s3same-open"), basic("\0me\0s3same-open")):
        assert secret not in said + log.text
