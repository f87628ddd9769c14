"""One part of the system in this process: `watchkeeper worker|alert-worker|beat|web`, and what `up` starts.

The parts find their settings in the variables that `enter` sets, so Celery's own imports see the same ones.
"""

# ruff: noqa: PLC0415 - each part imports only what it runs.
from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from types import MappingProxyType

from monitor.settings import Settings, as_environment, find_redis_url, load_settings
from workers.supervisor import PARENT_VARIABLE

LISTEN_FD_VARIABLE = "WATCHKEEPER_LISTEN_FD"
PARENT_POLL_S = 0.5
ORPHAN_GRACE_S = 3.0
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LOGGERS_PER_TASK = ("celery.app.trace", "celery.worker.strategy")
"""They tell of each task that came and ended well: thousands of lines a minute, and processor time for each."""


def run_part(name: str, settings: Settings) -> int:
    """Run the part until it is told to stop, and return its exit status."""
    os.environ.update(as_environment(settings))
    leave_with_parent()
    return PARTS[name](settings)


def run_worker(settings: Settings) -> int:
    from workers.app import PROBE_QUEUE

    return _celery_worker(PROBE_QUEUE, settings)


def run_alert_worker(settings: Settings) -> int:
    from workers.app import ALERT_QUEUE

    return _celery_worker(ALERT_QUEUE, settings)


def run_beat(settings: Settings) -> int:
    from workers.app import app

    app.conf.include = []  # Beat publishes by name: it need not load what it starts.
    app.Beat(loglevel=settings.log_level, schedule=os.devnull, quiet=True, redirect_stdouts=False).run()
    return 0


def run_web(settings: Settings) -> int:
    import uvicorn

    from monitor.clock import SystemClock
    from monitor.store.redis import RedisStore
    from monitor.web.app import create_app
    from workers.counters import Counters
    from workers.heart import Heart

    inherited = os.environ.get(LISTEN_FD_VARIABLE)
    listener = socket.socket(fileno=int(inherited)) if inherited else open_listener(settings.listen)
    store = RedisStore(find_redis_url(settings), slots=settings.slots)
    heart = Heart(
        store=store,
        clock=SystemClock(),
        counters=Counters(),
        part="web",
        location=settings.location,
        interval_ms=settings.heartbeat_ms,
        alive_file=settings.alive_file,
        duties={},
    )
    app = create_app(store, settings, background=heart.run)
    logging.basicConfig(level=settings.log_level, format=LOG_FORMAT)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=2)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
    return 0


def open_listener(address: str) -> socket.socket:
    """Bind HOST:PORT. Raises OSError where it cannot be had."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    listener.listen(128)
    return listener


def _celery_worker(queue: str, settings: Settings) -> int:
    from celery.exceptions import SecurityWarning

    from workers.app import app

    warnings.simplefilter("ignore", SecurityWarning)  # It warns root of pickled messages; we take none.
    sys.__stdout__ = sys.__stderr__  # type: ignore[misc]  # Celery's words about its shutdown are for the log.
    if settings.log_level != "DEBUG":
        for name in _LOGGERS_PER_TASK:
            logging.getLogger(name).setLevel(logging.WARNING)
    worker = app.Worker(
        hostname=f"{queue}-{os.getpid()}@{socket.gethostname()}",
        pool_cls="solo",  # A task only hands its work to the event loop's thread.
        queues=[queue],
        loglevel=settings.log_level,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
        redirect_stdouts=False,
    )
    worker.start()
    return int(worker.exitcode or 0)


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


PARTS: MappingProxyType[str, Callable[[Settings], int]] = MappingProxyType(
    {"worker": run_worker, "alert-worker": run_alert_worker, "beat": run_beat, "web": run_web}
)

if __name__ == "__main__":
    sys.exit(run_part(sys.argv[1], load_settings()))
