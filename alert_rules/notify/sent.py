"""What became of a notification: an entry of the log that people read."""

from __future__ import annotations

import msgspec


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a delivery: an entry of the stream of notifications. `integration` is its place in the log."""

    id: str
    group: str
    receiver: str
    integration: str
    reason: str
    firing: int
    resolved: int
    attempts: int
    at_ms: int
    answer: str
    delivered: bool
    superseded: bool = False
    """It was not sent (again): what it says was no longer so, and its group has decided afresh."""
    labels: dict[str, str] = {}
    """Those that all its alerts share."""


decode_sent = msgspec.json.Decoder(Sent).decode
