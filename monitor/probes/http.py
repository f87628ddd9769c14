"""Kinds http and https: one request, its redirects, and what was expected of the last response."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from monitor.core.durations import DAY_MS, format_duration
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Certificate, FailureClass, Outcome
from monitor.core.said import got
from monitor.core.secret import is_sensitive
from monitor.probes.base import Attempt, Option, ProbeContext, failed, inconclusive
from monitor.probes.cookies import CookieJar
from monitor.probes.exchange import HttpExchange
from monitor.probes.hops import REDIRECTS, SCHEMES, Hop, Hops, Refusal, http_url
from monitor.probes.http_options import OPTIONS, statuses
from monitor.probes.matching import LOOP_WORK_MAX, Late
from monitor.probes.network import DATA_ERRORS
from monitor.probes.pattern import Pattern

MORE = (b"_", b" ")
"""What may follow where a body was cut: a pattern that asks for the end of a text or a word is found before one and not before both."""

Certificates = Sequence[Certificate | None]
"""Those of each hop over TLS, and of the last hop in any case."""

_DEFAULTS: dict[str, Any] = {option.name: option.default for option in OPTIONS}


class HttpProber:
    """HTTP/1.1, plain or over TLS."""

    schemes: Sequence[str] = SCHEMES
    options: Sequence[Option] = OPTIONS

    def validate(self, endpoint: Endpoint) -> None:
        """Raises ValueError where its options contradict each other."""
        url = http_url(endpoint.url)
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


class HttpProbe:
    """An endpoint's request and expectations, compiled."""

    def __init__(self, endpoint: Endpoint) -> None:
        chosen = _DEFAULTS | endpoint.options
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
        self._want_body = self._body_must is not None or self._body_must_not is not None
        self._hops = Hops(http_url(endpoint.url), chosen, want_body=self._want_body)
        self._unexpecting = not (self._want_body or self._headers_must or self._days is not None or self._limit_ms is not None)

    async def attempt(self, context: ProbeContext, timeout_ms: int) -> Attempt:
        """One request with its redirects, judged; takes `timeout_ms` at most."""
        start = perf_counter()
        deadline = start + timeout_ms / 1000
        hop, spent, stale, hops = self._hops.first, None, None, 0
        certificates: list[Certificate | None] = []
        jar: CookieJar | None = None
        while True:
            exchange = HttpExchange(
                context.network, hop.to, hop.request,
                head_only=hop.method == "HEAD", want_body=self._want_body, follows=self._hops.follows, spent=spent,
            )  # fmt: skip
            exchange.stale = stale
            await exchange.run(deadline, timeout_ms)
            spent, stale = exchange.spent, exchange.stale
            if exchange.ours:
                return inconclusive(exchange.text, phases=exchange.phases, ip=exchange.ip)
            if exchange.failure is not None:
                return self._failed(exchange, hop, hops, exchange.failure, exchange.text)
            following: Hop | tuple[FailureClass | None, str] | None
            try:
                location = exchange.location if exchange.status in self._hops.follows else b""
                if not location:
                    following = self._judge_status(exchange)
                    if following is None and not self._unexpecting:
                        following = await self._judge_rest(exchange, [*certificates, exchange.certificate], context, deadline, timeout_ms)
                else:
                    if hop.to.tls:
                        certificates.append(exchange.certificate)
                    jar, now_ms = jar or CookieJar(), context.clock.now_ms()
                    jar.take(hop.url, exchange.values(b"set-cookie"), now_ms)
                    following = self._hops.follow(hop, hops, exchange.status, location, jar=jar, now_ms=now_ms)
            except DATA_ERRORS as error:
                following = FailureClass.PROTOCOL, context.network.surprised(error)
            if following is None:
                break
            if isinstance(following, tuple):
                return self._failed(exchange, hop, hops, *following)
            hop = following
            hops += 1
        return Attempt(
            Outcome.SUCCESS, None, "", exchange.phases, exchange.status, exchange.certificate, exchange.ip,
            exchange.http_version, hop.shown if hops else "", exchange.body_bytes, exchange.matching_ms, stale,
        )  # fmt: skip

    def _judge_status(self, exchange: HttpExchange) -> Refusal | None:
        """Return what was seen against what was wanted, or None where all was as wanted."""
        if exchange.status in self._wanted:
            return None
        return FailureClass.STATUS, f"status {exchange.status}, want {self._wanted_text}"

    async def _judge_rest(
        self, exchange: HttpExchange, certificates: Certificates, context: ProbeContext, deadline: float, timeout_ms: int
    ) -> tuple[FailureClass | None, str] | None:
        """Judge beside the loop where that may last; no failure and a text where it did not end in time by our own error."""
        now_ms = context.clock.now_ms()
        work = self._body_size * exchange.body_bytes + self._headers_size * exchange.header_bytes
        if work <= LOOP_WORK_MAX:
            return self._judge(exchange, certificates, now_ms)
        begun = perf_counter()
        seen = await context.matching.run(self, work, lambda: self._judge(exchange, certificates, now_ms), deadline)
        exchange.matching_ms = (perf_counter() - begun) * 1000
        if not isinstance(seen, Late):
            return seen
        return None if seen.ours else FailureClass.TIMEOUT, seen.text(exchange.body_bytes, timeout_ms)

    def _judge(self, exchange: HttpExchange, certificates: Certificates, now_ms: int) -> Refusal | None:
        text = (
            self._judge_body(exchange)
            or self._judge_headers(exchange)
            or self._judge_certificates(certificates, now_ms)
            or self._judge_time(sum(exchange.spent) * 1000)
        )
        return (FailureClass.ASSERTION, text) if text else None

    def _judge_body(self, exchange: HttpExchange) -> str:
        if not self._want_body:
            return ""
        body, cut = exchange.body, ""
        if exchange.truncated:
            cut = f" in its first {exchange.body_bytes} bytes, and more were not read"
        if self._body_must is not None:
            if not self._body_must.found_in(body):
                return f"body does not match {self._body_must}{cut}{got(body)}"
            if cut and not all(self._body_must.found_in(body + more) for more in MORE):
                return (
                    f"whether the body matches {self._body_must} hangs on bytes after its first {exchange.body_bytes}, which were not read"
                )
        if self._body_must_not is not None:
            if self._body_must_not.found_in(body):
                return f"body matches {self._body_must_not}, want no match{got(body)}"
            if cut:
                return f"body does not match {self._body_must_not}{cut}, so it may match; want no match"
        return ""

    def _judge_headers(self, exchange: HttpExchange) -> str:
        for name, must in self._headers_must:
            values = exchange.values(name)
            if must is None and values:
                return f"header {name.decode()} is present, want it absent{_got_header(name.decode(), values[0])}"
            if must is not None and not values:
                return f"header {name.decode()} is absent, want {must}"
            if must is not None and not any(must.found_in(value) for value in values):
                return f"header {name.decode()} does not match {must}{_got_header(name.decode(), values[0])}"
        return ""

    def _judge_certificates(self, certificates: Certificates, now_ms: int) -> str:
        """Judge the certificate that expires first, of all hops."""
        if self._days is None:
            return ""
        known = [certificate for certificate in certificates if certificate is not None]
        if len(known) < len(certificates):
            return f"no certificate was served, want ≥ {self._days} d"
        earliest = min(known, key=lambda certificate: certificate.not_after_ms)
        left_ms = earliest.not_after_ms - now_ms
        if left_ms >= self._days * DAY_MS:
            return ""
        which = "" if earliest is known[-1] else f" of {earliest.subject}, which redirects,"
        seen = f"expires in {left_ms // DAY_MS} d" if left_ms >= 0 else f"expired {-left_ms // DAY_MS} d ago"
        return f"certificate{which} {seen}, want ≥ {self._days} d"

    def _judge_time(self, took_ms: float) -> str:
        if self._limit_ms is None or took_ms <= self._limit_ms:
            return ""
        return f"response took {took_ms:.0f} ms, want ≤ {self._limit_ms} ms"

    def _failed(self, exchange: HttpExchange, hop: Hop, hops: int, failure: FailureClass | None, text: str) -> Attempt:
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
            stale=exchange.stale,
        )


def _got_header(name: str, value: bytes) -> str:
    """As `got`, and nothing where the header may carry a secret."""
    return "" if name == "location" or is_sensitive(name) else got(value)
