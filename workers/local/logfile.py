"""A log file that never grows beyond its cap."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

LOG_BYTES_MAX = 5_000_000


class LogFile:
    """Appends lines; a full file becomes `<name>.1`, replacing the one before, so a part holds twice `bytes_max` at most.

    A full disk must not stop what is being logged: a line that cannot be written is lost.
    """

    def __init__(self, path: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
        """Raises OSError where there is no such file and none can be made."""
        self.path = path
        self._bytes_max = bytes_max
        self._file = _opened(path)

    def write(self, line: bytes) -> None:
        """Append a line; a full file becomes `.1` and another begins. What a disk does not take is lost."""
        with contextlib.suppress(OSError):
            if self._file.closed:
                self._file = _opened(self.path)
            if self._file.tell() + len(line) > self._bytes_max:
                self._file.close()
                self.path.replace(self.path.with_name(self.path.name + ".1"))
                self._file = _opened(self.path)
            self._file.write(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _opened(path: Path) -> io.FileIO:
    """To append to; a pipe that nobody reads is an error and not waited for."""
    file = io.FileIO(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666), "ab")
    file.seek(0, os.SEEK_END)
    return file
