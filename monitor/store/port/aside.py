"""What cannot be read: kept aside, or deleted where it is filled again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from monitor.store.names import printable


class SetAside(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that could not be read: `kind` and `key` say what it was, `why` what the reader met; `at_ms` is when it was kept aside.
    `digest` is that of the copy as it is kept, for whoever deletes it."""

    kind: str
    key: str
    data: bytes
    why: str
    at_ms: int = 0
    digest: str = ""

    def kept(self, bytes_max: int, now_ms: int) -> SetAside:
        """The copy as it is kept; a key may itself be what cannot be written."""
        return SetAside(self.kind, printable(self.key), self.data[:bytes_max], self.why, now_ms)


class AsidePort(Protocol):
    """Copies of what could not be read, and foreign keys."""

    async def set_aside(self, items: Sequence[SetAside]) -> None:
        """Keep copies of what could not be read, the newest of each (kind, key), at most ASIDE_MAX; beyond that new ones are dropped."""

    async def aside_count(self) -> int:
        """How many copies of what cannot be read are kept."""

    async def aside(self) -> list[SetAside]:
        """What is kept aside, sorted by kind and key."""

    async def drop_foreign(self) -> list[str]:
        """Delete those keys that our processes fill again by themselves (keys.REFILLED) and that hold a value of another type than theirs:
        nobody could use or replace it. Returns their names."""

    async def discard_aside(self, item: SetAside) -> bool:
        """Delete a copy as `aside` gave it. False when there is none any more, or another in its place."""
