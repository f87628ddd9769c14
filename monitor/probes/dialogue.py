"""A connection that says something and matches the answer while it comes.

However an answer drips, it is matched some hundred times at most: after each look comes a pause that grows with the time since the
dialogue began. An answer that comes at once is seen at once, and one that comes in pieces a sixteenth later than it could be.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from monitor.core.outcome import FailureClass
from monitor.core.said import got
from monitor.probes.base import ProbeContext
from monitor.probes.connection import FIRST_BYTE, TRANSFER, Connection
from monitor.probes.matching import LOOP_WORK_MAX, Late
from monitor.probes.network import Destination
from monitor.probes.pattern import Pattern

ANSWER_BYTES_MAX = 65_536
PAUSE_PART = 1 / 16
PAUSE_MIN_S = 0.001


class Greeting(Connection):
    """Ends when connected and everything is sent: no answer is expected."""

    __slots__ = ()

    def _flush(self) -> None:
        super()._flush()
        if not self._unsent and self.phase == FIRST_BYTE:
            self._end()

    def _received(self, data: memoryview | bytes) -> None:
        pass

    def _ended_by_peer(self) -> None:
        self._end(FailureClass.PROTOCOL, "connection closed before everything was sent")


class Dialogue(Connection):
    """Ends when the answer matches, or cannot any more. `who` is its probe, which has one match at a time (matching.py)."""

    __slots__ = ("_begun", "_expect", "_last", "_looked", "_looking", "_matching", "_next_look", "_who", "answer", "matching_ms")

    def __init__(self, context: ProbeContext, to: Destination, send: bytes, expect: Pattern, who: object) -> None:
        super().__init__(context.network, to, send)
        self._matching = context.matching
        self._expect = expect
        self._who = who
        self.answer = bytearray()
        self.matching_ms = 0.0
        self._begun = self._next_look = perf_counter()
        self._looked = 0
        """So many bytes of the answer do not match."""
        self._looking: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._last: str | None = None
        """Where nothing more comes: how much it is, as it is told."""

    def on_deadline(self) -> None:
        """As for every connection; an answer that has come and does not match is what is told then."""
        if isinstance(self._looking, asyncio.Task):
            return  # It has the same deadline, and knows more.
        if self._looked < len(self.answer) and self._work() <= LOOP_WORK_MAX:
            self._look_now()
        if not self._waiter.done():
            super().on_deadline()
            if self.failure is FailureClass.TIMEOUT and 0 < self._looked == len(self.answer):
                self.failure, self.text = FailureClass.ASSERTION, self._mismatch("")

    def _received(self, data: memoryview | bytes) -> None:
        if self.phase == FIRST_BYTE:
            self._enter(TRANSFER)
        self.answer += data[: ANSWER_BYTES_MAX - len(self.answer)]
        if len(self.answer) == ANSWER_BYTES_MAX:
            self._no_more(f" within {ANSWER_BYTES_MAX} bytes")
        elif self._looking is None:
            self._look_soon()

    def _ended_by_peer(self) -> None:
        if self.answer:
            self._no_more("")
        else:
            self._end(FailureClass.PROTOCOL, "connection closed without an answer")

    def _no_more(self, how_much: str) -> None:
        self._last = how_much
        self._drop_socket()
        if not isinstance(self._looking, asyncio.Task):
            self._look_now()

    def _look_soon(self) -> None:
        pause_s = self._next_look - perf_counter()
        if pause_s > 0:
            self._looking = self._network.loop.call_later(pause_s, self._look_now)
        else:
            self._look_now()

    def _look_now(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._work() <= LOOP_WORK_MAX:
            self._judge(len(self.answer), found=self._expect.found_in(self.answer))
        else:
            self._looking = self._network.loop.create_task(self._look_beside())

    async def _look_beside(self) -> None:
        answer, begun = bytes(self.answer), perf_counter()
        found = await self._matching.run(self._who, self._work(), lambda: self._expect.found_in(answer), self._deadline)
        self.matching_ms += (perf_counter() - begun) * 1000
        self._looking = None
        if isinstance(found, Late):
            self._end(None if found.ours else FailureClass.TIMEOUT, found.text(len(answer), self._timeout_ms), ours=found.ours)
        else:
            self._judge(len(answer), found=found)

    def _judge(self, size: int, *, found: bool) -> None:
        """So many bytes of the answer match, or do not."""
        now = perf_counter()
        self._looked, self._next_look = size, now + max(PAUSE_MIN_S, (now - self._begun) * PAUSE_PART)
        if found:
            self._end()
        elif self._last is not None and size == len(self.answer):
            self._end(FailureClass.ASSERTION, self._mismatch(self._last))
        elif self._last is not None:
            self._look_now()
        elif size < len(self.answer):
            self._look_soon()

    def _work(self) -> int:
        return self._expect.size * len(self.answer)

    def _mismatch(self, how_much: str) -> str:
        return f"answer does not match {self._expect}{how_much}{got(bytes(self.answer))}"

    def _close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        super()._close()
