"""A process of ours as it describes itself with each heartbeat."""

from __future__ import annotations

from typing import Final

import msgspec

STALE_AFTER_HEARTBEATS: Final = 5
"""Who has missed so many heartbeats does not count as living."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One of our processes (store.keys: procs). Times are those of the shared timeline."""

    part: str
    host: str
    pid: int
    location: str = ""
    started_ms: int
    at_ms: int
    lateness_p50_ms: int = 0
    lateness_p99_ms: int = 0
    tilted: bool = False


decode_process = msgspec.json.Decoder(Process).decode
encode_process = msgspec.json.Encoder().encode
