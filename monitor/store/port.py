"""The store as the rest of the house sees it. Two homes keep it: `redis` (the real one) and `memory` (the shipped fake).

One contract suite, tests/contract, runs on both. Every write is conditional on a token or a version and safe to repeat.
Times are whole milliseconds. Values are bytes that the caller has encoded: the store knows nothing of their shape.
All methods raise StoreError when the store cannot be reached or refuses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import msgspec

from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import Stale
from monitor.core.history import RowWrite as Write
from monitor.store.names import printable
from monitor.store.queues import Queue, is_lease

T = TypeVar("T")


def digest(data: bytes) -> str:
    """What stands for stored bytes in a write that was decided from them: their SHA-1 in hex, "" for nothing."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest() if data else ""


class Entry(msgspec.Struct, Generic[T], frozen=True):
    """What the registry holds under one name, as it was read; it fences a write that is decided from it.

    `value` is None where the stored bytes cannot be read, and `why` says what is wrong with them. `pool` is the endpoint's pool as
    far as it can be told, else ""; it is "" for the entry of a pool.
    """

    digest: str
    value: T | None
    pool: str = ""
    why: str = ""


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """Write an endpoint. `old` is the entry that this was decided from, None where there was none.

    `transitions` (encoded) go into its own log, and into the stream of events.
    """

    endpoint: Endpoint
    old: Entry[Endpoint] | None = None
    transitions: tuple[bytes, ...] = ()


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """Remove an endpoint whose entry is still `old`."""

    id: str
    old: Entry[Endpoint]
    transitions: tuple[bytes, ...] = ()


class PoolPut(msgspec.Struct, frozen=True, kw_only=True):
    """Write a pool whose entry is still `old`; None: there is none."""

    pool: Pool
    old: Entry[Pool] | None = None
    transitions: tuple[bytes, ...] = ()


class PoolRemoval(msgspec.Struct, frozen=True, kw_only=True):
    """Remove a pool's settings whose entry is still `old`."""

    name: str
    old: Entry[Pool]
    transitions: tuple[bytes, ...] = ()


class RegistryChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What one use case writes. Of two entries of one id the last wins, a removal over both.

    `transitions` belong to no endpoint. `in_stream` false keeps the transitions of endpoints in their own logs alone.
    """

    puts: tuple[Put, ...] = ()
    removals: tuple[Removal, ...] = ()
    pools: tuple[PoolPut, ...] = ()
    pool_removals: tuple[PoolRemoval, ...] = ()
    transitions: tuple[bytes, ...] = ()
    in_stream: bool = True


class RegistryAnswer(msgspec.Struct, frozen=True):
    """What became of changes. Endpoints are written in chunks, and none of a chunk in which one is stale."""

    stale: frozenset[str] = frozenset()
    """Endpoints whose entry is not what was read."""
    stale_pools: frozenset[str] = frozenset()
    unwritten: frozenset[str] = frozenset()
    """Endpoints that were not written: the stale ones, and those of their chunks."""

    @property
    def ok(self) -> bool:
        """Whether everything was written."""
        return not (self.stale or self.stale_pools)


class Claimed(msgspec.Struct, frozen=True):
    """A probe that is ours until `token_ms`, which is also its fencing token."""

    id: str
    token_ms: int
    due_ms: int


class Claim(msgspec.Struct, frozen=True):
    """What one claim of probes took from a slot. `rev` is the slot's revision of its endpoints, `now_ms` the server's time."""

    slot: int
    rev: int
    now_ms: int
    items: tuple[Claimed, ...]
    interval_min_ms: int = 0
    """The shortest interval of those taken; 0 where there is none."""


class Lease(msgspec.Struct, frozen=True):
    """One claimed member of a work queue. `token_ms` is odd, and the end of the lease on the shared timeline.

    `due_ms` is when it fell due: even where it was given, odd where it is the end of a lease that nobody finished.
    """

    member: str
    token_ms: int
    due_ms: int

    @property
    def taken_over(self) -> bool:
        """Whether somebody else had it and did not finish: what he did before he ended, nobody knows."""
        return is_lease(self.due_ms)


class Committed(StrEnum):
    """What became of one commit."""

    OK = "ok"
    STALE = "stale"
    """The record's version moved: read it again, decide again; the lease is still ours."""
    LOST = "lost"
    """The lease is not ours any more, or the endpoint is gone: drop the result."""


