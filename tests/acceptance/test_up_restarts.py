"""`watchkeeper up` when its parts are killed one by one: it says that it is not ready, starts them again, and is ready."""

from __future__ import annotations

import contextlib
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.acceptance.system import eventually
from tests.integration.test_up import READY_DEADLINE_S, Up

HEARTBEAT_MS = 200
"""The shortest: a part that is gone is missed before it is back."""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    variables = tmp_path / "settings.yml"
    variables.write_text(f"heartbeat_ms: {HEARTBEAT_MS}\n")
    system = Up(tmp_path / "data", "--config", str(variables))
    yield system
    print(system.said)
    system.stop()


class Ready(msgspec.Struct):
    ready: bool
    missing: list[str]


def readiness(listen: str) -> Ready | None:
    """What /-/ready says; None while nothing answers."""
    try:
        with urllib.request.urlopen(f"http://{listen}/-/ready", timeout=5) as answer:
            return msgspec.json.decode(answer.read(), type=Ready)
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return msgspec.json.decode(error.read(), type=Ready)
    except OSError:
        return None


def kill_until_missed(up: Up, listen: str, part: str, name: str) -> bool:
    """Kill the part, again where it was back before anybody could miss it; the supervisor's pauses grow."""
    if pid := up.child(part):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    said = readiness(listen)
    return said is not None and not said.ready and name in said.missing


@pytest.mark.parametrize(
    ("part", "name"), [(" worker ", "worker"), (" beat ", "beat"), (" alert-worker ", "alert-worker"), ("valkey-server", "store")]
)
def test_a_killed_part_is_missed_and_comes_back(up: Up, part: str, name: str) -> None:
    listen = up.ready().listen
    eventually(lambda: kill_until_missed(up, listen, part, name), 20, f"{name} to be missed")
    eventually(lambda: (said := readiness(listen)) is not None and said.ready, READY_DEADLINE_S)
    assert up.child(part)
