"""The HTTP server that stands in for a service which takes messages."""

from __future__ import annotations

from http.server import ThreadingHTTPServer


class HttpServer(ThreadingHTTPServer):
    """Many may connect at once: with the library's queue of five the kernel lets the next one wait for a second."""

    request_queue_size = 256
    daemon_threads = True
