"""The last-known-good file may hold anything: what this client never writes is ignored, with one line in the log."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from monitor.client import HealthView, lastgood
from tests.fuzz.spoiling import document

LOGGER = "watchkeeper.client"


def endpoint(**changes: Any) -> dict[str, Any]:
    return document()["endpoints"][0] | changes


def saved(snapshot: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({"schema": 1, "saved_ms": 0, "pools": [{"snapshot": snapshot, "age_ms": 0}]} | changes).encode()


@pytest.mark.parametrize(
    "content",
    [
        saved(document(endpoints=[endpoint(weight=-5)])),
        saved(document(endpoints=[endpoint(weight=10**30)])),
        saved(document(endpoints=[endpoint(since_ms=2**70)])),
        saved(document(shed=-1)),
        saved(document(panic=2.5)),
        saved(document()).replace(b'"shed": 0.0', b'"shed": NaN'),
        saved(document(ttl_ms=-1)),
        saved(document(), saved_ms=2**80),
        saved(document(), schema=2),
        saved(document(endpoints={})),
        saved(document())[:-20],
        saved(document()).replace(b'"shop"', b'"\xff"'),
        b"[" * 100_000,
        b"\0" * 1_000,
        b"",
        "{}".encode("utf-16"),
    ],
    ids=lambda content: repr(content[:40]),
)
def test_what_is_not_ours_is_ignored_and_said_once(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "pools.json"
    file.write_bytes(content)
    with caplog.at_level(logging.INFO, LOGGER), HealthView("redis://127.0.0.1:1/0", cache_file=file, timeout_ms=5_000) as view:
        assert view.pools() == ()
    assert [record.getMessage().startswith(f"the last-known-good file {file} is ignored: ") for record in caplog.records] == [True]


def test_what_is_ours_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "pools.json"
    file.write_bytes(saved(document()))
    with HealthView("redis://127.0.0.1:1/0", cache_file=file) as view:
        assert view.pools() == ("shop",)


def test_what_is_no_file_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(10**9)
    for name, said in (("pipe", "a pipe"), ("huge", "larger than"), (".", "directory")):
        caplog.clear()
        assert lastgood.read(tmp_path / name, 0) == ((), 0)
        assert said in caplog.text
    caplog.clear()
    assert lastgood.read(tmp_path / "nowhere", 0) == ((), 0)
    assert caplog.text == ""
