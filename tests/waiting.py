"""Waiting for what real processes must do, with a deadline instead of a sleep for luck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE_S = 20.0
POLL_S = 0.01


async def until(condition: Callable[[], Any]) -> Any:
    """Return the first true value of `condition`, letting the event loop run meanwhile."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if value := condition():
                return value
            await asyncio.sleep(POLL_S)


def wait_for(condition: Callable[[], Any], deadline_s: float = DEADLINE_S, poll_s: float = POLL_S) -> Any:
    """Return the first true value of `condition`, blocking meanwhile."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(poll_s)
    raise AssertionError(f"it did not come true within {deadline_s} s")


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