class Loaded(msgspec.Struct, frozen=True):
    """What a decision about one endpoint starts from: the monitor's record, an operator's word, what the rules remember.

    Each is b"" before it was first written. `ver` fences all three: whatever changes one of them moves it. It is UNREADABLE
    (store.keys) where the stored record has no version that can be read.
    """

    ver: int
    record: bytes
    override: bytes
    memory: bytes = b""


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one decided result changes. `token_ms` None: a decision without a result (its re-evaluation fell due).

    `reevaluate_ms` 0 takes the endpoint out of the re-evaluation queue, None leaves its place there (a write less).
    `interval_ms` 0 leaves the next due time to the plan.
    `dirty_at_ms` None leaves the pool's place in the dirty queue; an earlier time wins over a later one. Whoever holds the pool
    then has lost it: what he read is no longer all there is, and `finish` refuses him.
    """

    id: str
    token_ms: int | None
    ver: int
    next_ver: int
    record: bytes
    reevaluate_ms: int | None
    pool: str
    memory: bytes | None = None
    """What the rules remember; None leaves it as it is."""
    alerting: bool = False
    """Whether that memory holds an alert, pending or firing."""
    fresh_until_ms: int = 0
    """Until when this result vouches for its pool; 0 where nothing was learnt."""
    interval_ms: int = 0
    writes: tuple[Write, ...] = ()
    transitions: tuple[bytes, ...] = ()
    alerts: tuple[bytes, ...] = ()
    dirty_at_ms: int | None = None


class SetAside(msgspec.Struct, frozen=True):
    """Something that could not be read: `kind` and `key` say what it was, `why` what the reader met; `at_ms` is when it was kept aside."""

    kind: str
    key: str
    data: bytes
    why: str
    at_ms: int = 0

    def kept(self, bytes_max: int, now_ms: int) -> SetAside:
        """The copy as it is kept; a key may itself be what cannot be written."""
        return SetAside(self.kind, printable(self.key), self.data[:bytes_max], self.why, now_ms)


class Member(msgspec.Struct, frozen=True):
    """One member of a pool as it is stored; each value is b"" where there is none."""

    id: str
    spec: bytes
    """The endpoint as JSON."""
    record: bytes
    override: bytes


class PoolLoad(msgspec.Struct, frozen=True):
    """A pool as one reading; `snapshot` is b"" before the first publication. Members are sorted by id.

    `logged` is (epoch, ver) of the last version in the pool's log, (0, 0) where there is none; a snapshot that is older was put back.
    """

    members: tuple[Member, ...]
    snapshot: bytes
    settings: bytes = b""
    logged: tuple[int, int] = (0, 0)
    """The pool's settings as JSON; b"" where it has none of its own."""


class Epoch(msgspec.Struct, frozen=True, order=True):
    """One life of the data set, and how many publications it has had: of two readings of one life the later one is not smaller."""

    number: int = 0
    """The server's time (ms) at which it began, or more where a larger one was known."""
    publications: int = 0


NO_EPOCH = Epoch()
"""Before anybody has seen one."""


class EpochEnded(Stale):
    """The data set is not the one that the publisher has seen: call `epoch` again, then decide again."""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """A pool's next version, under the epoch that the publisher has seen.

    Refused (Stale) unless (epoch.number, ver) is larger than all before, and where it follows on the last one directly unless it was made
    from that, since consumers fold `delta` onto it; `tombstone` takes the pool out of `pools` and lets snapshot
    and log go after MAX_STALE_MS, so that every consumer sees it and a pool that comes back goes on with the next version.
    """

    pool: str
    epoch: Epoch
    ver: int
    snapshot: bytes
    delta: bytes
    base: tuple[int, int] = (0, 0)
    """Epoch and version of what `delta` starts from; (0, 0) where that is nothing."""
    tombstone: bool = False
    until_ms: int = 0
    """Stale after this time (0: never): a version that is done late, when its publisher has given it up, says what was, and others who
    found that nothing has changed have made no version since."""


