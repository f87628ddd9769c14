"""The lean transport as httpx knows it, for those who want httpx's requests, authentication and redirects on top."""

from __future__ import annotations

from time import perf_counter

import httpx

from monitor.core.outcome import FailureClass
from monitor.probes.connection import CONNECT, RESOLVE, TLS
from monitor.probes.exchange import BODY_BYTES_MAX, HttpExchange
from monitor.probes.network import Destination, Network

_GONE = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
_UNLIMITED_S = 86_400.0


class LeanTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 with a fresh connection per request; proxies and HTTP/2 are httpx's own transport's work.

    `response.extensions` carries `phases`, `certificate` and `ip`. The body arrives decoded and whole; one above
    `body_max` bytes raises httpx.ReadError. The largest of the request's timeouts bounds the whole exchange.
    """

    def __init__(self, network: Network, *, verify: bool = True, body_max: int = BODY_BYTES_MAX) -> None:
        self._network, self._verify, self._body_max = network, verify, body_max

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"{url.scheme}:// is not http or https", request=request)
        secure = url.scheme == "https"
        asked_name = request.extensions.get("sni_hostname", "")
        to = Destination(url.raw_host.decode("ascii"), url.port or (443 if secure else 80), secure, self._verify, asked_name)
        exchange = HttpExchange(
            self._network, to, await _wire(request), head_only=request.method == "HEAD", want_body=True, body_max=self._body_max
        )
        limits = [seconds for seconds in request.extensions.get("timeout", {}).values() if seconds is not None]
        limit_s = max(limits, default=_UNLIMITED_S)
        await exchange.run(perf_counter() + limit_s, int(limit_s * 1000))
        _raise_for_failure(exchange, request)
        if exchange.truncated:
            raise httpx.ReadError(f"the body exceeds {self._body_max} bytes", request=request)
        return httpx.Response(
            exchange.status,
            headers=[(name, value) for name, value in exchange.headers if name.lower() not in _GONE],
            content=exchange.body,
            extensions={
                "phases": exchange.phases,
                "certificate": exchange.certificate,
                "ip": exchange.ip,
                "http_version": f"HTTP/{exchange.http_version}".encode(),
            },
        )


async def _wire(request: httpx.Request) -> bytes:
    """Return a request as it is sent: in one piece, so that it can be sent at once."""
    body = await request.aread()
    lines = [f"{request.method} ".encode() + request.url.raw_path + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in request.headers.raw if name.lower() not in (b"connection", b"transfer-encoding")]
    if b"transfer-encoding" in (name.lower() for name, _ in request.headers.raw):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"Connection: close", b"", body])


def _raise_for_failure(exchange: HttpExchange, request: httpx.Request) -> None:
    if exchange.failure is None and not exchange.ours:
        return
    early = exchange.phase in (RESOLVE, CONNECT, TLS)
    kind: type[httpx.TransportError]
    if exchange.failure is FailureClass.TIMEOUT:
        kind = httpx.ConnectTimeout if early else httpx.ReadTimeout
    elif exchange.failure is FailureClass.PROTOCOL:
        kind = httpx.RemoteProtocolError
    else:
        kind = httpx.ConnectError if early else httpx.ReadError
    raise kind(exchange.text, request=request)
