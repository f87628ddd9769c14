"""An operator's word over the breaker: set it, replace it, take it back."""

from __future__ import annotations

import msgspec

from monitor.core.decide import AUTOMATIC, decide
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import DECODE_ERRORS, ConfigError, Problem, Stale
from monitor.core.observation import OperatorWord
from monitor.core.record import Override, OverrideRecord, Record, Transition, decode_record
from monitor.core.subject import Subject
from monitor.registry.journal import ROUNDS_MAX, UNREADABLE, act, check_reason, contended
from monitor.registry.known import find
from monitor.store.port import Store, digest

_decode = msgspec.json.Decoder(OverrideRecord).decode
_encode = msgspec.json.Encoder().encode


async def set_override(
    store: Store, endpoint_id: str, override: Override | None, reason: str, *, actor: str, only: Override | None = None
) -> Transition | None:
    """Write an operator's word, or take it back with None. Returns the transition, or None where nothing changed.

    The later word stands, and its transition names the one that it replaced, also where that came a moment before.
    ConfigError where the word to be taken back is another than `only`, or where others keep changing it.
    """
    reason = check_reason(reason)
    doing = await act(store, actor)
    for _ in range(ROUNDS_MAX):
        endpoint = await find(store, endpoint_id)
        (loaded,) = await store.load([endpoint_id])
        old, unreadable = _read(loaded.override)
        if old is override and not unreadable:
            return None
        if only is not None and old is not only:
            said = UNREADABLE if unreadable else old or ""
            hint = "`watchkeeper breaker auto` takes any override back"
            raise ConfigError([Problem("", "endpoint", said, f"{endpoint_id} is not under {only}", hint)])
        word = OperatorWord(override=override, reason=reason, by=doing.actor, replaces=old)
        known = _record(loaded.record)
        told = _over_the_unreadable(endpoint, known, word, doing.at_ms) if unreadable else _transition(endpoint, known, word, doing.at_ms)
        record = _encode(OverrideRecord(override=override, reason=reason, at_ms=doing.at_ms, by=doing.actor)) if override else b""
        try:
            await store.set_override(endpoint, digest(loaded.override), record, _encode(told))
        except Stale:
            continue
        return told
    raise await contended(store, endpoint_id)


def _transition(endpoint: Endpoint, record: Record, word: OperatorWord, now_ms: int) -> Transition:
    (transition,) = decide(Subject(endpoint, Pool(name=endpoint.pool)), record, word, now_ms).transitions
    return transition


def _over_the_unreadable(endpoint: Endpoint, record: Record, word: OperatorWord, now_ms: int) -> Transition:
    return Transition(
        endpoint=endpoint.id,
        pool=endpoint.pool,
        kind="override",
        old=UNREADABLE,
        new=word.override.value if word.override else AUTOMATIC,
        reason=word.reason,
        at_ms=now_ms,
        gen=record.breaker.gen,
        actor=word.by,
    )


def _record(data: bytes) -> Record:
    """What is known of the endpoint; nothing where it cannot be read."""
    try:
        return decode_record(data)
    except DECODE_ERRORS:
        return Record()


def _read(data: bytes) -> tuple[Override | None, bool]:
    """The word that stands, and whether there is one that cannot be read."""
    if not data:
        return None, False
    try:
        return _decode(data).override, False
    except DECODE_ERRORS:
        return None, True