def refused(publication: Publication) -> Stale:
    """What a publication that may not be done raises."""
    version = f"{publication.epoch.number}-{publication.ver}"
    return Stale(f"pool {publication.pool} has version {version} already, or a later or another one before it, or it comes too late")


class AlertPhase(StrEnum):
    """Whether an alert's condition holds."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """One alert in one group. A new group takes `meta` and falls due at `first_flush_ms`; an old one keeps its timer."""

    fingerprint: str
    group: str
    meta: bytes
    first_flush_ms: int


class AssertedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert as a subject asserts it, with the groups that it belongs to. `ends_ms` 0: it fires until it is no longer asserted."""

    fingerprint: str
    alert: bytes
    starts_ms: int
    ends_ms: int = 0
    groups: tuple[Membership, ...] = ()


class SubjectAssertion(msgspec.Struct, frozen=True, kw_only=True):
    """All that one subject asserts. Alerts that it asserted before, and does not any more, end at `at_ms` with `reason`.

    It counts for nothing where a larger `ver` of the subject was taken in. Unless the subject asserts again, its alerts fall due in
    the queue ASSERTIONS at `expires_ms`.
    """

    subject: str
    ver: int
    at_ms: int
    expires_ms: int
    alerts: tuple[AssertedAlert, ...] = ()
    reason: str = ""


class StoredAlert(msgspec.Struct, frozen=True):
    """One alert as it stands. `ends_ms` is 0 while no end is known; `alert` is b"" where a group refers to one that is lost."""

    fingerprint: str
    alert: bytes
    ver: int
    subject: str
    ends_ms: int = 0
    reason: str = ""


class GroupLoad(msgspec.Struct, frozen=True):
    """A group as one reading. `meta` is b"" where it was never written."""

    meta: bytes
    alerts: Mapping[str, StoredAlert]
    log: Mapping[str, bytes]
    in_flight: Mapping[str, str]
    """Place in the log -> id of the delivery in flight."""


class NewDelivery(msgspec.Struct, frozen=True):
    """A row of the outbox; `place` is its service's place in the group's log."""

    id: str
    place: str
    payload: bytes
    due_ms: int


class DeliveryRow(msgspec.Struct, frozen=True):
    """A row of the outbox as it stands."""

    payload: bytes
    group: str
    place: str


