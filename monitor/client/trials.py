"""Trials of half-open endpoints: tokens that are leased ahead of the requests that use them, and ended with what became of these.

A pick never waits. It says what it would like to try and takes a token that is already here; the view's task leases one when requests
come, and gives back what nobody used in time. However many views there are, the script that grants tokens admits a few of them at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import msgspec
from redis.exceptions import NoScriptError, RedisError

from monitor.client.connection import Connection
from monitor.client.records import EndpointView
from monitor.client.view import View
from monitor.client.wheel import SLOTS
from monitor.clock import Clock
from monitor.core.policies.call import CallOutcome
from monitor.core.record import Breaker
from monitor.store import keys
from monitor.store.port import Ended, Refusal, TrialEnd
from monitor.store.scripts import digest, source
from monitor.store.trials import end_arguments, ended, grant_arguments, granted

logger = logging.getLogger("watchkeeper.client")

TICK_MS: Final = 100
"""How often tokens are asked for and results are sent, while there is something to try."""
EVERY_MS: Final = 1_000
"""A view whose requests come may try an endpoint so often, even where its share of them is less."""
PAUSE_MS: Final = 500
"""How long it does not ask again after it was refused, or after Redis did not answer."""
UNUSED_MS: Final = 1_000
"""A token that no request took within this time, or within a quarter of its lease, is given back."""
RELEASE_MS: Final = 10_000
"""For so long a token is given back of which nobody knows whether it was granted."""
FLUSH_TIMEOUT_S: Final = 1.0
RESULTS_MAX: Final = 1_000
"""Results that wait for Redis; those whose lease is over go anyway."""

T = TypeVar("T")
_GRANT, _END = source("grant_trial"), source("end_trial")
_GRANT_DIGEST, _END_DIGEST = digest(_GRANT), digest(_END)


class Token(msgspec.Struct, frozen=True):
    """A trial that this view holds: times are of its monotonic clock."""

    pool: str
    endpoint: EndpointView
    gen: int
    text: str
    leased_ms: int
    until_ms: int


class _Result(msgspec.Struct, frozen=True):
    token: Token
    end: TrialEnd


class TrialDesk:
    """Tokens of one view. `pick`, `end` and `take` may be called by any thread; the rest belongs to the view's loop.

    `reporting` says whether the service reports how its requests end: who never does would only lose tokens.
    """

    def __init__(self, view: View, clock: Clock, reporting: Callable[[], bool]) -> None:
        self.held: dict[str, deque[Token]] = {}
        """By endpoint: tokens whose request goes on. Absent where there is none."""
        self._view = view
        self._clock = clock
        self._reporting = reporting
        self._stock: dict[str, deque[Token]] = defaultdict(deque)
        self._results: deque[_Result] = deque(maxlen=RESULTS_MAX)
        self._picked: set[str] = set()
        self._wanted: set[str] = set()
        self._again_ms: dict[str, int] = {}
        """By endpoint: when a view may try it of its own accord, and when it may ask again."""
        self._refused_ms: dict[str, int] = {}
        self._numbers = itertools.count()
        self._name = ""
        self._link: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: asyncio.Lock | None = None
        self._work: asyncio.Event | None = None

    # For requests: no I/O, no lock ------------------------------------------------------------------------------
    def pick(self, pool: str, endpoint: EndpointView, wheel: Iterator[EndpointView]) -> EndpointView:
        """The endpoint for a request of a pool where something is tried: with a token that one, otherwise the next that needs none.
        Raises StopIteration where all of them do."""
        self._picked.add(pool)
        if (token := self._from_stock(pool)) is not None:
            self._hold(token)
            return self._view.index.get(token.endpoint.id, token.endpoint)
        for _ in range(2 * SLOTS):
            if endpoint.id not in self._view.trying.get(pool, ()):
                return endpoint
            self._wanted.add(endpoint.id)
            endpoint = next(wheel)
        raise StopIteration

    def end(self, endpoint_id: str, outcome: str, duration_s: float | None, code: int | None, token: Token | None = None) -> bool:
        """End a trial of the endpoint: this one, or the oldest. False where none goes on."""
        held = self.held.get(endpoint_id)
        try:
            if held is None:
                return False
            if token is None:
                token = held.popleft()
            else:
                held.remove(token)
        except (IndexError, ValueError):  # Another thread was faster.
            return False
        if not held:
            self.held.pop(endpoint_id, None)
        self._settle(token, outcome, duration_s, code)
        return True

    def take(self, endpoint_id: str) -> Token | None:
        """A token of this endpoint that is here already."""
        known = self._view.index.get(endpoint_id)
        stock = self._stock.get(known.pool) if known else None
        for token in tuple(stock or ()):
            if token.endpoint.id == endpoint_id and self._usable(token):
                with contextlib.suppress(ValueError):
                    stock.remove(token)  # type: ignore[union-attr]  # It is not empty.
                    self._hold(token)
                    return token
        return None

    def may_try(self, endpoint_id: str) -> bool:
        """Whether it is worth asking."""
        known = self._view.index.get(endpoint_id)
        return known is not None and known.breaker == Breaker.HALF_OPEN

    def wake(self) -> None:
        """There is something to do."""
        if self._loop is not None and self._work is not None:
            with contextlib.suppress(RuntimeError):  # The loop has ended.
                self._loop.call_soon_threadsafe(self._work.set)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that asks for tokens, while there is one."""
        return self._loop

    # The view's task --------------------------------------------------------------------------------------------
    async def run(self, link: Connection, observer: str) -> None:
        """Ask for tokens while requests come, and tell what became of them."""
        self._link, self._name = link, f"{observer}/{secrets.token_hex(4)}"
        self._loop, self._turn, self._work = asyncio.get_running_loop(), asyncio.Lock(), asyncio.Event()
        while True:
            if not (self._view.trying or self.held or self._results or any(self._stock.values())):
                self._again_ms.clear()
                self._refused_ms.clear()
                await self._work.wait()
            self._work.clear()
            pause_ms = TICK_MS
            try:
                self._tidy()
                await self._tell()
                await self._ask()
            except Exception as error:
                self._log(error)
                pause_ms = PAUSE_MS
                self._work.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_ms / 1_000):
                    await self._work.wait()

    async def flush(self) -> None:
        """Give back what nobody used, and tell what is to be told, once and within FLUSH_TIMEOUT_S."""
        for pool in tuple(self._stock):
            while (token := self._pop(self._stock[pool])) is not None:
                self._give_back(token)
        self._loop = None
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._tell()
        except Exception as error:
            self._log(error)

    async def lease(self, endpoint_id: str) -> Token | None:
        """Ask for a token; None where there is none, or no answer. One that was granted to nobody any more is given back."""
        known, now_ms = self._view.index.get(endpoint_id), self._clock.monotonic_ms()
        if self._link is None or known is None or now_ms < self._refused_ms.get("", 0):
            return None
        text = f"{self._name}-{next(self._numbers)}"
        token = Token(known.pool, known, known.gen, text, now_ms, now_ms + RELEASE_MS)
        names, arguments = grant_arguments(known.pool, endpoint_id, text)
        try:
            answer = granted(await self._run(_GRANT, _GRANT_DIGEST, names, arguments))
        except BaseException as error:
            self._give_back(token)  # It may have been granted.
            if isinstance(error, Exception):
                self._refused_ms[""] = self._clock.monotonic_ms() + PAUSE_MS
            raise
        if isinstance(answer, Refusal):
            return None
        return Token(known.pool, known, answer.gen, text, now_ms, now_ms + answer.lease_ms)

    async def try_now(self, endpoint_id: str) -> Token | None:
        """As `lease`, for a request that waits: whatever Redis does, there is an answer."""
        try:
            token = await self.lease(endpoint_id)
        except Exception as error:
            self._log(error)
            return None
        if token is not None:
            self._hold(token)
            self.wake()
        return token

    @staticmethod
    def _log(error: Exception) -> None:
        """Redis is away, or answers what it never should; anything else is an error of ours."""
        known = isinstance(error, RedisError | OSError | TimeoutError | ValueError)
        logger.log(logging.DEBUG if known else logging.ERROR, "trials wait: %s", type(error).__name__, exc_info=not known)

    # Inside -----------------------------------------------------------------------------------------------------
    async def _ask(self) -> None:
        """One token for each endpoint that a request would try."""
        picked, self._picked = self._picked, set()
        wanted, self._wanted = self._wanted, set()
        now_ms = self._clock.monotonic_ms()
        for pool, ids in tuple(self._view.trying.items()):
            for endpoint_id in ids if pool in picked and self._reporting() else ():
                wants = endpoint_id in wanted or now_ms >= self._again_ms.get(endpoint_id, 0)
                here = any(token.endpoint.id == endpoint_id for token in self._stock[pool])
                if not wants or here or now_ms < self._refused_ms.get(endpoint_id, 0):
                    continue
                self._again_ms[endpoint_id] = now_ms + EVERY_MS
                token = await self.lease(endpoint_id)
                if token is None:
                    self._refused_ms[endpoint_id] = now_ms + PAUSE_MS
                else:
                    self._stock[pool].append(token)

    def _tidy(self) -> None:
        """Let go what is over: tokens that nobody used, requests that did not come back within their lease."""
        now_ms = self._clock.monotonic_ms()
        for stock in tuple(self._stock.values()):
            for token in tuple(stock):
                if not self._usable(token):
                    with contextlib.suppress(ValueError):
                        stock.remove(token)
                        self._give_back(token)
        for endpoint_id, held in tuple(self.held.items()):
            for token in tuple(held):
                if now_ms >= token.until_ms:
                    with contextlib.suppress(ValueError):
                        held.remove(token)
            if not held:
                self.held.pop(endpoint_id, None)

    async def _tell(self) -> None:
        """Tell results in their order; one that did not arrive stays the first until its lease is over."""
        while (result := self._results[0] if self._results else None) is not None:
            if self._clock.monotonic_ms() < result.token.until_ms:
                names, arguments = end_arguments(result.token.pool, result.end)
                if ended(await self._run(_END, _END_DIGEST, names, arguments)) is Ended.COUNTED:
                    await self._announce(result.token.pool)
            with contextlib.suppress(ValueError):
                self._results.remove(result)

    async def _announce(self, pool: str) -> None:
        await self._bounded(lambda redis: redis.zadd(keys.REPORTS, {pool: 0}, nx=True))

    async def _run(self, body: bytes, known: str, names: list[str], arguments: list[Any]) -> Any:
        try:
            return await self._bounded(lambda redis: redis.evalsha(known, len(names), *names, *arguments))
        except NoScriptError:
            return await self._bounded(lambda redis: redis.eval(body, len(names), *names, *arguments))

    async def _bounded(self, command: Callable[[Any], Any]) -> Any:
        """One exchange at a time."""
        assert self._link is not None and self._turn is not None  # noqa: S101, PT018 - `run` has set them.
        async with self._turn:
            return await self._link.bounded(command(self._link.redis))

    def _from_stock(self, pool: str) -> Token | None:
        stock = self._stock.get(pool)
        while stock and (token := self._pop(stock)) is not None:
            if self._usable(token):
                return token
            self._give_back(token)
        return None

    def _usable(self, token: Token) -> bool:
        known, now_ms = self._view.index.get(token.endpoint.id), self._clock.monotonic_ms()
        unused_ms = min(UNUSED_MS, (token.until_ms - token.leased_ms) // 4)
        return known is not None and known.breaker == Breaker.HALF_OPEN and known.gen == token.gen and now_ms < token.leased_ms + unused_ms

    def _hold(self, token: Token) -> None:
        self.held.setdefault(token.endpoint.id, deque()).append(token)

    def _give_back(self, token: Token) -> None:
        self._settle(token, CallOutcome.CANCELLED, None, None)

    def _settle(self, token: Token, outcome: str, duration_s: float | None, code: int | None) -> None:
        duration_ms = duration_s * 1_000 if isinstance(duration_s, int | float) and 0 <= duration_s < 1e9 else 0.0
        end = TrialEnd(
            endpoint=token.endpoint.id,
            gen=token.gen,
            token=token.text,
            outcome=outcome if isinstance(outcome, str) else "",
            duration_ms=duration_ms,
            code=code if isinstance(code, int) else None,
            observer=token.text.rpartition("/")[0],
        )
        self._results.append(_Result(token, end))
        self.wake()

    @staticmethod
    def _pop(tokens: deque[T]) -> T | None:
        try:
            return tokens.popleft()
        except IndexError:
            return None
