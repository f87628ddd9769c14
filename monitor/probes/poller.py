"""Readiness of many short-lived sockets for one event loop.

asyncio's add_reader is made for sockets that stay: with uvloop it costs six epoll_ctl calls and an ioctl per
connection. Where the system has epoll we keep a set of our own, which the event loop waits for as one descriptor:
one call registers a socket, and closing it is all it takes to leave.
"""

from __future__ import annotations

import asyncio
import select
from time import perf_counter
from typing import Protocol

READ, WRITE = 1, 4  # the values of EPOLLIN and EPOLLOUT
EVENTS_MAX = 16
"""Asked for at once; who was not among them comes first the next time."""
SLICE_S = 0.02
"""After so long the event loop has its turn, and with it deadlines."""


class Waiting(Protocol):
    """Whoever waits for a socket."""

    def on_ready(self, events: int) -> None:
        """The socket is ready for WRITE, for READ, or has an error to tell to whoever reads."""
        ...


class Poller(Protocol):
    """Calls `on_ready` for as long as a socket is ready for what was asked; `forget` comes before its closing."""

    def watch(self, fd: int, interest: int, who: Waiting) -> None:
        """Tell `who` when the socket is ready for READ or WRITE, as `interest` says."""

    def change(self, fd: int, interest: int) -> None:
        """Wait for something else on a socket that is waited for."""

    def forget(self, fd: int) -> None:
        """Tell nobody of this socket any more; harmless where nobody waits for it."""

    def close(self) -> None:
        """Forget every socket."""


class EpollPoller:
    """Level-triggered, on an epoll set of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._waiting: dict[int, Waiting] = {}
        self.change = self._epoll.modify
        loop.add_reader(self._epoll.fileno(), self._dispatch)

    def watch(self, fd: int, interest: int, who: Waiting) -> None:
        self._waiting[fd] = who
        self._epoll.register(fd, interest)

    def forget(self, fd: int) -> None:
        self._waiting.pop(fd, None)

    def close(self) -> None:
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _dispatch(self) -> None:
        waiting = self._waiting
        until = perf_counter() + SLICE_S
        while True:
            ready = self._epoll.poll(0, EVENTS_MAX)
            for fd, events in ready:
                who = waiting.get(fd)
                if who is not None:
                    who.on_ready(events)
            if len(ready) < EVENTS_MAX or perf_counter() > until:
                return


class LoopPoller:
    """The same on the event loop's own calls, for systems without epoll."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[int, Waiting] = {}

    def watch(self, fd: int, interest: int, who: Waiting) -> None:
        self._waiting[fd] = who
        self.change(fd, interest)

    def change(self, fd: int, interest: int) -> None:
        who = self._waiting[fd]
        if interest & READ:
            self._loop.add_reader(fd, who.on_ready, READ)
        else:
            self._loop.remove_reader(fd)
        if interest & WRITE:
            self._loop.add_writer(fd, who.on_ready, WRITE)
        else:
            self._loop.remove_writer(fd)

    def forget(self, fd: int) -> None:
        if self._waiting.pop(fd, None) is not None:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)

    def close(self) -> None:
        for fd in list(self._waiting):
            self.forget(fd)


def make_poller(loop: asyncio.AbstractEventLoop) -> Poller:
    """The best poller that this system has: one epoll set, else the loop's own readers and writers."""
    return EpollPoller(loop) if hasattr(select, "epoll") else LoopPoller(loop)
