"""What could not be read and is kept aside: deleted by a person who has seen it."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.registry.journal import act
from monitor.store.port import RegistryChanges, SetAside, Store


async def discard(store: Store, items: Sequence[SetAside], *, actor: str, reason: str = "") -> tuple[list[SetAside], list[SetAside]]:
    """Delete copies as `Store.aside` gave them, and tell of it; return those that are gone, and those in whose place another has come."""
    doing = await act(store, actor, reason)
    gone: list[SetAside] = []
    stayed: list[SetAside] = []
    for item in items:
        (gone if await store.discard_aside(item) else stayed).append(item)
    if gone:
        await store.register(RegistryChanges(transitions=(doing.discarded(gone),)))
    return gone, stayed
