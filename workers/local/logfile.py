"""A log file that never grows beyond its cap."""

from __future__ import annotations

import contextlib
from pathlib import Path

LOG_BYTES_MAX = 5_000_000


class LogFile:
    """Appends lines; a full file becomes `<name>.1`, replacing the one before, so a part holds twice `bytes_max` at most.

    A full disk must not stop what is being logged: a line that cannot be written is lost.
    """

    def __init__(self, path: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
        self.path = path
        self._bytes_max = bytes_max
        self._file = path.open("ab", buffering=0)

    def write(self, line: bytes) -> None:
        """Append a line; a full file becomes `.1` and another begins. A disk that is full loses it."""
        with contextlib.suppress(OSError):
            if self._file.tell() + len(line) > self._bytes_max:
                self._file.close()
                self.path.replace(self.path.with_name(self.path.name + ".1"))
                self._file = self.path.open("ab", buffering=0)
            self._file.write(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
