"""Durations as people of this field write them: `500ms`, `10s`, `1h30m`; whole milliseconds inside.

The grammar is Prometheus': units y w d h m s ms in descending order, each at most once, or a bare `0`.
"""

from __future__ import annotations

import re

from monitor.core.texts import shorten

DAY_MS = 86_400_000

_UNITS_MS = {
    "y": 365 * DAY_MS,
    "w": 7 * DAY_MS,
    "d": DAY_MS,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_PATTERN = re.compile("".join(rf"(?:(?P<{unit}>[0-9]{{1,12}}){unit})?" for unit in _UNITS_MS))


def parse_duration(text: str) -> int:
    """Return the duration in milliseconds.

    Raises ValueError with a hint when the text is no duration.
    """
    if text == "0":
        return 0
    match = _PATTERN.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"{shorten(text)} is not a duration; write for example 500ms, 10s or 1h30m")
    return sum(int(number) * _UNITS_MS[unit] for unit, number in match.groupdict().items() if number)


def format_duration(ms: int) -> str:
    """Return the shortest text that `parse_duration` reads back as the same number."""
    if ms == 0:
        return "0s"
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        number, ms = divmod(ms, _UNITS_MS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts)
