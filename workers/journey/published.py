"""All that is published, some pools at a time, so that it need not be in memory together."""

from __future__ import annotations

from collections.abc import AsyncIterator

from monitor.store.port import Store

READ_TOGETHER = 100


async def published(store: Store) -> AsyncIterator[tuple[str, bytes]]:
    """The pools in the index and the snapshot of each, b"" where it is missing."""
    names = await store.published_pools()
    for first in range(0, len(names), READ_TOGETHER):
        batch = names[first : first + READ_TOGETHER]
        for pair in zip(batch, await store.snapshots(batch), strict=True):
            yield pair
