"""Modes that lie over the machine: what an operator's word does while it holds. The docs draw the same table.

The machine (core/breaker) has its own state underneath, which shows again as soon as the word is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from monitor.core.record import Override


class Overlay(msgspec.Struct, frozen=True):
    """`permits`: whether calls pass, whatever the machine says. `records`: whether results are counted. `opens`: whether they may open
    the breaker underneath; without it, one that is open still closes by its own rules."""

    permits: bool
    records: bool
    opens: bool
    meaning: str


OVERLAYS: Final[Mapping[Override, Overlay]] = MappingProxyType(
    {
        Override.FORCED_OPEN: Overlay(False, True, True, "No traffic; the machine goes on underneath."),
        Override.FORCED_CLOSED: Overlay(True, True, True, "Traffic, whatever is seen; the machine goes on underneath."),
        Override.DISABLED: Overlay(True, False, False, "Traffic; calls are neither counted nor judged."),
        Override.METRICS_ONLY: Overlay(True, True, False, "Traffic; calls are counted, and what would have opened the breaker is told."),
        Override.DRAIN: Overlay(False, True, True, "No new traffic; the machine goes on underneath."),
    }
)

WITHDRAWN: Final = frozenset(mode for mode, overlay in OVERLAYS.items() if not overlay.permits)
"""Under these nothing takes traffic, whatever else is known of it."""
ADMITTED: Final = frozenset(OVERLAYS) - WITHDRAWN
"""Under these everything does."""


def may_open(mode: Override | None) -> bool:
    """Whether the machine may open under this mode."""
    return mode is None or OVERLAYS[mode].opens
