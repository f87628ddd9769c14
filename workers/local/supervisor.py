"""Runs the parts of `watchkeeper up`: starts them in order, restarts what dies, stops them all, leaves no orphan.

Why not a library: docs/decisions/0004-own-supervisor.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monitor.core.errors import WatchkeeperError
from workers.local.environment import plain
from workers.local.logfile import LogFile
from workers.part import PARENT_VARIABLE

BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 10.0
HEALTHY_AFTER_S = 30.0
"""A part that has lived this long starts again with the shortest back-off."""
READY_POLL_S = 0.02
READY_TIMEOUT_S = 60.0
KILL_TIMEOUT_S = 1.0
LINE_BYTES_MAX = 65_536
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process to keep running.

    `grace_s` is the time between SIGTERM and SIGKILL; `ready` says when the next part may start; a `foundation` is stopped last.
    `env` are variables of its own, beside what any program needs; a part that `reads_references` gets all of ours, since `env:NAME` in an
    endpoint or a routing file may name any.
    What a part that `speaks` prints on its standard output is for a person, what it writes on standard error for its log.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    pass_fds: tuple[int, ...] = ()
    grace_s: float = 4.0
    ready: Callable[[], Awaitable[bool]] | None = None
    foundation: bool = False
    speaks: bool = False
    reads_references: bool = False


class Supervisor:
    """`say` takes the lines that a person should see; `verbose` lets through what the parts print as well."""

    def __init__(self, logs: Path, say: Callable[[str], None], *, verbose: bool = False) -> None:
        self._logs = logs
        self._say = say
        self._verbose = verbose
        self._keepers: list[tuple[Part, asyncio.Task[None]]] = []
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._ending: set[str] = set()
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)

    def pids(self) -> dict[str, int]:
        """The processes running now, by part."""
        return {name: process.pid for name, process in self._processes.items()}

    async def start(self, part: Part) -> None:
        """Keep the part running from now on. Returns when it is ready; raises WatchkeeperError after READY_TIMEOUT_S, and OSError where
        there can be no log of it."""
        log = LogFile(self._log_of(part))
        self._keepers.append((part, asyncio.create_task(self._keep(part, log), name=part.name)))
        if part.ready is None:
            return
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while True:
                    if part.name in self._processes and await part.ready():
                        return
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError:
            raise WatchkeeperError(f"{part.name} is not ready after {READY_TIMEOUT_S:g} s (log: {self._log_of(part)})") from None

    async def stop(self) -> None:
        """Stop everything: all parts at once, then the foundations on which they leaned."""
        for foundation in (False, True):
            await asyncio.gather(*(self._end(part, keeper) for part, keeper in self._keepers if part.foundation is foundation))
        self._keepers.clear()

    def _log_of(self, part: Part) -> Path:
        return self._logs / f"{part.name}.log"

    async def _keep(self, part: Part, log: LogFile) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = BACKOFF_MIN_S
        with contextlib.closing(log):
            while part.name not in self._ending:
                began = loop.time()
                reason = await self._run_once(part, log)
                if part.name in self._ending:
                    return
                if loop.time() - began > HEALTHY_AFTER_S:
                    backoff_s = BACKOFF_MIN_S
                self._say(f"{part.name} {reason}; starting it again in {backoff_s:.1f} s (log: {log.path})")
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _run_once(self, part: Part, log: LogFile) -> str:
        """Run the part until it ends, and return how it ended in words."""
        try:
            process = await asyncio.create_subprocess_exec(
                *part.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE if part.speaks else asyncio.subprocess.STDOUT,
                env={**(os.environ if part.reads_references else plain(os.environ)), **part.env, PARENT_VARIABLE: str(os.getpid())},
                cwd=part.cwd,
                pass_fds=part.pass_fds,
                start_new_session=True,  # Ctrl-C reaches us alone; the parts are told in their order.
                preexec_fn=functools.partial(_die_with_parent, _LIBC, os.getpid()) if _LIBC else None,
                limit=LINE_BYTES_MAX,
            )
        except OSError as error:
            return f"cannot be started: {error}"
        self._processes[part.name] = process
        try:
            last = await self._copy_output(part, process, log)
            status = await process.wait()
        finally:
            self._processes.pop(part.name, None)
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        return f"{how}: {last}" if last else how

    async def _copy_output(self, part: Part, process: asyncio.subprocess.Process, log: LogFile) -> str:
        """Copy what the part writes until it ends; return the last line, that of its standard error where that is apart."""
        outputs = ((process.stdout, part.speaks), (process.stderr, False))
        lasts = await asyncio.gather(*(self._copy(part.name, stream, log, shown=shown) for stream, shown in outputs if stream))
        return lasts[-1]

    async def _copy(self, name: str, stream: asyncio.StreamReader, log: LogFile, *, shown: bool) -> str:
        """Copy lines to the part's log, and to ours when they are to be shown or we are verbose; return the last one."""
        last = ""
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                continue  # A line longer than LINE_BYTES_MAX: asyncio has dropped it.
            if not line:
                return last
            text = line.decode(errors="replace").rstrip()
            last = text.strip() or last
            log.write(line)
            if shown:
                self._say(text)
            elif self._verbose:
                self._say(f"{name} | {text.strip()}")

    async def _end(self, part: Part, keeper: asyncio.Task[None]) -> None:
        """SIGTERM, and SIGKILL after the grace; the keeper goes on reading until the part's last line."""
        self._ending.add(part.name)
        process = self._processes.get(part.name)
        if process is None:
            keeper.cancel()
        else:
            _signal(process, signal.SIGTERM)
        _, late = await asyncio.wait([keeper], timeout=part.grace_s)
        if late and process is not None:
            self._say(f"{part.name} does not stop; killing it")
            _signal(process, signal.SIGKILL)
            await asyncio.wait([keeper], timeout=KILL_TIMEOUT_S)
        self._ending.discard(part.name)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal the part and whatever it has started: each part leads a process group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _die_with_parent(libc: ctypes.CDLL, parent: int) -> None:
    """In the child, before its program: Linux sends SIGTERM when the supervisor dies, however it dies."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # It died before the signal was set.
        os._exit(1)
