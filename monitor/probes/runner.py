"""One probe from its first attempt to its result."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from ssl import SSLContext
from time import perf_counter

from monitor.clock import Clock
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.probes.base import Attempt, Probe, ProbeContext, inconclusive
from monitor.probes.deadlines import Deadlines
from monitor.probes.matching import Matching
from monitor.probes.network import LAG_MAX_S, Count, Network, uncounted
from monitor.probes.policy import TargetPolicy
from monitor.probes.poller import make_poller
from monitor.probes.resolver import STALE_MAX_MS, Resolver

ATTEMPT_MIN_MS = 250
"""A retry that has less time than this (or than its timeout, if that is shorter) would only measure our own haste."""


def make_context(
    clock: Clock,
    policy: TargetPolicy | None = None,
    *,
    nameservers: Sequence[str] | None = None,
    verified: SSLContext | None = None,
    dns_stale_ms: int = STALE_MAX_MS,
    lag_max_s: float = LAG_MAX_S,
    count: Count = uncounted,
) -> ProbeContext:
    """Return what the probes of the running event loop share; close it with `await context.close()`."""
    loop = asyncio.get_running_loop()
    network = Network(
        loop,
        Resolver(clock, nameservers, stale_max_ms=dns_stale_ms),
        policy or TargetPolicy(),
        make_poller(loop),
        Deadlines(loop),
        verified=verified,
        lag_max_s=lag_max_s,
        count=count,
    )
    return ProbeContext(clock, network, Matching(loop, count))


async def run_probe(endpoint: Endpoint, probe: Probe, context: ProbeContext, scheduled_ms: int) -> Result:
    """Attempt until one succeeds, retries are used up or the budget is spent; the last attempt is the outcome.

    Being cancelled (the worker stops) is INCONCLUSIVE: the result says so, and whoever cancelled gets it.
    """
    started_ms = context.clock.now_ms()
    begun = perf_counter()
    timeout_ms = min(endpoint.timeout_ms, endpoint.interval_ms)
    texts: tuple[str, ...] = ()
    attempts = 0
    while True:
        attempts += 1
        start = perf_counter()
        try:
            attempt = await probe.attempt(context, timeout_ms)
        except asyncio.CancelledError:
            attempt = _stopping()
            break
        if attempt.outcome is Outcome.SUCCESS or attempts > endpoint.retries or attempt.failure is FailureClass.POLICY:
            break
        delay_ms = retry_delay_ms(endpoint, attempts, scheduled_ms)
        left_ms = int(endpoint.attempts_budget_ms - (perf_counter() - begun) * 1000 - delay_ms)
        if left_ms < min(endpoint.timeout_ms, ATTEMPT_MIN_MS):
            break
        timeout_ms = min(endpoint.timeout_ms, left_ms)
        texts += (attempt.text,)
        try:
            await asyncio.sleep(delay_ms / 1000)
        except asyncio.CancelledError:
            attempt = _stopping()
            break
    duration_ms = (perf_counter() - start) * 1000 - attempt.matching_ms
    return Result(
        outcome=attempt.outcome,
        at_ms=context.clock.now_ms(),
        started_ms=started_ms,
        duration_ms=round(duration_ms, 3),
        scheduled_ms=scheduled_ms,
        failure=attempt.failure,
        text=attempt.text,
        status=attempt.status,
        attempts=attempts,
        attempt_texts=texts,
        phases=attempt.phases,
        certificate=attempt.certificate,
        ip=attempt.ip,
        http_version=attempt.http_version,
        final_url=attempt.final_url,
        body_bytes=attempt.body_bytes,
        stale=attempt.stale,
    )


def retry_delay_ms(endpoint: Endpoint, attempts: int, scheduled_ms: int) -> int:
    """Return the wait after so many attempts: twice as long each time, and spread over its upper half by id and slot."""
    full_ms = endpoint.retry_delay_ms << (attempts - 1)
    spread = zlib.crc32(f"{endpoint.id}:{scheduled_ms}:{attempts}".encode()) / 0xFFFF_FFFF
    return int(full_ms * (0.5 + spread / 2))


def _stopping() -> Attempt:
    return inconclusive("the worker is stopping")
