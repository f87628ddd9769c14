"""Pools: what they are weighed from, what is published of them, and which lag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from monitor.core.errors import Stale
from monitor.pool.trials import TrialTerms
from monitor.store.port.life import Epoch
from monitor.store.port.traffic import Traffic


class Member(msgspec.Struct, frozen=True):
    """One member of a pool as it is stored; each value is b"" where there is none."""

    id: str
    spec: bytes
    """The endpoint as JSON."""
    record: bytes
    override: bytes


class PoolLoad(msgspec.Struct, frozen=True):
    """A pool as one reading; `snapshot` is b"" before the first publication. Members are sorted by id.

    `logged` is (epoch, ver) of the last version in the pool's log, (0, 0) where there is none; a snapshot that is older was put back.
    """

    members: tuple[Member, ...]
    snapshot: bytes
    settings: bytes = b""
    """The pool's settings as JSON; b"" where it has none of its own."""
    logged: tuple[int, int] = (0, 0)
    traffic: Traffic = Traffic()


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """A pool's next version, under the epoch that the publisher has seen.

    Refused (Stale) unless (epoch.number, ver) is larger than all before, and unless the last of them is still `after`: whoever made
    this one knew of no other. `tombstone` takes the pool out of `pools` and lets snapshot
    and log go after MAX_STALE_MS, so that every consumer sees it and a pool that comes back goes on with the next version.
    """

    pool: str
    epoch: Epoch
    ver: int
    snapshot: bytes
    delta: bytes
    after: tuple[int, int] = (0, 0)
    """PoolLoad.logged of the reading that this version was made from."""
    tombstone: bool = False
    trials: Mapping[str, TrialTerms] = {}
    """Of the members that users may try; whoever is not among them admits no trial any more."""
    trials_ttl_ms: int = 0
    until_ms: int = 0
    """Stale after this time (0: never): a version that is done late, when its publisher has given it up, says what was, and others who
    found that nothing has changed have made no version since."""


def refused(publication: Publication) -> Stale:
    """What a publication that may not be done raises."""
    version = f"{publication.epoch.number}-{publication.ver}"
    return Stale(f"pool {publication.pool} has version {version} already, or another one that this was not made from, or it comes too late")


class PoolPort(Protocol):
    """Weighing, publication and freshness."""

    async def load_pool(self, pool: str) -> PoolLoad:
        """Everything that a pool is weighed from: its settings, members, snapshot and traffic."""

    async def publish(self, publication: Publication) -> Epoch:
        """Snapshot, log entry, index and hint; returns the epoch with this publication counted. Raises EpochEnded when the epoch is not
        (any more) the publication's, Stale when this version or a newer one is already there."""

    async def published_pools(self) -> list[str]:
        """The names in the index that consumers read, sorted."""

    async def snapshots(self, pools: Sequence[str]) -> list[bytes]:
        """The published snapshots of these pools, in their order; b"" for one that was never published."""

    async def mark_pools(self, pools: Sequence[str]) -> None:
        """Let pools fall due for weighing at once."""

    async def not_published(self, pool: str, slot: int) -> None:
        """Note that a pool that was due in this slot could not be published. Failures within ALIVE_TTL_MS of each other are one."""

    async def lagging(self) -> list[str]:
        """The pools that lag, sorted: those with a probed endpoint whose results vouch for it no longer, and those that have been due for
        publishing for longer than ALIVE_TTL_MS, or could not be published for as long. At most LAGGING_MAX + 1 are looked for in each
        slot and for each reason."""

    async def alive(self) -> list[str]:
        """Write the evaluators' heartbeat in server time, naming the pools that lag, which are returned."""
