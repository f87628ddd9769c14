"""What a data set in memory holds, and what every part of the store does with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from monitor.clock import Clock
from monitor.core.endpoint import Endpoint
from monitor.core.schedule import Plan
from monitor.pool.trials import TrialCount, TrialTerms
from monitor.store import keys
from monitor.store.memory.pace import Pace, Step, move_back
from monitor.store.port import NO_EPOCH, DeliveryRow, Publication, SetAside, Traffic
from monitor.store.queues import QUEUES, Queue, mark

encode = msgspec.json.Encoder().encode
"""How endpoints and settings are kept."""


class Stream:
    """Entries with growing ids; the oldest beyond the cap are forgotten."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._last = 0
        self._entries: dict[int, bytes] = {}

    def append(self, data: bytes) -> None:
        self._last += 1
        self._entries[self._last] = data
        if len(self._entries) > self._cap:
            del self._entries[next(iter(self._entries))]

    def after(self, entry_id: int) -> list[tuple[str, bytes]]:
        return [(str(at), data) for at, data in self._entries.items() if at > entry_id]

    def delete(self, entry_ids: Sequence[str]) -> None:
        for entry_id in entry_ids:
            self._entries.pop(int(entry_id), None)


@dataclass(slots=True)
class Slot:
    """What is kept of the endpoints of one slot, and of their pools there."""

    specs: dict[str, Endpoint] = field(default_factory=dict)
    unreadable: dict[str, bytes] = field(default_factory=dict)
    pools: dict[str, str] = field(default_factory=dict)
    """Where the endpoints that cannot be read are members; the others' own say so."""
    plans: dict[str, Plan] = field(default_factory=dict)
    rev: int = 0
    pace: Pace = field(default_factory=Pace)
    due: dict[str, int] = field(default_factory=dict)
    records: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    overrides: dict[str, bytes] = field(default_factory=dict)
    memories: dict[str, bytes] = field(default_factory=dict)
    alerting: set[str] = field(default_factory=set)
    judged: dict[str, int] = field(default_factory=dict)
    unpublished: dict[str, tuple[int, int]] = field(default_factory=dict)
    logs: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    blobs: dict[str, dict[str, bytearray]] = field(default_factory=lambda: defaultdict(dict))

    def members(self, pool: str) -> list[str]:
        """Ids of a pool's endpoints, with those whose entries cannot be read."""
        return [
            *(endpoint.id for endpoint in self.specs.values() if endpoint.pool == pool),
            *(endpoint_id for endpoint_id, held in self.pools.items() if held == pool),
        ]


@dataclass(slots=True)
class Trials:
    """What is published of a pool's trials, what became of their permits, and who holds a token: each with the generation it is of."""

    terms: dict[str, TrialTerms] = field(default_factory=dict)
    expire_ms: int = 0
    counts: dict[str, tuple[int, TrialCount]] = field(default_factory=dict)
    live: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)


@dataclass(slots=True)
class Group:
    """One group: its alerts, its log by place, and by place the delivery in flight."""

    meta: bytes
    alerts: set[str] = field(default_factory=set)
    log: dict[str, bytes] = field(default_factory=dict)
    in_flight: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Alert:
    """One row of the alert store."""

    alert: bytes
    ver: int
    subject: str
    starts_ms: int
    ends_ms: int = 0
    reason: str = ""


class MemoryState:
    """The data of all parts, with the given clock as the server's."""

    def __init__(self, clock: Clock, slots: int = 1) -> None:
        self.slots = slots
        self._clock = clock
        self._made = False
        self._epoch = NO_EPOCH
        self._slots = [Slot() for _ in range(slots)]
        self._pools: dict[str, bytes] = {}
        self._revision = 0
        self._transitions = Stream(keys.EVENTS_LENGTH_MAX)
        self._aside: dict[bytes, SetAside] = {}
        self._hearts: dict[str, tuple[int, bytes]] = {}
        self._counters: Counter[str] = Counter()
        # Queues
        self._queues: dict[tuple[Queue, int], dict[str, int]] = {
            (queue, slot): {} for slot in range(slots) for queue in Queue if slot == 0 or QUEUES[queue].per_slot
        }
        self._pace = Pace()
        # Pools
        self._published: dict[str, Publication] = {}
        self._expiry: dict[str, int] = {}
        self.heartbeat_value = ""
        """What `alive` last wrote; "" before."""
        self.published: set[str] = set()
        """Names of the pools that consumers see."""
        # Traffic
        self._trials: dict[str, Trials] = defaultdict(Trials)
        self._traffic: dict[str, Traffic] = {}
        self._traffic_minutes: dict[tuple[str, str], bytearray] = {}
        self._reports: dict[str, Stream] = defaultdict(lambda: Stream(keys.REPORTS_LENGTH_MAX))
        # Alerts
        self._subjects: dict[str, tuple[int, bytes]] = {}
        self._alerting: set[str] = set()
        self._alert_events = [Stream(keys.ALERTS_LENGTH_MAX) for _ in range(slots)]
        self._routing = [0] * slots
        self._listeners: list[Callable[[int], None]] = []
        self._alerts: dict[str, Alert] = {}
        self._held: Counter[str] = Counter()
        self._asserted: dict[str, tuple[int, list[str]]] = {}
        self._groups: dict[str, Group] = {}
        self._deliveries: dict[str, DeliveryRow] = {}
        self._sent = Stream(keys.SENT_LENGTH_MAX)

    def _home(self, endpoint_id: str) -> tuple[int, Slot]:
        number = keys.slot_of(endpoint_id, self.slots)
        return number, self._slots[number]

    def _spec(self, endpoint_id: str) -> bytes:
        """An endpoint's stored bytes, b"" for none."""
        slot = self._home(endpoint_id)[1]
        return encode(slot.specs[endpoint_id]) if endpoint_id in slot.specs else slot.unreadable.get(endpoint_id, b"")

    def _queue(self, queue: Queue, slot: int = 0) -> dict[str, int]:
        return self._queues[queue, slot if QUEUES[queue].per_slot else 0]

    def _mark_dirty(self, slot: int, pool: str, at_ms: int) -> None:
        dirty = self._queue(Queue.DIRTY, slot)
        dirty[pool] = mark(dirty.get(pool), at_ms)

    def _write_alerts(self, slot: int, alerts: Sequence[bytes]) -> None:
        for alert in alerts:
            self._alert_events[slot].append(alert)
        for heard in self._listeners if alerts else ():
            heard(slot)

    def _move_ends_back(self, steps: Sequence[Step], now_ms: int) -> int:
        ends = {fingerprint: alert.ends_ms for fingerprint, alert in self._alerts.items() if alert.ends_ms}
        moved = move_back(ends, steps, now_ms)
        for fingerprint, ends_ms in ends.items():
            self._alerts[fingerprint].ends_ms = ends_ms
        return moved
