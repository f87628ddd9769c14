"""Unreadable data: a value of any kind becomes rubbish, JSON of another shape, or what a newer release may have written."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from monitor.store import keys
from monitor.store.port import DeliveryRow
from tests.simulation.parts import UNFIT
from tests.simulation.seen import Damage

if TYPE_CHECKING:
    from tests.simulation.world import World

_ENUM = re.compile(rb'"(CLOSED|OPEN|HALF_OPEN|SUCCESS|FAILURE|FORCED_OPEN|FORCED_CLOSED|DRAIN|DISABLED|FIRING|PENDING|HEALTHY|UNKNOWN)"')
"""Values that only releases which know them can read."""

Place = tuple[str, str, bytes, Callable[[bytes], None]]
"""A kind and a key, what is there, and how to write it."""


class Vandal:
    def __init__(self, world: World) -> None:
        self._world = world

    async def work(self) -> None:
        while True:
            await asyncio.sleep(self._world.rng.expovariate(1 / self._world.weather.rubbish_every_s))
            self.strike()

    def strike(self) -> None:
        """Spoil one value of a kind drawn at random, so that rare kinds get their share."""
        rng = self._world.rng
        places: dict[str, list[Place]] = {}
        for place in self.places():
            if place[2]:
                places.setdefault(place[0], []).append(place)
        kind, key, data, write = rng.choice(places[rng.choice(sorted(places))])
        spoilt, readable = self._spoil(data)
        if readable and kind == "endpoint":
            self._unfit(key)
            return
        if readable and kind == "pool":
            return  # The fake keeps what it can read decoded.
        write(spoilt)
        self._world.note(f"vandal: {kind} {key} becomes {spoilt[:60]!r}")
        if not readable:
            self._world.seen.damages.append(Damage(kind, key, self._world.loop.now_ms()))

    def _unfit(self, name: str) -> None:
        """Give an endpoint an option whose shape no prober knows: its entry is decoded, and cannot be prepared."""
        slot = self._world.server._home(name)[1]
        if endpoint := slot.specs.get(name):
            slot.specs[name] = msgspec.structs.replace(endpoint, options={UNFIT: [1]})
            slot.rev += 1
            self._world.note(f"vandal: endpoint {name} gets an option that cannot be prepared")
            self._world.seen.damages.append(Damage("endpoint", name, self._world.loop.now_ms()))

    def _spoil(self, data: bytes) -> tuple[bytes, bool]:
        """The new value, and whether every reader must be able to read it."""
        rng = self._world.rng
        match rng.randrange(6):
            case 0:
                return rng.randbytes(rng.randrange(1, 40)), False
            case 1:
                return rng.choice([b"[1,2]", b'"text"', b"7", b"null", b'{"shape":{"is":"another"}}']), False
            case 2:
                return data[: len(data) // 2] or b"{", False
            case 3 if _ENUM.search(data):
                return _ENUM.sub(b'"FROM_THE_FUTURE"', data), False
            case 4:
                return data.replace(b"{", b"{\xff", 1), False
            case _:
                if not data.startswith(b"{"):
                    return b"\x00", False
                return b'{"a_newer_field":{"x":[1]}' + (b"," if data != b"{}" else b"") + data[1:], True

    def places(self) -> Iterator[Place]:
        """Every value that is kept, in an order that does not depend on the run."""
        server = self._world.server
        for slot in server._slots:
            for name, (ver, record) in sorted(slot.records.items()):
                yield "record", name, record, lambda data, s=slot, n=name, v=ver: s.records.__setitem__(n, (v, data))
                whole = keys.version_text(ver).encode() + record
                yield "version", name, whole, lambda data, s=slot, n=name: s.records.__setitem__(n, keys.split_version(data))
            yield from _of_mapping("memory", slot.memories)
            yield from _of_mapping("override", slot.overrides)
        for name in self._world.operators.names:
            yield "endpoint", name, server._spec(name), lambda data, n=name: server.spoil(n, data)
        for pool, settings in sorted(server._pools.items()):
            yield "pool", pool, settings, lambda data, p=pool: server.spoil_pool(p, data)
        for pool in sorted(server._published):
            yield "snapshot", pool, server._published[pool].snapshot, lambda data, p=pool: self._spoil_snapshot(p, data)
        for name, (ver, body) in sorted(server._subjects.items()):
            yield "subject", name, body, lambda data, n=name, v=ver: server._subjects.__setitem__(n, (v, data))
        yield from self._of_alerts()
        for name, (at_ms, process) in sorted(server._hearts.items()):
            yield "heartbeat", name, process, lambda data, n=name, at=at_ms: server._hearts.__setitem__(n, (at, data))

    def _of_alerts(self) -> Iterator[Place]:
        server = self._world.server
        for name, alert in sorted(server._alerts.items()):
            yield "alert", name, alert.alert, lambda data, a=alert: setattr(a, "alert", data)
        for key, group in sorted(server._groups.items()):
            yield "group", key, group.meta, lambda data, g=group: setattr(g, "meta", data)
            yield from _of_mapping("log entry", group.log)
        for name, row in sorted(server._deliveries.items()):
            yield (
                "delivery",
                name,
                row.payload,
                lambda data, n=name, r=row: server._deliveries.__setitem__(n, DeliveryRow(data, r.group, r.place)),
            )
        for slot, stream in enumerate(server._alert_events):
            for entry in sorted(stream._entries):
                yield (
                    "assertion",
                    f"s{slot}:{entry}",
                    stream._entries[entry],
                    lambda data, s=stream, e=entry: s._entries.__setitem__(e, data),
                )

    def _spoil_snapshot(self, pool: str, data: bytes) -> None:
        published: dict[str, Any] = self._world.server._published
        published[pool] = msgspec.structs.replace(published[pool], snapshot=data)


def _of_mapping(kind: str, held: dict[str, bytes]) -> Iterator[Place]:
    for key, data in sorted(held.items()):
        yield kind, key, data, lambda value, k=key: held.__setitem__(k, value)
