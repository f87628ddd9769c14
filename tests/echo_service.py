"""A real HTTP service that keeps what it was sent, and answers what `answer` makes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from tests.http_server import HttpServer


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class EchoService:
    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.status = 200
        self.reason = "OK"
        self.answer: Callable[[Request], bytes] = lambda _: b'{"ok": true}'
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                request = Request(self.path, dict(self.headers), data)
                service.requests.append(request)
                said = service.answer(request)
                self.send_response(service.status, service.reason)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_PUT = do_POST  # noqa: N815 - as BaseHTTPRequestHandler calls them

            def log_message(self, *args: Any) -> None:
                return

        self._server = HttpServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
