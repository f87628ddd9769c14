"""`make demo` as a newcomer sees it: what it tells is true, and nothing of it is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
DEMO_LIMIT_S = 240


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the demo makes its own folder, with a space; whatever the demo starts has this path in its environment."""
    folder = tmp_path / "a place"
    folder.mkdir()
    yield folder
    wait_for(lambda: not started_in(folder))
    assert list(folder.iterdir()) == []


def started_in(folder: Path) -> list[str]:
    """Command lines of the processes that carry this folder in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # Another user's, or gone.
    return found


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.timeout(DEMO_LIMIT_S)
def test_it_tells_a_failure_and_its_recovery(folder: Path) -> None:
    demo = start(folder)
    told, _ = demo.communicate()
    assert demo.returncode == 0, told
    facts = [
        "all three are healthy and share the traffic",
        "its breaker opens and its weight goes to 0",
        r"3 failed probes in a row: status 500, want 2xx",
        r"demo-2 .*    0 of 1000  OPEN          0 requests",
        r"\d+ requests had failed before; none does since",
        r"\[FIRING\] demo-2 is down",
        r"FIRING  EndpointDown  critical  demo-2",
        "trial probes begin: half open",
        "the breaker closes",
        r"demo-2 .* of 1000  CLOSED\n.*demo-2 .* of 1000  CLOSED\n.*demo-2 .* of 1000  CLOSED\n",
        "warmed up",
        r"\[RESOLVED\] demo-2 is down",
        r"breaker +CLOSED +OPEN .*\n.*breaker +OPEN +HALF_OPEN .*\n.*breaker +HALF_OPEN +CLOSED ",
        "Everything above was checked",
    ]
    place = 0
    for fact in facts:
        found = re.compile(fact).search(told, place)
        assert found, f"{fact!r} is not told, or not in this order:\n{told}"
        place = found.end()
    assert "\x1b" not in told, "no colours where nobody sees them"


@pytest.mark.timeout(DEMO_LIMIT_S)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    demo = start(folder)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "the pool is published" in line:
            demo.send_signal(number)
            break
    assert demo.wait(60) == 130
    demo.stdout.close()
