"""A service that takes messages, keeps them, and can be made to take its time over its answer."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import msgspec

from tests.http_server import HttpServer

BODY = "{% for alert in alerts %}{{ alert.status }} {{ alert.labels.alertname }} {{ alert.labels.endpoint }}\n{% endfor %}"
"""The template of a body that a test can read: one alert a line."""


class Told(msgspec.Struct, frozen=True):
    """One alert of one message. `message` is the message's number; `at_ms` when it was received."""

    status: str
    rule: str
    endpoint: str
    message: int
    at_ms: int


class Receiver:
    """Keeps what it was sent. While `stalled` it accepts and does not answer before `release`."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.messages = 0
        self.stalled = False
        self._answers = threading.Event()
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if receiver.stalled:
                    receiver._answers.wait(30)
                try:
                    self.send_response(200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    return  # The sender was killed meanwhile.

            def log_message(self, *args: Any) -> None:
                return

        self._server = HttpServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="receiver")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/"

    def of(self, endpoint: str, rule: str = "EndpointDown") -> list[str]:
        """What was told of an endpoint, in order: firing, resolved."""
        return [told.status for told in self.told if told.endpoint == endpoint and told.rule == rule]

    def release(self) -> None:
        """Answer what was held back, and everything from now on at once."""
        self.stalled = False
        self._answers.set()

    def stop(self) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, payload: dict[str, str]) -> None:
        at_ms = time.time_ns() // 1_000_000  # noqa: TID251 - received is when it is received.
        with self._lock:
            self.messages += 1
            for line in payload["message"].splitlines():
                status, rule, endpoint = (*line.split(" "), "")[:3]
                self.told.append(Told(status, rule, endpoint, self.messages, at_ms))
