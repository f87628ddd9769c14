"""Kinds http and https: one request, its redirects, and what was expected of the last response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httpx

from monitor.core.durations import format_duration
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import FailureClass, Outcome
from monitor.core.said import clean, got
from monitor.core.secret import is_sensitive
from monitor.probes.base import Attempt, Option, ProbeContext, failed, inconclusive
from monitor.probes.exchange import HttpExchange
from monitor.probes.host import canonical
from monitor.probes.http_options import OPTIONS, secret, statuses
from monitor.probes.matching import LOOP_WORK_MAX, Late
from monitor.probes.network import Destination
from monitor.probes.pattern import Pattern

USER_AGENT = "watchkeeper"
HOPS_CACHED_MAX = 32
DAY_MS = 86_400_000
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_DEFAULTS: dict[str, Any] = {option.name: option.default for option in OPTIONS}


class HttpProber:
    """HTTP/1.1, plain or over TLS."""

    schemes: Sequence[str] = ("http", "https")
    options: Sequence[Option] = OPTIONS

    def validate(self, endpoint: Endpoint) -> None:
        """Raises ValueError where its options contradict each other."""
        url = parse_url(endpoint.url)
        chosen = _DEFAULTS | endpoint.options
        if chosen["method"] == "HEAD" and (chosen["expect_body"] or chosen["expect_body_not"]):
            raise ValueError("a response to HEAD has no body to match; write method: GET, or leave expect_body out")
        if chosen["body"] and chosen["method"] in ("HEAD", "TRACE"):
            raise ValueError(f"a {chosen['method']} request carries no body; write method: POST")
        if chosen["expect_body"] and chosen["expect_body"] == chosen["expect_body_not"]:
            raise ValueError("expect_body and expect_body_not are the same pattern; leave one of them out")
        wanted = statuses(chosen["expect_status"])
        if chosen["max_redirects"] and wanted & REDIRECTS and all(300 <= status < 400 for status in wanted):
            raise ValueError("a redirect is followed, so its own status is never judged; write max_redirects: 0")
        if not any(status >= 200 or status == 101 for status in wanted):
            raise ValueError("interim statuses are never the last; write for example expect_status: 2xx")
        limit_ms = chosen["expect_response_time"]
        if limit_ms is not None and limit_ms > endpoint.timeout_ms:
            raise ValueError(f"expect_response_time is above the timeout; write at most {format_duration(endpoint.timeout_ms)}")
        if url.scheme == "http":
            for name in ("server_name", "expect_certificate_days"):
                if chosen[name] is not None:
                    raise ValueError(f"{name} needs TLS; write an https:// URL, or leave it out")

    def prepare(self, endpoint: Endpoint) -> HttpProbe:
        """Return what probes the endpoint: requests and expectations made once. Raises ValueError as `validate` does."""
        self.validate(endpoint)
        return HttpProbe(endpoint)


@dataclass(slots=True)
class _Hop:
    """One URL of a redirect chain, ready to be sent; `credentials` tells whether it carries the endpoint's own.

    `shown` leaves out the query, which may hold a token.
    """

    url: httpx.URL
    shown: str
    to: Destination
    request: bytes
    method: str
    credentials: bool


class HttpProbe:
    """An endpoint's request and expectations, compiled."""

    def __init__(self, endpoint: Endpoint) -> None:
        chosen = _DEFAULTS | endpoint.options
        self._url = url = parse_url(endpoint.url)
        self._wanted_text: str = chosen["expect_status"]
        self._wanted = statuses(self._wanted_text)
        self._body_must = Pattern(chosen["expect_body"]) if chosen["expect_body"] else None
        self._body_must_not = Pattern(chosen["expect_body_not"]) if chosen["expect_body_not"] else None
        self._headers_must = tuple(
            (name.encode(), None if text is None else Pattern(text)) for name, text in chosen["expect_headers"].items()
        )
        self._body_size = sum(must.size for must in (self._body_must, self._body_must_not) if must is not None)
        self._headers_size = sum(1 if must is None else must.size for _, must in self._headers_must)
        self._limit_ms: int | None = chosen["expect_response_time"]
        self._days: int | None = chosen["expect_certificate_days"]
        self._max_redirects: int = chosen["max_redirects"]
        self._verify: bool = chosen["verify_tls"]
        self._server_name: str = chosen["server_name"] or ""
        self._body: bytes = chosen["body"].encode()
        self._want_body = self._body_must is not None or self._body_must_not is not None
        self._headers: list[tuple[str, str, bool]] = [(name, *secret(value)) for name, value in chosen["headers"].items()]
        self._first = self._hop(url, chosen["method"], credentials=True)
        self._hops: dict[tuple[str, str, bool], _Hop] = {}
        self._unexpecting = not (self._want_body or self._headers_must or self._days is not None or self._limit_ms is not None)

    async def attempt(self, context: ProbeContext, timeout_ms: int) -> Attempt:
        """One request with its redirects, judged; takes `timeout_ms` at most."""
        start = perf_counter()
        deadline = start + timeout_ms / 1000
        hop, spent, hops = self._first, None, 0
        while True:
            exchange = HttpExchange(
                context.network, hop.to, hop.request, head_only=hop.method == "HEAD", want_body=self._want_body, spent=spent
            )
            await exchange.run(deadline, timeout_ms)
            spent = exchange.spent
            if exchange.ours:
                return inconclusive(exchange.text, phases=exchange.phases, ip=exchange.ip)
            if exchange.failure is not None:
                return self._failed(exchange, hop, hops, exchange.failure, exchange.text)
            if not self._max_redirects or exchange.status not in REDIRECTS:
                break
            location = exchange.header(b"location")
            if location is None:
                break
            try:
                url = hop.url.join(location.decode("utf-8")).copy_with(userinfo=b"", fragment=None)
            except (httpx.InvalidURL, UnicodeDecodeError):
                return self._failed(exchange, hop, hops, FailureClass.PROTOCOL, "redirect to what is not a URL")
            if hops == self._max_redirects:
                return self._failed(exchange, hop, hops, FailureClass.ASSERTION, f"more than {hops} redirects, the last to {_place(url)}")
            if url.scheme not in HttpProber.schemes:
                return self._failed(exchange, hop, hops, FailureClass.POLICY, f"redirect to {_place(url)}, want http or https")
            hop = self._follow(hop, exchange.status, url)
            hops += 1
        seen: tuple[FailureClass | None, str] | None
        if self._unexpecting or (work := self._work(exchange)) <= LOOP_WORK_MAX:
            seen = self._judge(exchange, context)
        else:
            seen = await self._judge_beside(exchange, context, work, deadline, timeout_ms)
        if seen is not None:
            return self._failed(exchange, hop, hops, *seen)
        return Attempt(
            Outcome.SUCCESS, None, "", exchange.phases, exchange.status, exchange.certificate, exchange.ip,
            exchange.http_version, hop.shown if hops else "", exchange.body_bytes, exchange.matching_ms,
        )  # fmt: skip

    def _work(self, exchange: HttpExchange) -> int:
        """How much there is to match, as matching.py counts it."""
        header_bytes = sum(len(name) + len(value) for name, value in exchange.headers) if self._headers_size else 0
        return self._body_size * exchange.body_bytes + self._headers_size * header_bytes

    async def _judge_beside(
        self, exchange: HttpExchange, context: ProbeContext, work: int, deadline: float, timeout_ms: int
    ) -> tuple[FailureClass | None, str] | None:
        """As `_judge`, beside the loop; no failure and a text where that came to no end in time by our own fault."""
        begun = perf_counter()
        seen = await context.matching.run(self, work, lambda: self._judge(exchange, context), deadline)
        exchange.matching_ms = (perf_counter() - begun) * 1000
        if not isinstance(seen, Late):
            return seen
        return None if seen.ours else FailureClass.TIMEOUT, seen.text(exchange.body_bytes, timeout_ms)

    def _judge(self, exchange: HttpExchange, context: ProbeContext) -> tuple[FailureClass, str] | None:
        """Return what was seen against what was wanted, or None where all was as wanted."""
        if exchange.status not in self._wanted:
            return FailureClass.STATUS, f"status {exchange.status}, want {self._wanted_text}"
        if self._unexpecting:
            return None
        text = (
            self._judge_body(exchange)
            or self._judge_headers(exchange)
            or self._judge_certificate(exchange, context.clock.now_ms())
            or self._judge_time(sum(exchange.spent) * 1000)
        )
        return (FailureClass.ASSERTION, text) if text else None

    def _judge_body(self, exchange: HttpExchange) -> str:
        if not self._want_body:
            return ""
        body = exchange.body
        if self._body_must is not None and not self._body_must.found_in(body):
            return f"body does not match {self._body_must}{got(body)}"
        if self._body_must_not is not None and self._body_must_not.found_in(body):
            return f"body matches {self._body_must_not}, want no match{got(body)}"
        return ""

    def _judge_headers(self, exchange: HttpExchange) -> str:
        for name, must in self._headers_must:
            values = [value for key, value in exchange.headers if key.lower() == name]
            if must is None and values:
                return f"header {name.decode()} is present, want it absent{_got_header(name.decode(), values[0])}"
            if must is not None and not values:
                return f"header {name.decode()} is absent, want {must}"
            if must is not None and not any(must.found_in(value) for value in values):
                return f"header {name.decode()} does not match {must}{_got_header(name.decode(), values[0])}"
        return ""

    def _judge_certificate(self, exchange: HttpExchange, now_ms: int) -> str:
        if self._days is None:
            return ""
        if exchange.certificate is None:
            return f"no certificate was served, want ≥ {self._days} d"
        left_ms = exchange.certificate.not_after_ms - now_ms
        if left_ms >= self._days * DAY_MS:
            return ""
        seen = f"expires in {left_ms // DAY_MS} d" if left_ms >= 0 else f"expired {-left_ms // DAY_MS} d ago"
        return f"certificate {seen}, want ≥ {self._days} d"

    def _judge_time(self, took_ms: float) -> str:
        if self._limit_ms is None or took_ms <= self._limit_ms:
            return ""
        return f"response took {took_ms:.0f} ms, want ≤ {self._limit_ms} ms"

    def _failed(self, exchange: HttpExchange, hop: _Hop, hops: int, failure: FailureClass | None, text: str) -> Attempt:
        if failure is None:
            return inconclusive(text, phases=exchange.phases, ip=exchange.ip, matching_ms=exchange.matching_ms)
        return failed(
            failure,
            text,
            phases=exchange.phases,
            status=exchange.status,
            certificate=exchange.certificate,
            ip=exchange.ip,
            http_version=exchange.http_version,
            final_url=hop.shown if hops else "",
            body_bytes=exchange.body_bytes,
            matching_ms=exchange.matching_ms,
        )

    def _follow(self, hop: _Hop, status: int, url: httpx.URL) -> _Hop:
        """Return the next hop."""
        method = hop.method
        if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
            method = "GET"  # RFC 9110, 15.4; what browsers do
        credentials = hop.credentials and _same_origin(self._url, url)
        key = (str(url), method, credentials)
        known = self._hops.get(key)
        if known is None:
            if len(self._hops) >= HOPS_CACHED_MAX:
                self._hops.clear()
            known = self._hops[key] = self._hop(url, method, credentials=credentials)
        return known

    def _hop(self, url: httpx.URL, method: str, *, credentials: bool) -> _Hop:
        secure = url.scheme == "https"
        host = url.raw_host.decode("ascii")
        same_host = url.raw_host == self._url.raw_host
        lines = [f"{method} {url.raw_path.decode('ascii')} HTTP/1.1"]
        sent = {name.lower() for name, *_ in self._headers}
        if not (same_host and "host" in sent):
            lines.append(f"Host: {url.netloc.decode('ascii')}")
        if "user-agent" not in sent:
            lines.append(f"User-Agent: {USER_AGENT}")
        if "accept" not in sent:
            lines.append("Accept: */*")
        for name, value, private in self._headers:
            if name.lower() == "host" and not same_host:
                continue
            if credentials or not (private or name.lower() in ("authorization", "cookie", "proxy-authorization")):
                lines.append(f"{name}: {value}")
        body = self._body if method not in ("GET", "HEAD") or url == self._url else b""
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        lines.append("Connection: close")
        request = "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body
        to = Destination(
            host=host,
            port=url.port or (443 if secure else 80),
            tls=secure,
            verify=self._verify,
            server_name=self._server_name if same_host else "",
        )
        shown = str(url.copy_with(query=None)) + ("?…" if url.query else "")
        return _Hop(url, clean(shown), to, request, method, credentials)


def parse_url(text: str) -> httpx.URL:
    """Return an http or https URL. Raises ValueError with a hint."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ValueError(f"not a URL ({error}); write for example http://127.0.0.1:8080/health") from None
    if url.scheme not in HttpProber.schemes or not url.raw_host:
        raise ValueError("not an http or https URL with a host; write for example http://127.0.0.1:8080/health")
    canonical(url.raw_host.decode("ascii"))
    return url.copy_with(fragment=None)


def _same_origin(first: httpx.URL, second: httpx.URL) -> bool:
    """Tell whether credentials may travel on: to the same origin, or from http to https of one host on usual ports."""
    if first.raw_host != second.raw_host:
        return False
    if first.scheme == second.scheme:
        return first.port == second.port
    return (first.scheme, first.port, second.scheme, second.port) == ("http", None, "https", None)


def _place(url: httpx.URL) -> str:
    """Scheme and host: the rest of a URL that a target sent may hold secrets, and what is told of a probe is published."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}" if url.raw_host else f"{url.scheme}:"


def _got_header(name: str, value: bytes) -> str:
    """As `got`, and nothing where the header may carry a secret."""
    return "" if name == "location" or is_sensitive(name) else got(value)
