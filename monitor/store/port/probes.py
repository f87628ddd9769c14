"""Probes: claimed, and committed with everything that their results change."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from monitor.core.history import RowWrite as Write
from monitor.core.observation import ResultPace


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


class Committed(StrEnum):
    """What became of one commit."""

    OK = "ok"
    STALE = "stale"
    """The record's version moved: read it again, decide again; the lease is still ours."""
    LOST = "lost"
    """The lease is not ours any more, or the endpoint is gone: drop the result."""


class Asked(StrEnum):
    """What became of a request to probe an endpoint at once."""

    DUE = "due"
    """It is due, and whoever claims next takes it."""
    IN_FLIGHT = "in flight"
    """Somebody holds its lease: he probes it, or has died with it."""
    STALE = "stale"
    """The record's version moved: there may be a result now."""
    UNPLANNED = "unplanned"
    """It is paused, or not registered."""


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
    vouched_ms: int = 0
    """For how long this result vouches for its pool, counted from its commit; 0 where nothing was learnt."""
    interval_ms: int = 0
    writes: tuple[Write, ...] = ()
    transitions: tuple[bytes, ...] = ()
    alerts: tuple[bytes, ...] = ()
    dirty_at_ms: int | None = None


class ProbePort(Protocol):
    """Claims, what decisions start from, and commits."""

    async def claim_probes(self, slot: int, limit: int, horizon_ms: int) -> Claim:
        """Take up to `limit` endpoints due within `horizon_ms`, earliest first, each leased for as long as its plan says.
        An endpoint taken early is leased from its due time on, and its result uses up that slot even when it comes before it."""

    async def ask_probe(self, endpoint_id: str, ver: int) -> Asked:
        """Let an endpoint fall due at once, if its record still has this version. A running lease stays its holder's, and the grid of the
        endpoint stays as it is. Repeatable: what is due already is probed once."""

    async def due_overdue(self) -> tuple[int, int]:
        """How many endpoints are past their due time, and by how many milliseconds the first of them is."""

    async def judging_since(self, slot: int) -> int:
        """Since when the slot's probes have been claimed without a gap of JUDGING_GAP_MS (store.queues), in ms; the present where they are
        not. Alerts that nobody asserts count from here at the earliest: before it nobody could assert them."""

    async def result_pace(self, slot: int) -> ResultPace:
        """How results come in the slot; those are commits with a token. Where there never was one, the last is as old as the time."""

    async def realign(self, slot: int) -> int:
        """Make good a step back of the server's time; slot 0 stands for the queues that exist once as well. Returns how many were moved.

        An endpoint that has a plan and no place in the queue falls due. One whose due time lies further ahead than its interval and lease
        allow goes back on its grid. What lies ahead in the other queues is moved back by as much as the time was, to the present at the
        earliest, and a hold on the slot's stream of alert events that the wrong time would have prolonged is ended. What processes put
        there by the wrong time before they knew of the step is moved after KNOWN_MS (store.queues)."""

    async def load(self, ids: Sequence[str]) -> list[Loaded]:
        """What decisions about these endpoints start from, in the order of the ids; version 0 for what does not exist."""

    async def load_with_revisions(self, ids: Sequence[str]) -> tuple[list[Loaded], dict[int, int]]:
        """As `load`, and the registry's revision of each slot, read no earlier than the records of that slot: an endpoint that is as this
        revision has it was not changed since its record had the version that was loaded."""

    async def commit(self, items: Sequence[Commit]) -> list[Committed]:
        """One script per slot; the answers are in the order of `items`. An id counts once per call: the others are STALE."""
