"""Clocks that are hours apart, and clocks that jump by an hour, in either direction, on either side: all work by the server's time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.core.tilt import TILT_MS
from tests.acceptance.checks import check_history
from tests.acceptance.receiver import Receiver
from tests.acceptance.system import CLOCK, System, eventually, manifest, probed_again
from tests.acceptance.targets import Targets
from tests.conftest import RedisServer, free_port
from tests.missing import missing

NewServer = Callable[..., RedisServer]
INTERVAL_MS = 1_000
NAMES = [f"e{number}" for number in range(6)]
HOUR_S = 3_600
DAY_S = 86_400
LOSSES = ("results_lost", "results_stale", "results_uncommitted", "probes_expired", "hints_expired", "prober_errors")
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
            "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def apart(self, seconds: int) -> dict[str, str]:
        """The variables of a process whose clock is at this distance for good; it need not read the file each time."""
        same = {name: value for name, value in self.env.items() if name not in {"FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE"}}
        return {**same, "FAKETIME": f"{seconds:+d}"}

    def jump(self, seconds: int) -> None:
        """Move to this distance from the true time."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+d}\n")
        part.replace(self._file)


@pytest.fixture
def faketime() -> Path:
    """Debian's libfaketime. Where it is not installed the test is skipped, but fails in CI."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        missing("faketime is not installed")
    return library


@pytest.fixture
def jumping(faketime: Path, tmp_path: Path) -> JumpingClock:
    return JumpingClock(faketime, tmp_path / "clock")


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


@pytest.mark.timeout(180)
def test_processes_hours_apart_work_as_one(jumping: JumpingClock, new_server: NewServer, receiver: Receiver, tmp_path: Path) -> None:
    """Beats, workers and alert workers whose clocks disagree by up to a day: no result is lost, and a notice and its end
    come once each and in time."""
    parts = {"beat": -5 * HOUR_S, "worker": 3 * HOUR_S, "alert-worker": DAY_S, "web": -HOUR_S}
    with contextlib.ExitStack() as stack:
        system = stack.enter_context(contextlib.closing(System(new_server(appendonly=True), tmp_path)))
        stack.callback(lambda: print(system.logs()))
        targets = stack.enter_context(contextlib.closing(Targets()))
        system.variables["WATCHKEEPER_LISTEN"] = f"127.0.0.1:{free_port()}"
        system.route(receiver.url)
        system.register(manifest(targets, NAMES, interval_ms=INTERVAL_MS))
        for part, seconds in (*parts.items(), ("beat", DAY_S), ("worker", -DAY_S), ("alert-worker", -2 * HOUR_S)):
            system.spawn(part, env=jumping.apart(seconds))
        system.until_live(system.processes)
        probed_again(targets, NAMES, interval_ms=INTERVAL_MS)
        began_ms = CLOCK.now_ms()
        before = system.execute(lambda store: store.counters())
        eventually(lambda: CLOCK.now_ms() > began_ms + 12 * INTERVAL_MS, 15)
        slots = (CLOCK.now_ms() - began_ms) // INTERVAL_MS
        # libfaketime makes every look at a clock, and every wait, slower: a message may be lost with its lease, but no result.
        missed = {name: missing for name in NAMES if (missing := slots - targets.since(name, began_ms)) > slots // 4}
        after = system.execute(lambda store: store.counters())
        assert not missed, f"of {slots} slots were missed: {missed}; counters {before}, then {after}"

        targets.mode["e0"] = "fail"
        eventually(lambda: system.breaker("e0") == "OPEN", 10)
        eventually(lambda: receiver.of("e0") == ["firing"], 10, "a notice")
        targets.mode["e0"] = "ok"
        eventually(lambda: receiver.of("e0") == ["firing", "resolved"], 40, "the notice of its end")
        assert not any(system.breaker_events(name) for name in NAMES[1:])
        counters = system.execute(lambda store: store.counters())
        lost = {name: counters[name] for name in LOSSES if counters.get(name, 0) > before.get(name, 0)}
        assert not lost, f"{lost}, having been {before}"
        last = system.record("e1").probes.last
        assert abs(CLOCK.now_ms() - last.at_ms) < 3 * INTERVAL_MS, "a result bears the time of its worker's own clock"
        check_history(system)
