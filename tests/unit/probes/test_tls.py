"""Certificates: trusted, expired, for another name, and what a probe tells of them."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.probes.hops import http_url
from monitor.probes.http import HttpProber
from tests.unit.probes.servers import answering, ending, make_tls, probe, response, run, serving

DAY_MS = 86_400_000


def over_tls(tls: tuple[ssl.SSLContext, ssl.SSLContext], *, host: str = "localhost", trusted: bool = True, **options: Any) -> Result:
    async def main() -> Result:
        server, client = tls
        async with serving(answering(response(200, b"ready" * 20_000)), tls=server) as port:
            return await probe(f"https://{host}:{port}/", verified=client if trusted else None, **options)

    result: Result = run(main())
    return result


@pytest.mark.parametrize("verify", [True, False])
def test_certificate_is_kept(verify: bool) -> None:
    result = over_tls(make_tls(("localhost", "shop.test", "127.0.0.1"), days=40), verify_tls=verify, expect_body="ready")
    assert (result.outcome, result.text, result.body_bytes) == (Outcome.SUCCESS, "", 100_000)
    assert result.phases.tls_ms > 0
    certificate = result.certificate
    assert certificate is not None
    assert (certificate.subject, certificate.issuer) == ("localhost", "Test Authority")
    assert certificate.names == ("localhost", "shop.test", "127.0.0.1")
    assert abs(certificate.not_after_ms - SystemClock().now_ms() - 40 * DAY_MS) < 60_000


def test_what_a_certificate_says_is_data() -> None:
    named = over_tls(make_tls(("a\x1b[2J//me:s3cret@host",)), verify_tls=False).certificate
    assert named is not None
    assert named.subject == named.names[0] == "a\\x1b[2J//<secret>@host"


def test_the_earliest_expiry_of_the_chain_counts() -> None:
    result = over_tls(make_tls(days=90, authority_days=4), expect_certificate_days=14)
    assert (result.failure, result.text) == (FailureClass.ASSERTION, "certificate expires in 3 d, want ≥ 14 d")


def test_expired_seen_without_verification() -> None:
    result = over_tls(make_tls(days=-2.5), verify_tls=False, expect_certificate_days=0)
    assert result.text == "certificate expired 2 d ago, want ≥ 0 d"


@pytest.mark.parametrize(
    ("tls", "options", "text"),
    [
        ({"days": -2}, {}, "certificate is not accepted: certificate has expired"),
        ({"names": ("other.test",)}, {}, "Hostname mismatch, certificate is not valid for 'localhost'."),
        ({}, {"trusted": False}, "certificate is not accepted: self-signed certificate in certificate chain"),
        ({}, {"server_name": "shop.test"}, "Hostname mismatch, certificate is not valid for 'shop.test'."),
    ],
    ids=["expired", "wrong-host", "untrusted", "server-name"],
)
def test_certificates_that_are_not_accepted(tls: dict[str, Any], options: dict[str, Any], text: str) -> None:
    result = over_tls(make_tls(**tls), **options)
    assert (result.outcome, result.failure) == (Outcome.FAILURE, FailureClass.TLS)
    assert text in result.text


def test_the_earliest_expiry_of_all_hops_counts() -> None:
    async def main() -> Result:
        soon, trusting = make_tls(("localhost",), days=3.5)
        late, also = make_tls(("localhost",), days=80)
        trusting.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(also.get_ca_certs(binary_form=True)[0]))
        async with serving(answering(response(200)), tls=late) as port:
            first = answering(response(301, b"", f"Location: https://localhost:{port}/"))
            async with serving(first, tls=soon) as redirecting:
                return await probe(f"https://localhost:{redirecting}/", verified=trusting, expect_certificate_days=14)

    result = run(main())
    assert (result.failure, result.text) == (
        FailureClass.ASSERTION, "certificate of localhost, which redirects, expires in 3 d, want ≥ 14 d"
    )  # fmt: skip


def test_a_name_in_the_subject_alone_does_not_count() -> None:
    result = over_tls(make_tls(("localhost",), named=False))
    assert result.failure is FailureClass.TLS
    assert "Hostname mismatch" in result.text


def test_tls_asks_for_a_host_without_its_last_dot() -> None:
    asked: list[str | None] = []
    requests: list[bytes] = []
    server, client = make_tls(("localhost",))
    server.sni_callback = lambda _, name, __: asked.append(name)

    async def main() -> Result:
        async with serving(answering(response(200), requests=requests), tls=server) as port:
            return await probe(f"https://localhost.:{port}/", verified=client)

    result = run(main())
    assert (result.outcome, result.text, asked) == (Outcome.SUCCESS, "", ["localhost"])
    assert b"Host: localhost.:" in requests[0]


@pytest.mark.parametrize(
    ("answer", "polite", "text"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nready", True, ""),
        (b"HTTP/1.1 200 OK\r\n\r\nready", False, "connection cut without TLS's close_notify, so the body may not be whole"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready", False, ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nready\r\n0\r\n\r\n", False, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready", True, "connection closed before the end of the body"),
        (b"HTTP/1.1 200 OK\r\n", False, "connection closed before the end of the headers"),
        (b"", True, "connection closed without a response"),
        (b"", False, "connection closed without a response"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"expect_body": "ready"}])
def test_how_tls_ends(answer: bytes, polite: bool, text: str, options: dict[str, str]) -> None:
    server, client = make_tls()

    async def main() -> Result:
        async with ending(server, answer, polite=polite) as port:
            return await probe(f"https://localhost:{port}/", verified=client, **options)

    result = run(main())
    assert (result.failure, result.text) == (FailureClass.PROTOCOL if text else None, text)


def test_one_rule_for_names_of_urls_and_of_tls() -> None:
    (server_name,) = (option for option in HttpProber.options if option.name == "server_name")
    name = server_name.parse("faß.test.")
    assert name == http_url("https://faß.test/").raw_host.decode() == "xn--fa-hia.test"
    assert over_tls(make_tls((name,)), server_name=name).outcome is Outcome.SUCCESS


def test_server_name_is_asked_for_and_verified() -> None:
    assert over_tls(make_tls(("shop.test",)), server_name="shop.test").outcome is Outcome.SUCCESS


def test_an_address_is_verified_as_one() -> None:
    assert over_tls(make_tls(("127.0.0.1",)), host="127.0.0.1").outcome is Outcome.SUCCESS


def test_no_tls_on_the_other_side() -> None:
    async def main() -> tuple[Result, Result]:
        async with serving(lambda reader, writer: _speak_plainly(writer)) as port:
            spoke = await probe(f"https://127.0.0.1:{port}/")
        async with serving(lambda reader, writer: reader.read()) as port:
            hung = await probe(f"https://127.0.0.1:{port}/", timeout_ms=200)
        return spoke, hung

    spoke, hung = run(main())
    assert (spoke.failure, spoke.text) == (FailureClass.TLS, "TLS handshake failed: wrong version number")
    assert (hung.failure, hung.text) == (FailureClass.TIMEOUT, "timeout after 200ms in tls")


async def _speak_plainly(writer: Any) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
