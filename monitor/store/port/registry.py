"""What is registered: endpoints, pools, overrides, and the entries that fence their changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from monitor.core.endpoint import Endpoint, Pool

T = TypeVar("T")


def digest(data: bytes) -> str:
    """What stands for stored bytes in a write that was decided from them: their SHA-1 in hex, "" for nothing."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest() if data else ""


class Entry(msgspec.Struct, Generic[T], frozen=True):
    """What the registry holds under one name, as it was read; it fences a write that is decided from it.

    `value` is None where the stored bytes cannot be read: then `data` is these bytes, and `why` says what is wrong with them. `pool` is
    the endpoint's pool as far as it can be told, else ""; it is "" for the entry of a pool.
    """

    digest: str
    value: T | None
    pool: str = ""
    why: str = ""
    data: bytes = b""


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """Write an endpoint. `old` is the entry that this was decided from, None where there was none.

    `transitions` (encoded) go into its own log, and into the stream of events.
    """

    endpoint: Endpoint
    old: Entry[Endpoint] | None = None
    transitions: tuple[bytes, ...] = ()

    @property
    def looks_elsewhere(self) -> bool:
        """Whether what it probes, or expects there, is another than before."""
        held = self.old.value if self.old else None
        return held is None or (held.url, held.options) != (self.endpoint.url, self.endpoint.options)

    @property
    def relinks(self) -> bool:
        """Whether it changes on which endpoints this one depends."""
        held = self.old.value if self.old else None
        return self.endpoint.depends_on != (held.depends_on if held else ())


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """Remove an endpoint whose entry is still `old`."""

    id: str
    old: Entry[Endpoint]
    transitions: tuple[bytes, ...] = ()


class PoolPut(msgspec.Struct, frozen=True, kw_only=True):
    """Write a pool whose entry is still `old`; None: there is none."""

    pool: Pool
    old: Entry[Pool] | None = None
    transitions: tuple[bytes, ...] = ()


class PoolRemoval(msgspec.Struct, frozen=True, kw_only=True):
    """Remove a pool's settings whose entry is still `old`."""

    name: str
    old: Entry[Pool]
    transitions: tuple[bytes, ...] = ()


class RegistryChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What one use case writes. Of two entries of one id the last wins, a removal over both.

    `transitions` belong to no endpoint. `in_stream` false keeps the transitions of endpoints in their own logs alone. `revision` is the
    registry's at which this was decided; None: it was decided from the entries that it writes alone.
    """

    puts: tuple[Put, ...] = ()
    removals: tuple[Removal, ...] = ()
    pools: tuple[PoolPut, ...] = ()
    pool_removals: tuple[PoolRemoval, ...] = ()
    transitions: tuple[bytes, ...] = ()
    in_stream: bool = True
    revision: int | None = None


class Renaming(msgspec.Struct, frozen=True, kw_only=True):
    """Give an endpoint whose entry is still `old` another name: `endpoint` is as before but for that. Nothing is registered under it, and
    nothing is left of an earlier endpoint. `children` are all that depend on it, with the new name; each tells of one transition.

    `record` is what is known of it, written under the new name, if its version still is `ver`; `revision` is the registry's at which this
    was decided.
    """

    old_id: str
    old: Entry[Endpoint]
    endpoint: Endpoint
    told_old: bytes
    told_new: bytes
    ver: int
    record: bytes
    children: tuple[Put, ...] = ()
    revision: int


class RegistryAnswer(msgspec.Struct, frozen=True):
    """What became of changes. Endpoints are written in chunks, and none of a chunk in which one is stale."""

    stale: frozenset[str] = frozenset()
    """Endpoints whose entry is not what was read."""
    stale_pools: frozenset[str] = frozenset()
    unwritten: frozenset[str] = frozenset()
    """Endpoints that were not written: the stale ones, and those of their chunks."""
    moved: bool = False
    """Whether the registry's revision is not the one that was read."""
    revision: int = 0
    """The registry's revision that follows from the one that was read; a change that goes on from there carries it."""

    @property
    def ok(self) -> bool:
        """Whether everything was written."""
        return not (self.stale or self.stale_pools or self.moved)


class RegistryPort(Protocol):
    """Endpoints, pools and overrides."""

    async def registry_revision(self) -> int:
        """The revision of what changes read of other entries: it moves with pools' settings, with the removal of an endpoint, and with
        what an endpoint depends on. Read it before the entries. 0 where nothing has moved it yet."""

    async def register(self, changes: RegistryChanges) -> RegistryAnswer:
        """Write what was decided from entries that are still as they were read.

        Pools come first; where one is stale, nothing is written. Where the registry's revision is not `changes.revision`, or another
        moves it between two chunks, nothing more is written. A new or re-timed endpoint falls due on its grid; a paused one
        leaves the due set; of a removed one the record stays until `forget`. Whatever changes an endpoint moves its record's
        version and lets it fall due for re-evaluation. Every pool touched, old or new, falls due for weighing at once.
        Repeatable: what is already as it shall be is no change, is not told again, and is not stale; what belongs to no entry is told
        unless it is among the newest events."""

    async def rename(self, renaming: Renaming) -> RegistryAnswer:
        """Rename an endpoint with its record, override, history (that of its traffic too) and log, all at once: the version of its record
        moves, it falls due soon on its new grid and for re-evaluation, and its pool for weighing. The old name is left as that of a removed
        endpoint. Nothing is written where something is stale: an entry is another, or the new name is in use or was and is not yet
        forgotten. Repeatable."""

    async def endpoints(self, ids: Sequence[str] | None = None) -> dict[str, Endpoint]:
        """The endpoints of these ids that exist, or all. Those whose entry cannot be read are left out."""

    async def reindex(self, slot: int) -> int:
        """Hold the member sets of pools and the plans of endpoints against the slot's entries, from which they follow, and make anew what
        is missing, because somebody has deleted it or written another type over it; return how much. Pools that regain a member fall
        due."""

    async def endpoint_entries(self, ids: Sequence[str] | None = None) -> dict[str, Entry[Endpoint]]:
        """The entries of these ids that exist, or all, with those that cannot be read."""

    async def pool_entries(self) -> dict[str, Entry[Pool]]:
        """The entries of all pools, with those that cannot be read."""

    async def set_override(self, endpoint: Endpoint, read: str, override: bytes, transition: bytes) -> None:
        """Write an override (b"" takes it back) if the one that is there has the digest `read`; log the transition, move the
        record's version, let the endpoint fall due for re-evaluation and its pool for weighing. Nothing if it is already so.
        Raises Stale when the override is another, or the endpoint is gone or in another pool."""

    async def forget(self, endpoint_id: str, ver: int, alerts: Sequence[bytes]) -> bool:
        """Take away what is left of a removed endpoint, and write the events that end its alerts. False when it is registered
        again or its record has moved."""
