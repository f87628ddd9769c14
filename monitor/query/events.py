"""What has changed, over all endpoints and pools, with reasons and actors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from monitor.core.record import Transition
from monitor.query.readable import readable
from monitor.store.port import Store

SEARCHED_MAX = 50_000
"""Among so many of the newest events those that somebody asks for are looked for."""

decode_transition = msgspec.json.Decoder(Transition).decode


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a reader asks for. A condition that is left out lets all through."""

    pools: Sequence[str] = ()
    endpoints: Sequence[str] = ()
    labels: Callable[[Mapping[str, str]], bool] | None = None
    """Whether an endpoint's labels are those asked for; `endpoint` and `pool` are among them, as in alerts."""
    since_ms: int = 0


async def last_act(store: Store, endpoint_id: str) -> Transition | None:
    """What a person did last with an endpoint; None where nobody did, or so long ago that its own log has forgotten it."""
    read = (readable(decode_transition, data) for data in reversed(await store.transitions(endpoint_id)))
    return next((transition for transition in read if transition is not None and transition.actor), None)


async def read_events(store: Store, limit: int, after: str = "", wanted: Wanted | None = None) -> tuple[list[Transition], str]:
    """Transitions, oldest first, and the cursor after them; those that cannot be read are left out.

    Of those that are `wanted` the last `limit` ones, or all that came after the cursor.
    """
    found = await store.events(SEARCHED_MAX if wanted else limit, after)
    transitions = [one for _, data in found if (one := readable(decode_transition, data)) is not None]
    if wanted:
        transitions = await _chosen(store, transitions, wanted)
        transitions = transitions if after else transitions[-limit:]
    return transitions, found[-1][0] if found else after


async def _chosen(store: Store, transitions: Sequence[Transition], wanted: Wanted) -> list[Transition]:
    """Those that are wanted. Labels are those that an endpoint has now: of one that is no more none match."""
    chosen = [
        one
        for one in transitions
        if one.at_ms >= wanted.since_ms
        and (not wanted.pools or one.pool in wanted.pools)
        and (not wanted.endpoints or one.endpoint in wanted.endpoints)
    ]
    if wanted.labels is None:
        return chosen
    registered = await store.endpoints(sorted({one.endpoint for one in chosen if one.endpoint}))
    matching = {key for key, endpoint in registered.items() if wanted.labels(endpoint.known_by)}
    return [one for one in chosen if one.endpoint in matching]
