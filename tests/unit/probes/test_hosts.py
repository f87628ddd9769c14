"""Hosts of URLs: each is read in one way, by whoever registers it and by whoever probes it."""

from __future__ import annotations

import pytest

from monitor.config.kinds import parse_url
from monitor.core.outcome import FailureClass, Outcome
from monitor.probes.host import canonical
from monitor.probes.policy import TargetPolicy
from tests.unit.probes.servers import answering, dns, probe, response, run, serving


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("shop.example", "shop.example"),
        ("SHOP.example.", "shop.example."),
        ("shop_1", "shop_1"),
        ("3com.example", "3com.example"),
        ("xn--53h.test", "xn--53h.test"),
        ("xn--a.test", "xn--a.test"),
        ("Straße.example", "xn--strae-oqa.example"),
        ("bücher。example", "xn--bcher-kva.example"),
        ("10.0.0.7", "10.0.0.7"),
        ("127。0。0。1", "127.0.0.1"),
        ("0:0:0::1", "::1"),
        ("::ffff:a9fe:a9fe", "::ffff:a9fe:a9fe"),
    ],
)
def test_a_host_has_one_form(host: str, known: str) -> None:
    assert canonical(host) == known


@pytest.mark.parametrize("scheme", ["http", "tcp"])
@pytest.mark.parametrize("host", ["xn--53h.test", "XN--53H.test", "xn--.test"])
def test_a_name_that_is_ascii_already_is_taken_as_it_is(scheme: str, host: str) -> None:
    async def main() -> None:
        script = answering(response(200)) if scheme == "http" else answering()
        async with dns({host.lower(): "127.0.0.1"}) as server, serving(script) as port:
            url, _, _ = parse_url(f"{scheme}://{host}:{port}")
            found = await probe(url, nameservers=[server.server])
            assert (found.outcome, found.ip) == (Outcome.SUCCESS, "127.0.0.1")

    run(main())


@pytest.mark.parametrize("scheme", ["http", "tcp"])
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127。0。0。1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "LOCALHOST", "localhost.", "a.localhost"]
)
def test_every_form_of_a_denied_address_is_judged_when_registered_and_when_connected(scheme: str, host: str) -> None:
    policy = TargetPolicy(deny=["loopback"])
    url = f"{scheme}://{host}:9"
    with pytest.raises(ValueError, match="denied"):
        parse_url(url, policy.refusal)
    assert run(probe(url, policy=policy)).failure is FailureClass.POLICY


def test_a_name_of_which_one_address_may_be_probed_is_registered() -> None:
    parse_url("http://localhost/", TargetPolicy(deny=["::1"]).refusal)
