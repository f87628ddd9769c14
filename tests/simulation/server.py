"""The server: the shipped store in memory on a clock of its own, remembering what it accepted, and what may befall it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import msgspec

from alert_rules.notify.dedup import LogEntry
from monitor.store.memory.store import MemoryStore
from monitor.store.port import NO_EPOCH, Claim, Commit, Committed, Epoch, Publication, Settle, SubjectAssertion
from tests.simulation.network import Network
from tests.simulation.seen import Published, Seen, Vouched
from tests.simulation.virtual import VirtualLoop

EPOCH_MS = 1_700_000_000_000


class ServerTime:
    """The server's own time, which may step."""

    tilted = False

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset_ms = 0

    def now_ms(self) -> int:
        return EPOCH_MS + self._loop.now_ms() + self.offset_ms

    def monotonic_ms(self) -> int:
        return self._loop.now_ms()


class Server(MemoryStore):
    """A server of one data set. `network` says whose request is being served."""

    def __init__(self, loop: VirtualLoop, seen: Seen, slots: int) -> None:
        self.time = ServerTime(loop)
        super().__init__(self.time, slots)
        self.seen = seen
        self.network: Network | None = None
        self.run = 0
        self._restarted = False
        """How many times the data set has begun anew, or lost its last second."""
        self._loop = loop

    # What it accepts ------------------------------------------------------------------------------------------------

    async def commit(self, items: Sequence[Commit]) -> list[Committed]:
        answers = await super().commit(items)
        for item, answer in zip(items, answers, strict=True):
            if answer is not Committed.OK:
                continue
            if item.token_ms is not None:
                self.seen.settled[self.run, item.id, item.token_ms] += 1
            self.seen.samples[self.run, item.id] += sum(write.name == "ring" for write in item.writes)
            if item.vouched_ms:
                self.seen.conclusive.append((self._loop.now_ms(), item.pool))
        return answers

    async def claim_probes(self, slot: int, limit: int, horizon_ms: int) -> Claim:
        claim = await super().claim_probes(slot, limit, horizon_ms)
        self.seen.claimed.update((self.run, item.id, item.token_ms) for item in claim.items)
        self.seen.leases |= {(item.id, item.due_ms): (item.token_ms, self.time.offset_ms) for item in claim.items}
        return claim

    async def publish(self, publication: Publication) -> Epoch:
        epoch = await super().publish(publication)
        self.seen.publications.append(Published(publication, self._loop.now_ms(), self.run))
        return epoch

    async def epoch(self, seen: Epoch = NO_EPOCH) -> Epoch:
        if self._restarted:  # A real server has another run id then.
            self._restarted = False
            seen = max(seen, Epoch(self._epoch.number, self._epoch.publications + 1))
        return await super().epoch(seen)

    async def alive(self) -> list[str]:
        lagging = await super().alive()
        for pool, publication in self._published.items():
            if publication.tombstone is (pool in self.published):
                said = "a tombstone" if publication.tombstone else "alive"
                self.seen.index.append(f"at {self._loop.now_ms()} {pool} is {said}, and the index says otherwise")
        self.seen.vouched.append(Vouched(self._loop.now_ms(), self.heartbeat_value))
        return lagging

    async def settle_delivery(self, settle: Settle) -> None:
        await super().settle_delivery(settle)
        if self.network is None or settle.log is None or msgspec.json.decode(settle.log, type=LogEntry).unheard:
            return
        for told in self.seen.told:
            if told.delivery is self.network.task:
                told.logged = True

    async def assert_alerts(self, assertions: Sequence[SubjectAssertion]) -> list[str]:
        for item in assertions:
            for one in item.alerts:
                self.seen.began.setdefault((one.fingerprint, one.starts_ms), one.alert)
        return await super().assert_alerts(assertions)

    def _end(self, subject: str, fingerprint: str, at_ms: int, reason: str) -> None:
        alert = self._alerts.get(fingerprint)
        if alert is not None and alert.subject == subject and not alert.ends_ms:
            self.seen.ended.append((self._loop.now_ms(), fingerprint, alert.starts_ms))
            if not reason:
                self.seen.recovered.append((at_ms, alert.alert))
        super()._end(subject, fingerprint, at_ms, reason)

    # What befalls it ------------------------------------------------------------------------------------------------

    def backup(self) -> dict[str, Any]:
        """Everything that it keeps."""
        kept = {name: value for name, value in vars(self).items() if name not in _ITS_OWN}
        return copy.deepcopy(kept)

    def restart(self, backup: dict[str, Any]) -> None:
        """Killed, and started again with an older state; nobody who was connected knows."""
        self.run += 1
        vars(self).update(backup)
        self._restarted = True

    def flush(self) -> None:
        """FLUSHALL."""
        self.run += 1
        empty = MemoryStore(self.time, self.slots)
        vars(self).update({name: value for name, value in vars(empty).items() if name not in _ITS_OWN})


_ITS_OWN = frozenset({"_clock", "_listeners", "time", "seen", "network", "run", "_loop", "_restarted"})
