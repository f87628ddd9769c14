"""A clock that jumps by an hour, in either direction, on either side: nobody is ejected, and everybody is probed on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.core.tilt import TILT_MS
from tests.acceptance.checks import check_history
from tests.acceptance.system import CLOCK, System, eventually, manifest, probed_again
from tests.acceptance.targets import Targets
from tests.conftest import RedisServer

NewServer = Callable[..., RedisServer]
INTERVAL_MS = 1_000
NAMES = [f"e{number}" for number in range(6)]
HOUR_S = 3_600
TRIED_S = TILT_MS / 1000 + 5
"""As long as we distrust ourselves, and some time after it."""


# libfaketime 0.9.10 takes the absolute time of a sleep on the monotonic clock for one on the clock that it fakes, and refuses it.
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"


class JumpingClock:
    """The wall clock of the processes that are started with `env`; their monotonic clock is left alone."""

    def __init__(self, library: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(SLEEP)
        self._file = file = folder / "faketime"
        self.jump(0)
        self.env = {
            "PYTHONPATH": str(folder),
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        """Move to this distance from the true time."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+d}\n")
        part.replace(self._file)


@pytest.fixture
def jumping(tmp_path: Path) -> JumpingClock:
    """Debian's libfaketime. Where it is not installed the test is skipped, but fails in CI."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("faketime is not installed")
    return JumpingClock(library, tmp_path / "clock")


def check_all(systems: dict[str, System], targets: dict[str, Targets]) -> None:
    for whose, system in systems.items():
        probed_again(targets[whose], NAMES, interval_ms=INTERVAL_MS)
        assert min(system.weights("shop").values()) > 0, whose
        assert not any(system.breaker_events(name) for name in NAMES), whose


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seconds", [HOUR_S, -HOUR_S], ids=["ahead", "back"])
def test_nobody_is_ejected(seconds: int, jumping: JumpingClock, new_server: NewServer, tmp_path: Path) -> None:
    """Three systems at once, since all that they do is wait: the clock of the processes jumps, that of Redis, or the machine's."""
    servers, processes = {"redis", "machine"}, {"processes", "machine"}
    systems: dict[str, System] = {}
    targets: dict[str, Targets] = {}
    with contextlib.ExitStack() as stack:
        for whose in sorted(servers | processes):
            folder = tmp_path / whose
            folder.mkdir()
            server = new_server(appendonly=True, env=jumping.env if whose in servers else None)
            system = systems[whose] = stack.enter_context(contextlib.closing(System(server, folder)))
            stack.callback(lambda system=system: print(system.logs()))  # type: ignore[misc]
            targets[whose] = stack.enter_context(contextlib.closing(Targets()))
            system.register(manifest(targets[whose], NAMES, interval_ms=INTERVAL_MS))
            system.spawn("beat", "worker", "alert-worker", env=jumping.env if whose in processes else None)
        for whose, system in systems.items():
            system.until_live(system.processes)
            probed_again(targets[whose], NAMES, interval_ms=INTERVAL_MS)
            eventually(lambda system=system: system.weights("shop"), 10)  # type: ignore[misc]

        jumping.jump(seconds)
        end_ms = CLOCK.now_ms() + TRIED_S * 1000
        while CLOCK.now_ms() < end_ms:
            check_all(systems, targets)
        check_all(systems, targets)
        for system in systems.values():
            check_history(system)
