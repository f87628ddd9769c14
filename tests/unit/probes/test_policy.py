"""Which addresses a probe may connect to."""

from __future__ import annotations

import pytest

from monitor.probes.policy import TargetPolicy


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "fd00::1", "1.1.1.1", "2606:4700::1111", "::ffff:10.0.0.1"])
def test_allowed_by_default(ip: str) -> None:
    assert TargetPolicy().refusal(ip) is None


@pytest.mark.parametrize(
    "ip",
    [
        "169.254.169.254",
        "169.254.1.1",
        "fe80::1",
        "fe80::1%eth0",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "fd00:ec2::254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "::ffff:169.254.169.254",
        "::a9fe:a9fe",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1:a9fe:a9:fe00::",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
        "2001:0:101:101:0:0:5601:5601",
        "nonsense",
    ],
)
def test_denied_by_default(ip: str) -> None:
    assert TargetPolicy().refusal(ip) is not None


def test_the_text_names_what_is_carried() -> None:
    assert TargetPolicy().refusal("2002:a9fe:a9fe::1") == "address 169.254.169.254 (carried by 2002:a9fe:a9fe::1) is denied (metadata)"


def test_allow_wins_over_deny() -> None:
    policy = TargetPolicy(allow=["10.0.0.0/8"], deny=["0.0.0.0/0", "::/0"])
    assert policy.refusal("10.1.1.1") is None
    assert policy.refusal("::ffff:10.1.1.1") is None
    assert policy.refusal("11.1.1.1") == "address 11.1.1.1 is denied (0.0.0.0/0)"


def test_metadata_yields_only_to_its_own_name() -> None:
    assert TargetPolicy(allow=["0.0.0.0/0", "link-local", "private"]).refusal("169.254.169.254") is not None
    assert TargetPolicy(allow=["169.254.169.254"]).refusal("169.254.169.254") is None
    assert TargetPolicy(allow=["metadata"]).refusal("100.100.100.200") is None
    assert TargetPolicy(allow=["link-local"]).refusal("169.254.1.1") is None


def test_a_bad_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="write an address, a network"):
        TargetPolicy(deny=["10.0.0.1/8"])
