"""What the use cases tell of themselves: transitions of kind `registry`, with who made them and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import DECODE_ERRORS, ConfigError, Problem
from monitor.core.record import Transition
from monitor.core.texts import cut, shorten
from monitor.store.names import printable
from monitor.store.port import Entry, RegistryAnswer, SetAside, Store

KIND: Final = "registry"
ABSENT: Final = "ABSENT"
REGISTERED: Final = "REGISTERED"
CHANGED: Final = "CHANGED"
REMOVED: Final = "REMOVED"
MOVED: Final = "MOVED"
RENAMED: Final = "RENAMED"
ACTIVE: Final = "ACTIVE"
PAUSED: Final = "PAUSED"
APPLIED: Final = "APPLIED"
DISCARDED: Final = "DISCARDED"
UNREADABLE: Final = "UNREADABLE"

WITHOUT_REASON: Final = {PAUSED: "no reason was given", ACTIVE: "no reason was given", REMOVED: "removed"}
"""What stands in the place of a reason where nobody gave one."""

ROUNDS_MAX = 5
"""How often in a row a use case decides because somebody else was faster with the same entry."""
MOVED_MAX = 100
"""How often in a row it decides because others changed entries that it only reads: whoever does that gets on and ends, so that it pays to
outlast a long application."""
REASON_LENGTH_MAX = 300
ACTOR_LENGTH_MAX = 64
_SHOWN_MAX = 500

Fields = Mapping[str, tuple[Any, Any]]
"""Each setting that differs, with its old and new value as a listing shows them (None: not set)."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Transition).decode


class Act(msgspec.Struct, frozen=True):
    """Who does something, when, and the reason that was given ("" for none)."""

    actor: str
    at_ms: int
    reason: str = ""

    def created(self, endpoint: Endpoint) -> tuple[bytes, ...]:
        """An endpoint is registered."""
        return (self._of(endpoint, ABSENT, REGISTERED, self.reason or "registered"),)

    def rewritten(self, endpoint: Endpoint) -> tuple[bytes, ...]:
        """In the place of an entry that could not be read."""
        return (self._of(endpoint, UNREADABLE, REGISTERED, self.reason or "written anew"),)

    def changed(self, old: Endpoint, new: Endpoint, fields: Fields) -> tuple[bytes, ...]:
        """One transition for the settings together, one in the pool that it leaves, one for a pause or its end, one for another owner."""
        told = []
        settings = {key: both for key, both in fields.items() if key not in {"paused", "owner"}}
        if settings:
            told.append(self._of(new, REGISTERED, CHANGED, self._because(shown_fields(settings))))
        if old.pool != new.pool:
            told.append(self._of(old, REGISTERED, MOVED, self._because(f"to pool {new.pool}")))
        if old.paused is not new.paused:
            told.append(self._of(new, _pause_state(old), _pause_state(new), self.reason or WITHOUT_REASON[_pause_state(new)]))
        if old.owner != new.owner:
            told.append(self._of(new, old.owner, new.owner, self._because("the owner changed")))
        return tuple(told)

    def removed(self, endpoint_id: str, endpoint: Endpoint | None, pool: str) -> tuple[bytes, ...]:
        """`endpoint` None: its entry could not be read."""
        old = REGISTERED if endpoint else UNREADABLE
        return (self._encoded(printable(endpoint_id), printable(pool), old, REMOVED, self.reason or WITHOUT_REASON[REMOVED]),)

    def renamed(self, old: Endpoint, new: Endpoint) -> tuple[bytes, bytes]:
        """An endpoint gets another name: what ends under the old one, and what goes on under the new one."""
        ends = self._of(old, REGISTERED, RENAMED, self._because(f"to {new.id}"))
        return ends, self._of(new, RENAMED, REGISTERED, self._because(f"it was {old.id}"))

    def pool(self, entry: Entry[Pool] | None, new: Pool | None, name: str, fields: Fields) -> tuple[bytes, ...]:
        """A pool's settings are written or taken away (`new` None), and pass to another owner; `fields` are those that differ."""
        old = entry.value if entry else None
        before = ABSENT if entry is None else REGISTERED if old else UNREADABLE
        after = REMOVED if new is None else CHANGED if old else REGISTERED
        settings = {key: both for key, both in fields.items() if key != "owner"}
        said = self._because(shown_fields(settings)) if settings else self.reason or "the pool's settings"
        told = [self._encoded("", printable(name), before, after, said)]
        if old and new and old.owner != new.owner:
            told.append(self._encoded("", name, old.owner, new.owner, self._because("the owner changed")))
        return tuple(told)

    def discarded(self, items: Sequence[SetAside]) -> bytes:
        """Copies of what could not be read are deleted."""
        names = ", ".join(f"{printable(item.kind)} {printable(item.key)}" for item in items)
        return self._encoded("", "", UNREADABLE, DISCARDED, self._because(f"{len(items)} deleted from the quarantine: {names}"))

    def summary(self, counts: str) -> bytes:
        """One for all changes of an application that makes very many."""
        return self._encoded("", "", REGISTERED, APPLIED, self._because(counts))

    def _because(self, what: str) -> str:
        return f"{self.reason}: {what}" if self.reason else what

    def _of(self, endpoint: Endpoint, old: str, new: str, reason: str) -> bytes:
        return self._encoded(endpoint.id, endpoint.pool, old, new, reason)

    def _encoded(self, endpoint_id: str, pool: str, old: str, new: str, reason: str) -> bytes:
        return _encode(
            Transition(
                endpoint=endpoint_id,
                pool=pool,
                kind=KIND,
                old=old,
                new=new,
                reason=cut(reason, _SHOWN_MAX),
                at_ms=self.at_ms,
                actor=self.actor,
            )
        )


