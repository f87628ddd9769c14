"""Who reports: each entry counts once, and one broken consumer neither ejects an endpoint nor poisons a pool.

An entry counts once whatever is duplicated or reordered: of each observer the last 64 sequence numbers are known. A process that begins
anew under its old name may begin to count anew: a number that was used comes with a second that was not. What ended too long ago to be
judged needs no number any more.

An observer that fails on half of what it reports, while the middle one of the others fails on less than a tenth, is the outlier, and not
the pool: it is quarantined. What it says is counted for itself alone, until that is a quarter again, the others see the same, or nothing
was heard of it for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from monitor.core.medians import medians
from monitor.core.reports import REPORT_AHEAD_MAX_MS, REPORT_LATE_MAX_MS, REPORT_SLOT_MS
from monitor.pool.traffic.shapes import FADED, ObserverState, fade

OBSERVERS_MAX: Final = 2_000
"""So many observers of a pool are known; what others report is counted and judges nothing."""
WINDOW: Final = 64
"""So many sequence numbers of an observer are known, its largest one and those below."""
SHARE_FADE_MS: Final = 10_000
"""Time constant with which it is forgotten on which endpoints an observer failed."""
QUARANTINE_SHARE: Final = 0.5
"""Who fails on so large a part of what it reports is quarantined, where the others do not."""
LIFT_SHARE: Final = 0.25
"""Below that it is heard again."""
OTHERS_SHARE_MAX: Final = 0.1
"""Where the middle one of the others fails on so much, nobody is quarantined."""
KNOWN_AFTER_MS: Final = 3_000
"""An observer is judged when it has reported for so long."""
FORGOTTEN_AFTER_MS: Final = 60_000
"""An observer that was silent for so long is known no more."""
QUARANTINE_SILENT_MS: Final = 300_000
"""The same for one that is quarantined."""
ENDPOINTS_MIN: Final = 2
"""Whoever reports on a single endpoint cannot be told from an endpoint that fails."""
_MASK: Final = (1 << WINDOW) - 1


def early_or_late(slot_ms: int, now_ms: int) -> str:
    """ "late" or "ahead" for a second that is judged no more, or not yet; else ""."""
    if now_ms - slot_ms - REPORT_SLOT_MS > REPORT_LATE_MAX_MS:
        return "late"
    return "ahead" if slot_ms - now_ms > REPORT_AHEAD_MAX_MS else ""


def heard(known: ObserverState | None, seq: int, slot_ms: int, now_ms: int) -> ObserverState | None:
    """The observer once this entry is counted; None where it was counted before."""
    if known is None:
        return ObserverState(seq, 1, slot_ms, 0, now_ms, now_ms)
    if slot_ms < known.begun_ms:
        return None
    newest_ms, ahead = max(known.newest_ms, slot_ms), seq - known.high
    if ahead > 0:
        window = (known.window << ahead | 1) & _MASK if ahead < WINDOW else 1
        return replace(known, high=seq, window=window, newest_ms=newest_ms, seen_ms=now_ms)
    if -ahead < WINDOW and not known.window >> -ahead & 1:
        return replace(known, window=known.window | 1 << -ahead, newest_ms=newest_ms, seen_ms=now_ms)
    if slot_ms > known.newest_ms:  # Another life under the old name.
        return replace(known, high=seq, window=1, newest_ms=slot_ms, begun_ms=slot_ms, seen_ms=now_ms)
    return None


def weighed(known: ObserverState, since_ms: int, failing: int, reported: int) -> ObserverState:
    """The observer once its newest second is counted for itself: on how many endpoints it failed, of how many. `since_ms` is the newest
    second before."""
    keep = fade(since_ms, known.newest_ms, SHARE_FADE_MS)
    return replace(known, failing=known.failing * keep + failing, reported=known.reported * keep + reported)


def guarded(observers: Mapping[str, ObserverState], now_ms: int) -> dict[str, ObserverState]:
    """The observers that are still known, with those quarantined that are outliers now."""
    kept = {name: one for name, one in observers.items() if now_ms - one.seen_ms <= _kept_ms(one)}
    shown = [one.share for one in kept.values() if one.reported > FADED]  # Who has used too little to tell speaks for nobody.
    shares = medians(shown)
    return {
        name: _judged(one, shares.without(one.share) if len(shown) > 1 and one.reported > FADED else 1.0, now_ms)
        for name, one in kept.items()
    }


def _judged(one: ObserverState, others: float, now_ms: int) -> ObserverState:
    if one.quarantined_ms:
        return replace(one, quarantined_ms=0) if one.share < LIFT_SHARE or others >= OTHERS_SHARE_MAX else one
    known = now_ms - one.since_ms >= KNOWN_AFTER_MS and one.reported >= ENDPOINTS_MIN
    return replace(one, quarantined_ms=now_ms) if known and one.share >= QUARANTINE_SHARE and others < OTHERS_SHARE_MAX else one


def _kept_ms(one: ObserverState) -> int:
    return QUARANTINE_SILENT_MS if one.quarantined_ms else FORGOTTEN_AFTER_MS
