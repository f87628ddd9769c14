"""The TCP prober: connect, and a dialogue."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.probes.catalog import prepare
from tests.unit.probes.servers import closed_port, endpoint, probe, run, serving


async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    line = await reader.readline()
    writer.write(b"+PONG\r\n" if line == b"PING\r\n" else b"-ERR\r\n")
    await writer.drain()
    await reader.read()


async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()


def against(script: Any, **options: Any) -> Result:
    async def main() -> Result:
        async with serving(script) as port:
            return await probe(f"tcp://127.0.0.1:{port}", **options)

    result: Result = run(main())
    return result


def test_connects() -> None:
    result = against(pong)
    assert (result.outcome, result.ip) == (Outcome.SUCCESS, "127.0.0.1")
    assert result.phases.connect_ms > 0


def test_dialogue() -> None:
    assert against(pong, send="PING\\r\\n", expect=r"^\+PONG").outcome is Outcome.SUCCESS
    result = against(pong, send="HELLO\r\n", expect=r"^\+PONG", timeout_ms=200)
    assert (result.failure, result.text) == (FailureClass.ASSERTION, 'answer does not match /^\\+PONG/ (got "-ERR\\r\\n")')


def test_silence_and_leaving() -> None:
    assert against(pong, expect="x", timeout_ms=200).text == "timeout after 200ms in first_byte"
    assert against(leave, send="PING\r\n", expect="x").text == "connection closed without an answer"


def test_refused() -> None:
    result = run(probe(f"tcp://127.0.0.1:{closed_port()}"))
    assert (result.failure, result.text) == (FailureClass.CONNECT, "connection refused")


@pytest.mark.parametrize("url", ["tcp://127.0.0.1", "tcp://:80", "tcp://h:80/path", "tcp://h:99999", "tcp://u@h:80"])
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="write for example tcp://"):
        prepare(endpoint(url))