def unexplained(transition: Transition) -> bool:
    """Whether nobody gave a reason for a pause, a resume or a removal."""
    return transition.reason == WITHOUT_REASON.get(transition.new)


async def act(store: Store, actor: str, reason: str = "") -> Act:
    """Begin a use case. ConfigError where the actor or the reason is no text that others can read."""
    actor, reason = actor.strip(), reason.strip()
    if not actor or len(actor) > ACTOR_LENGTH_MAX or not actor.isprintable():
        why = f"the name is no printable text of 1 to {ACTOR_LENGTH_MAX} characters"
        raise ConfigError([Problem("--by", "actor", shorten(actor), why, "say who does this; events carry the name")])
    if reason:
        check_reason(reason)
    return Act(actor, await store.now_ms(), reason)


def check_reason(reason: str) -> str:
    """Return the reason without blanks around it; ConfigError where it is none that others can read."""
    reason = reason.strip()
    if not reason or len(reason) > REASON_LENGTH_MAX or not reason.isprintable():
        why = f"the reason is no printable text of 1 to {REASON_LENGTH_MAX} characters"
        raise ConfigError([Problem("--reason", "reason", shorten(reason), why, "say in a few words why; others will read it")])
    return reason


async def contended(store: Store, name: str, what: str = "endpoint") -> ConfigError:
    """The refusal of a use case that lost against others in every round: what they changed, and who they are.

    `what` is `endpoint`, or `pool`, which has no log of its own.
    """
    said = "somebody else keeps changing it"
    for data in reversed(await store.transitions(name) if what == "endpoint" else []):
        try:
            last = _decode(data)
        except DECODE_ERRORS:
            continue
        said = f"{last.actor or 'Watchkeeper'} keeps changing it; last {last.kind} {last.old} -> {last.new} ({last.reason})"
        break
    return ConfigError([Problem("", what, repr(name), said, "see what it is now, and repeat the command")])


class Rounds:
    """The rounds that a use case lost in a row."""

    def __init__(self) -> None:
        self._stale = 0
        self._moved = 0

    def won(self) -> None:
        """Something was written in this round that was not written yet."""
        self._stale = self._moved = 0

    async def lost(self, store: Store, answer: RegistryAnswer) -> None:
        """Note a round whose changes were answered so. ConfigError where it was the last that the use case may lose."""
        if answer.stale or answer.stale_pools:
            self._stale += 1
        else:
            self._moved += 1
        if self._stale == ROUNDS_MAX or self._moved == MOVED_MAX:
            raise await _outrun(store, answer)


async def _outrun(store: Store, answer: RegistryAnswer) -> ConfigError:
    if answer.stale:
        return await contended(store, next(iter(answer.stale)))
    if answer.stale_pools:
        return await contended(store, next(iter(answer.stale_pools)), "pool")
    said = "others keep changing pools, or which endpoints depend on which"
    return ConfigError([Problem("", "registry", "", said, "see what it is now, and repeat the command")])


def shown_fields(fields: Fields) -> str:
    """`interval 10s -> 30s, labels team=shop -> -`."""
    return ", ".join(f"{key} {_shown(old)} -> {_shown(new)}" for key, (old, new) in fields.items())


def _shown(value: Any) -> str:
    if value is None or value in ("", [], {}, ()):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    return str(value)


def _pause_state(endpoint: Endpoint) -> str:
    return PAUSED if endpoint.paused else ACTIVE
