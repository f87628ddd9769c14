"""The whole system on one machine: `watchkeeper up`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from monitor.config.settings import RUNNING_FILE, Running, Settings, as_environment
from monitor.core.errors import DECODE_ERRORS, ConfigError, Problem, StoreError
from monitor.core.parts import PartName
from monitor.core.secret import hide_password
from workers.local.embedded import EmbeddedServer, open_lock, write_private
from workers.local.supervisor import Part, Supervisor
from workers.part import LISTEN_FD_VARIABLE, open_listener

LOCK_FILE = "lock"
READY_POLL_S = 0.1
DATA_SET_POLL_S = 0.5
SLOW_AFTER_S = 15.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Say = Callable[[str], None]


class Readiness(msgspec.Struct, frozen=True):
    """What we want to know of the answer of /-/ready."""

    missing: list[str]


@contextlib.contextmanager
def claim_data_dir(data_dir: Path) -> Iterator[None]:
    """Hold the folder for this process. The lock dies with us, so the file of one that was killed is no obstacle.

    Raises ConfigError naming the process that holds it.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = open_lock(data_dir / LOCK_FILE)
    except OSError as error:
        raise _unusable(data_dir, error) from None
    with os.fdopen(fd, "r+", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            why = f"another `watchkeeper up` works on this folder: process {file.read().strip() or 'unknown'}"
            raise ConfigError([Problem("", "data_dir", str(data_dir), why, "stop it, or give another --data-dir")]) from None
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def run_up(settings: Settings, say: Say, *, verbose: bool = False) -> None:
    """Run everything until SIGINT or SIGTERM. Raises ConfigError when it cannot start."""
    for warning in _check_files(settings):
        say(warning)
    with claim_data_dir(settings.data_dir), _listener(settings) as listener:
        try:
            asyncio.run(_Up(settings, listener, say, verbose=verbose).run())
        except OSError as error:
            if error.errno in _FULL or Path(str(error.filename)).is_relative_to(settings.data_dir):
                raise _unusable(settings.data_dir, error) from None
            raise


def _unusable(data_dir: Path, error: OSError) -> ConfigError:
    """Says which file or folder of ours is in the way, and how."""
    place = Path(str(error.filename2 or error.filename or data_dir))
    what = "the folder" if place == data_dir else f"{place.relative_to(data_dir)} in it" if place.is_relative_to(data_dir) else str(place)
    return ConfigError([Problem("", "data_dir", str(data_dir), f"{what} cannot be used: {error.strerror}", "")])


def _check_files(settings: Settings) -> tuple[str, ...]:
    """Refuse here, once, what every part would fail on; return what people should know of the rest. Imported when needed: what reads rules
    takes long to load."""
    if settings.rules:
        from alert_rules.files.rule_file import load_rules  # noqa: PLC0415

        load_rules(settings.rules)
    if settings.alerting is not None:
        from alert_rules.files.routing_file import load_routing  # noqa: PLC0415

        return load_routing(settings.alerting).warnings
    return ()


class _Up:
    def __init__(self, settings: Settings, listener: socket.socket, say: Say, *, verbose: bool) -> None:
        self._settings = settings
        self._listener = listener
        self._say = say
        self._making: asyncio.Task[None] | None = None
        self._running_file = settings.data_dir / RUNNING_FILE
        self._supervisor = Supervisor(settings.data_dir / "logs", say, verbose=verbose)
        host, port = listener.getsockname()[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def run(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        server = None if self._settings.redis_url else EmbeddedServer(self._settings.data_dir)
        starting = asyncio.create_task(self._start(server))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stopping
            self._say("stopping")
        finally:
            for task in (starting, stopping, self._making):
                if task is not None:
                    task.cancel()
            with contextlib.suppress(OSError):
                self._running_file.unlink(missing_ok=True)
            await self._supervisor.stop()
            if server is not None:
                server.release()

    async def _start(self, server: EmbeddedServer | None) -> None:
        url = self._settings.redis_url or ""
        if server is not None:
            await self._supervisor.start(await server.prepare())
            url = server.url
        if silence := await _make_data_set(url, self._settings.slots):
            self._say(f"{hide_password(url)}: {silence.rstrip('.')}; waiting for it")
            self._making = asyncio.create_task(self._keep_making(url))
        running = Running(pid=os.getpid(), redis_url=url, listen=self._address)
        write_private(self._running_file, msgspec.json.encode(running))
        for part in self._parts(url):
            await self._supervisor.start(part)
        await self._until_ready()
        self._say(f"watchkeeper is ready: http://{self._address}  redis: {hide_password(url)}")

    def _parts(self, url: str) -> list[Part]:
        env = as_environment(self._settings.model_copy(update={"redis_url": url}))
        fd = self._listener.fileno()
        workers = [f"{PartName.WORKER}-{number + 1}" for number in range(self._settings.workers)]
        return [
            Part(name=PartName.BEAT, argv=_argv(PartName.BEAT), env=env),
            *(Part(name=name, argv=_argv(PartName.WORKER), env=env, reads_references=True) for name in workers),
            Part(name=PartName.ALERT_WORKER, argv=_argv(PartName.ALERT_WORKER), env=env, speaks=True, reads_references=True),
            Part(name=PartName.WEB, argv=_argv(PartName.WEB), env={**env, LISTEN_FD_VARIABLE: str(fd)}, pass_fds=(fd,)),
        ]

    async def _keep_making(self, url: str) -> None:
        """Make the data set as soon as the server answers: the parts wait for it."""
        while await _make_data_set(url, self._settings.slots):  # noqa: ASYNC110 - nobody tells us when a server answers
            await asyncio.sleep(DATA_SET_POLL_S)

    async def _until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        slow_at = loop.time() + SLOW_AFTER_S
        while (missing := await self._missing()) != []:
            if self._making is not None and self._making.done():
                self._making.result()
            if loop.time() > slow_at:
                waiting = ", ".join(missing or ["the web listener"])
                self._say(f"still waiting for {waiting} (logs: {self._settings.data_dir / 'logs'})")
                slow_at += SLOW_AFTER_S
            await asyncio.sleep(READY_POLL_S)

    async def _missing(self) -> list[str] | None:
        """What our own /-/ready misses, or None while nothing answers."""
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(*self._listener.getsockname()[:2])
                try:
                    writer.write(b"GET /-/ready HTTP/1.0\r\n\r\n")
                    body = (await reader.read()).partition(b"\r\n\r\n")[2]
                    return msgspec.json.decode(body, type=Readiness).missing
                finally:
                    writer.close()
        except (OSError, *DECODE_ERRORS):
            return None


async def _make_data_set(url: str, slots: int | None) -> str:
    """Make the data set where there is none; return why the store does not answer, or nothing.

    Each part waits for it, and would say so in its log only. ConfigError where the data set has another number of slots.
    """
    from monitor.store.redis.store import RedisStore  # noqa: PLC0415 - the folder is claimed first

    store = RedisStore(url, slots=slots)
    try:
        await store.open(create=True)
    except StoreError as error:
        return str(error)
    finally:
        await store.close()
    return ""


def _argv(part: PartName) -> tuple[str, ...]:
    return (sys.executable, "-m", "workers.part", part)


@contextlib.contextmanager
def _listener(settings: Settings) -> Iterator[socket.socket]:
    """The web listener's socket, opened here so that a taken port is an error at once and outlives a restart of the web part."""
    try:
        listener = open_listener(settings.listen)
    except OSError as error:
        raise ConfigError([Problem("", "listen", settings.listen, f"cannot listen: {error.strerror}", "give another --listen")]) from None
    with listener:
        yield listener
