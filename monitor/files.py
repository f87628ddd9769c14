"""Reading a file that others have put there: it may be anything, and must neither hold its reader nor fill his memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_file(path: Path, bytes_max: int) -> bytes:
    """The whole file. Raises OSError, also for what never ends (a pipe, a device) and for more than `bytes_max`."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)  # A pipe without a writer would be waited for.
    with os.fdopen(handle, "rb", buffering=0) as file:
        mode = os.fstat(handle).st_mode
        if stat.S_ISFIFO(mode):
            raise OSError(errno.ESPIPE, "It is a pipe and no file", str(path))
        read = bytearray()
        while len(read) <= bytes_max:
            piece = file.read(min(bytes_max + 1 - len(read), 1_000_000))
            if piece is None:
                raise OSError(errno.EAGAIN, "It does not end", str(path))
            if not piece:
                return bytes(read)
            read += piece
        raise OSError(errno.EFBIG, f"the file is larger than {bytes_max} bytes", str(path))
