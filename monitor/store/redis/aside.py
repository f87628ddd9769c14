"""What cannot be read, on Redis."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from monitor.core.errors import DECODE_ERRORS
from monitor.store import keys
from monitor.store.names import name_of
from monitor.store.port import SetAside, digest
from monitor.store.redis.calls import Calls
from monitor.store.redis.replies import by
from monitor.store.redis.wire import script

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(SetAside).decode


class AsideCalls(Calls):
    """The calls of the port that concern what could not be read."""

    async def set_aside(self, items: Sequence[SetAside]) -> None:
        now_ms = await self.now_ms()
        copies: list[str | bytes] = []
        for item in items:
            kept = item.kept(keys.ASIDE_BYTES_MAX, now_ms)
            copies += keys.aside_field(kept.kind, kept.key), _pack(kept)
        await self._wire.run("set_aside", [keys.ASIDE], keys.ASIDE_MAX, *copies)

    async def aside_count(self) -> int:
        return int(await self._wire.execute_one("HLEN", keys.ASIDE))

    async def aside(self) -> list[SetAside]:
        held = await self._wire.execute_one("HGETALL", keys.ASIDE)
        copies = (msgspec.structs.replace(_copy(name_of(field), data), digest=digest(data)) for field, data in by(2, held))
        return sorted(copies, key=lambda item: (item.kind, item.key))

    async def drop_foreign(self) -> list[str]:
        slots = range(self.slots)
        kinds = {**keys.REFILLED, **{keys.in_slot(slot, name): kind for slot in slots for name, kind in keys.REFILLED_IN_SLOT.items()}}
        filled = {keys.POOLS: [keys.in_slot(slot, "judged") for slot in slots]}
        for slot in slots:
            plan, due, dirty = (keys.in_slot(slot, name) for name in ("plan", "due", "dirty"))
            filled |= {plan: [due], due: [plan], dirty: [keys.POOLS]}
        dropped = await self._wire.execute(*(script("drop_foreign", [key, *filled.get(key, ())], kind) for key, kind in kinds.items()))
        return [key for key, gone in zip(kinds, dropped, strict=True) if gone]

    async def discard_aside(self, item: SetAside) -> bool:
        return bool(await self._wire.run("discard_aside", [keys.ASIDE], keys.aside_field(item.kind, item.key), item.digest))


def _copy(field: str, data: bytes) -> SetAside:
    """A copy that was set aside; one that cannot be read either is shown as it is."""
    try:
        return _unpack(data)
    except DECODE_ERRORS as error:
        kind, _, key = field.partition(" ")
        return SetAside(kind, key, data, str(error))
