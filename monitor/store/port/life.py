"""The data set's life: opened, closed, and which of its lives this is."""

from __future__ import annotations

from typing import Protocol

import msgspec

from monitor.core.errors import Stale


class Epoch(msgspec.Struct, frozen=True, order=True):
    """One life of the data set, and how many publications it has had: of two readings of one life the later one is not smaller."""

    number: int = 0
    """The server's time (ms) at which it began, or more where a larger one was known."""
    publications: int = 0


NO_EPOCH = Epoch()
"""Before anybody has seen one."""


class EpochEnded(Stale):
    """The data set is not the one that the publisher has seen: call `epoch` again, then decide again."""


class LifePort(Protocol):
    """Opening, the clock and the epochs."""

    async def open(self, *, create: bool = False) -> None:
        """Connect. NoDataSetError where there is no data set, unless `create` makes it; ConfigError where it has another number of
        slots than this store was told to expect."""

    async def close(self) -> None:
        """Let go of the server; the store may be opened again."""

    async def now_ms(self) -> int:
        """The server's clock."""

    async def epoch(self, seen: Epoch = NO_EPOCH) -> Epoch:
        """The current epoch. `seen` is the largest that the caller knows: a data set that is behind it, or whose server has restarted,
        begins a new epoch, larger than both, and every published pool falls due for weighing."""
