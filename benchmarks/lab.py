"""What every comparison shares: nginx as the target, processes whose whole tree is accounted for, and figures from /proc."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 60.0


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


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


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                pids += tree(int(child))
    return pids


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds spent so far and memory held now, over a set of processes. A process that has ended is not counted."""

    cpu_s: float
    pss_mb: float


def usage(roots: Sequence[int]) -> Usage:
    cpu_ticks, pss_kb = 0, 0
    for pid in {pid for root in roots for pid in tree(root)}:
        with contextlib.suppress(OSError, ValueError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu_ticks += int(fields[11]) + int(fields[12])
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    pss_kb += int(line.split()[1])
    return Usage(cpu_ticks / TICKS, pss_kb / 1024)


@contextlib.contextmanager
def process(argv: Sequence[str], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, ended with its children when the block ends."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **(env or {})}
        )
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
    pid: int

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.port}/service/{number}"

    def requests(self) -> int:
        return int(get(f"http://127.0.0.1:{self.port}/_status").splitlines()[2].split()[2])


@contextlib.contextmanager
def targets() -> Iterator[Targets]:
    with tempfile.TemporaryDirectory(prefix="watchkeeper-bench-") as name:
        folder, port = Path(name), free_port()
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
        with process([found("nginx"), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")], folder / "log") as nginx:
            wait_for(f"http://127.0.0.1:{port}/_status")
            yield Targets(port, nginx.pid)


def found(name: str) -> str:
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise FileNotFoundError(f"{name} is not installed")
    return path


@dataclass(frozen=True, slots=True)
class Measure:
    """One system at work for a while."""

    system: str
    endpoints: int
    rate: float
    cpu_us: float
    pss_mb: float
    notes: str = ""


def observe(system: str, endpoints: int, roots: Sequence[int], target: Targets, seconds: float, notes: str = "") -> Measure:
    """CPU of all the system's processes per request that reached the target."""
    requests, before, began = target.requests(), usage(roots), time.monotonic()
    time.sleep(seconds)
    done, after, took = target.requests() - requests - 1, usage(roots), time.monotonic() - began
    return Measure(system, endpoints, done / took, (after.cpu_s - before.cpu_s) / max(done, 1) * 1e6, after.pss_mb, notes)
