"""Plays recordings in tests, as the command does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from monitor.core.replaying.player import play
from monitor.core.replaying.recording import read_recording

Event = dict[str, Any]


def replayed(text: str | bytes | dict[str, Any]) -> dict[str, Any]:
    """What `-o json` prints, read back."""
    data = json.dumps(text).encode() if isinstance(text, dict) else text.encode() if isinstance(text, str) else text
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(play(read_recording(data, "stdin"))))
    return found


def steps(policy: dict[str, Any], events: Sequence[object], **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = replayed({"policy": policy, "events": list(events), **more})["steps"]
    return found


def walked(found: Sequence[dict[str, Any]]) -> list[tuple[int, str, str, str]]:
    """All transitions, in order."""
    return [(one["at_ms"], one["endpoint"], one["from"], one["to"]) for step in found for one in step["transitions"]]
