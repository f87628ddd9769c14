"""URLs in every form that somebody registers: refused with a place and a hint, or judged by the target policy where they lead."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from monitor.clock import SystemClock
from monitor.config.manifest import read_manifest
from monitor.config.manifest_writer import entry_node
from monitor.core.endpoint import Endpoint
from monitor.core.errors import ConfigError
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.probes.base import ProbeContext
from monitor.probes.catalog import prepare
from monitor.probes.host import canonical
from monitor.probes.policy import TargetPolicy
from monitor.probes.resolver import literal
from monitor.probes.runner import make_context, run_probe
from tests.fuzz.play import cases
from tests.unit.probes.servers import dns_in_a_thread

V4 = st.integers(0, 2**32 - 1) | st.sampled_from([int(IPv4Address(ip)) for ip in ("127.0.0.1", "169.254.169.254", "10.0.0.7", "0.0.0.0")])


def spelled(number: int) -> st.SearchStrategy[str]:
    """Forms in which programs write an IPv4 address, or IPv6 addresses that carry it."""
    a, b, c, d = number.to_bytes(4)
    quad = f"{a}.{b}.{c}.{d}"
    wide = quad.translate({ord(str(n)): 0xFF10 + n for n in range(10)})
    circled = quad.translate({ord(str(n)): 0x2460 + n - 1 if n else 0x24EA for n in range(10)})
    plain = [
        quad, f"{quad}.", str(number), hex(number), f"0{number:o}", f"{a}.{number & 0xFFFFFF}", f"{hex(a)}.{b}.{c * 256 + d}",
        f"{a:o}.{b:o}.{c:o}.{d:o}", wide, circled, quad.replace(".", "\u3002"), quad.replace(".", "\uff0e"), wide.replace(".", "\uff61"),
        "".join(f"%{ord(x):02x}" for x in quad),
    ]  # fmt: skip
    carried = [
        f"::ffff:{quad}", f"::{quad}", f"::ffff:0:{quad}", f"64:ff9b::{quad}", f"64:ff9b:1::{quad}",
        f"2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1", f"fe80::5efe:{quad}", f"::ffff:{quad}%eth0", f"::{quad}%25lo",
        str(IPv6Address(0x64FF9B0001 << 88 | a << 72 | b << 64 | c << 48 | d << 40)),
    ]  # fmt: skip
    return st.sampled_from(plain) | st.sampled_from(carried).map(lambda ip: f"[{ip}]")


NAMES = ["shop.test", "SHOP.test.", "localhost", "localhost.", "a.localhost", "xn--53h.test", "xn--.test", "☕.test", "straße.test"]
HOSTS = (
    V4.flatmap(spelled)
    | st.sampled_from([*NAMES, "①", "a..b", ".", "-a.test", "[v1.a]"])
    | st.text(max_size=30)
    | st.text("abxn-.0127%[]:@\\/?#\u3002①é\u00ad\u200d", max_size=20)
)
PORTS = st.sampled_from(["", ":80", ":0", ":65535", ":65536", ":-1", ":\uff18\uff10", ":+1", ":1_0", ":", ":" + "9" * 40]) | st.text(
    max_size=4
).map(":{}".format)
PATHS = st.sampled_from(["", "/", "/x?q=1", "#f", "/\\x", "?", "/%", "/é"]) | st.text(max_size=10)
URLS = st.builds(
    "{}://{}{}{}{}".format,
    st.sampled_from(["http", "https", "tcp", "HTTP"]),
    st.sampled_from(["", "", "", "user:hunter2@", "@"]),
    HOSTS,
    PORTS,
    PATHS,
)

REFUSING_ALL = TargetPolicy(deny=("0.0.0.0/0", "::/0"))
"""Whatever passes it by would connect, and end in another class."""


class Worker:
    """What probes: a context of its own, and a name server that knows few names."""

    def __init__(self, nameserver: str) -> None:
        self.loop = uvloop.new_event_loop()
        self.context = self.loop.run_until_complete(self.open(nameserver))

    async def open(self, nameserver: str) -> ProbeContext:
        return make_context(SystemClock(), REFUSING_ALL, nameservers=[nameserver], lag_max_s=60)

    def probe(self, endpoint: Endpoint) -> Result:
        return self.loop.run_until_complete(run_probe(endpoint, prepare(endpoint), self.context, 0))

    def close(self) -> None:
        self.loop.run_until_complete(self.context.close())
        self.loop.close()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with dns_in_a_thread(dict.fromkeys(("shop.test", "xn--53h.test", "xn--strae-oqa.test"), "127.0.0.1")) as server:
        worker = Worker(server.server)
        yield worker
        worker.close()


@cases(1_500)
@given(URLS, st.sampled_from([TargetPolicy(), TargetPolicy(deny=("127.0.0.0/8", "::1")), REFUSING_ALL]))
def test_what_is_registered_is_refused_with_a_hint_or_judged_where_it_leads(worker: Worker, url: str, policy: TargetPolicy) -> None:
    try:
        (endpoint,) = read_manifest([entry_node({"id": "a", "url": url, "retries": 0}, ("id", "url"))], deny=policy.refusal).endpoints
    except ConfigError as error:
        for problem in error.problems:
            assert problem.key
            assert problem.why
            assert problem.hint
            assert "hunter2" not in str(problem)
        return
    result = worker.probe(endpoint)
    assert result.outcome is Outcome.FAILURE
    assert result.failure in (FailureClass.POLICY, FailureClass.RESOLVE), result.text
    needs_no_query = literal(canonical(urlsplit(url).hostname or ""))
    if needs_no_query:
        assert result.failure is FailureClass.POLICY
        assert any(policy.refusal(address) is None for address in needs_no_query), "registered, although it leads to what is denied"
