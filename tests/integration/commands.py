"""The command as its users have it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import redis

from monitor.store import keys

WATCHKEEPER = Path(sys.executable).with_name("watchkeeper")
Run = Callable[..., subprocess.CompletedProcess[str]]


def make_data_set(url: str) -> None:
    """What `watchkeeper init` does, in no time."""
    with redis.Redis.from_url(url) as client:
        client.setnx(keys.SLOTS, 1)