class Flush(msgspec.Struct, frozen=True, kw_only=True):
    """What a group's tick decided. Refused (Stale) unless the group's lease is still `token_ms`.

    `drop` are alerts that leave the group, with their `ends_ms` as it was read: one that has changed since stays. A group left with
    no alert and no delivery in flight is deleted whole, its log with it; otherwise it falls due again at `next_ms`. `meta` replaces
    the group's.
    """

    group: str
    token_ms: int
    next_ms: int
    deliveries: tuple[NewDelivery, ...] = ()
    drop: Mapping[str, int] = {}
    log: Mapping[str, bytes] = {}
    """Log entries to write without sending (all resolved and `send_resolved` is false)."""
    meta: bytes | None = None


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery has been accepted, given up or superseded. Refused (Stale) unless the delivery's lease is still `token_ms`.

    `log` None leaves the log as it was (given up, so that the next tick decides again). `drop` as in Flush; it is applied
    only when no other delivery of the group is in flight. `at_once` lets the group fall due now.
    """

    id: str
    token_ms: int
    group: str
    place: str
    log: bytes | None
    sent: bytes
    """One entry for the stream of notifications sent or given up."""
    drop: Mapping[str, int] = {}
    at_once: bool = False


class Store(Protocol):
    """See the module's text. `slots` is the number of slots of the data set."""

    slots: int

    # Life -------------------------------------------------------------------------------------------------------
    async def open(self, *, create: bool = False) -> None:
        """Connect. NoDataSetError where there is no data set, unless `create` makes it; ConfigError where it has another number of
        slots than this store was told to expect."""

    async def close(self) -> None:
        """Let go of the server; the store may be opened again."""

    async def now_ms(self) -> int:
        """The server's clock."""

    async def epoch(self, seen: Epoch = NO_EPOCH) -> Epoch:
        """The current epoch. `seen` is the largest that the caller knows: a data set that is behind it, or whose server has restarted,
        begins a new epoch, larger than both, and every published pool falls due for weighing."""

    # Registry ---------------------------------------------------------------------------------------------------
    async def register(self, changes: RegistryChanges) -> RegistryAnswer:
        """Write what was decided from entries that are still as they were read.

        Pools come first; where one is stale, nothing is written. A new or re-timed endpoint falls due on its grid; a paused one
        leaves the due set; of a removed one the record stays until `forget`. Whatever changes an endpoint moves its record's
        version and lets it fall due for re-evaluation. Every pool touched, old or new, falls due for weighing at once.
        Repeatable: what is already as it shall be is no change, is not told again, and is not stale; what belongs to no entry is told
        unless it is among the newest events."""

    async def endpoints(self, ids: Sequence[str] | None = None) -> dict[str, Endpoint]:
        """The endpoints of these ids that exist, or all. Those whose entry cannot be read are left out."""

    async def pools(self) -> dict[str, Pool]:
        """Pools with settings of their own. Those that cannot be read are left out."""

    async def endpoint_entries(self, ids: Sequence[str] | None = None) -> dict[str, Entry[Endpoint]]:
        """The entries of these ids that exist, or all, with those that cannot be read."""

    async def pool_entries(self) -> dict[str, Entry[Pool]]:
        """The entries of all pools, with those that cannot be read."""

    async def set_override(self, endpoint: Endpoint, read: str, override: bytes, transition: bytes) -> None:
        """Write an override (b"" takes it back) if the one that is there has the digest `read`; log the transition, move the
        record's version, let the endpoint fall due for re-evaluation and its pool for weighing. Nothing if it is already so.
        Raises Stale when the override is another, or the endpoint is gone or in another pool."""

    async def forget(self, endpoint_id: str, ver: int, alerts: Sequence[bytes]) -> bool:
        """Take away what is left of a removed endpoint, and write the events that end its alerts. False when it is registered
        again or its record has moved."""

    # Probes -----------------------------------------------------------------------------------------------------
    async def claim_probes(self, slot: int, limit: int, horizon_ms: int) -> Claim:
        """Take up to `limit` endpoints due within `horizon_ms`, earliest first, each leased for as long as its plan says.
        An endpoint taken early is leased from its due time on, and its result uses up that slot even when it comes before it."""

    async def judging_since(self, slot: int) -> int:
        """Since when the slot's probes have been claimed without a gap of JUDGING_GAP_MS (store.queues), in ms; the present where they are
        not. Silence, and alerts that nobody asserts, count from here at the earliest: before it nothing was probed."""

    async def realign(self, slot: int) -> int:
        """Make good a step back of the server's time; slot 0 stands for the queues that exist once as well. Returns how many were moved.

        Every endpoint whose due time lies further ahead than its interval and lease allow goes back on its grid. What lies ahead in
        the other queues is moved back by as much as the time was, to the present at the earliest, and a hold on the slot's stream
        of alert events that the wrong time would have prolonged is ended."""

    async def load(self, ids: Sequence[str]) -> list[Loaded]:
        """What decisions about these endpoints start from, in the order of the ids; version 0 for what does not exist."""

    async def load_with_revisions(self, ids: Sequence[str]) -> tuple[list[Loaded], dict[int, int]]:
        """As `load`, and the registry's revision of each slot, read no earlier than the records of that slot: an endpoint that is as this
        revision has it was not changed since its record had the version that was loaded."""

    async def commit(self, items: Sequence[Commit]) -> list[Committed]:
        """One script per slot; the answers are in the order of `items`. An id counts once per call: the others are STALE."""

    # Work queues ------------------------------------------------------------------------------------------------
    async def ready(self) -> list[tuple[Queue, int]]:
        """The work queues (of all slots) whose first member is due, in one round trip: what a metronome needs at each tick.
        One that the store refuses to read is among them, so that its claim says why."""

    async def claim(self, queue: Queue, slot: int, limit: int, lease_ms: int, members: Sequence[str] = ()) -> list[Lease]:
        """Take up to `limit` of what is due, earliest first; a member not finished within `lease_ms` falls due again by itself.

        With `members`, take these alone, in their order: those that fall due within EARLY_MS (store.queues) and that nobody holds."""

    async def finish(self, queue: Queue, slot: int, member: str, token_ms: int, next_ms: int | None) -> bool:
        """Give a member its next time, rounded up to an even millisecond, or None to take it out. False when the lease is not ours
        any more."""

    async def renew(self, queue: Queue, slot: int, member: str, token_ms: int, until_ms: int) -> None:
        """Hold a claimed member until `until_ms` (odd), which is its token from now on. Repeatable. Stale when the lease is not ours
        any more, and when that time has passed already (whoever asks does not know yet that the server's time has stepped)."""

    async def overdue(self, queue: Queue, slot: int) -> int:
        """Milliseconds by which the first member is late; 0 when none is."""

    # Pools ------------------------------------------------------------------------------------------------------
    async def load_pool(self, pool: str) -> PoolLoad:
        """Everything that a pool is weighed from: its settings, members and snapshot."""

    async def publish(self, publication: Publication) -> Epoch:
        """Snapshot, log entry, index and hint; returns the epoch with this publication counted. Raises EpochEnded when the epoch is not
        (any more) the publication's, Stale when this version or a newer one is already there."""

    async def published_pools(self) -> list[str]:
        """The names in the index that consumers read, sorted."""

    async def mark_pools(self, pools: Sequence[str]) -> None:
        """Let pools fall due for weighing at once."""

    async def not_published(self, pool: str, slot: int) -> None:
        """Note that a pool that was due in this slot could not be published. Failures within ALIVE_TTL_MS of each other are one."""

    async def lagging(self) -> list[str]:
        """The pools that lag, sorted: those with a probed endpoint whose results vouch for it no longer, and those that have been due for
        publishing for longer than ALIVE_TTL_MS, or could not be published for as long. At most LAGGING_MAX + 1 are looked for in each
        slot and for each reason."""

    async def alive(self) -> list[str]:
        """Write the evaluators' heartbeat in server time, naming the pools that lag, which are returned."""

    # Alerts -----------------------------------------------------------------------------------------------------
    async def load_subject(self, subject: str) -> tuple[int, bytes]:
        """Version and body of what is kept of a pool or of the system."""

    async def commit_subject(
        self, subject: str, ver: int, next_ver: int, body: bytes, *, alerts: Sequence[bytes] = (), transitions: Sequence[bytes] = ()
    ) -> bool:
        """Write what is kept of a pool or of the system (b"" takes it out). False when the version moved. Alert events go to slot 0.

        A pool ("pool:<name>") that is written for the first time falls due for weighing once more."""

    async def claim_alert_events(self, slot: int, limit: int, lease_ms: int) -> tuple[int, list[tuple[str, bytes]]]:
        """The oldest alert events of the slot that are not yet in groups, with their entry ids, and the lease's token (ms).

        One holder at a time, so that an old event can never come after a newer one: nothing while another holds the stream.
        The lease is kept in `wk:i:{sN}:routing`."""

    async def ack_alert_events(self, slot: int, token_ms: int, entry_ids: Sequence[str]) -> None:
        """Delete the entries and give the stream back, if the lease is still ours. Stale otherwise."""

    async def listen(self, heard: Callable[[int], None], listening: Callable[[], None]) -> None:
        """Call `heard` with a slot whenever alert events are written to its stream, until cancelled; `listening` is called once, when
        nothing is missed any more. Hints are lost with the connection, which raises StoreError."""

    async def streams(self) -> list[int]:
        """Slots whose stream of alert events is not empty, or that the store refuses to measure."""

    async def assert_alerts(self, assertions: Sequence[SubjectAssertion]) -> list[str]:
        """Take in what subjects assert, in this order. Returns the groups that this made."""

    async def join_groups(self, memberships: Sequence[Membership]) -> list[str]:
        """Put alerts that stand in the store into groups. Returns the groups that this made."""

    async def end_asserted(self, subject: str, token_ms: int, at_ms: int, reason: str, next_ms: int) -> int:
        """End what a claimed member of ASSERTIONS asserted last; it falls due again at `next_ms`, and is then forgotten. Returns how
        many alerts ended. Stale when the lease is not ours any more."""

    async def end_orphans(self, at_ms: int, reason: str) -> int:
        """End alerts that fire though no subject's last assertion names them, which happens only where data were lost. Returns how many."""

    async def alerts(self, phase: AlertPhase, limit: int) -> list[StoredAlert]:
        """Up to `limit` alerts: of those that fire the ones that began first, of the others those that ended last."""

    async def alert(self, fingerprint: str) -> StoredAlert | None:
        """One alert by its fingerprint, or None where the alert store has it not (any more)."""

    async def load_group(self, group: str) -> GroupLoad | None:
        """A group with its alerts, its log and its deliveries in flight, or None where there is none."""

    async def commit_flush(self, flush: Flush) -> None:
        """Write what a tick decided: outbox rows, log, the next tick. Raises Stale where the group's lease is lost."""

    async def load_deliveries(self, ids: Sequence[str]) -> list[DeliveryRow | None]:
        """None for one that is gone."""

    async def retry_delivery(self, delivery_id: str, token_ms: int, payload: bytes, due_ms: int) -> None:
        """Write the delivery back with its next time. Stale when the lease is not ours any more."""

    async def settle_delivery(self, settle: Settle) -> None:
        """Write what became of a delivery, and take it out of the outbox. Raises Stale where its lease is lost."""

    async def sent(self, limit: int) -> list[tuple[str, bytes]]:
        """The newest notifications sent or given up, newest first."""

    # What cannot be read ----------------------------------------------------------------------------------------
    async def set_aside(self, items: Sequence[SetAside]) -> None:
        """Keep copies of what could not be read, the newest of each (kind, key), at most ASIDE_MAX; beyond that new ones are dropped."""

    async def aside_count(self) -> int:
        """How many copies of what cannot be read are kept."""

    async def aside(self) -> list[SetAside]:
        """What is kept aside, sorted by kind and key."""

    async def drop_foreign(self) -> list[str]:
        """Delete those keys that our processes fill again by themselves (keys.REFILLED) and that hold a value of another type than theirs:
        nobody could use or replace it. Returns their names."""

    async def discard_aside(self, kind: str, key: str) -> bool:
        """Delete a copy. False when there is none."""

    # Reading ----------------------------------------------------------------------------------------------------
    async def alerting(self) -> tuple[list[str], list[str]]:
        """The endpoints whose rules hold an alert, pending or firing, and the pools and the system of which anything is kept, sorted."""

    async def pool_sizes(self) -> dict[str, int]:
        """How many members each pool has that has one, settings of its own, or a publication; in the order of their names."""

    async def transitions(self, endpoint_id: str) -> list[bytes]:
        """The last OWN_LOG_LENGTH_MAX transitions of one endpoint, oldest first."""

    async def samples(self, endpoint_id: str, name: str) -> bytes:
        """The whole ring or rollup: `name` is ring, min, hour or day."""

    async def snapshots(self, pools: Sequence[str]) -> list[bytes]:
        """The published snapshots of these pools, in their order; b"" for one that was never published."""

    async def events(self, limit: int, after: str = "") -> list[tuple[str, bytes]]:
        """Transitions, oldest first: the last `limit`, or those after the cursor `after`. The id is a cursor over all slots."""

    async def heartbeat(self, name: str, process: bytes) -> None:
        """Write the heartbeat of one of our own processes, named "<part>:<host>:<pid>".

        A data set that was lost gets its number of slots back with it. ConfigError where it was made anew with another number."""

    async def deregister(self, name: str) -> None:
        """Deregister: the process is leaving."""

    async def heartbeats(self, max_age_ms: int) -> dict[str, bytes]:
        """Heartbeats younger than this by the server's clock; older ones are deleted."""

    async def count(self, increments: Mapping[str, int]) -> None:
        """Add to the counters that all processes share."""

    async def counters(self) -> dict[str, int]:
        """The counters by name."""

    async def due_overdue(self) -> tuple[int, int]:
        """How many endpoints are past their due time, and by how many milliseconds the first of them is."""
