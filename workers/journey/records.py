"""What the store keeps of one endpoint, and how it is written down."""

from __future__ import annotations

import msgspec

from alert_rules.rules.alert import AlertState
from monitor.core.record import EndpointState, OverrideRecord

SKEW_MAX_MS = 2_000
"""Clocks of our processes may differ by this much; beyond it one of them has jumped (core/tilt)."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One endpoint between two results: what the monitor knows, and what its alert rules remember.

    `rules` is the version of the rules (and of the endpoint) that were last looked at: another one means that every rule has to
    look again. `since_ms` is when the first result came.
    """

    state: EndpointState = EndpointState()
    alerts: tuple[AlertState, ...] = ()
    rules: str = ""
    since_ms: int = 0
    decided_ms: int = 0
    """When the last decision was made, by the clock of the process that made it."""

    def not_before(self, now_ms: int) -> int:
        """`now_ms`, or the last decision's time where another process's clock was a little ahead: what is decided later must not
        look earlier, or an alert's end would be taken for older than its beginning."""
        return self.decided_ms if 0 < self.decided_ms - now_ms <= SKEW_MAX_MS else now_ms

    @property
    def conclusive_ms(self) -> int:
        """When we last learned something about the target, or began to ask."""
        return max(self.state.last_success_ms, self.state.last_failure_ms, self.since_ms)


_decode_record = msgspec.json.Decoder(Record).decode
_decode_override = msgspec.json.Decoder(OverrideRecord).decode
_decode_states = msgspec.json.Decoder(tuple[AlertState, ...]).decode
_encode = msgspec.json.Encoder().encode

EMPTY = Record()


def decode_record(data: bytes) -> Record:
    """Return the record, or an empty one for b"" (no result yet)."""
    return _decode_record(data) if data else EMPTY


def decode_override(data: bytes) -> OverrideRecord | None:
    return _decode_override(data) if data else None


def encode_record(record: Record) -> bytes:
    return _encode(record)


def decode_states(data: bytes) -> tuple[AlertState, ...]:
    """What the rules remember of a pool or of the system; nothing for b""."""
    return _decode_states(data) if data else ()


def encode_states(states: tuple[AlertState, ...]) -> bytes:
    return _encode(states)
