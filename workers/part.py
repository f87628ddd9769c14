"""One part of the system in this process: `watchkeeper worker|alert-worker|beat|web`, and what `up` starts.

The parts find their settings in variables that are set here, so Celery's own imports see the same ones.
"""

# ruff: noqa: PLC0415 - each part imports only what it runs.
from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import MappingProxyType

from monitor.config.settings import LOG_FORMAT, Settings, as_environment, find_redis_url, load_settings
from monitor.core.errors import StoreError, WatchkeeperError
from monitor.core.parts import PartName

PARENT_VARIABLE = "WATCHKEEPER_PARENT"
LISTEN_FD_VARIABLE = "WATCHKEEPER_LISTEN_FD"
FILES_WANTED = 65_536
PARENT_POLL_S = 0.5
ORPHAN_GRACE_S = 3.0


def run_part(name: PartName, settings: Settings) -> int:
    """Run the part until it is told to stop, and return its exit status. Raises WatchkeeperError where it cannot work."""
    from workers.runtime.log import make_readable

    make_readable()
    os.environ.update(as_environment(settings))
    refuse_other_data_set(settings)
    leave_with_parent()
    raise_file_limit()
    return PARTS[name](settings)


def refuse_other_data_set(settings: Settings) -> None:
    """Raise ConfigError where the settings name another number of slots than the data set has. A store that is away is waited for."""
    from monitor.store.redis.store import RedisStore

    async def look() -> None:
        store = RedisStore(find_redis_url(settings), slots=settings.slots)
        try:
            await store.open()
        finally:
            await store.close()

    with contextlib.suppress(StoreError):
        asyncio.run(look())


def raise_file_limit() -> None:
    """Every probe in flight holds a socket: take as many descriptors as the system allows, not its cautious default of 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_worker(settings: Settings) -> int:
    """Probe, decide, publish."""
    from monitor.store.queues import PROBE_QUEUE
    from workers.app import work
    from workers.runtime.services import RUNTIME

    RUNTIME.open(settings, PartName.WORKER)
    return work(PROBE_QUEUE, settings.log_level)


def run_alert_worker(settings: Settings) -> int:
    """Route, flush, deliver; weigh and re-evaluate what falls due."""
    from monitor.store.queues import ALERT_QUEUE
    from workers.app import work
    from workers.runtime.services import RUNTIME

    RUNTIME.open(settings, PartName.ALERT_WORKER)
    return work(ALERT_QUEUE, settings.log_level)


def run_beat(settings: Settings) -> int:
    """Claim what is due and tell workers of it."""
    from workers.app import beat

    beat(settings.log_level)
    return 0


def run_web(settings: Settings) -> int:
    """Answer for health and metrics, on the socket that the supervisor has opened or on the address of the settings."""
    import uvicorn

    from monitor.clock import ServerClock
    from monitor.store.redis.store import RedisStore
    from monitor.web.app import create_app
    from monitor.web.connection import Connection
    from workers.journey.counters import Counters
    from workers.runtime.heartbeat import Heartbeat

    inherited = os.environ.get(LISTEN_FD_VARIABLE)
    listener = socket.socket(fileno=int(inherited)) if inherited else open_listener(settings.listen)
    store = RedisStore(find_redis_url(settings), slots=settings.slots)
    clock = ServerClock()
    heart = Heartbeat(
        store=store,
        clock=clock,
        learn=functools.partial(clock.learn, store.now_ms),
        counters=Counters(),
        part=PartName.WEB,
        location=settings.location,
        interval_ms=settings.heartbeat_ms,
        alive_file=settings.alive_file,
        duties={},
    )
    app = create_app(store, settings, clock=clock, background=heart.run)
    logging.basicConfig(level=settings.log_level, format=LOG_FORMAT)
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        timeout_keep_alive=Connection.idle_timeout_s,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
    return 0


def open_listener(address: str) -> socket.socket:
    """Bind HOST:PORT. Raises OSError where it cannot be had."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Else head and body of an answer wait 40 ms for each other.
    listener.bind((host, int(port)))
    listener.listen(128)
    return listener


def leave_with_parent() -> None:
    """End when the supervisor has died: by ourselves where the system sends no signal, by force where we hang."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return

    def watch() -> None:
        pause = threading.Event()
        while os.getppid() == int(parent):
            pause.wait(PARENT_POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)
        pause.wait(ORPHAN_GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


PARTS: MappingProxyType[PartName, Callable[[Settings], int]] = MappingProxyType(
    {PartName.WORKER: run_worker, PartName.ALERT_WORKER: run_alert_worker, PartName.BEAT: run_beat, PartName.WEB: run_web}
)


def main(name: PartName) -> int:
    """Run a part for a supervisor; what keeps it from working is said in one line on standard error."""
    try:
        return run_part(name, load_settings())
    except WatchkeeperError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(PartName(sys.argv[1])))
