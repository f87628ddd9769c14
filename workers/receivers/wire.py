"""The network as one send may use it: which addresses, and for how long.

apprise's plugins open their connections themselves, most of them through requests or smtplib. Every connection of Python's asks the
interpreter's audit hook first, with the address that it goes to; so a plugin need not be known to be judged. What is connected is kept by a
second handle on it, so that it can be closed from outside: a timeout of requests or smtplib begins anew with every byte.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any

from monitor.probes.policy import TargetPolicy
from workers.receivers.heard import Heard

HANDLES_MAX = 8
"""Connections of one send that can be closed from outside. A plugin uses one at a time."""


class RefusedError(OSError):
    """A connection that a send must not make."""


class Wire:
    """One send's connections. Another thread may cut them."""

    def __init__(self, policy: TargetPolicy, heard: Heard) -> None:
        self._policy = policy
        self.heard = heard
        self._lock = threading.Lock()
        self._handles: deque[socket.socket] = deque()
        self.reached = False
        """Whether it was let connect to anything, so that a service may have heard of the message."""
        self.given_up = False
        self.refusal = ""
        """Why the last connection or redirect that was not allowed was not."""
        self.permanent = False
        """Whether only another configuration can help against that."""

    def judge(self, host: str) -> None:
        """Raise RefusedError where a connection to this host is not allowed, or comes too late."""
        if self.given_up:
            raise RefusedError("given up before it was sent")
        for address in _addresses(host):
            if why := self._policy.refusal(address):
                self.refusal, self.permanent = f"{why}, by the settings target_allow and target_deny", True
                raise RefusedError(self.refusal)

    def connecting(self, connection: socket.socket, address: Any) -> None:
        """Judge the address, and keep the connection."""
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            self.judge(str(address[0]))
        handle = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            self._handles.append(handle)
            self.reached = True
            self.refusal, self.permanent = "", False
            if len(self._handles) > HANDLES_MAX:
                self._handles.popleft().close()
            if self.given_up:
                raise RefusedError("given up before it was sent")

    def cut(self) -> None:
        """Give up: end what is connected, in whatever it is, and let nothing more be connected."""
        self.given_up = True
        self.hang_up()

    def hang_up(self) -> None:
        """End what is connected, in whatever it is."""
        with self._lock:
            for handle in self._handles:
                with contextlib.suppress(OSError):  # It was not connected yet, or has ended.
                    handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            while self._handles:
                self._handles.pop().close()


WIRE: ContextVar[Wire | None] = ContextVar("wire", default=None)


def _addresses(host: str) -> Iterable[str]:
    try:
        return (str(ip_address(host)),)
    except ValueError:
        return sorted({str(info[4][0]) for info in socket.getaddrinfo(host or "0.0.0.0", None)})  # noqa: S104


def guard() -> None:
    """Let every connection of this process ask the Wire of the send that makes it; there is none where nothing is sent."""
    sys.addaudithook(_audit)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not event.startswith("socket."):
        return
    wire = WIRE.get()
    if wire is None:
        return
    if event == "socket.connect":
        wire.connecting(*args)
    elif event in {"socket.sendto", "socket.sendmsg"} and isinstance(args[1], tuple):
        wire.judge(str(args[1][0]))
        wire.reached = True
