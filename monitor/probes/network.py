"""What connections share, and where they go."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from monitor.probes.deadlines import Deadlines
from monitor.probes.policy import TargetPolicy
from monitor.probes.poller import Poller
from monitor.probes.resolver import Resolver, literal

LAG_MAX_S = 0.1
"""A deadline noticed later than this says more of our event loop than of the target."""
RECEIVE_BYTES = 65_536


@dataclass(slots=True)
class Network:
    """What every connection of one event loop shares."""

    loop: asyncio.AbstractEventLoop
    resolver: Resolver
    policy: TargetPolicy
    poller: Poller
    deadlines: Deadlines
    verified: ssl.SSLContext | None = None
    """Made at first use: building one costs 23 ms."""
    unverified: ssl.SSLContext | None = None
    lag_max_s: float = LAG_MAX_S
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(RECEIVE_BYTES)))

    async def close(self) -> None:
        """Let go of the poller, the deadlines and the resolver."""
        self.poller.close()
        self.deadlines.close()
        await self.resolver.close()

    def tls(self, *, verify: bool) -> ssl.SSLContext:
        """Return the one context that verifies, or the one that does not."""
        if verify:
            if self.verified is None:
                self.verified = _trusting()
            return self.verified
        if self.unverified is None:
            self.unverified = httpx.create_ssl_context(verify=False)
        return self.unverified


@dataclass(slots=True)
class Destination:
    """Where a connection goes. `server_name` is what TLS asks for and verifies; `addresses` is set for literals."""

    host: str
    port: int
    tls: bool = False
    verify: bool = True
    server_name: str = ""
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.addresses = self.addresses or literal(self.host)
        self.server_name = self.server_name or self.host


def _trusting() -> ssl.SSLContext:
    """Return a context that trusts what the machine trusts, or certifi's list where the machine has none (slim images)."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and any(Path(paths.capath).glob("*.0"))):
        return ssl.create_default_context()
    return httpx.create_ssl_context()
