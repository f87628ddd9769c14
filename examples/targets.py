"""Tiny HTTP services whose health can be told: `python -m examples.targets --ports 9001 9002 9003`.

GET /health      200, or what the mode says
GET /<other>     200 with the service's name, or what the mode says; counted in `hits`
POST /_control?mode=ok|fail|hang|slow[&delay_ms=1500]

ok answers at once; fail answers 500; hang takes the request and says nothing until the mode changes; slow answers after `delay_ms`.
A service that refuses connections is one that was stopped: `target.stop()`, and `target.start()` brings it back on the same port.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

SLOW_DELAY_MS = 1_500


class Mode(StrEnum):
    OK = "ok"
    FAIL = "fail"
    HANG = "hang"
    SLOW = "slow"


class Target:
    """One service in threads of this process. Port 0 takes a free one."""

    def __init__(self, port: int = 0, name: str = "") -> None:
        self.port = port
        self.name = name
        self.hits = 0
        """Requests other than probes and control."""
        self.probes = 0
        self.delay_ms = SLOW_DELAY_MS
        self._mode = Mode.OK
        self._changed = threading.Condition()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def health_url(self) -> str:
        return f"{self.url}/health"

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode | str) -> None:
        with self._changed:
            self._mode = Mode(mode)
            self._changed.notify_all()

    def start(self) -> Self:
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        self.name = self.name or f"target-{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name=self.name, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Refuse connections from now on, and drop those that hang."""
        server, thread, self._server, self._thread = self._server, self._thread, None, None
        with self._changed:
            self._changed.notify_all()
        if server is not None and thread is not None:
            server.shutdown()
            server.server_close()
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def behave(self) -> bool:
        """Wait as the mode says. False when the answer is a failure; raises ConnectionAbortedError when there is to be none."""
        with self._changed:
            if self._mode is Mode.SLOW:
                self._changed.wait(self.delay_ms / 1_000)
            while self._mode is Mode.HANG and self._server is not None:
                self._changed.wait()
            if self._server is None:
                raise ConnectionAbortedError
            return self._mode is not Mode.FAIL

    def count(self, path: str) -> None:
        with self._changed:
            if path == "/health":
                self.probes += 1
            else:
                self.hits += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, target: Target) -> None:
        self.target = target
        super().__init__(("127.0.0.1", target.port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is none of our business."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = -1  # Head and body leave in one packet: two would wait for each other's acknowledgement.

    def do_GET(self) -> None:
        target = self.server.target
        path = urlsplit(self.path).path
        target.count(path)
        if target.behave():
            self._answer(200, f"{target.name}\n")
        else:
            self._answer(500, f"{target.name} was told to fail\n")

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        wanted = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        try:
            if parts.path != "/_control":
                self._answer(404, "POST /_control?mode=ok|fail|hang|slow\n")
                return
            delay_ms, mode = int(wanted.get("delay_ms", SLOW_DELAY_MS)), Mode(wanted["mode"])
        except (KeyError, ValueError):
            self._answer(400, "mode is ok, fail, hang or slow; delay_ms a whole number\n")
            return
        self.server.target.delay_ms = delay_ms
        self.server.target.mode = mode
        self._answer(200, f"{mode}\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Quiet: whoever asks knows what it asked."""

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(description="Tiny HTTP services whose health can be told.")
    parser.add_argument("--ports", type=int, nargs="+", default=[9001, 9002, 9003], help="one service on each; 0 takes a free port")
    ports = parser.parse_args().ports
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with contextlib.ExitStack() as stack:
        for target in [stack.enter_context(Target(port)) for port in ports]:
            print(f"ready {target.health_url}", flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
