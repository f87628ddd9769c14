"""Kind tcp: connect, and where asked, say something and wait for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Outcome
from monitor.core.texts import shorten
from monitor.probes.base import Attempt, Option, ProbeContext, failed, inconclusive
from monitor.probes.dialogue import Dialogue, Greeting
from monitor.probes.host import canonical
from monitor.probes.network import Destination
from monitor.probes.pattern import Pattern, pattern

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
        raise ValueError(f"{shorten(text)} has a bad escape ({error}); write \\\\ for a backslash") from None


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
        connection = self._connection(context)
        await connection.run(perf_counter() + timeout_ms / 1000, timeout_ms)
        seen: dict[str, Any] = {"phases": connection.phases, "ip": connection.ip, "stale": connection.stale}
        if isinstance(connection, Dialogue):
            seen |= {"body_bytes": len(connection.answer), "matching_ms": connection.matching_ms}
        if connection.ours:
            return inconclusive(connection.text, **seen)
        if connection.failure is not None:
            return failed(connection.failure, connection.text, **seen)
        return Attempt(Outcome.SUCCESS, **seen)

    def _connection(self, context: ProbeContext) -> Greeting | Dialogue:
        if self._expect is None:
            return Greeting(context.network, self._to, self._send)
        return Dialogue(context, self._to, self._send, self._expect, self)


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
