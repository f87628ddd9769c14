"""What people said of endpoints, as messages tell it: what was done, by whom, and why."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from monitor.core.errors import DECODE_ERRORS
from monitor.core.record import DRAINED, Override, OverrideRecord, Transition
from monitor.registry.journal import KIND, MOVED, PAUSED, REMOVED, unexplained
from monitor.store.port import Store

TOLD_MAX = 3
"""So many endpoints are named in the reason for which a pool's alert ended; the rest is counted."""
EVENTS_READ_MAX = 200
"""So many of the newest events are searched for who took endpoints out of a pool."""

_DONE = {
    Override.FORCED_OPEN: "forced open",
    Override.FORCED_CLOSED: "forced closed",
    Override.DISABLED: "its breaker disabled",
    Override.METRICS_ONLY: "its breaker only counting",
    Override.DRAIN: "drained",
}
_decode = msgspec.json.Decoder(Transition).decode


def overridden(override: OverrideRecord) -> str:
    """`drained by ann: kernel update`."""
    return _told(_DONE[override.override], override.by, "" if override.reason == DRAINED else override.reason)


async def paused(store: Store, endpoint_id: str) -> str:
    """`paused by ann: deploy`, as far as it is known."""
    return await _last(store, endpoint_id, PAUSED) or "paused"


async def removed(store: Store, endpoint_id: str) -> str:
    """`removed by ann: moved to the cloud`, as far as it is known: what was last done to one that is registered no more."""
    return await _last(store, endpoint_id) or "removed"


async def left(store: Store, pool: str) -> list[str]:
    """Who was taken from a pool of late, newest first: `shop-1 removed by ann: moved to the cloud`."""
    events = [_read(data) for _, data in await store.events(EVENTS_READ_MAX)]
    return [f"{one.endpoint} {_of(one)}" for one in reversed(events) if one and _took_out(one, pool)]


def listed(words: Sequence[str]) -> str:
    """All of them, in one text."""
    more = [f"and {len(words) - TOLD_MAX} more"] if len(words) > TOLD_MAX else []
    return "; ".join([*words[:TOLD_MAX], *more])


async def _last(store: Store, endpoint_id: str, done: str = "") -> str:
    """The last change of its registration (to `done`) that its own log knows."""
    for data in reversed(await store.transitions(endpoint_id)):
        transition = _read(data)
        if transition is not None and transition.kind == KIND and transition.new == (done or transition.new):
            return _of(transition)
    return ""


def _took_out(one: Transition, pool: str) -> bool:
    return bool(one.endpoint) and one.kind == KIND and one.pool == pool and one.new in {MOVED, REMOVED}


def _read(data: bytes) -> Transition | None:
    try:
        return _decode(data)
    except DECODE_ERRORS:
        return None


def _of(transition: Transition) -> str:
    return _told(transition.new.lower(), transition.actor, "" if unexplained(transition) else transition.reason)


def _told(done: str, by: str, reason: str) -> str:
    return "".join([done, f" by {by}" if by else "", f": {reason}" if reason else ""])
