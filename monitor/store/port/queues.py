"""The work queues (store/queues.py) and the leases of their members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from monitor.store.queues import Queue, is_lease


class Lease(msgspec.Struct, frozen=True):
    """One claimed member of a work queue. `token_ms` is odd, and the end of the lease on the shared timeline.

    `due_ms` is when it fell due: even where it was given, odd where it is the end of a lease that nobody finished.
    """

    member: str
    token_ms: int
    due_ms: int

    @property
    def taken_over(self) -> bool:
        """Whether somebody else had it and did not finish: what he did before he ended, nobody knows."""
        return is_lease(self.due_ms)


class QueuePort(Protocol):
    """Claim, finish and renew, for every queue alike."""

    async def ready(self) -> list[tuple[Queue, int]]:
        """The work queues (of all slots) whose first member is due, in one round trip: what a beat needs at each tick.
        One that the store refuses to read is among them, so that its claim says why."""

    async def claim(self, queue: Queue, slot: int, limit: int, lease_ms: int, members: Sequence[str] = ()) -> list[Lease]:
        """Take up to `limit` of what is due, earliest first; a member not finished within `lease_ms` falls due again by itself.

        With `members`, take these alone, in their order: those that fall due within EARLY_MS (store.queues) and that nobody holds."""

    async def finish(self, queue: Queue, slot: int, member: str, token_ms: int, next_ms: int | None) -> bool:
        """Give a member its next time, rounded up to an even millisecond, or None to take it out. False when the lease is not ours
        any more."""

    async def renew(self, queue: Queue, slot: int, member: str, token_ms: int, until_ms: int, *, repeated: bool = False) -> None:
        """Hold a claimed member until `until_ms` (odd), which is its token from now on. It is not done twice by itself: after a
        StoreError the same call is `repeated`, and then it may have been done before. Stale when the lease is not ours any more, and when
        that time has passed already (whoever asks does not know yet that the server's time has stepped)."""

    async def overdue(self, queue: Queue, slot: int) -> int:
        """Milliseconds by which the first member is late; 0 when none is."""
