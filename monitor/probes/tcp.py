"""Kind tcp: connect, and where asked, say something and wait for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from monitor.core.endpoint import Endpoint
from monitor.core.outcome import FailureClass, Outcome
from monitor.core.said import got
from monitor.probes.base import Attempt, Option, Pattern, ProbeContext, failed, inconclusive, pattern
from monitor.probes.connection import FIRST_BYTE, TRANSFER, Connection
from monitor.probes.host import canonical
from monitor.probes.network import Destination, Network

ANSWER_BYTES_MAX = 65_536
SEND_LENGTH_MAX = 65_536


def _send(value: Any) -> str:
    text = str(value)
    if not text or len(text) > SEND_LENGTH_MAX:
        raise ValueError(f"send takes 1 to {SEND_LENGTH_MAX} characters; write for example 'PING\\r\\n'")
    _unescape(text)
    return text


def _unescape(text: str) -> bytes:
    """Return the bytes of a text with the escapes of a Python literal (`\\r\\n`, `\\x00`). Raises ValueError."""
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("utf-8" if not text.isascii() else "latin-1")
    except UnicodeError as error:
        raise ValueError(f"{text!r} has a bad escape ({error}); write \\\\ for a backslash") from None


OPTIONS: tuple[Option, ...] = (
    Option("send", _send, "Text to send after connecting; escapes such as \\r\\n and \\x00 are understood."),
    Option("expect", pattern, "RE2 regular expression that the answer must match."),
)


class TcpProber:
    """A TCP connection, with an optional dialogue of one question and one answer."""

    schemes: Sequence[str] = ("tcp",)
    options: Sequence[Option] = OPTIONS

    def validate(self, endpoint: Endpoint) -> None:
        """Raises ValueError where the URL has no host or port."""
        _destination(endpoint.url)

    def prepare(self, endpoint: Endpoint) -> TcpProbe:
        """Return what probes the endpoint. Raises ValueError as `validate` does."""
        return TcpProbe(endpoint)


class TcpProbe:
    """An endpoint's dialogue, compiled."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._to = _destination(endpoint.url)
        send, expect = endpoint.options.get("send"), endpoint.options.get("expect")
        self._send = _unescape(send) if send else b""
        self._expect = Pattern(expect) if expect else None

    async def attempt(self, context: ProbeContext, timeout_ms: int) -> Attempt:
        """One connection and its dialogue, judged; takes `timeout_ms` at most."""
        dialogue = Dialogue(context.network, self._to, self._send, self._expect)
        await dialogue.run(perf_counter() + timeout_ms / 1000, timeout_ms)
        phases, ip = dialogue.phases, dialogue.ip
        if dialogue.ours:
            return inconclusive(dialogue.text, phases=phases, ip=ip)
        if dialogue.failure is FailureClass.TIMEOUT and dialogue.answer:
            return failed(FailureClass.ASSERTION, f"answer does not match {self._expect}{got(dialogue.answer)}", phases=phases, ip=ip)
        if dialogue.failure is not None:
            return failed(dialogue.failure, dialogue.text, phases=phases, ip=ip)
        return Attempt(Outcome.SUCCESS, phases=phases, ip=ip, body_bytes=len(dialogue.answer))


class Dialogue(Connection):
    """Ends when the answer matches, or when connected and everything is sent where no answer is expected."""

    __slots__ = ("_expect", "answer")

    def __init__(self, network: Network, to: Destination, send: bytes, expect: Pattern | None) -> None:
        super().__init__(network, to, send)
        self._expect = expect
        self.answer = b""

    def _flush(self) -> None:
        super()._flush()
        if self._expect is None and not self._unsent and self.phase == FIRST_BYTE:
            self._end()

    def _received(self, data: memoryview | bytes) -> None:
        if self._expect is None:
            return
        if self.phase == FIRST_BYTE:
            self._enter(TRANSFER)
        self.answer = (self.answer + bytes(data))[:ANSWER_BYTES_MAX]
        if self._expect.found_in(self.answer):
            self._end()
        elif len(self.answer) == ANSWER_BYTES_MAX:
            self._end(FailureClass.ASSERTION, f"answer does not match {self._expect} within {ANSWER_BYTES_MAX} bytes{got(self.answer)}")

    def _ended_by_peer(self) -> None:
        if self.answer:
            self._end(FailureClass.ASSERTION, f"answer does not match {self._expect}{got(self.answer)}")
        else:
            self._end(FailureClass.PROTOCOL, "connection closed without an answer")


def _destination(url: str) -> Destination:
    hint = "write for example tcp://127.0.0.1:5432"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL ({error}); {hint}") from None
    if parts.scheme != "tcp" or not parts.hostname or not port:
        raise ValueError(f"a tcp endpoint needs a host and a port; {hint}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"a tcp endpoint is a host and a port, no more; {hint}")
    return Destination(canonical(parts.hostname), port)
