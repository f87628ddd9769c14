"""What people look at: history, logs, and sums over all slots."""

from __future__ import annotations

from typing import Protocol


class ReadingPort(Protocol):
    """Nothing here changes anything."""

    async def alerting(self) -> tuple[list[str], list[str]]:
        """The endpoints whose rules hold an alert, pending or firing, and the subjects that are a pool or the system of which it is true,
        sorted."""

    async def pool_sizes(self) -> dict[str, int]:
        """How many members each pool has that has one, settings of its own, or a publication; in the order of their names."""

    async def transitions(self, endpoint_id: str) -> list[bytes]:
        """The last OWN_LOG_LENGTH_MAX transitions of one endpoint, oldest first."""

    async def samples(self, endpoint_id: str, name: str) -> bytes:
        """The whole ring or rollup: `name` is ring, min, hour or day."""

    async def events(self, limit: int, after: str = "") -> list[tuple[str, bytes]]:
        """Transitions, oldest first: the last `limit`, or those after the cursor `after`. The id is a cursor over all slots."""
