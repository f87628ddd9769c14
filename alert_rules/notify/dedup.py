"""Does a receiver need to hear of this group now? One decision, with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from alert_rules.routes.route import Integration


class Reason(StrEnum):
    """Alertmanager's words, and one of ours."""

    NONE = "none"
    FIRST = "first notification"
    NEW = "new alerts added"
    FIRED_AGAIN = "alert fired again"
    SOME_RESOLVED = "some alerts resolved"
    ALL_RESOLVED = "all alerts resolved"
    REPEAT = "repeat interval elapsed"


class LogEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a service was last told of a group: fingerprints with the start of those that fired and the end of those that had ended.

    `at_ms` is the tick that decided it, so that `repeat_interval: 5m` repeats every five minutes. An entry lives as long as its
    group, so that no resolved notice is lost.
    """

    firing: dict[str, int] = {}
    resolved: dict[str, int] = {}
    at_ms: int = 0
    service: str = ""
    """Which service accepted it (Integration.service), so that it is known again where others were written beside it."""
    unheard: bool = False
    """Whether the last message was given up without an answer: `firing` is what the service may have been told."""

    def without_ended(self, firing: Mapping[str, int]) -> LogEntry:
        """The entry without alerts that no longer fire: should one fire again, that is news."""
        return msgspec.structs.replace(self, firing={key: start for key, start in self.firing.items() if key in firing})


_decode = msgspec.json.Decoder(LogEntry).decode


def decode_log_entry(data: bytes) -> LogEntry:
    """Raises ValueError (msgspec's among them) where it cannot be read, or says nothing: each field may be missing, but not all."""
    entry = _decode(data)
    if not entry.at_ms and not entry.unheard:
        raise ValueError("it does not say when what was told")
    return entry


def maybe_told(before: LogEntry | None, firing: Mapping[str, int], service: str = "") -> LogEntry:
    """The entry where nobody knows whether a service was told that these fire: what does is said again, and each end is told."""
    entry = before or LogEntry(service=service)
    return msgspec.structs.replace(entry, firing={**entry.firing, **firing}, unheard=True)


def entry_of(log: Mapping[str, LogEntry], integration: Integration) -> LogEntry | None:
    """What the log says that this service was told last, also before others were written beside it, or while they were.

    What was told to a service as a whole was told to each of its recipients.
    """
    mine = {integration.service, integration.whole} - {""}
    alone = log.get(integration.key)
    if alone is not None and not integration.alone and alone.service not in mine:
        alone = None  # It was told to the service that stood there alone.
    among = [log.get(f"{integration.key}/{name}") for name in mine]
    return max((entry for entry in (alone, *among) if entry is not None), key=lambda entry: entry.at_ms, default=None)


def needs_update(
    entry: LogEntry | None,
    firing: Mapping[str, int],
    resolved: Mapping[str, int],
    *,
    send_resolved: bool,
    repeat_interval_ms: int,
    tick_ms: int,
) -> Reason:
    """Decide whether what was told is still what is true; `firing` and `resolved` are as in LogEntry."""
    if entry is None:
        return Reason.FIRST if firing else Reason.NONE
    if not firing.keys() <= entry.firing.keys():
        return Reason.NEW if entry.firing else Reason.FIRST
    if firing and entry.unheard:
        return Reason.FIRST
    if not firing:
        return Reason.ALL_RESOLVED if entry.firing else Reason.NONE
    if any(start > entry.firing[key] for key, start in firing.items()):
        return Reason.FIRED_AGAIN
    if send_resolved and not resolved.keys() <= entry.resolved.keys():
        return Reason.SOME_RESOLVED
    # After a step back of the timeline it lies ahead: nobody knows for how long, but it was no longer than the step if that was short.
    return Reason.REPEAT if abs(tick_ms - entry.at_ms) >= repeat_interval_ms else Reason.NONE
