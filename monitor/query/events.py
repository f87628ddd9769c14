"""What has changed, over all endpoints and pools, with reasons and actors."""

from __future__ import annotations

import msgspec

from monitor.core.record import Transition
from monitor.query.readable import readable
from monitor.store.port import Store

decode_transition = msgspec.json.Decoder(Transition).decode


async def read_events(store: Store, limit: int, after: str = "") -> list[tuple[str, Transition]]:
    """Transitions with their cursors, oldest first."""
    found = [(cursor, readable(decode_transition, data)) for cursor, data in await store.events(limit, after)]
    return [(cursor, transition) for cursor, transition in found if transition is not None]
