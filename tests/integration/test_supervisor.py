"""The supervisor with real processes: it restarts, it stops, it says so, and it leaves nobody behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from monitor.core.errors import WatchkeeperError
from tests.missing import missing
from tests.waiting import DEADLINE_S, alive, until, wait_for
from workers.local.logfile import LogFile
from workers.local.supervisor import PARENT_VARIABLE, Part, Supervisor

SLEEPER = (sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(600)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
)


def supervised(tmp_path: Path, story: Callable[[Supervisor, list[str]], Coroutine[Any, Any, None]]) -> list[str]:
    """Run the story with a supervisor, stop everything, and return what was said."""
    said: list[str] = []

    async def run() -> None:
        supervisor = Supervisor(tmp_path / "logs", said.append)
        try:
            await story(supervisor, said)
        finally:
            await supervisor.stop()
        assert supervisor.pids() == {}

    asyncio.run(run())
    return said


def test_a_killed_part_is_started_again_and_said(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor, said: list[str]) -> None:
        await supervisor.start(Part(name="sleeper", argv=SLEEPER))
        first = (await until(supervisor.pids))["sleeper"]
        log = tmp_path / "logs" / "sleeper.log"
        await until(lambda: log.exists() and log.read_bytes() == b"awake\n")
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.pids().get("sleeper", first) != first)
        await until(lambda: log.read_bytes() == b"awake\nawake\n")

    said = supervised(tmp_path, story)
    assert len(said) == 1
    assert said[0].startswith("sleeper was killed by SIGKILL: awake; starting it again in 0.2 s")


def test_a_part_that_cannot_live_is_tried_ever_more_seldom_with_its_reason(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor, said: list[str]) -> None:
        await supervisor.start(Part(name="failing", argv=(sys.executable, "-c", "import sys; print('no luck'); sys.exit(3)")))
        await supervisor.start(Part(name="missing", argv=("/nonexistent/program",)))
        await until(lambda: sum("failing" in line for line in said) >= 3)

    said = supervised(tmp_path, story)
    failing = [line for line in said if line.startswith("failing")]
    assert [line.split(" (")[0] for line in failing[:3]] == [
        f"failing ended with exit status 3: no luck; starting it again in {pause} s" for pause in ("0.2", "0.4", "0.8")
    ]
    assert any(line.startswith("missing cannot be started: ") for line in said)


def test_a_part_that_does_not_stop_is_killed_after_its_grace(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor, said: list[str]) -> None:
        await supervisor.start(Part(name="deaf", argv=DEAF, grace_s=0.3))
        await until(
            lambda: (tmp_path / "logs" / "deaf.log").read_bytes() == b"deaf\n" if (tmp_path / "logs" / "deaf.log").exists() else False
        )

    assert supervised(tmp_path, story) == ["deaf does not stop; killing it"]


def test_a_part_that_never_gets_ready_is_an_error_that_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.local.supervisor.READY_TIMEOUT_S", 0.1)

    async def never() -> bool:
        return False

    async def story(supervisor: Supervisor, _: list[str]) -> None:
        await supervisor.start(Part(name="sleeper", argv=SLEEPER, ready=never))

    with pytest.raises(WatchkeeperError, match=r"sleeper is not ready after 0.1 s \(log: .*sleeper.log\)"):
        supervised(tmp_path, story)


@pytest.mark.parametrize("reads_references", [False, True])
def test_a_part_has_what_any_program_needs_its_own_and_no_secret_unless_it_reads_references(
    reads_references: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "canary")
    monkeypatch.setenv("LC_TEST", "any program's")
    log = tmp_path / "logs" / "teller.log"
    program = "import os, time; print(sorted(os.environ), flush=True); time.sleep(600)"

    async def story(supervisor: Supervisor, _: list[str]) -> None:
        teller = (sys.executable, "-c", program)
        await supervisor.start(Part(name="teller", argv=teller, env={"OWN": "1"}, reads_references=reads_references))
        await until(lambda: log.exists() and log.read_bytes())

    supervised(tmp_path, story)
    told = log.read_text()
    assert all(f"'{name}'" in told for name in ("PATH", "LC_TEST", "OWN", PARENT_VARIABLE))
    assert ("SHOP_TOKEN" in told) is reads_references


def test_foundations_stop_last(tmp_path: Path) -> None:
    order = tmp_path / "order"
    program = """
