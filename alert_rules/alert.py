"""Alerts: what a rule remembers of its subject, and what is told to the routes (rules R9, A2, G3)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

import msgspec

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_MASK = 0xFFFFFFFFFFFFFFFF


class AlertStatus(StrEnum):
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
    """The facts that the rule looked at when it fired, for people."""


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A condition that somebody may want to hear of.

    `ends_at_ms` 0 means that it fires; a time not yet reached, that it fires until then.
    """

    labels: dict[str, str]
    starts_at_ms: int
    fingerprint: str
    annotations: dict[str, str] = {}
    ends_at_ms: int = 0
    updated_ms: int = 0
    value: str = ""

    def resolved_at(self, now_ms: int) -> bool:
        """Whether the condition has ended at that time (A2)."""
        return 0 < self.ends_at_ms <= now_ms

    def frozen_at(self, tick_ms: int) -> Alert:
        """The alert as a notification of that tick tells it: one that still fires has no end (G3)."""
        return self if not self.ends_at_ms or self.resolved_at(tick_ms) else msgspec.structs.replace(self, ends_at_ms=0)

    @property
    def sort_key(self) -> tuple[str, str, list[tuple[str, str]]]:
        """Order inside a message: job, instance, then all labels (G3)."""
        return self.labels.get("job", ""), self.labels.get("instance", ""), sorted(self.labels.items())


def fingerprint(labels: Mapping[str, str]) -> str:
    """The identity of a label set, as Alertmanager's API shows it: FNV-1a-64 over the sorted names and values (R9)."""
    return _fnv(b"".join([b"%b\xff%b\xff" % (name.encode(), value.encode()) for name, value in sorted(labels.items())]))


@lru_cache(maxsize=16_384)
def _fnv(data: bytes) -> str:
    digest = _FNV_OFFSET
    for byte in data:
        digest = ((digest ^ byte) * _FNV_PRIME) & _MASK
    return f"{digest:016x}"
