"""One cursor over the streams of all slots: the ids reached in each, joined by commas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Entry = tuple[str, bytes]

_SEQUENCE_MAX = 2**64 - 1


class Merge:
    """Merges the entries of several streams by their ids; each merged entry carries the cursor that follows it.

    `positions` is where a cursor stands in each stream; `after` "" stands at the beginning of all.
    """

    def __init__(self, streams: int, after: str = "") -> None:
        positions = after.split(",") if after else []
        self.positions = positions + ["0-0"] * (streams - len(positions))

    def first(self, found: Sequence[Sequence[Entry]], limit: int) -> list[Entry]:
        """The earliest `limit` of what was found after the cursor."""
        return self._walk(_in_order(found)[:limit])

    def last(self, found: Sequence[Sequence[Entry]], limit: int) -> list[Entry]:
        """The latest `limit` of the ends of all streams."""
        merged = _in_order(found)
        left_out, kept = merged[: max(0, len(merged) - limit)], merged[max(0, len(merged) - limit) :]
        for (ms, sequence), stream, _ in reversed(kept):
            self.positions[stream] = f"{ms}-{sequence - 1}" if sequence else f"{ms - 1}-{_SEQUENCE_MAX}"
        started = {stream for _, stream, _ in kept}
        for (ms, sequence), stream, _ in left_out:
            if stream not in started:
                self.positions[stream] = f"{ms}-{sequence}"
        return self._walk(kept)

    def _walk(self, merged: Iterable[tuple[tuple[int, int], int, bytes]]) -> list[Entry]:
        entries = []
        for (ms, sequence), stream, data in merged:
            self.positions[stream] = f"{ms}-{sequence}"
            entries.append((",".join(self.positions), data))
        return entries


def _in_order(found: Sequence[Sequence[Entry]]) -> list[tuple[tuple[int, int], int, bytes]]:
    return sorted((_parsed(entry_id), stream, data) for stream, entries in enumerate(found) for entry_id, data in entries)


def _parsed(entry_id: str) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence)
