"""What one send has heard: apprise answers yes or no, and tells its reasons to its log and to nobody else.

So a send listens to both that log and the HTTP answers. They become one line of text, and decide whether trying again can help.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from workers.receivers.blank import ANSWER_LENGTH_MAX

LINES_MAX = 20
"""Lines of apprise's log that one send keeps, the last ones."""
LINE_LENGTH_MAX = 2_000

_RETRIED = frozenset({408, 425, 429})
"""Statuses below 500 after which trying again can help."""
_SMTP_REFUSED = re.compile(r"\((5\d\d), b['\"]")
_UNHEARD = re.compile(r"Read timed out|Remote end closed|unexpectedly closed|Connection reset|Connection aborted")
"""Ends of an exchange after which the service may have accepted the message."""


@dataclass(slots=True)
class Heard:
    """What one send has heard: log lines, and the last HTTP answer."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_MAX))
    status: int = 0
    reason: str = ""
    body: str = ""
    retry_after: str = ""
    redirected: str = ""
    """What is told of the last redirect, until what it leads to has answered."""
    told: list[Any] = field(default_factory=list)
    """Recipients that have accepted the message."""

    def asks(self) -> None:
        """Forget the answer to an earlier request: this one may get none."""
        if not self.redirected:
            self.lines.clear()
        self.status, self.reason, self.body, self.retry_after = 0, "", "", ""

    def answered(self, status: int, reason: str, body: bytes, retry_after: str) -> None:
        """Keep the last answer, and the start of what it says."""
        self.status, self.reason, self.retry_after, self.redirected = status, reason, retry_after, ""
        self.body = body[: 8 * ANSWER_LENGTH_MAX].decode(errors="replace")[: 2 * ANSWER_LENGTH_MAX]

    @property
    def answer(self) -> str:
        """What a person is told of it, on one line."""
        if self.status:
            return " ".join(f"{self.redirected or f'HTTP {self.status} {self.reason}'} {self.body}".split())
        parts = [self.redirected, *[*self.lines][-2:]]
        return " ".join("; ".join(part for part in parts if part).split()) or "no answer"

    @property
    def permanent(self) -> bool:
        """Whether trying again cannot help."""
        if self.status:
            return 400 <= self.status < 500 and self.status not in _RETRIED
        return any(_SMTP_REFUSED.search(line) for line in self.lines)

    @property
    def unheard(self) -> bool:
        """Whether the service may have accepted the message without our hearing of it."""
        return not self.status and any(_UNHEARD.search(line) for line in self.lines)

    @property
    def silent(self) -> bool:
        """Whether the service has let a connection or an answer run into its timeout."""
        return not self.status and any("timed out" in line for line in self.lines)

    @property
    def retry_after_ms(self) -> int | None:
        """Seconds, or a date of which only its being there counts: the clock that it compares to is not ours."""
        if self.retry_after.isdecimal() and self.retry_after.isascii():
            return int(self.retry_after[:9]) * 1_000
        try:
            parsedate_to_datetime(self.retry_after)
        except ValueError:
            return None
        return 60_000


HEARD: ContextVar[Heard | None] = ContextVar("heard", default=None)


def listen() -> None:
    """Give what apprise logs to the send that caused it."""
    logger = logging.getLogger("apprise")
    logger.addHandler(_Listener())
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # Its debug lines hold whole URLs, and those of urllib3 their paths.
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # Its warnings too.


class _Listener(logging.Handler):
    """Gives a log line to the send that caused it."""

    def emit(self, record: logging.LogRecord) -> None:
        heard = HEARD.get()
        if heard is not None:
            line = " ".join(record.getMessage()[: 2 * LINE_LENGTH_MAX].split())[:LINE_LENGTH_MAX]
            if record.levelno >= logging.INFO:
                heard.lines.append(line)
            elif "Exception: " in line:
                heard.lines.append(_cause(line))


def _cause(line: str) -> str:
    """The innermost cause of what requests reports: `[Errno 111] Connection refused`."""
    return line.rpartition(": ")[2].rstrip("\"')") if "Caused by " in line else line.partition("Exception: ")[2]
