"""One fresh connection per probe, as callbacks on a non-blocking socket.

    resolve -> connect -> tls -> first_byte -> transfer

A connection walks these phases once, under one deadline, and ends exactly once in `_end`, with a failure of the
target, an error of our own, or neither. Sockets are driven directly because an asyncio transport costs more than
all of a probe's own work, and because only so are connect and handshake timed apart.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from abc import ABC, abstractmethod
from time import perf_counter

from monitor.core.durations import format_duration
from monitor.core.outcome import Certificate, FailureClass, Phases, StaleAnswer
from monitor.probes.certificate import served_certificate
from monitor.probes.network import DATA_ERRORS, RECEIVE_BYTES, Destination, Network
from monitor.probes.poller import READ, WRITE

PHASES = ("resolve", "connect", "tls", "first_byte", "transfer")
RESOLVE, CONNECT, TLS, FIRST_BYTE, TRANSFER = range(5)

_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)
_STREAM = socket.SOCK_STREAM | _NONBLOCK
_PENDING = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)


class Connection(ABC):
    """A connection that sends `request` and hands what comes back to `_received` and `_ended_by_peer`.

    `spent` holds seconds per phase, and may be handed on from hop to hop to sum them. `torn` tells that the peer's side ended
    without TLS's close_notify: what only the close ends may have been cut by anybody (RFC 9112, 9.8).
    """

    __slots__ = (
        "_addresses",
        "_deadline",
        "_fd",
        "_incoming",
        "_interest",
        "_mark",
        "_network",
        "_next",
        "_outgoing",
        "_request",
        "_sock",
        "_ssl",
        "_tick",
        "_timeout_ms",
        "_to",
        "_unsent",
        "_waiter",
        "certificate",
        "failure",
        "ip",
        "ours",
        "phase",
        "spent",
        "stale",
        "text",
        "torn",
    )  # fmt: skip

    def __init__(self, network: Network, to: Destination, request: bytes, spent: list[float] | None = None) -> None:
        self._network = network
        self._to = to
        self._request = request
        self._unsent = b""
        self.spent = spent or [0.0, 0.0, 0.0, 0.0, 0.0]
        self.phase = RESOLVE
        self.failure: FailureClass | None = None
        self.ours = False
        self.torn = False
        self.text = ""
        self.ip = ""
        self.certificate: Certificate | None = None
        self.stale: StaleAnswer | None = None
        self._sock: socket.SocketType
        self._fd = -1
        self._interest = 0
        self._ssl: ssl.SSLObject | None = None
        self._next: asyncio.TimerHandle | None = None
        self._tick = 0

    async def run(self, deadline: float, timeout_ms: int) -> None:
        """Walk all phases; `deadline` is on perf_counter's scale, `timeout_ms` is what a person set, for the text."""
        loop, to = self._network.loop, self._to
        if to.tls:
            self._network.tls(verify=to.verify)
        self._mark = now = perf_counter()
        self._deadline, self._timeout_ms = deadline, timeout_ms
        self._waiter: asyncio.Future[None] = loop.create_future()
        addresses = to.addresses or self._network.resolver.cached(to.host)
        try:
            if addresses:
                self.phase = CONNECT
            else:
                registered = not any(self.spent)  # else a target has redirected here
                found = await self._network.resolver.lookup(to.host, (deadline - now) * 1000, registered=registered)
                if not found.addresses:
                    self._end(None if found.ours else FailureClass.RESOLVE, found.text, ours=found.ours)
                    return
                addresses, self.stale = found.addresses, found.stale or self.stale
                self._enter(CONNECT)
            self._tick = self._network.deadlines.add(deadline, self)
            self._addresses = list(addresses)
            self._dial()
            await self._waiter
        except BaseException:
            self._close()
            raise

    @property
    def phases(self) -> Phases:
        """Milliseconds spent in each phase so far."""
        resolve, connect, tls, first_byte, transfer = self.spent
        return Phases(_ms(resolve), _ms(connect), _ms(tls), _ms(first_byte), _ms(transfer))

    @abstractmethod
    def _received(self, data: memoryview | bytes) -> None:
        """Take what the peer sent; `data` is only valid during the call."""

    @abstractmethod
    def _ended_by_peer(self) -> None:
        """The peer has closed its side."""

    def _established(self) -> None:
        """Connected, and past the handshake: send what there is to send."""
        self._enter(FIRST_BYTE)
        self._send(self._request)

    def _enter(self, phase: int) -> None:
        now = perf_counter()
        self.spent[self.phase] += now - self._mark
        self._mark = now
        self.phase = phase

    def _end(self, failure: FailureClass | None = None, text: str = "", *, ours: bool = False) -> None:
        """Finish, once: later calls change nothing."""
        if self._waiter.done():
            return
        self._enter(self.phase)
        self.failure, self.text, self.ours = failure, text, ours
        self._close()
        self._waiter.set_result(None)

    def on_deadline(self) -> None:
        """End as timed out, or as inconclusive where we are late ourselves; the network's deadlines call this."""
        lag = perf_counter() - self._deadline
        if lag > self._network.lag_max_s:
            self._end(text=f"our event loop was {lag * 1000:.0f} ms late at the deadline", ours=True)
        else:
            self._end(FailureClass.TIMEOUT, f"timeout after {format_duration(self._timeout_ms)} in {PHASES[self.phase]}")

    # connect

    def _dial(self) -> None:
        """Connect to the next address that the policy allows; end with the first failure when none is left."""
        loop = self._network.loop
        while self._addresses:
            ip = self._addresses.pop(0)
            refusal = self._network.policy.refusal(ip)
            if refusal is not None:
                self._note(FailureClass.POLICY, refusal)
                continue
            self.ip = ip
            try:
                sock = self._sock = socket.SocketType(socket.AF_INET6 if ":" in ip else socket.AF_INET, _STREAM)
                self._fd = sock.fileno()
                if not _NONBLOCK:
                    sock.setblocking(False)
                code = sock.connect_ex((ip, self._to.port))
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT:  # a machine without IPv6: another address may do
                    self._note(FailureClass.CONNECT, _reason(error))
                    continue
                self._end(None, f"no socket: {_reason(error)}", ours=True)
                return
            if code in _PENDING:
                if self._addresses:
                    share = (self._deadline - perf_counter()) / (len(self._addresses) + 1)
                    self._next = loop.call_later(share, self._abandon, f"no answer from {ip} within {share * 1000:.0f} ms")
                self._try_now()
                return
            if code == errno.EADDRNOTAVAIL and ":" not in ip:
                self._end(None, "no local port is free", ours=True)
                return
            self._drop_socket()
            self._note(FailureClass.CONNECT, os.strerror(code).lower())
        self._end(self.failure, self.text)

    def _note(self, failure: FailureClass, text: str) -> None:
        if self.failure is None:
            self.failure, self.text = failure, text

    def _abandon(self, text: str) -> None:
        self._drop_socket()
        self._note(FailureClass.CONNECT, text)
        self._dial()

    def _try_now(self) -> None:
        """Send at once: a nearby target is often connected already, and that saves a turn of the loop."""
        if self._request and not self._to.tls:
            try:
                sent = self._sock.send(self._request)
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    self._abandon(_reason(error))
                    return
            else:
                self._request = self._request[sent:]
                self._connected()
                return
        self._want(WRITE)

    def on_ready(self, events: int) -> None:
        """Go on with whatever waited for the socket; the poller calls this. What is raised on the way ends the connection."""
        try:
            if self.phase != CONNECT:
                if events & WRITE:
                    self._flush()
                if events & ~WRITE and self._fd >= 0:
                    self._read()
                return
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._abandon(os.strerror(code).lower())
                return
            self._connected()
        except DATA_ERRORS as error:
            self._end(FailureClass.PROTOCOL, self._network.surprised(error))
        except Exception as error:
            if self._waiter.done():
                raise
            self._waiter.set_exception(error)

    def _connected(self) -> None:
        self.failure, self.text = None, ""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._to.tls:
            self._begin_handshake()
        else:
            self._established()

    # send and receive

    def _send(self, data: bytes) -> None:
        if self._ssl is not None:
            if data:
                self._ssl.write(data)
            data = self._outgoing.read()
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        if self._unsent:
            try:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
            except BlockingIOError:
                pass
            except OSError as error:
                self._broken(_reason(error))
                return
        self._want(READ | WRITE if self._unsent else READ)

    def _want(self, interest: int) -> None:
        if self._interest == 0:
            self._network.poller.watch(self._fd, interest, self)
        elif self._interest != interest:
            self._network.poller.change(self._fd, interest)
        self._interest = interest

    def _read(self) -> None:
        buffer = self._network.buffer
        try:
            size = self._sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._broken(_reason(error))
            return
        if self._ssl is not None:
            self._tls_received(self._ssl, buffer[:size])
        elif size:
            self._received(buffer[:size])
        else:
            self._ended_by_peer()

    def _broken(self, reason: str) -> None:
        self._end(FailureClass.TLS if self.phase == TLS else FailureClass.PROTOCOL, f"{reason} in {PHASES[self.phase]}")

    # TLS

    def _begin_handshake(self) -> None:
        self._enter(TLS)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = self._network.tls(verify=self._to.verify)
        try:
            tls = self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=self._to.server_name or None)
        except ValueError as error:
            self._end(FailureClass.TLS, f"the name {self._to.server_name!r} cannot be asked for: {error}")
            return
        self._handshake(tls)

    def _handshake(self, tls: ssl.SSLObject) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send(b"")
        except ssl.SSLError as error:
            self._send(b"")  # the alert tells the peer why
            self._end(FailureClass.TLS, tls_reason(error))
        else:
            self.certificate = served_certificate(tls)
            self._established()

    def _tls_received(self, tls: ssl.SSLObject, data: memoryview) -> None:
        if len(data):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        if self.phase == TLS:
            self._handshake(tls)
            if self.phase == TLS:
                if not len(data):
                    self._broken("connection closed by the target")
                return
        while not self._waiter.done():
            try:
                plain = tls.read(RECEIVE_BYTES)
            except ssl.SSLWantReadError:
                return
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as error:
                self.torn = isinstance(error, ssl.SSLEOFError)
                plain = b""
            except ssl.SSLError as error:
                self._end(FailureClass.TLS, tls_reason(error))
                return
            if plain:
                self._received(plain)
            else:
                self._ended_by_peer()

    # close

    def _drop_socket(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._interest:
            self._network.poller.forget(self._fd)
            self._interest = 0
        self._sock.close()
        self._fd = -1

    def _close(self) -> None:
        if self._tick:
            self._network.deadlines.remove(self._tick, self)
            self._tick = 0
        if self._fd >= 0:
            self._drop_socket()


def _ms(seconds: float) -> float:
    return int(seconds * 1e6) / 1e3 if seconds else 0.0


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


def tls_reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's reason in plain words: `certificate has expired`, `wrong version number`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate is not accepted: {error.verify_message}"
    return f"TLS handshake failed: {(error.reason or str(error)).lower().replace('_', ' ')}"
