"""The connection's and the data set's life on Redis."""

from __future__ import annotations

from monitor.core.errors import StoreError
from monitor.store import keys
from monitor.store.port import NO_EPOCH, Epoch
from monitor.store.redis.calls import Calls
from monitor.store.redis.replies import to_ms
from monitor.store.redis.wire import Wire


class LifeCalls(Calls):
    """The calls of the port that concern the data set as a whole."""

    def __init__(self, url: str, *, slots: int | None = None, timeout_s: float = 5.0) -> None:
        self.slots = slots or keys.SLOTS_DEFAULT
        self._slots_wanted = slots
        self._url = url
        self._timeout_s = timeout_s
        self._open_wire: Wire | None = None

    @property
    def _wire(self) -> Wire:
        if self._open_wire is None:
            raise StoreError("the store is not open")
        return self._open_wire

    async def open(self, *, create: bool = False) -> None:
        wire = Wire(self._url, self._timeout_s)
        try:
            if create:
                await wire.execute_one("SETNX", keys.SLOTS, self._slots_wanted or keys.SLOTS_DEFAULT)
            self.slots = keys.read_slots(await wire.execute_one("GET", keys.SLOTS), self._slots_wanted)
        except BaseException:
            await wire.close()
            raise
        self._open_wire = wire

    async def close(self) -> None:
        wire, self._open_wire = self._open_wire, None
        if wire is not None:
            await wire.close()

    async def now_ms(self) -> int:
        return to_ms(await self._wire.execute_one("TIME"))

    async def epoch(self, seen: Epoch = NO_EPOCH) -> Epoch:
        names = [keys.EPOCH, keys.POOLS, keys.in_slot(0, "dirty")]
        return Epoch(*await self._wire.run("epoch", names, seen.number, seen.publications))
