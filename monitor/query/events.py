"""What has changed, over all endpoints and pools, with reasons and actors."""

from __future__ import annotations

import msgspec

from monitor.core.record import Transition
from monitor.query.readable import readable
from monitor.store.port import Store

decode_transition = msgspec.json.Decoder(Transition).decode


async def last_act(store: Store, endpoint_id: str) -> Transition | None:
    """What a person did last with an endpoint; None where nobody did, or so long ago that its own log has forgotten it."""
    read = (readable(decode_transition, data) for data in reversed(await store.transitions(endpoint_id)))
    return next((transition for transition in read if transition is not None and transition.actor), None)


async def read_events(store: Store, limit: int, after: str = "") -> tuple[list[Transition], str]:
    """Transitions, oldest first, and the cursor after them; those that cannot be read are left out."""
    found = await store.events(limit, after)
    read = (readable(decode_transition, data) for _, data in found)
    return [transition for transition in read if transition is not None], found[-1][0] if found else after
