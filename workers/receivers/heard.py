"""What one send has heard: apprise answers yes or no, and tells its reasons to its log and to nobody else.

So a send listens to both that log and the HTTP answers. They become one line of text, and decide whether trying again can help.
"""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from workers.receivers.blank import ANSWER_LENGTH_MAX

_RETRIED = frozenset({408, 425, 429})
"""Statuses below 500 after which trying again can help."""
_SMTP_REFUSED = re.compile(r"\((5\d\d), b['\"]")
_UNHEARD = re.compile(r"Read timed out|Remote end closed|Connection reset|Connection aborted")
"""Ends of an exchange after which the service may have accepted the message."""


@dataclass(slots=True)
class Heard:
    """What one send has heard: log lines, and the last HTTP answer."""

    lines: list[str] = field(default_factory=list)
    status: int = 0
    reason: str = ""
    body: str = ""
    retry_after: str = ""
    given_up: bool = False
    """Nobody waits for it any more: it must begin no further request."""

    @property
    def answer(self) -> str:
        """What a person is told of it, on one line."""
        if self.status:
            return " ".join(f"HTTP {self.status} {self.reason} {self.body}".split())
        return " ".join("; ".join(self.lines[-2:]).split()) or "no answer"

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
    """Put our ears on apprise's log and on the answers that its services read."""
    import requests  # noqa: PLC0415

    logger = logging.getLogger("apprise")
    logger.addHandler(_Ear())
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # Its debug lines hold whole URLs, and those of urllib3 their paths.
    logging.getLogger("urllib3").setLevel(logging.INFO)
    original = requests.Session.request

    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        heard = HEARD.get()
        if heard is not None and heard.given_up:
            raise requests.RequestException("given up before it was sent")
        response = original(self, *args, **kwargs)
        if heard is not None:
            heard.status, heard.reason = response.status_code, response.reason or ""
            heard.body = response.text[: 2 * ANSWER_LENGTH_MAX]
            heard.retry_after = response.headers.get("Retry-After", "")
        return response

    requests.Session.request = request  # type: ignore[method-assign]


class _Ear(logging.Handler):
    """Gives a log line to the send that caused it."""

    def emit(self, record: logging.LogRecord) -> None:
        heard = HEARD.get()
        if heard is not None:
            line = record.getMessage()
            if record.levelno >= logging.INFO:
                heard.lines.append(line)
            elif "Exception: " in line:
                heard.lines.append(_cause(line))


def _cause(line: str) -> str:
    """The innermost cause of what requests reports: `[Errno 111] Connection refused`."""
    return line.rpartition(": ")[2].rstrip("\"')") if "Caused by " in line else line.partition("Exception: ")[2]
