"""The lean transport under httpx's own client."""

from __future__ import annotations

import gzip

import httpx
import pytest

from monitor.clock import SystemClock
from monitor.core.outcome import Phases
from monitor.probes.runner import make_context
from monitor.probes.transport import LeanTransport
from tests.unit.probes.servers import answering, closed_port, response, run, serving


def test_a_client_on_top() -> None:
    async def main() -> None:
        context = make_context(SystemClock())
        body = gzip.compress(b"x" * 10_000)
        async with (
            serving(answering(response(200, body, "Content-Encoding: gzip"))) as port,
            httpx.AsyncClient(transport=LeanTransport(context.network)) as client,
        ):
            answer = await client.post(f"http://127.0.0.1:{port}/", content=b"question")
            assert (answer.status_code, answer.text) == (200, "x" * 10_000)
            assert isinstance(answer.extensions["phases"], Phases)
        async with (
            serving(answering(response(200, body, "Content-Encoding: gzip"))) as port,
            httpx.AsyncClient(transport=LeanTransport(context.network, body_max=1_000)) as client,
        ):
            with pytest.raises(httpx.ReadError, match="exceeds 1000 bytes"):
                await client.get(f"http://127.0.0.1:{port}/")
            with pytest.raises(httpx.ConnectError, match="connection refused"):
                await client.get(f"http://127.0.0.1:{closed_port()}/")
        async with serving(answering(hang=True)) as port, httpx.AsyncClient(transport=LeanTransport(context.network)) as client:
            with pytest.raises(httpx.ReadTimeout, match="timeout after 200ms in first_byte"):
                await client.get(f"http://127.0.0.1:{port}/", timeout=0.2)
        await context.close()

    run(main())
