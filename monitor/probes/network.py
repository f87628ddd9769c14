"""What connections share, and where they go."""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
import zlib
from collections.abc import Callable
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
DATA_ERRORS = (ValueError, ArithmeticError, LookupError, RecursionError, EOFError, ssl.SSLError, zlib.error, httpx.InvalidURL)
"""What our own code raises over values that it did not expect. Raised while it works on what a target sent, it is the target's failure;
every other error, and any raised elsewhere, is ours."""

Count = Callable[[str, int], None]
"""Takes the name of a counter and by how much it grows."""

log = logging.getLogger(__name__)


def uncounted(_name: str, _by: int) -> None:
    """Where nobody asks what was counted."""


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
    count: Count = uncounted
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(RECEIVE_BYTES)))

    def __post_init__(self) -> None:
        if self.verified is not None:
            _strict(self.verified)

    async def close(self) -> None:
        """Let go of the poller, the deadlines and the resolver."""
        self.poller.close()
        self.deadlines.close()
        await self.resolver.close()

    def surprised(self, error: Exception) -> str:
        """Log and count that our own code failed over what a target sent; return what is told of the target."""
        where = "".join(traceback.format_tb(error.__traceback__))  # without what it says, which may quote the target
        log.error("%s over what a target sent, at\n%s", type(error).__name__, where)
        self.count("prober_errors", 1)
        return f"what the target sent cannot be understood ({type(error).__name__})"

    def tls(self, *, verify: bool) -> ssl.SSLContext:
        """Return the one context that verifies, or the one that does not."""
        if verify:
            if self.verified is None:
                self.verified = _strict(_trusting())
            return self.verified
        if self.unverified is None:
            self.unverified = _strict(httpx.create_ssl_context(verify=False))
        return self.unverified


@dataclass(slots=True)
class Destination:
    """Where a connection goes. `server_name` is what TLS asks for and verifies; `addresses` is set for literals.

    A host may end in a dot, which tells resolvers that it is complete; TLS knows no such dot (RFC 6066, 3).
    """

    host: str
    port: int
    tls: bool = False
    verify: bool = True
    server_name: str = ""
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        bare = self.host.removesuffix(".")
        self.addresses = self.addresses or literal(bare)
        self.server_name = self.server_name or bare


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    """Tell a body that was cut from one that ended, and take no name from a certificate's subject (RFC 9525, 6.3)."""
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.hostname_checks_common_name = False
    return context


def _trusting() -> ssl.SSLContext:
    """Return a context that trusts what the machine trusts, or certifi's list where the machine has none (slim images)."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and any(Path(paths.capath).glob("*.0"))):
        return ssl.create_default_context()
    return httpx.create_ssl_context()
