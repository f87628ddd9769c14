"""Alerts: what a rule remembers of its subject, and what is told to the routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cmp_to_key, lru_cache
from typing import Any

import msgspec

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_MASK = 0xFFFFFFFFFFFFFFFF


class AlertStatus(StrEnum):
    """How far a rule's alert is; one that is neither is inactive."""

    PENDING = "PENDING"
    """True, but not yet for as long as the rule's `for` asks."""
    FIRING = "FIRING"


class AlertState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one rule remembers of one subject while its expression holds; no state means inactive."""

    rule: str
    status: AlertStatus
    active_since_ms: int
    """When the expression became true: the alert's start."""
    fired_at_ms: int = 0
    """When `for` had passed."""
    false_since_ms: int = 0
    """When the expression became false while `keep_firing_for` holds the alert; 0 while it is true."""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    value: str = ""
    """The facts that the rule named, as they were when its alert was last told, for people."""


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A condition that somebody may want to hear of.

    `ends_at_ms` 0 means that it fires; a time not yet reached, that it fires until then.
    """

    labels: dict[str, str]
    starts_at_ms: int
    fingerprint: str
    annotations: dict[str, str] = {}
    ends_at_ms: int = 0
    end_reason: str = ""
    """Why it ended; empty where its condition no longer holds."""
    value: str = ""

    def resolved_at(self, now_ms: int) -> bool:
        """Whether the condition has ended at that time."""
        return 0 < self.ends_at_ms <= now_ms

    def frozen_at(self, tick_ms: int) -> Alert:
        """The alert as a notification of that tick tells it: one that still fires has no end."""
        return self if not self.ends_at_ms or self.resolved_at(tick_ms) else msgspec.structs.replace(self, ends_at_ms=0)

    @property
    def sort_key(self) -> tuple[Any, ...]:
        """Order inside a message, as Alertmanager's: by job and by instance, where those that have none come last, then by labels.

        Of two sets of labels the smaller one is first. Of two of one size the names decide, in their order: where only one set has
        a name, the other is first; where the values differ, the lesser one.
        """
        labels = self.labels
        first = [(name not in labels, labels.get(name, "")) for name in ("job", "instance")]
        return *first, len(labels), _by_labels(sorted(labels.items()))


def _compare(one: Sequence[tuple[str, str]], other: Sequence[tuple[str, str]]) -> int:
    for (name, value), (other_name, other_value) in zip(one, other, strict=True):
        if name != other_name:
            return 1 if name < other_name else -1
        if value != other_value:
            return -1 if value < other_value else 1
    return 0


_by_labels = cmp_to_key(_compare)


def fingerprint(labels: Mapping[str, str]) -> str:
    """The identity of a label set, as Alertmanager's API shows it: FNV-1a-64 over the sorted names and values."""
    return _fnv(b"".join([b"%b\xff%b\xff" % (name.encode(), value.encode()) for name, value in sorted(labels.items())]))


@lru_cache(maxsize=16_384)
def _fnv(data: bytes) -> str:
    digest = _FNV_OFFSET
    for byte in data:
        digest = ((digest ^ byte) * _FNV_PRIME) & _MASK
    return f"{digest:016x}"