import signal, sys, time

def leave(*_):
    with open(sys.argv[1], "a") as order:
        order.write(sys.argv[2])
    sys.exit(0)

signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
time.sleep(600)
"""

    def part(name: str, *, foundation: bool = False) -> Part:
        return Part(name=name, argv=(sys.executable, "-c", program, str(order), name), foundation=foundation)

    async def story(supervisor: Supervisor, said: list[str]) -> None:
        await supervisor.start(part("ground", foundation=True))
        await supervisor.start(part("house"))
        logs = [tmp_path / "logs" / f"{name}.log" for name in ("ground", "house")]
        await until(lambda: all(log.exists() and log.read_bytes() == b"up\n" for log in logs))

    assert supervised(tmp_path, story) == []
    assert order.read_text() == "houseground"


def test_verbose_lets_the_parts_speak_under_their_names(tmp_path: Path) -> None:
    said: list[str] = []

    async def run() -> None:
        supervisor = Supervisor(tmp_path / "logs", said.append, verbose=True)
        await supervisor.start(Part(name="sleeper", argv=SLEEPER))
        await until(lambda: said)
        await supervisor.stop()

    asyncio.run(run())
    assert said[0] == "sleeper | awake"


DRIVER = """
import asyncio, sys
from pathlib import Path
from workers.local.supervisor import Part, Supervisor

async def main():
    supervisor = Supervisor(Path(sys.argv[1]), print)
    for number in range(3):
        await supervisor.start(Part(name=f"part-{number}", argv=(sys.executable, "-c", "import time; time.sleep(600)")))
    while len(supervisor.pids()) < 3:
        await asyncio.sleep(0.01)
    print(*supervisor.pids().values(), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_no_part_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    """The child knows nothing of its parent: the system must tell it. Elsewhere a part watches its parent, as the next test has it."""
    if sys.platform != "linux":
        missing("the supervisor asks Linux alone for a signal at its death")
    with subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path / "logs")], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        pids = [int(word) for word in driver.stdout.readline().split()]
        assert len(pids) == 3
        assert all(map(alive, pids))
        driver.kill()
        wait_for(lambda: not any(map(alive, pids)))


def test_a_part_that_hangs_ends_by_force_after_its_supervisor() -> None:
    program = """
import signal, time
from workers.part import leave_with_parent
signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
leave_with_parent()
time.sleep(600)
"""
    gone = {**os.environ, PARENT_VARIABLE: "1"}
    with subprocess.Popen([sys.executable, "-c", program], env=gone, stdout=subprocess.PIPE, text=True) as part:
        assert part.stdout is not None
        assert part.stdout.read() == "told\n"
        assert part.wait(DEADLINE_S) == 1


def test_a_log_never_grows_beyond_twice_its_cap(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "part.log", bytes_max=100)
    for number in range(100):
        log.write(b"line %04d\n" % number)
    log.close()
    kept = (tmp_path / "part.log.1").read_bytes() + (tmp_path / "part.log").read_bytes()
    assert kept.splitlines()[-1] == b"line 0099"
    assert len(kept) <= 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.log", "part.log.1"]


def test_what_a_part_prints_for_a_person_is_said_and_its_log_is_not(tmp_path: Path) -> None:
    program = "import sys, time; print('  a message', flush=True); print('a detail', file=sys.stderr, flush=True); time.sleep(600)"
    log = tmp_path / "logs" / "speaker.log"

    async def story(supervisor: Supervisor, said: list[str]) -> None:
        await supervisor.start(Part(name="speaker", argv=(sys.executable, "-c", program), speaks=True))
        await until(lambda: said and log.exists() and b"a detail" in log.read_bytes())

    assert supervised(tmp_path, story) == ["  a message"]
    assert b"a message" in log.read_bytes()
