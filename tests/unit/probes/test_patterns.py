"""Regular expressions of probes: which are accepted, and that a costly one costs nobody but its own endpoint."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter

import pytest

from monitor.clock import SystemClock
from monitor.core.outcome import FailureClass, Outcome, Result
from monitor.probes.base import ProbeContext
from monitor.probes.catalog import prepare
from monitor.probes.dialogue import ANSWER_BYTES_MAX
from monitor.probes.exchange import BODY_BYTES_MAX
from monitor.probes.matching import QUICK_WORK_MAX, THREADS_MAX, Late, Matching
from monitor.probes.pattern import PATTERN_LENGTH_MAX, PROGRAM_SIZE_MAX, Pattern, pattern
from monitor.probes.runner import make_context, run_probe
from tests.unit.probes.servers import answering, endpoint, response, run, serving

NS_PER_WORK_MAX = 40
"""An instruction costs at most 7 ns for each byte on the machine that the limits were measured on; a busy one takes longer."""


def text_of(alphabet: bytes, size: int) -> bytes:
    """Letters of an alphabet in an order without rule, the same in every run."""
    table = bytes(alphabet[number % len(alphabet)] for number in range(256))
    return hashlib.shake_128(alphabet).digest(size).translate(table)


HOSTILE = {r"\d.{0,100}x": b"0123456789abcdefghij ", r"[a-f]\w{0,250}x": b"ag", r"(a?){400}[ag]{50}x": b"ag", r"(a|b)*a(a|b){12}x": b"ab"}
"""Expressions that are accepted, and of what a text is made that drives RE2 out of its states."""
COSTLY, COSTLY_BODY = r"[a-f]\w{0,250}x", text_of(b"ag", BODY_BYTES_MAX)
"""Some seconds of a processor."""


@pytest.mark.parametrize("text", [r"\d.{0,1000}x", r"(\d|\pL){2}", r"(?i)" + "é.*" * 300, r"\pL{9}", r"((a{1,10}){1,10}){1,10}b.{1,99}"])
def test_a_pattern_that_is_too_costly_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=rf"instructions where {PROGRAM_SIZE_MAX} are allowed; repeat less often"):
        pattern(text)


@pytest.mark.parametrize("text", ["(", "a**", "(?=a)", r"(a)\1", r"\pL{1000}", "", 7, None, "a" * (PATTERN_LENGTH_MAX + 1), "\udcff"])
def test_what_is_no_pattern_is_refused_with_what_to_write(text: object) -> None:
    with pytest.raises(ValueError, match="; "):
        pattern(text)


@pytest.mark.parametrize(
    "text", ["a" * PATTERN_LENGTH_MAX, "." + "a" * (PATTERN_LENGTH_MAX - 1), r"\pL+", r"(?i)status.{0,100}ok", *HOSTILE]
)
def test_patterns_that_people_write_are_accepted(text: str) -> None:
    assert pattern(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_the_work_of_a_match_bounds_its_cost(text: str) -> None:
    body = text_of(HOSTILE[text], 65_536)
    compiled = Pattern(text)
    begun = time.thread_time_ns()
    assert not compiled.found_in(body)
    assert time.thread_time_ns() - begun < NS_PER_WORK_MAX * (compiled.size + 20) * len(body)
    assert compiled.size <= PROGRAM_SIZE_MAX


def test_groups_are_not_captured_and_plain_words_need_no_program() -> None:
    assert Pattern("(a)(b)(c)").size == Pattern("a(?:bc)").size
    assert Pattern("ready").size == 1
    assert Pattern("(?P<word>rea)(dy)").found_in(b"is ready")


@asynccontextmanager
async def context() -> AsyncIterator[tuple[ProbeContext, Counter[str]]]:
    counted: Counter[str] = Counter()

    def count(name: str, by: int) -> None:
        counted[name] += by

    made = make_context(SystemClock(), lag_max_s=60, count=count)
    try:
        yield made, counted
    finally:
        await made.close()


async def judged(made: ProbeContext, url: str, **settings: object) -> Result:
    watched = endpoint(url, **settings)
    return await run_probe(watched, prepare(watched), made, 1_000)


def test_a_costly_match_goes_on_beside_the_loop_and_is_none_of_the_targets_time() -> None:
    body = COSTLY_BODY[: QUICK_WORK_MAX // Pattern(COSTLY).size] + b"agggx"

    async def main() -> tuple[Result, float, Counter[str], int]:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        async with context() as (made, counted), serving(answering(response(200, body))) as port:
            turning, begun = asyncio.create_task(turn()), perf_counter()
            result = await judged(made, f"http://127.0.0.1:{port}/", expect_body=COSTLY, timeout_ms=60_000)
            turning.cancel()
            return result, (perf_counter() - begun) * 1_000, counted, turns

    result, took_ms, counted, turns = run(main())
    assert (result.outcome, result.body_bytes) == (Outcome.SUCCESS, len(body))
    assert counted["matches_beside_loop"] == 1
    assert turns > 1
    assert 0 < result.duration_ms < took_ms - counted["matching_cpu_us"] / 1_000


def test_a_match_that_comes_to_no_end_ends_with_its_probe_and_the_next_one_waits_for_it() -> None:
    async def main() -> tuple[list[Result], Counter[str]]:
        async with context() as (made, counted), serving(answering(response(200, COSTLY_BODY))) as port:
            watched = endpoint(f"http://127.0.0.1:{port}/", expect_body=COSTLY, timeout_ms=100)
            prepared = prepare(watched)
            return [await run_probe(watched, prepared, made, 1_000) for _ in range(3)], counted

    before = set(threading.enumerate())  # Those of other tests may still be at work.
    results, counted = run(main())
    for result in results:
        if result.outcome is Outcome.FAILURE:
            assert result.failure is FailureClass.TIMEOUT
            assert result.text == "timeout after 100ms: 1048576 bytes were still being matched, for which the pattern is too costly"
        else:  # The machine is busy.
            assert result.text == "no processor was free to match 1048576 bytes within 100ms"
            assert result.outcome is Outcome.INCONCLUSIVE
    assert counted["matches_late"] == 3
    assert len(set(threading.enumerate()) - before) <= 1


def busy(until: threading.Event) -> Callable[[], bool]:
    return lambda: until.wait(60)


def test_a_match_that_had_no_processor_says_nothing_of_its_text_and_one_that_had_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.probes.matching.SHARE_MIN", 0.001)  # A busy machine gives it much less than a half.
    ended = threading.Event()

    def spin() -> bool:
        while not ended.is_set():
            hashlib.sha256(COSTLY_BODY).digest()
        return True

    async def main() -> None:
        matching = Matching(asyncio.get_running_loop(), lambda _name, _by: None)
        assert await matching.run("waits", 1, busy(ended), perf_counter() + 0.2) == Late(ours=True)
        assert await matching.run("spins", 1, spin, perf_counter() + 0.5) == Late(ours=False)
        assert await matching.run("spins", 1, lambda: True, perf_counter() + 0.1) == Late(ours=False)
        ended.set()
        assert await matching.run("spins", 1, lambda: True, perf_counter() + 60) is True
        matching.close()

    run(main())


def test_matches_that_may_last_never_hold_up_those_that_cannot() -> None:
    ended = threading.Event()

    async def main() -> None:
        matching = Matching(asyncio.get_running_loop(), lambda _name, _by: None)
        slow = [matching.run(number, QUICK_WORK_MAX + 1, busy(ended), perf_counter() + 0.2) for number in range(3 * THREADS_MAX)]
        assert await asyncio.gather(*slow) == [Late(ours=True)] * len(slow)
        quick = [matching.run(-number, QUICK_WORK_MAX, lambda: True, perf_counter() + 60) for number in range(1, 3 * THREADS_MAX)]
        assert all(verdict is True for verdict in await asyncio.gather(*quick))
        ended.set()
        matching.close()

    run(main())


def test_what_a_match_raises_its_probe_hears() -> None:
    async def main() -> None:
        matching = Matching(asyncio.get_running_loop(), lambda _name, _by: None)
        with pytest.raises(ZeroDivisionError):
            await matching.run("who", 1, lambda: 1 // 0, perf_counter() + 60)
        matching.close()

    run(main())


def test_headers_that_are_costly_to_match_go_beside_the_loop_too() -> None:
    value = COSTLY_BODY[:10_000]

    async def main() -> tuple[Result, Counter[str]]:
        async with context() as (made, counted), serving(answering(response(200, b"", f"X-Long: {value.decode()}"))) as port:
            return await judged(made, f"http://127.0.0.1:{port}/", expect_headers={"x-long": COSTLY}, timeout_ms=60_000), counted

    result, counted = run(main())
    assert result.failure is FailureClass.ASSERTION
    assert result.text.startswith(rf"header x-long does not match /{COSTLY}/ (got ")
    assert counted["matches_beside_loop"] == 1


def test_small_bodies_stay_on_the_loop() -> None:
    async def main() -> tuple[Result, Counter[str]]:
        async with context() as (made, counted), serving(answering(response(200, b'{"status": "ok"}' * 1_000))) as port:
            return await judged(made, f"http://127.0.0.1:{port}/", expect_body=r'"status":\s*"ok"', timeout_ms=60_000), counted

    result, counted = run(main())
    assert result.outcome is Outcome.SUCCESS
    assert not counted


class Looks(Pattern):
    """Counts how often it is asked."""

    asked = 0

    def found_in(self, data: bytes | bytearray) -> bool:
        Looks.asked += 1
        return super().found_in(data)


@pytest.mark.parametrize("expect", ["x|y", COSTLY], ids=["cheap", "costly"])
def test_an_answer_that_drips_is_matched_some_hundred_times_however_it_drips(monkeypatch: pytest.MonkeyPatch, expect: str) -> None:
    monkeypatch.setattr("monitor.probes.tcp.Pattern", Looks)
    monkeypatch.setattr(Looks, "asked", 0)

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for at in range(4_000):
            writer.write(COSTLY_BODY[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"ax\n")
        await writer.drain()
        await asyncio.sleep(60)

    async def main() -> Result:
        async with context() as (made, _), serving(drip) as port:
            return await judged(made, f"tcp://127.0.0.1:{port}", expect=expect, timeout_ms=60_000)

    result = run(main())
    assert (result.outcome, result.body_bytes) == (Outcome.SUCCESS, 4_003)
    assert 0 < Looks.asked <= 200


@pytest.mark.parametrize("expect", ["x|y", COSTLY], ids=["cheap", "costly"])
def test_an_answer_that_ends_or_is_full_is_judged_whole(expect: str) -> None:
    def against(answer: bytes) -> Result:
        async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer[:3_000])
            await writer.drain()
            writer.write(answer[3_000:])
            await writer.drain()

        async def main() -> Result:
            async with context() as (made, _), serving(script) as port:
                return await judged(made, f"tcp://127.0.0.1:{port}", expect=expect, timeout_ms=60_000)

        result: Result = run(main())
        return result

    size = 20_000
    assert against(COSTLY_BODY[:size] + b"aggx").outcome is Outcome.SUCCESS
    assert against(COSTLY_BODY[:size]).text.startswith(f'answer does not match /{expect}/ (got "')
    assert against(COSTLY_BODY[: 2 * ANSWER_BYTES_MAX]).text.startswith(
        f"answer does not match /{expect}/ within {ANSWER_BYTES_MAX} bytes (got "
    )


def test_an_answer_that_is_costly_when_its_time_is_over_fails_and_says_so() -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for at in range(0, 60_000, 1_000):
            writer.write(COSTLY_BODY[at : at + 1_000])
            await writer.drain()
        await asyncio.sleep(60)

    async def main() -> Result:
        async with context() as (made, _), serving(drip) as port:
            return await judged(made, f"tcp://127.0.0.1:{port}", expect=COSTLY, timeout_ms=50)

    result = run(main())
    assert result.failure in {FailureClass.TIMEOUT, None}
    assert "timeout after 50ms" in result.text or "no processor was free" in result.text


def test_a_process_ends_in_peace_whatever_is_still_being_matched() -> None:
    program = r"""
import asyncio, random, time
from monitor.probes.matching import Matching
from monitor.probes.network import uncounted
from monitor.probes.pattern import Pattern

async def main():
    matching = Matching(asyncio.get_running_loop(), uncounted)
    dear, body = Pattern("[0-9a].{0,60}[1a].{0,40}x"), bytes(random.Random(1).choices(b"0123456789ab", k=1 << 20))
    late = await matching.run(dear, 10**9, lambda: [dear.found_in(body) for _ in range(10_000)], time.perf_counter() + 0.1)
    print(type(late).__name__)
    matching.close()

asyncio.run(main())
raise SystemExit(7)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "Late\n", "")
