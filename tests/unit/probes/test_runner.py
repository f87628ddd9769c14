"""Retries inside their budget, and errors of our own."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable

import pytest

from monitor.clock import SystemClock
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.probes.catalog import prepare
from monitor.probes.poller import EpollPoller, LoopPoller, Poller
from monitor.probes.runner import make_context, retry_delay_ms, run_probe
from tests.unit.probes.servers import answering, closed_port, endpoint, probe, response, run, serving


def flaky(*statuses: int):  # type: ignore[no-untyped-def]
    left = list(statuses)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(response(left.pop(0)))(reader, writer)

    return script


def test_the_last_attempt_is_the_outcome_and_earlier_ones_stay_visible() -> None:
    async def main() -> tuple[Result, Result]:
        async with serving(flaky(500, 503, 200)) as port:
            recovered = await probe(f"http://127.0.0.1:{port}/", retries=2, retry_delay_ms=10)
        async with serving(flaky(500, 503, 502)) as port:
            failed = await probe(f"http://127.0.0.1:{port}/", retries=2, retry_delay_ms=10)
        return recovered, failed

    recovered, failed = run(main())
    assert (recovered.outcome, recovered.attempts) == (Outcome.SUCCESS, 3)
    assert recovered.attempt_texts == ("status 500, want 2xx", "status 503, want 2xx")
    assert (failed.text, failed.attempts) == ("status 502, want 2xx", 3)


def test_retries_stay_inside_the_interval() -> None:
    async def main() -> tuple[Result, float]:
        async with serving(answering(hang=True)) as port:
            start = time.monotonic()
            result = await probe(f"http://127.0.0.1:{port}/", retries=10, retry_delay_ms=100, timeout_ms=300, interval_ms=1_000)
            return result, time.monotonic() - start

    result, took_s = run(main())
    assert took_s < 3
    assert 2 <= result.attempts <= 3
    assert result.failure is FailureClass.TIMEOUT


def test_the_delay_doubles_and_is_spread_by_id_and_slot() -> None:
    watched = Endpoint(id="a", url="http://a/", pool="a")
    for attempts, full_ms in ((1, 1_000), (2, 2_000), (3, 4_000)):
        assert full_ms / 2 <= retry_delay_ms(watched, attempts, 7) <= full_ms
    assert retry_delay_ms(watched, 1, 7) == retry_delay_ms(watched, 1, 7)
    assert len({retry_delay_ms(watched, 1, slot) for slot in range(100)}) > 50


def test_a_late_event_loop_is_our_own_error() -> None:
    async def main() -> Result:
        async with serving(answering(hang=True)) as port:
            context = make_context(SystemClock())
            watched = endpoint(f"http://127.0.0.1:{port}/", timeout_ms=200)
            task = asyncio.create_task(run_probe(watched, prepare(watched), context, 0))
            await asyncio.sleep(0.1)
            time.sleep(0.4)  # noqa: ASYNC251  what stalls the loop
            result = await task
            await context.close()
            return result

    result = run(main())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.text.startswith("our event loop was ")


def test_no_file_descriptor_is_our_own_error() -> None:
    async def main() -> Result:
        context = make_context(SystemClock())
        watched = endpoint(f"http://127.0.0.1:{closed_port()}/")
        compiled = prepare(watched)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            return await run_probe(watched, compiled, context, 0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await context.close()

    result = run(main())
    assert (result.outcome, result.text) == (Outcome.INCONCLUSIVE, "no socket: too many open files")


def test_a_stopping_worker_is_our_own_error() -> None:
    async def main() -> Result:
        async with serving(answering(hang=True)) as port:
            context = make_context(SystemClock())
            watched = endpoint(f"http://127.0.0.1:{port}/")
            task = asyncio.create_task(run_probe(watched, prepare(watched), context, 0))
            await asyncio.sleep(0.05)
            task.cancel()
            result = await task
            await context.close()
            return result

    result = run(main())
    assert (result.outcome, result.text) == (Outcome.INCONCLUSIVE, "the worker is stopping")


@pytest.mark.parametrize("make", [EpollPoller, LoopPoller])
def test_many_at_once_on_one_context(make: Callable[[asyncio.AbstractEventLoop], Poller]) -> None:
    async def main() -> set[Outcome]:
        async with serving(answering(response(200, b"ready"))) as port:
            context = make_context(SystemClock())
            context.network.poller.close()
            context.network.poller = make(asyncio.get_running_loop())
            watched = endpoint(f"http://127.0.0.1:{port}/", expect_body="ready", timeout_ms=10_000)
            compiled = prepare(watched)
            results = await asyncio.gather(*(run_probe(watched, compiled, context, slot) for slot in range(300)))
            await context.close()
            return {result.outcome for result in results}

    assert run(main()) == {Outcome.SUCCESS}
