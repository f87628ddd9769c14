"""The last-known-good file: what a consumer starts from when Redis is away at its start."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import msgspec

from monitor.client.view import Saved
from monitor.core.errors import DECODE_ERRORS
from monitor.files import read_file
from monitor.pool.snapshot import NUMBER_MAX, sound

BYTES_MAX = 100_000_000
"""A larger file is none of ours: a hundred thousand endpoints take half of it."""

logger = logging.getLogger("watchkeeper.client")


class _Document(msgspec.Struct, frozen=True):
    schema: int
    saved_ms: int
    """The writer's wall clock: all that survives a restart of the machine."""
    pools: tuple[Saved, ...]


def read(path: Path, wall_ms: int) -> tuple[tuple[Saved, ...], int]:
    """The pools in the file and how long ago (ms) it was written; nothing when there is none, or one that we did not write."""
    try:
        document = msgspec.json.decode(read_file(path, BYTES_MAX), type=_Document)
        if not (document.schema == 1 and all(map(_usable, document.pools)) and abs(document.saved_ms) <= NUMBER_MAX):
            raise ValueError("it holds what this client never writes")
    except FileNotFoundError:
        return (), 0
    except (OSError, *DECODE_ERRORS) as error:
        logger.warning("the last-known-good file %s is ignored: %s", path, error)
        return (), 0
    return document.pools, max(0, wall_ms - document.saved_ms)


def _usable(saved: Saved) -> bool:
    return sound(saved.snapshot) and 0 <= saved.age_ms <= NUMBER_MAX


def write(path: Path, pools: tuple[Saved, ...], wall_ms: int) -> None:
    """Replace the file whole, so that no reader and no crash ever sees half of it. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(_Document(1, wall_ms, pools)))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
