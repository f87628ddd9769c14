"""What a policy is: pure functions of (settings, member, what happened, now) that return the member afterwards and say what changed.

One policy judges calls: a consumer's, or probes taken as calls. It never asks where a time or a call comes from, so `watchkeeper breaker
replay`, the journey's judge of traffic and `decide` play the same functions. The machine (core/breaker) alone knows where an event
leads; what is particular to a source (how long a breaker stays open, who may try it, what a window counts) is in that policy's file.

A policy never looks at another member. What it must know of a whole pool (Envoy's success rate, cusum's leave-one-out rate) is a value
that it gathers from all members beforehand.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from monitor.core.policies.call import COUNT_MAX, Call
from monitor.core.record import BreakerState, Override

M = TypeVar("M")
CONCURRENT_MAX: Final = 4
"""At most so many requests try an endpoint at a time where permits are leased tokens, whatever its policy says."""


class Member(msgspec.Struct, Generic[M], frozen=True):
    """An endpoint as a policy sees it. `memory` is the policy's own: a frozen, bounded struct that JSON can hold.

    `mode` is an operator's word that lies over the machine (core/overlay). `seed` goes into every random draw (`spread`).
    """

    id: str
    breaker: BreakerState
    memory: M
    mode: Override | None = None
    seed: int = 0

    @property
    def state(self) -> str:
        """The replay's word for where it stands: closed, open, half_open, or the mode that lies over it."""
        return (self.mode or self.breaker.state).value.lower()


class Change(msgspec.Struct, frozen=True):
    """A transition. `old` and `new` are the replay's words for states; `rule` names what decided (`consecutive_5xx`,
    `failure_rate_threshold`, `cusum` …), `reason` is a sentence with the evidence.

    `hard`: of a kind that probes can see (no connection, no answer in time), so that a probe's success speaks against it.
    """

    at_ms: int
    old: str
    new: str
    rule: str
    reason: str
    evidence: dict[str, int | float | str] = {}
    hard: bool = False


class Step(msgspec.Struct, Generic[M], frozen=True):
    """What one thing that happened led to. `events` are the source's own (FAILURE_RATE_EXCEEDED); `permitted` answers an acquire."""

    member: Member[M]
    changes: tuple[Change, ...] = ()
    events: tuple[str, ...] = ()
    permitted: bool | None = None


class Shown(msgspec.Struct, frozen=True):
    """What a policy shows of a member: rates in percent, -1 below the minimum number of calls."""

    failure_rate: float = -1
    slow_rate: float = -1
    calls: int = 0
    failures: int = 0
    slow_calls: int = 0
    not_permitted: int = 0
    ejections: int = 0


class Trials(msgspec.Struct, frozen=True):
    """Who may try a HALF_OPEN endpoint: so many trials in all, so many at a time."""

    permitted: int
    concurrent: int


class IllegalError(ValueError):
    """What the policy forbids here: what was seen, and what is allowed. Nothing has changed."""


class Policy(Protocol):
    """One way to judge calls. `settings` and `memory` are its classes; `settings` carries its table of options (core/policies/options).

    Whole milliseconds of virtual or server time come in as `now_ms`, and never decrease. Every random draw is `spread`'s. All functions
    are pure; `gathered` is what `gather` returned (None where the policy looks at no other member).
    """

    name: str
    settings: type[Any]
    memory: type[Any]
    relative: bool
    """Whether it compares members, so that `gathered` is needed."""
    counts_runs: bool
    """Whether it matters to it that failures come one after the other."""

    def check(self, settings: Any) -> None:
        """Raise SettingError for settings that contradict each other."""

    def begin(self, settings: Any, now_ms: int) -> Any:
        """The memory of a member of which nothing is known."""

    def gather(self, settings: Any, members: Iterable[Member[Any]], now_ms: int) -> Any:
        """What must be known of the whole pool; JSON can hold it, and its size does not grow with the pool's."""

    def observe(self, settings: Any, member: Member[Any], call: Call, gathered: Any, now_ms: int) -> Step[Any]:
        """Calls have ended, `call.count` of them, one after the other: up to 2**53, so they are never walked one by one. In HALF_OPEN
        they are trials."""

    def acquire(self, settings: Any, member: Member[Any], now_ms: int) -> Step[Any]:
        """Somebody asks for a permit; it may end an opening whose time is over."""

    def release(self, settings: Any, member: Member[Any], now_ms: int) -> Step[Any]:
        """A permit comes back unused."""

    def probe(self, settings: Any, member: Member[Any], success: bool, now_ms: int) -> Step[Any]:
        """An active check has ended, where the policy judges traffic."""

    def override(self, settings: Any, member: Member[Any], word: str, now_ms: int) -> Step[Any]:
        """An operator's word, as the replay spells it: open, half_open, forced_open, forced_closed, disabled, metrics_only, auto, reset,
        open_for:MS. Raises IllegalError."""

    def due_ms(self, settings: Any, member: Member[Any]) -> int:
        """When `tick` is due next, later than all that was played so far; 0: never. A tick that would change nothing is not due, so that
        a year of silence costs no more than a second of it: who has nothing to roll, snapshot or end says 0."""

    def tick(self, settings: Any, member: Member[Any], now_ms: int) -> Step[Any]:
        """Do what is due at exactly `now_ms` (the caller never lets one due time pass for a later one)."""

    def compare(self, settings: Any, member: Member[Any], gathered: Any, now_ms: int) -> Step[Any]:
        """After all members have ticked: judge one beside the others. Whoever plays it gathers anew after each change."""

    def trials(self, settings: Any, member: Member[Any]) -> Trials | None:
        """Whom a HALF_OPEN member admits where permits are leased tokens; None where the policy knows no HALF_OPEN."""

    def slow_ms(self, settings: Any, member: Member[Any]) -> float:
        """A success that took longer speaks against the member; 0: none does."""

    def shows(self, settings: Any, member: Member[Any], now_ms: int) -> Shown:
        """Rates and counts for people."""


def spread(endpoint_id: str, gen: int, seed: int = 0) -> float:
    """A draw from [0, 1) that the id, the breaker's generation and the seed decide: every replay draws the same."""
    bits = zlib.crc32(f"{endpoint_id}:{gen}:{seed}".encode())
    for factor in (0x7FEB352D, 0x846CA68B):  # Neighbouring generations have neighbouring checksums; their draws must not be alike.
        bits = (bits ^ bits >> 16) * factor & 0xFFFFFFFF
    return (bits ^ bits >> 16) / 2**32


def open_for_ms(word: str) -> int | None:
    """The time of the override `open_for:MS`; None for any other word. Raises ValueError where MS is not from 1 to COUNT_MAX."""
    name, colon, written = word.partition(":")
    if name != "open_for" or not colon:
        return None
    whole = written.isascii() and written.isdigit() and len(written) <= len(str(COUNT_MAX))
    if not whole or not 1 <= int(written) <= COUNT_MAX:
        raise ValueError(f"open_for takes whole milliseconds from 1 to {COUNT_MAX}")
    return int(written)
