"""Our own processes: their heartbeats, and the counters that they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class ProcessPort(Protocol):
    """Heartbeats and counters."""

    async def heartbeat(self, name: str, process: bytes) -> None:
        """Write the heartbeat of one of our own processes, named "<part>:<host>:<pid>".

        A data set that was lost gets its number of slots back with it. ConfigError where it was made anew with another number."""

    async def deregister(self, name: str) -> None:
        """Deregister: the process is leaving."""

    async def heartbeats(self, max_age_ms: int) -> dict[str, bytes]:
        """Heartbeats younger than this by the server's clock; older ones are deleted."""

    async def count(self, increments: Mapping[str, int]) -> None:
        """Add to the counters that all processes share."""

    async def counters(self) -> dict[str, int]:
        """The counters by name."""
