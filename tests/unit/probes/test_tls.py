"""Certificates: trusted, expired, for another name, and what a probe tells of them."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.core.outcome import FailureClass, Outcome, Result
from tests.unit.probes.servers import answering, make_tls, probe, response, run, serving

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
