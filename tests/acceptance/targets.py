"""Many HTTP targets on one port, each with its own behaviour and with the times of its probes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from typing import Any

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
FAIL = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nfail\n"


class Targets:
    """`targets.url("a")` is the address of target a; `targets.mode["a"]` is ok, fail, hang, a number of seconds to wait, or a body.

    A target that hangs takes the request and never answers. One that is ok answers 500 to the share `failing["a"]` of its requests.
    `seen["a"]` holds the wall time (ms) of each request, `failed["a"]` of those that were answered 500.
    """

    def __init__(self) -> None:
        self.mode: dict[str, str | float | bytes] = defaultdict(lambda: "ok")
        self.failing: dict[str, float] = defaultdict(float)
        self.owed: dict[str, float] = defaultdict(float)
        self.seen: dict[str, list[int]] = defaultdict(list)
        self.failed: dict[str, list[int]] = defaultdict(list)
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="targets")
        self._thread.start()

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{name}"

    def since(self, name: str, at_ms: int) -> int:
        """How often a target was probed since then."""
        return sum(seen_ms >= at_ms for seen_ms in self.seen[name])

    def owes_failure(self, name: str) -> bool:
        """Whether the next request of a target fails, so that the share of those that fail is kept at any time."""
        self.owed[name] += self.failing[name]
        if self.owed[name] < 1:
            return False
        self.owed[name] -= 1
        return True

    def close(self) -> None:
        async def close() -> None:
            self._server.close()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Connection(asyncio.Protocol):
    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._data = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        if b"\r\n\r\n" not in self._data:
            return
        name = self._data.split(b" ", 2)[1].decode().lstrip("/")
        self._data = b""
        at_ms = time.time_ns() // 1_000_000  # noqa: TID251 - what a target saw is measured by its own clock.
        self._targets.seen[name].append(at_ms)
        mode = self._targets.mode[name]
        if mode == "ok" and self._targets.owes_failure(name):
            mode = "fail"
        if mode == "fail":
            self._targets.failed[name].append(at_ms)
        if isinstance(mode, float):
            asyncio.get_running_loop().call_later(mode, self._answer, OK)
        elif isinstance(mode, bytes):
            self._answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(mode), mode))
        elif mode != "hang":
            self._answer(OK if mode == "ok" else FAIL)

    def _answer(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)
