"""Histories of one endpoint as tables: rows of (at_ms, what happens, what is seen), played through the replay.

What happens is an outcome, with `x3` for a count and `5000ms` for a duration; `acquire`, `release`, `probe success`, `override WORD`,
or nothing. What is seen names fields of the step; `moves` are its transitions as "closed>open@500", `events` its events in one text.
"""

from __future__ import annotations

from typing import Any

import msgspec

from monitor.core.replaying.player import play
from monitor.core.replaying.recording import read_recording

Row = tuple[int, str, dict[str, Any]]


def event(at_ms: int, what: str) -> dict[str, Any]:
    words = what.split()
    begun: dict[str, Any] = {"at_ms": at_ms}
    if not words:
        return begun
    if words[0] in {"acquire", "release"}:
        return begun | {words[0]: True}
    if words[0] in {"override", "probe"}:
        return begun | {words[0]: words[1]}
    begun["outcome"] = words[0]
    for word in words[1:]:
        if word.startswith("x"):
            begun["count"] = int(word[1:])
        else:
            begun["duration_ms"] = float(word.removesuffix("ms"))
    return begun


def played(recording: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps, as they are printed."""
    return msgspec.to_builtins(play(read_recording(msgspec.json.encode(recording), "test")).steps)


def check(kind: str, settings: dict[str, Any], rows: list[Row], seed: int = 0) -> None:
    steps = played({"policy": {"kind": kind, **settings}, "seed": seed, "events": [event(at_ms, what) for at_ms, what, _ in rows]})
    for number, ((at_ms, what, expected), step) in enumerate(zip(rows, steps, strict=True)):
        moves = " ".join(f"{one['from']}>{one['to']}@{one['at_ms']}" for one in step["transitions"])
        seen = step | {"moves": moves, "events": " ".join(step["events"])}
        error = step.get("error")
        assert bool(error) is ("error" in expected), f"row {number}, {at_ms} ms {what!r}: {error}"
        for name, value in expected.items():
            if name == "error":
                assert value in error, f"row {number}, {at_ms} ms {what!r}: {error}"
            else:
                assert seen[name] == value, f"row {number}, {at_ms} ms {what!r}: {name} is {seen[name]!r}, not {value!r}; {seen}"
