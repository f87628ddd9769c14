"""`view.trial(endpoint_id)`: one trial of a half-open endpoint around a request, in threads or in asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from types import TracebackType

from monitor.client.records import EndpointView
from monitor.client.trials import Token, TrialDesk
from monitor.clock import Clock
from monitor.core.policies.call import CallOutcome

_TIMEOUTS = (TimeoutError, asyncio.TimeoutError)


class Trial:
    """A trial that goes on. It ends with its block: well, or with an exception as a failure, unless `report` has said otherwise."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self.outcome: str | None = None
        self.code: int | None = None

    @property
    def endpoint(self) -> EndpointView:
        """Whom the request goes to."""
        return self.token.endpoint

    def report(self, outcome: str, code: int | None = None) -> None:
        """How the request went, for what raises nothing (a status of 503); `cancelled` or `ignored` judge nobody."""
        self.outcome, self.code = outcome, code


class TrialBlock:
    """A context manager and an async context manager at once; of use once."""

    def __init__(self, desk: TrialDesk, endpoint_id: str, clock: Clock, timeout_ms: int) -> None:
        self._desk = desk
        self._endpoint_id = endpoint_id
        self._clock = clock
        self._timeout_s = timeout_ms / 1_000
        self._trial: Trial | None = None
        self._began_ms = 0

    def __enter__(self) -> Trial | None:
        return self._begin(self._known() or self._lease())

    async def __aenter__(self) -> Trial | None:
        return self._begin(self._known() or await self._alease())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._trial is None:
            return
        outcome, code = self._trial.outcome, self._trial.code
        if outcome is None:
            outcome = _outcome(error)
        duration_s = (self._clock.monotonic_ms() - self._began_ms) / 1_000
        self._desk.end(self._endpoint_id, outcome, duration_s, code, self._trial.token)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.__exit__(kind, error, trace)

    def _begin(self, token: Token | None) -> Trial | None:
        self._began_ms = self._clock.monotonic_ms()
        self._trial = Trial(token) if token else None
        return self._trial

    def _known(self) -> Token | None:
        return self._desk.take(self._endpoint_id) if self._desk.may_try(self._endpoint_id) else None

    def _lease(self) -> Token | None:
        """Ask from a thread. The thread of the loop that asks cannot wait for itself: it has what is here already."""
        loop = self._desk.loop
        if loop is None or loop is _running() or not self._desk.may_try(self._endpoint_id):
            return None
        try:
            asked = asyncio.run_coroutine_threadsafe(self._bounded(), loop)
        except RuntimeError:  # The loop has just ended.
            return None
        with contextlib.suppress(concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            return asked.result(2 * self._timeout_s)
        asked.cancel()
        return None

    async def _alease(self) -> Token | None:
        loop = self._desk.loop
        if loop is None or not self._desk.may_try(self._endpoint_id):
            return None
        if loop is _running():
            return await self._bounded()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._bounded(), loop))

    async def _bounded(self) -> Token | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                return await self._desk.try_now(self._endpoint_id)
        return None


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _outcome(error: BaseException | None) -> str:
    """What an exception says of the endpoint; those that are no Exception (a task that was cancelled, a generator that was closed, the end
    of the process) say nothing."""
    if error is None:
        return CallOutcome.SUCCESS.value
    if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
        return CallOutcome.CANCELLED.value
    return CallOutcome.TIMEOUT.value if isinstance(error, _TIMEOUTS) else CallOutcome.FAILURE.value
