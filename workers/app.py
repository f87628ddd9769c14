"""The Celery application: every setting stands against a failure that was measured.

A message is a hint, never the truth: the leases in the store say what is due, so a lost message is made good when its lease
expires and a duplicated one is dropped at commit. The settings here only have to keep the processes alive and the queues short.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import sys
import warnings
from typing import Any
from urllib.parse import quote

from celery import Celery
from celery.exceptions import SecurityWarning
from celery.worker.consumer.consumer import STOP_CONDITIONS, Consumer
from kombu.entity import Queue

from monitor.config.settings import LOG_FORMAT, find_redis_url, load_settings
from monitor.core.errors import WatchkeeperError
from monitor.store.queues import ALERT_QUEUE, PROBE_QUEUE
from monitor.store.redis_url import RedisUrl
from workers.broker import Transport

RECONNECT_MAX_S = 1.0
"""Longest pause between two attempts to reach the broker."""
_LOGGERS_PER_TASK = ("celery.app.trace", "celery.worker.strategy")
"""They tell of each task that came and ended well: thousands of lines a minute, and processor time for each."""

_BROKER_OPTIONS = (
    "client_name",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "health_check_interval",
    "max_connections",
)

log = logging.getLogger(__name__)


class LastingConsumer(Consumer):  # type: ignore[misc]
    """Celery's consumer, outliving a broker that dies at an awkward moment.

    While Celery 5.7.0 tidies up after a lost Redis, kombu may ask a closed channel for its connection. The AttributeError
    that follows ('NoneType' object has no attribute 'hostname') ends the worker, since Celery takes it for an error of the
    program. It is a lost connection, and goes the way of every lost connection.
    """

    def start(self) -> None:
        """Consume until the worker is told to stop."""
        while True:
            try:
                super().start()
            except AttributeError as error:
                if "'NoneType' object has no attribute" not in str(error) or self.blueprint.state in STOP_CONDITIONS:
                    raise
                log.warning("the broker's connection was lost while it was being renewed (%s); connecting again", error)
                self._connect_again(error)
            else:
                return

    def ensure_connected(self, conn: Any) -> Any:
        """Let in messages of ours alone. Kombu's pauses grow to half a minute, so that an outage would go on for that long after it."""
        conn.get_transport_cls = lambda: Transport
        pauses = {"interval_start": RECONNECT_MAX_S / 4, "interval_step": RECONNECT_MAX_S / 4, "interval_max": RECONNECT_MAX_S}
        conn.ensure_connection = functools.partial(conn.ensure_connection, **pauses)
        return super().ensure_connected(conn)

    def _connect_again(self, error: AttributeError) -> None:
        """What Celery does after a connection error; what fails here fails because the connection is gone."""
        if self.connection:
            with contextlib.suppress(Exception):
                self.on_connection_error_after_connected(error)
        with contextlib.suppress(Exception):
            self.on_close()
        self._cancel_connection_timer_entries()
        self.blueprint.restart(self)


def broker_url(redis_url: str) -> str:
    """The URL as kombu writes it: it knows user, password and database by their places alone."""
    found = RedisUrl(redis_url)
    user, password = quote(found.username, safe=""), quote(found.password, safe="")
    login = f"{user}:{password}@" if user or password else ""
    if found.scheme == "unix":
        return f"redis+socket://{login}{quote(found.path)}?virtual_host={found.database}"
    return f"{found.scheme}://{login}{found.host}/{found.database}"


def transport_options(redis_url: str) -> dict[str, Any]:
    """Options of kombu's Redis transport, those of the URL last. No `retry_on_timeout`: kombu publishes batches only where redis-py does
    not repeat them. Kombu looks after its connections at every `health_check_interval`, so 0 does not turn that off."""
    given = RedisUrl(redis_url).options
    return {
        "ack_emulation": False,  # An unacknowledged message need not come back: its lease brings the work back, at no cost.
        "priority_steps": [0],  # One list per queue: BRPOP on ten lists of priorities costs ten times as much.
        "socket_timeout": 5,  # A half-open socket would hang a publish for ever.
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 10,
        **{name: given[name] for name in _BROKER_OPTIONS if name in given and (name, given[name]) != ("health_check_interval", 0)},
    }


def _queue(name: str) -> Queue:
    return Queue(name)  # type: ignore[no-untyped-call]


def configuration(redis_url: str) -> dict[str, Any]:
    """Celery's configuration on this Redis."""
    return {
        "broker_url": broker_url(redis_url),
        "broker_transport_options": transport_options(redis_url),
        "broker_use_ssl": RedisUrl(redis_url).tls,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # A worker would give up after 100 attempts.
        "broker_connection_timeout": 3,
        "broker_channel_error_retry": True,  # A server that is still loading answers with errors: wait for it.
        "worker_consumer": "workers.app:LastingConsumer",
        "worker_enable_remote_control": False,  # Its fanout channel is where a killed Redis ends the worker; we have heartbeats of our own.
        "worker_prefetch_multiplier": 1,  # A batch that waits here could start elsewhere.
        "worker_enable_prefetch_count_reduction": False,  # Taking less after each reconnect would make the lag of an outage longer.
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # A running batch ends by itself, and commits under its lease.
        "worker_send_task_events": False,  # Nobody listens: /metrics is read from the store.
        "worker_disable_rate_limits": True,
        "worker_redirect_stdouts": False,
        "worker_log_format": LOG_FORMAT,
        "task_ignore_result": True,  # Results are committed by the store's scripts.
        "task_store_errors_even_if_ignored": False,
        "result_backend": None,
        "task_serializer": "json",
        "accept_content": ["json"],  # Who can write to Redis must not be able to run code here.
        "task_queues": [_queue(PROBE_QUEUE), _queue(ALERT_QUEUE)],
        "task_default_queue": PROBE_QUEUE,
        "task_create_missing_queues": False,
        "beat_scheduler": "workers.beat:ProbeScheduler",
        "enable_utc": True,
    }


app = Celery("watchkeeper", include=["workers.tasks"], set_as_current=False)
app.add_defaults(lambda: configuration(find_redis_url(load_settings())))  # When first needed: only then must a Redis be known.


def work(queue: str, log_level: str) -> int:
    """Take tasks from one queue until the process is told to stop; return its exit status."""
    warnings.simplefilter("ignore", SecurityWarning)  # It warns root of pickled messages; we take none.
    sys.__stdout__ = sys.__stderr__  # type: ignore[misc]  # Celery's words about its shutdown are for the log.
    if log_level != "DEBUG":
        for name in _LOGGERS_PER_TASK:
            logging.getLogger(name).setLevel(logging.WARNING)
    worker = app.Worker(
        hostname=f"{queue}-{os.getpid()}@{socket.gethostname()}",
        pool_cls="solo",  # A task only hands its work to the event loop's thread.
        queues=[queue],
        loglevel=log_level,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
        redirect_stdouts=False,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _not_ours(record: logging.LogRecord) -> bool:
    """Whether it is told here: Celery writes a traceback of what ends beat, and our own errors are told in words by whoever runs it."""
    return not (record.exc_info and isinstance(record.exc_info[1], WatchkeeperError))


def beat(log_level: str) -> None:
    """Run beat until the process is told to stop."""
    app.conf.include = []  # Beat publishes by name: it need not load what it starts.
    logging.getLogger("celery.beat").addFilter(_not_ours)
    app.Beat(loglevel=log_level, schedule=os.devnull, quiet=True, redirect_stdouts=False).run()
