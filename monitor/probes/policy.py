"""Target policy: which addresses a probe may connect to.

It judges the address that is connected to, never the name, on every redirect hop. An IPv6 address that
carries an IPv4 address (mapped, translated, compatible, NAT64, 6to4, Teredo, ISATAP) is judged by what it carries as well. Private and
loopback ranges may be probed, since watching them is a monitor's work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CACHE_MAX = 65_536

GROUPS: dict[str, tuple[str, ...]] = {
    "metadata": (
        "169.254.169.254",  # AWS, Azure, GCP, OpenStack, Oracle, and most others
        "169.254.170.2",  # AWS ECS
        "169.254.170.23",  # AWS EKS pod identity
        "169.254.0.23",  # Tencent
        "169.254.10.10",  # Tencent
        "169.254.42.42",  # Scaleway
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS EKS pod identity
        "fd20:ce::254",  # GCP
        "fd00:c1::a9fe:a9fe",  # Oracle
        "fd00:42::42",  # Scaleway
        "fd00:a9fe:a9fe::1",  # Linode
        "fd00:100::100:200",  # Alibaba
        "fe80::a9fe:a9fe",  # OpenStack, Linode
    ),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "broadcast": ("255.255.255.255",),
    "unspecified": ("0.0.0.0/8", "::"),
    "loopback": ("127.0.0.0/8", "::1"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
}
DENIED_GROUPS = ("metadata", "link-local", "multicast", "broadcast", "unspecified")

_METADATA = frozenset(ip_address(text) for text in GROUPS["metadata"])
_LAST_32_BITS = tuple(
    ip_network(text)
    for text in (
        "64:ff9b::/96",  # NAT64, RFC 6052
        "::ffff:0:0:0/96",  # translated, RFC 2765
        "::/96",  # compatible, RFC 4291
    )
)
_NAT64_LOCAL = ip_network("64:ff9b:1::/48")  # RFC 8215
_NOTHING = ip_network("0.0.0.0/8")


class TargetPolicy:
    """Decides by address; `allow` and `deny` list addresses, networks or names of GROUPS.

    `allow` wins over `deny`, which wins over the groups denied by default: `deny=("0.0.0.0/0", "::/0")`
    with `allow=("10.0.0.0/8",)` leaves one network. A metadata address yields only to its own address or its group's
    name in `allow`, never to a wider network. Raises ValueError with a hint for an entry that is neither.
    """

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self._allow = tuple(network for entry in allow for network, _ in _networks(entry))
        self._deny = tuple(pair for entry in (*deny, *DENIED_GROUPS) for pair in _networks(entry))
        self._cache: dict[str, str | None] = {}

    def refusal(self, ip: str) -> str | None:
        """Return why a probe must not connect to this address, or None when it may."""
        try:
            return self._cache[ip]
        except KeyError:
            if len(self._cache) >= CACHE_MAX:
                self._cache.clear()
            refusal = self._cache[ip] = self._judge(ip)
            return refusal

    def _judge(self, ip: str) -> str | None:
        try:
            address = ip_address(ip.partition("%")[0])
        except ValueError:
            return f"{ip!r} is not an address"
        for form in _forms(address):
            if any(form in network and (network.num_addresses == 1 or form not in _METADATA) for network in self._allow):
                continue
            for network, why in self._deny:
                if form in network:
                    carried = "" if form == address else f" (carried by {ip})"
                    return f"address {form}{carried} is denied ({why})"
        return None


def _networks(entry: str) -> Iterator[tuple[Network, str]]:
    for text in GROUPS.get(entry, (entry,)):
        try:
            yield ip_network(text), entry
        except ValueError:
            names = ", ".join(GROUPS)
            raise ValueError(f"{entry!r} is not a network; write an address, a network such as 10.0.0.0/8, or one of {names}") from None


def _forms(address: Address) -> Iterator[Address]:
    """Yield the address, or what it really connects to, and every IPv4 address that it carries."""
    if isinstance(address, IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    yield address
    number = int(address)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    last = IPv4Address(number & 0xFFFF_FFFF)
    isatap = number >> 32 & 0xFCFF_FFFF == 0x0000_5EFE  # RFC 5214; two bits tell whether the address is unique and one of a group
    if isatap or (number > 0xFFFF and any(address in network for network in _LAST_32_BITS)):
        yield last
    if address in _NAT64_LOCAL:
        yield from _translated(number, last)


def _translated(number: int, last: IPv4Address) -> Iterator[IPv4Address]:
    """Yield what an address behind a translator's own prefix may carry: nobody knows how long that is, and bits 64 to 71 are skipped (RFC
    6052, 2.2). Zeros before the last 32 bits leave one length, and what would be in 0.0.0.0/8 is read with a wrong one."""
    whole = number >> 64 << 56 | number & 0xFF_FFFF_FFFF_FFFF
    lengths = (48, 56, 64) if number >> 32 & 0xFFFF_FFFF else ()
    for carried in (*(IPv4Address(whole >> (88 - length) & 0xFFFF_FFFF) for length in lengths), last):
        if carried not in _NOTHING:
            yield carried
