"""Which addresses a probe may connect to."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.probes.policy import TargetPolicy

NAT64_OWN = "64:ff9b:1"

ALLOWED = {
    "loopback": ("127.0.0.1", "::1", "::ffff:127.0.0.1"),
    "private": ("10.1.2.3", "192.168.0.1", "172.16.0.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"),
    "public": ("1.1.1.1", "8.8.8.8", "2606:4700::1111", "2001:4860:4860::8888", "240.0.0.1"),
    "next to metadata": ("fd00:ec2::253", "100.100.100.201", "168.63.129.17", "192.0.0.193", "fd00:42::43"),
    "carried": (
        "64:ff9b::8.8.8.8", "64:ff9b::10.0.0.7", "::10.0.0.7", "::ffff:0:10.0.0.7", "2002:a00:7::1", "2001:0:101:101:0:0:f5ff:fff8",
        "2606:4700::5efe:10.0.0.7", "2606:4700::200:5efe:10.0.0.7",
    ),
    "carried behind a translator's own prefix of 96, 48, 56 and 64 bits": (
        f"{NAT64_OWN}::8.8.8.8", f"{NAT64_OWN}::10.0.0.7", f"{NAT64_OWN}::1", f"{NAT64_OWN}::", f"{NAT64_OWN}:fffe::8.8.8.8",
        f"{NAT64_OWN}:808:8:800::", f"{NAT64_OWN}:8:8:808::", f"{NAT64_OWN}:0:8:808:800:0",
    ),
    "what only looks like it": ("2606:4700::5eff:a9fe:a9fe", "2606:4700::ffff:0:a9fe:a9fe", "64:ff9b:2::a9fe:a9fe", "2003:a9fe:a9fe::1"),
}  # fmt: skip

METADATA = (
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.23", "169.254.10.10", "169.254.42.42", "100.100.100.200",
    "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42",
    "fd00:a9fe:a9fe::1", "fd00:100::100:200", "fe80::a9fe:a9fe", "fe80::a9fe:a9fe%eth0",
)  # fmt: skip

DENIED = {
    "metadata": METADATA,
    "link-local": ("169.254.1.1", "fe80::1", "fe80::1%eth0"),
    "multicast": ("224.0.0.1", "239.255.255.255", "ff02::1"),
    "broadcast": ("255.255.255.255",),
    "unspecified": ("0.0.0.0", "0.0.0.1", "::"),
    "mapped": ("::ffff:169.254.169.254", "::ffff:a9fe:a9fe"),
    "translated": ("::ffff:0:169.254.169.254", "::ffff:0:a9fe:a9fe"),
    "compatible": ("::169.254.169.254",),
    "6to4": ("2002:a9fe:a9fe::1", "2002:a9fe:a9fe:1:2:3:4:5"),
    "Teredo, server and client": ("2001:0:a9fe:a9fe::1", "2001:0:101:101:0:0:5601:5601"),
    "ISATAP": ("2606:4700::5efe:a9fe:a9fe", "2606:4700::200:5efe:a9fe:a9fe", "fd00::100:5efe:a9fe:a9fe", "2002:a00:7::5efe:a9fe:a9fe"),
    "NAT64": ("64:ff9b::a9fe:a9fe", "64:ff9b::169.254.1.1"),
    "behind a translator's prefix of 96 bits": (f"{NAT64_OWN}::a9fe:a9fe", f"{NAT64_OWN}:fffe::a9fe:a9fe", f"{NAT64_OWN}:0:0:1:a9fe:a9fe"),
    "of 48": (f"{NAT64_OWN}:a9fe:a9:fe00::", f"{NAT64_OWN}:a9fe:a9:fe00:1:2"),
    "of 56": (f"{NAT64_OWN}:a9:fe:a9fe::", f"{NAT64_OWN}:77a9:fe:a9fe:1:2"),
    "of 64": (f"{NAT64_OWN}:0:a9:fea9:fe00:0", f"{NAT64_OWN}:77:a9:fea9:fe01:2"),
    "no address": ("nonsense", "", "1.2.3", "①"),
}  # fmt: skip


def table(forms: dict[str, tuple[str, ...]]) -> list[Any]:
    return [pytest.param(ip, id=f"{kind}: {ip}") for kind, ips in forms.items() for ip in ips]


@pytest.mark.parametrize("ip", table(ALLOWED))
def test_allowed_by_default(ip: str) -> None:
    assert TargetPolicy().refusal(ip) is None


@pytest.mark.parametrize("ip", table(DENIED))
def test_denied_by_default(ip: str) -> None:
    assert TargetPolicy().refusal(ip) is not None


def test_the_text_names_what_is_carried() -> None:
    assert TargetPolicy().refusal("2002:a9fe:a9fe::1") == "address 169.254.169.254 (carried by 2002:a9fe:a9fe::1) is denied (metadata)"


def test_allow_wins_over_deny() -> None:
    policy = TargetPolicy(allow=["10.0.0.0/8"], deny=["0.0.0.0/0", "::/0"])
    assert policy.refusal("10.1.1.1") is None
    assert policy.refusal("::ffff:10.1.1.1") is None
    assert policy.refusal("11.1.1.1") == "address 11.1.1.1 is denied (0.0.0.0/0)"


@pytest.mark.parametrize("ip", METADATA)
def test_metadata_yields_only_to_its_own_name(ip: str) -> None:
    wide = ["0.0.0.0/0", "::/0", "link-local", "private"]
    assert TargetPolicy(allow=wide).refusal(ip) is not None
    assert TargetPolicy(allow=[ip.partition("%")[0]]).refusal(ip) is None
    assert TargetPolicy(allow=["metadata"]).refusal(ip) is None


def test_a_link_local_network_opens_by_its_name() -> None:
    assert TargetPolicy(allow=["link-local"]).refusal("169.254.1.1") is None
    assert TargetPolicy(allow=["link-local"]).refusal("fe80::1%eth0") is None


def test_a_bad_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="write an address, a network"):
        TargetPolicy(deny=["10.0.0.1/8"])
