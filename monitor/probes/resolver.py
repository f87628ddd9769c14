"""Names to addresses, without threads: c-ares with a cache that outlives a resolver for some minutes.

A name that does not exist is the target's failure, and a resolver that does not reply is ours. Where a name alone gets no answer from
a resolver that replies, it is the target's; where more of the other names got none than got one, it is ours (decision 0030).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import aiodns
import msgspec

from monitor.clock import Clock
from monitor.core.outcome import StaleAnswer

TTL_MIN_MS = 1_000
TTL_MAX_MS = 3_600_000
STALE_MAX_MS = 300_000
"""How long after its expiry an answer still serves while no resolver gives another, unless the settings say so (`dns_stale_ms`)."""
STALE_WAIT_MS = 250
"""How long a probe waits for a fresh answer when it has a stale one (RFC 8767 suggests 1.8 s)."""
STALE_RETRY_MS = 5_000
"""How long a stale answer serves unquestioned after a refresh has failed (RFC 8767 asks for at least one second, up to 30)."""
OTHERS_WINDOW_MS = 300_000
"""For how long what a name was answered, or was not, tells of the resolver."""
CACHE_MAX = 20_000

_ERRORS = aiodns.error
_ABSENT = frozenset({_ERRORS.ARES_ENOTFOUND, _ERRORS.ARES_ENODATA, _ERRORS.ARES_ENONAME, _ERRORS.ARES_EBADNAME})
_REPLIES = {
    _ERRORS.ARES_ESERVFAIL: "SERVFAIL",
    _ERRORS.ARES_EREFUSED: "REFUSED",
    _ERRORS.ARES_EFORMERR: "FORMERR",
    _ERRORS.ARES_ENOTIMP: "NOTIMP",
    _ERRORS.ARES_EBADRESP: "what cannot be read",
}
"""What a resolver says that replies and has no answer."""


class Lookup(msgspec.Struct, frozen=True):
    """Addresses in the order to try them, or the text that says why there are none; `ours` when that is our own error."""

    addresses: tuple[str, ...] = ()
    text: str = ""
    ours: bool = False
    stale: StaleAnswer | None = None
    """What is to be said of addresses for which no resolver speaks any more."""


class _Entry(msgspec.Struct):
    addresses: tuple[str, ...]
    answered_ms: int
    expires_ms: int
    stale_until_ms: int
    retry_ms: int = 0
    why: str = ""
    """What came of the last question, since the answer has expired."""
    ours: bool = False
    """Whether that was our own error."""


class _Silence(msgspec.Struct, frozen=True):
    """No answer: what came instead, and whether that was a reply."""

    why: str = ""
    replied: bool = False


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

    def __init__(
        self,
        clock: Clock,
        nameservers: Sequence[str] | None = None,
        *,
        timeout_ms: int = 1_000,
        tries: int = 2,
        stale_max_ms: int = STALE_MAX_MS,
    ) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._dns = aiodns.DNSResolver(nameservers, loop=self._loop, timeout=timeout_ms / 1000, tries=tries, lookups="fb")
        self._hosts_file: aiodns.DNSResolver | None = None
        self._stale_max_ms = stale_max_ms
        self._cache: dict[str, _Entry] = {}
        self._asked: dict[str, asyncio.Task[Lookup | _Silence]] = {}
        self._others = _Others()
        self._replied_ms = -1
        self._checks = 0
        self._check: asyncio.Task[bool] | None = None

    def cached(self, host: str) -> tuple[str, ...]:
        """Return the fresh addresses of a name, or nothing when it must be looked up."""
        entry = self._cache.get(host)
        return entry.addresses if entry is not None and self._clock.monotonic_ms() < entry.expires_ms else ()

    async def lookup(self, host: str, timeout_ms: float, *, registered: bool = True) -> Lookup:
        """Ask, or join whoever is asking; a stale answer serves where no resolver gives a better one in time.

        What comes of a name that is not `registered`, but was named by a target, says nothing of the resolver: it may be any.
        """
        known = literal(host) or self.cached(host)
        if known:
            return Lookup(known)
        begun_ms = self._clock.monotonic_ms()
        stale = self._stale(host)
        if stale is not None and begun_ms < stale.retry_ms:
            return self._still(stale)
        task = self._asked.get(host)
        if task is None:
            task = self._asked[host] = self._loop.create_task(self._ask(host, registered=registered))
            task.add_done_callback(lambda _: self._asked.pop(host, None))
        check = self._ask_anything() if stale is None and self._others.is_failing(host) else None
        wait_ms = timeout_ms if stale is None else min(timeout_ms / 4, STALE_WAIT_MS)
        done, _ = await asyncio.wait((task,), timeout=wait_ms / 1000)
        answer = task.result() if done else _Silence()
        if isinstance(answer, Lookup):
            return answer
        now_ms = self._clock.monotonic_ms()
        if stale is not None:
            stale.retry_ms = now_ms + STALE_RETRY_MS
            return self._still(stale)
        replied = answer.replied or self._replied_ms > begun_ms
        if not replied:
            check = check or self._ask_anything()
            await asyncio.wait((check,), timeout=max(0, timeout_ms - (now_ms - begun_ms)) / 1000)
            replied = check.done() and check.result()
        return self._judge(host, answer, replied=replied)

    async def close(self) -> None:
        """Stop asking; whoever waits is cancelled."""
        for task in (*self._asked.values(), *([self._check] if self._check else [])):
            task.cancel()
        await self._dns.close()
        if self._hosts_file is not None:
            await self._hosts_file.close()

    def _judge(self, host: str, silence: _Silence, *, replied: bool) -> Lookup:
        """Whose error it is that a name has no answer: that of a resolver that does not reply is ours, or has none for most others."""
        failed, answered = self._others.than(host, self._clock.monotonic_ms())
        why = f": {silence.why if not silence.replied else 'it says ' + silence.why}" if silence.why else ""
        if not replied:
            return Lookup(text=f"no resolver answered for {host}{why}", ours=True)
        if failed > answered:
            return Lookup(text=f"no resolver answered for {host}{why}; nor for {failed} of {failed + answered} others", ours=True)
        if silence.replied:
            return Lookup(text=f"the resolver says {silence.why} for {host}")
        return Lookup(text=f"the resolver replies, but not for {host}")

    def _stale(self, host: str) -> _Entry | None:
        entry = self._cache.get(host)
        return entry if entry is not None and self._clock.monotonic_ms() < entry.stale_until_ms else None

    def _still(self, entry: _Entry) -> Lookup:
        """An old answer; as long as no question has failed it is only late."""
        age_ms = self._clock.monotonic_ms() - entry.answered_ms
        return Lookup(entry.addresses, stale=StaleAnswer(self._clock.now_ms() - age_ms, entry.why, entry.ours) if entry.why else None)

    async def _ask(self, host: str, *, registered: bool) -> Lookup | _Silence:
        begun_ms = self._clock.monotonic_ms()
        try:
            result = await self._dns.getaddrinfo(host, type=1)
        except aiodns.error.DNSError as error:
            code, reason = error.args[0], str(error.args[-1])
            self._heard(host if registered else "", answered=code in _ABSENT, replied=code in _ABSENT or code in _REPLIES)
            if code not in _ABSENT:
                return await self._unanswered(host, code, reason, begun_ms)
            self._cache.pop(host, None)
            return Lookup(text=f"{host} has no address" if code == _ERRORS.ARES_ENODATA else f"{host} does not exist")
        addresses = tuple(dict.fromkeys(_text(node.addr[0]) for node in result.nodes))
        ttl_ms = min((getattr(node, "ttl", 0) for node in result.nodes), default=0) * 1000
        if ttl_ms or not await self._in_hosts_file(host):
            self._heard(host if registered else "", answered=True, replied=True)
        if not addresses:
            return Lookup(text=f"{host} has no address")
        self._keep(host, addresses, ttl_ms)
        return Lookup(addresses)

    async def _in_hosts_file(self, host: str) -> bool:
        """Whether an answer without a time to live came from /etc/hosts, so that nothing follows from it for the resolver."""
        self._hosts_file = self._hosts_file or aiodns.DNSResolver(loop=self._loop, lookups="f")
        try:
            await self._hosts_file.getaddrinfo(host, type=1)
        except aiodns.error.DNSError:
            return False
        return True

    def _heard(self, host: str, *, answered: bool, replied: bool) -> None:
        now_ms = self._clock.monotonic_ms()
        if host:
            self._others.add(host, now_ms, answered=answered)
        if replied:
            self._replied_ms = now_ms

    async def _unanswered(self, host: str, code: int, reason: str, begun_ms: int) -> _Silence:
        reply = _REPLIES.get(code, "")
        silence = _Silence(reply or reason.lower(), replied=bool(reply))
        if (entry := self._cache.get(host)) is not None:
            entry.retry_ms = self._clock.monotonic_ms() + STALE_RETRY_MS
            replied = silence.replied or self._replied_ms > begun_ms or await self._ask_anything()
            judged = self._judge(host, silence, replied=replied)
            entry.why, entry.ours = judged.text, judged.ours
        return silence

    def _ask_anything(self) -> asyncio.Task[bool]:
        """See whether the resolver replies at all, by a name that does not exist by definition (RFC 6761, 6.4) and is in no cache."""
        if self._check is None or self._check.done():
            self._checks += 1
            self._check = self._loop.create_task(self._look(f"watchkeeper-{self._checks}.invalid."))
        return self._check

    async def _look(self, name: str) -> bool:
        try:
            await self._dns.getaddrinfo(name, type=1)
        except aiodns.error.DNSError as error:
            return error.args[0] in _ABSENT or error.args[0] in _REPLIES
        return True

    def _keep(self, host: str, addresses: tuple[str, ...], ttl_ms: int) -> None:
        self._cache.pop(host, None)
        while len(self._cache) >= CACHE_MAX:
            del self._cache[next(iter(self._cache))]
        now_ms = self._clock.monotonic_ms()
        expires_ms = now_ms + min(max(ttl_ms, TTL_MIN_MS), TTL_MAX_MS)
        self._cache[host] = _Entry(addresses, now_ms, expires_ms, expires_ms + self._stale_max_ms)


class _Others:
    """What came of the last question for each name, for as long as that tells of the resolver; oldest first."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, bool]] = {}
        self._answered = 0

    def add(self, host: str, now_ms: int, *, answered: bool) -> None:
        self._forget(host)
        self._last[host] = now_ms, answered
        self._answered += answered
        self._prune(now_ms)

    def is_failing(self, host: str) -> bool:
        """Whether the last question for this name had no answer."""
        return not self._last.get(host, (0, True))[1]

    def than(self, host: str, now_ms: int) -> tuple[int, int]:
        """How many names other than this one had no answer, and how many had one."""
        self._prune(now_ms)
        _, own = self._last.get(host, (0, False))
        answered = self._answered - own
        return len(self._last) - (host in self._last) - answered, answered

    def _prune(self, now_ms: int) -> None:
        while self._last:
            host, (at_ms, _) = next(iter(self._last.items()))
            if at_ms + OTHERS_WINDOW_MS > now_ms and len(self._last) <= CACHE_MAX:
                return
            self._forget(host)

    def _forget(self, host: str) -> None:
        self._answered -= self._last.pop(host, (0, False))[1]


def _text(address: str | bytes) -> str:
    return address.decode() if isinstance(address, bytes) else address
