"""Names to addresses, without threads: c-ares with a cache that outlives a dead resolver.

A name that does not exist is the target's failure; a resolver that does not answer is ours. SERVFAIL cannot
be told apart from a broken upstream of our own resolver, so it counts as ours too.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import aiodns
import msgspec

from monitor.clock import Clock

TTL_MIN_MS = 1_000
TTL_MAX_MS = 3_600_000
STALE_MAX_MS = 86_400_000
"""How long after its expiry an answer still serves while no resolver answers (RFC 8767 suggests one to three days)."""
STALE_WAIT_MS = 250
"""How long a probe waits for a fresh answer when it has a stale one (RFC 8767 suggests 1.8 s)."""
STALE_RETRY_MS = 5_000
"""How long a stale answer serves unquestioned after a refresh has failed (RFC 8767 asks for at least one second, up to 30)."""
CACHE_MAX = 20_000

_ABSENT = frozenset({aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA, aiodns.error.ARES_ENONAME, aiodns.error.ARES_EBADNAME})


class Lookup(msgspec.Struct, frozen=True):
    """Addresses in the order to try them, or the text that says why there are none; `ours` when that is our own error."""

    addresses: tuple[str, ...] = ()
    text: str = ""
    ours: bool = False


class _Entry(msgspec.Struct):
    addresses: tuple[str, ...]
    expires_ms: int
    stale_until_ms: int


def literal(host: str) -> tuple[str, ...]:
    """Return the addresses of a host that needs no query: a literal address or localhost; else nothing."""
    if f".{host.removesuffix('.')}".endswith(".localhost"):
        return ("127.0.0.1", "::1")  # RFC 6761
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        return ()


class Resolver:
    """Asks the machine's resolvers, or `nameservers` ("ip:port"); concurrent questions for one name are one query.

    /etc/hosts and search domains are honoured, by c-ares. It belongs to the event loop that is running when it is made.
    """

    def __init__(self, clock: Clock, nameservers: Sequence[str] | None = None, *, timeout_ms: int = 1_000, tries: int = 2) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._dns = aiodns.DNSResolver(nameservers, loop=self._loop, timeout=timeout_ms / 1000, tries=tries, lookups="fb")
        self._cache: dict[str, _Entry] = {}
        self._asked: dict[str, asyncio.Task[Lookup]] = {}

    def cached(self, host: str) -> tuple[str, ...]:
        """Return the fresh addresses of a name, or nothing when it must be looked up."""
        entry = self._cache.get(host)
        return entry.addresses if entry is not None and self._clock.monotonic_ms() < entry.expires_ms else ()

    async def lookup(self, host: str, timeout_ms: float) -> Lookup:
        """Ask, or join whoever is asking; a stale answer serves where no resolver gives a better one in time."""
        known = literal(host) or self.cached(host)
        if known:
            return Lookup(known)
        task = self._asked.get(host)
        if task is None:
            task = self._asked[host] = self._loop.create_task(self._ask(host))
            task.add_done_callback(lambda _: self._asked.pop(host, None))
        stale = self._stale(host)
        wait_ms = min(timeout_ms / 4, STALE_WAIT_MS) if stale else timeout_ms
        done, _ = await asyncio.wait((task,), timeout=wait_ms / 1000)
        if not done:
            self._serve_stale(host)
            return stale or Lookup(text=f"no resolver answered for {host}", ours=True)
        answer = task.result()
        return stale if stale and answer.ours else answer

    async def close(self) -> None:
        """Stop asking; whoever waits is cancelled."""
        for task in self._asked.values():
            task.cancel()
        await self._dns.close()

    def _serve_stale(self, host: str) -> None:
        """Let an old answer serve for a while, without asking for each probe again."""
        if (entry := self._cache.get(host)) is not None:
            entry.expires_ms = self._clock.monotonic_ms() + STALE_RETRY_MS

    def _stale(self, host: str) -> Lookup | None:
        entry = self._cache.get(host)
        return Lookup(entry.addresses) if entry is not None and self._clock.monotonic_ms() < entry.stale_until_ms else None

    async def _ask(self, host: str) -> Lookup:
        try:
            result = await self._dns.getaddrinfo(host, type=1)
        except aiodns.error.DNSError as error:
            code, reason = error.args[0], str(error.args[-1])
            if code in _ABSENT:
                self._cache.pop(host, None)
                return Lookup(text=f"{host} has no address" if code == aiodns.error.ARES_ENODATA else f"{host} does not exist")
            self._serve_stale(host)
            return Lookup(text=f"no resolver answered for {host}: {reason.lower()}", ours=True)
        addresses = tuple(dict.fromkeys(_text(node.addr[0]) for node in result.nodes))
        if not addresses:
            return Lookup(text=f"{host} has no address")
        self._keep(host, addresses, min((getattr(node, "ttl", 0) for node in result.nodes), default=0) * 1000)
        return Lookup(addresses)

    def _keep(self, host: str, addresses: tuple[str, ...], ttl_ms: int) -> None:
        self._cache.pop(host, None)
        while len(self._cache) >= CACHE_MAX:
            del self._cache[next(iter(self._cache))]
        expires_ms = self._clock.monotonic_ms() + min(max(ttl_ms, TTL_MIN_MS), TTL_MAX_MS)
        self._cache[host] = _Entry(addresses, expires_ms, expires_ms + STALE_MAX_MS)


def _text(address: str | bytes) -> str:
    return address.decode() if isinstance(address, bytes) else address
