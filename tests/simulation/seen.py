"""What the outside saw and what the server did: all that the checkers read beside the store itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from monitor.store.port import Publication
from tests.simulation.virtual import Life


@dataclass(frozen=True, slots=True)
class Start:
    """A probe that reached its target."""

    endpoint: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Published:
    publication: Publication
    at_ms: int
    run: int
    """How many times the data set had begun anew."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """One write of the evaluators' heartbeat."""

    at_ms: int
    value: str


@dataclass(slots=True)
class Told:
    """A message that a service accepted. `delivery` is the work that sent it and `sender` its process; `logged` says whether the log
    was written afterwards, `unheard` whether the sender never heard of the acceptance."""

    place: str
    group: str
    reason: str
    lines: tuple[str, ...]
    sent_ms: int
    at_ms: int
    delivery: object
    sender: Life
    logged: bool = False
    unheard: bool = False


@dataclass(slots=True)
class Damage:
    """A value that became unreadable."""

    kind: str
    key: str
    at_ms: int


@dataclass(slots=True)
class Seen:
    """Times are milliseconds since the world began, by no clock of it."""

    leases: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    """(endpoint, due time) -> until when whoever claimed it has it by the server's time, and by how much that had stepped."""
    late: list[str] = field(default_factory=list)
    """Probes that began after that."""
    index: list[str] = field(default_factory=list)
    """Where the published index was not what the snapshots are."""
    starts: list[Start] = field(default_factory=list)
    claimed: Counter[tuple[int, str, int]] = field(default_factory=Counter)
    """(run, endpoint, lease token) of every claim; a time that steps back gives a token again."""
    settled: Counter[tuple[int, str, int]] = field(default_factory=Counter)
    """The same of every accepted commit of a result."""
    samples: Counter[tuple[int, str]] = field(default_factory=Counter)
    """(run, endpoint) -> results that were written into its ring."""
    conclusive: list[tuple[int, str]] = field(default_factory=list)
    """(at, pool) of every accepted commit that vouched for its pool."""
    publications: list[Published] = field(default_factory=list)
    vouched: list[Vouched] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    ended: list[tuple[int, str, int]] = field(default_factory=list)
    """(at, fingerprint, start by the server's time) of every alert whose end the store took in."""
    recovered: list[tuple[int, bytes]] = field(default_factory=list)
    """(end by the server's time, alert) of those of them that ended without a reason: their conditions hold no longer."""
    began: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """(fingerprint, start by the server's time) -> alert, of all that were asserted."""
    damages: list[Damage] = field(default_factory=list)
    kills: list[tuple[int, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """What nobody caught."""
    log: list[str] = field(default_factory=list)
    """Everything that happened, in order: two runs of one seed give the same."""
