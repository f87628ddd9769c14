"""The log of a process. Whatever others said in a line of it, or in an error's text, is shown and not obeyed by a terminal."""

from __future__ import annotations

import logging
from typing import Any

from monitor.core.said import escaped_lines


class _Record(logging.LogRecord):
    _trace: str | None = None

    def getMessage(self) -> str:  # noqa: N802 - as logging calls it
        return escaped_lines(super().getMessage())

    @property
    def exc_text(self) -> str | None:
        return self._trace

    @exc_text.setter
    def exc_text(self, text: Any) -> None:
        self._trace = escaped_lines(text) if isinstance(text, str) else None


def make_readable() -> None:
    """Let every line that this process logs from now on be readable, whichever library logs it."""
    logging.setLogRecordFactory(_Record)
