"""Probe a registered endpoint now: it falls due, a worker probes it, and its result goes the way of every other."""

from __future__ import annotations

import asyncio

import msgspec

from monitor.core.endpoint import Endpoint
from monitor.core.errors import DECODE_ERRORS, ConfigError, Problem
from monitor.core.record import EMPTY, OverrideRecord, Record, decode_override, decode_record
from monitor.core.schedule import lease_ms
from monitor.registry.known import find
from monitor.store.port import Asked, Loaded, Store

POLL_S = 0.1
EARLY_MS = 100
"""A probe that began this little before the command asked counts: that long a command takes to begin, and clocks differ."""
WAIT_SLACK_MS = 5_000


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint before and after the probe that was asked for."""

    endpoint: Endpoint
    before: Record
    after: Record
    override: OverrideRecord | None = None


def wait_ms(endpoint: Endpoint) -> int:
    """How long a result may take at most while workers live: a probe that is in flight ends, or its lease does, and another follows."""
    return 2 * lease_ms(endpoint) + WAIT_SLACK_MS


async def check(store: Store, endpoint_id: str, wait_max_ms: int | None = None) -> Checked:
    """Let a worker probe the endpoint, and wait for a result whose probe began after this was called.

    ConfigError where there is no such endpoint, where it is paused, or becomes so; TimeoutError where no result comes in time. Then it
    stays due.
    """
    endpoint = await _probed(store, endpoint_id)
    asked_ms = await store.now_ms() - EARLY_MS
    (loaded,) = await store.load([endpoint_id])
    before = _record(loaded)
    async with asyncio.timeout((wait_ms(endpoint) if wait_max_ms is None else wait_max_ms) / 1000):
        while True:
            last = _record(loaded).probes.last
            if last.at_ms - last.duration_ms >= asked_ms and loaded.record:
                return Checked(endpoint=endpoint, before=before, after=_record(loaded), override=_override(loaded))
            if await store.ask_probe(endpoint_id, loaded.ver) is Asked.UNPLANNED:
                endpoint = await _probed(store, endpoint_id)
            await asyncio.sleep(POLL_S)
            (loaded,) = await store.load([endpoint_id])


async def _probed(store: Store, endpoint_id: str) -> Endpoint:
    """The endpoint, as far as anybody probes it. ConfigError."""
    endpoint = await find(store, endpoint_id)
    if endpoint.paused:
        hint = f"`watchkeeper endpoint resume {endpoint_id}`, or probe its URL from here with `watchkeeper probe`"
        raise ConfigError([Problem("", "endpoint", repr(endpoint_id), "it is paused, so nobody probes it", hint)])
    return endpoint


def _record(loaded: Loaded) -> Record:
    """What is known of the endpoint; nothing where it cannot be read: its next result makes it good."""
    try:
        return decode_record(loaded.record)
    except DECODE_ERRORS:
        return EMPTY


def _override(loaded: Loaded) -> OverrideRecord | None:
    try:
        return decode_override(loaded.override)
    except DECODE_ERRORS:
        return None
