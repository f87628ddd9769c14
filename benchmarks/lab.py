"""What every benchmark shares: nginx as the target, processes whose whole tree is accounted for, figures from /proc, reports."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
COMM_MAX = 15
"""Linux cuts a process's short name there."""
START_TIMEOUT_S = 60.0
SUSTAINED = 0.95
"""A system keeps up when it achieves this share of the probes that it was told to make."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured, for how long. Rates are probes per second over all endpoints."""

    seconds: float = 20
    interval_ms: int = 2_000
    workers: int = 2
    sizes: Sequence[int] = (500, 2_000, 8_000)
    peer_size: int = 2_000
    capacity_endpoints: int = 4_000
    rates: Sequence[int] = (1_000, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000, 5_000, 6_000, 8_000)
    trips: int = 100
    probes: int = 20_000
    stored: int = 10_000
    retained: int = 1_000


QUICK = Scale(seconds=5, sizes=(500,), peer_size=500, rates=(1_000, 2_000), trips=30, probes=4_000, stored=2_000, retained=500)


@dataclass(frozen=True, slots=True)
class Report:
    """One table: rows of named figures, and what must be known to read them."""

    title: str
    rows: list[dict[str, str | float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def say(words: str) -> None:
    """Progress, for the person who waits."""
    print(words, file=sys.stderr, flush=True)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def found(name: str) -> str:
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise FileNotFoundError(f"{name} is not installed")
    return path


def get(url: str, timeout_s: float = 5.0) -> str:
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:
        return str(answer.read().decode())


def wait_for(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            get(url, 1.0)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@contextlib.contextmanager
def process(argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, ended with its children when the block ends."""
    with log.open("ab") as out:
        child = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


# Accounting -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds spent so far, and memory held now (proportional set size). A process that has ended is not counted."""

    user_s: float = 0.0
    kernel_s: float = 0.0
    pss_mb: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.user_s + other.user_s, self.kernel_s + other.kernel_s, self.pss_mb + other.pss_mb)

    def since(self, before: Usage) -> Usage:
        return Usage(self.user_s - before.user_s, self.kernel_s - before.kernel_s, self.pss_mb)


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                pids += tree(int(child))
    return pids


def usage(roots: Sequence[int]) -> dict[str, Usage]:
    """By part: a part of Watchkeeper, or the name of another program. Processes that do the same are added up."""
    parts: dict[str, Usage] = defaultdict(Usage)
    for pid in {pid for root in roots for pid in tree(root)}:
        with contextlib.suppress(OSError, ValueError):
            user, kernel = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            pss_kb = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            parts[_part(pid)] += Usage(int(user) / TICKS, int(kernel) / TICKS, pss_kb / 1024)
    return dict(parts)


def _part(pid: int) -> str:
    argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    if "workers.part" in argv:
        return argv[argv.index("workers.part") + 1]
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    return name if len(name) < COMM_MAX else Path(argv[0]).name


@dataclass(frozen=True, slots=True)
class Measure:
    """One system at work for a while: what each part used meanwhile, and the probes that the target saw."""

    system: str
    endpoints: int
    interval_ms: int
    probes: int
    took_s: float
    parts: Mapping[str, Usage]
    lateness: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.probes / self.took_s

    @property
    def achieved(self) -> float:
        """The share of the wanted probes that were made."""
        return self.rate * self.interval_ms / 1000 / self.endpoints

    @property
    def pss_mb(self) -> float:
        return sum(part.pss_mb for part in self.parts.values())

    @property
    def cpu_us(self) -> float:
        return sum(self.per_probe_us(part.user_s + part.kernel_s) for part in self.parts.values())

    def per_probe_us(self, seconds: float) -> float:
        return seconds / max(self.probes, 1) * 1e6


# The target -----------------------------------------------------------------------------------------------------------

NGINX = """\
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 16384; multi_accept on; }}
http {{
  access_log off; keepalive_timeout 5; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "ok\\n"; }} location = /_status {{ stub_status; }} }}
}}
"""


@dataclass(frozen=True, slots=True)
class Targets:
    """nginx answering 200 to every path; it counts requests, so that each system's rate is measured by the same hand."""

    port: int

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.port}/service/{number}"

    def requests(self) -> int:
        return int(get(f"http://127.0.0.1:{self.port}/_status").splitlines()[2].split()[2])

    def observe(self, system: str, endpoints: int, interval_ms: int, roots: Sequence[int], seconds: float) -> Measure:
        """Watch for at least so long, in whole intervals, so that each endpoint's probes are counted equally often."""
        requests, before, began = self.requests(), usage(roots), time.monotonic()
        time.sleep(math.ceil(seconds * 1000 / interval_ms) * interval_ms / 1000)
        probes, after, took_s = self.requests() - requests - 1, usage(roots), time.monotonic() - began
        parts = {name: used.since(before.get(name, Usage())) for name, used in after.items()}
        return Measure(system, endpoints, interval_ms, probes, took_s, parts)


@contextlib.contextmanager
def targets() -> Iterator[Targets]:
    with folder() as path:
        port = free_port()
        (path / "nginx.conf").write_text(NGINX.format(folder=path, port=port))
        with process([found("nginx"), "-c", str(path / "nginx.conf"), "-e", str(path / "error.log")], path / "log"):
            wait_for(f"http://127.0.0.1:{port}/_status")
            yield Targets(port)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="watchkeeper-bench-") as name:
        yield Path(name)
