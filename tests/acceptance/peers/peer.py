"""Other people's programs, started by a test and ended with it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.system import eventually
from tests.conftest import die_with_parent
from tests.missing import missing

START_TIMEOUT_S = 20.0
START_ATTEMPTS = 3


def installed(program: str) -> str:
    """The program's path, also beside our own interpreter. Where it is not installed the test is skipped, but fails in CI."""
    path = shutil.which(program) or shutil.which(f"/usr/sbin/{program}") or shutil.which(Path(sys.executable).with_name(program))
    if path is None:
        missing(f"{program} is not installed")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Callable[[int], Sequence[str]], answers: Callable[[int], bool], log: Path) -> Iterator[int]:
    """Run `command(port)` until the block ends; yields the port once it `answers`. A port that another took meanwhile is tried anew."""
    process, port = None, 0
    try:
        for attempt in range(START_ATTEMPTS):
            port = free_port()
            with log.open("wb") as file:
                process = subprocess.Popen(
                    command(port),
                    stdout=file,
                    stderr=file,
                    preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no other way to die with the parent
                )
            eventually(lambda p=process, at=port: p.poll() is not None or answers(at), START_TIMEOUT_S, log.read_text())
            if process.poll() is None:
                break
            assert attempt < START_ATTEMPTS - 1, log.read_text()
        yield port
    finally:
        if process is not None:
            process.terminate()
            process.wait(15)
