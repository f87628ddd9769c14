"""Real targets on loopback for the probes' tests: scripted byte servers, TLS with certificates made on the spot, a small DNS."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitor.clock import SystemClock
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Result
from monitor.probes.catalog import prepare
from monitor.probes.policy import TargetPolicy
from monitor.probes.runner import make_context, run_probe

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return uvloop.run(main)


def endpoint(url: str, **settings: Any) -> Endpoint:
    fields = {name: settings.pop(name) for name in ("interval_ms", "timeout_ms", "retry_delay_ms") if name in settings}
    kind = url.partition("://")[0]
    return Endpoint(id="shop-1", url=url, pool="shop", kind=kind, retries=settings.pop("retries", 0), options=settings, **fields)


async def probe(url: str, *, policy: TargetPolicy | None = None, verified: ssl.SSLContext | None = None,
                nameservers: Sequence[str] | None = None, **settings: Any) -> Result:  # fmt: skip
    """Probe once with a context of its own; options are given by name. That the test machine is busy is no failure of the probe's."""
    context = make_context(SystemClock(), policy, verified=verified, nameservers=nameservers, lag_max_s=60)
    try:
        watched = endpoint(url, **settings)
        return await run_probe(watched, prepare(watched), context, 1_000)
    finally:
        await context.close()


@contextlib.asynccontextmanager
async def serving(script: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve every connection by `script`; yields the port."""
    tasks: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await script(reader, writer)
        finally:
            writer.transport.abort() if not writer.transport.is_closing() else None
            tasks.discard(task)

    server = await asyncio.start_server(handle, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(*pieces: bytes, requests: list[bytes] | None = None, reset: bool = False, hang: bool = False) -> Script:
    """Read a request, send the pieces one by one, then close, reset, or hang until the client leaves."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if requests is not None:
            requests.append(request)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        if hang:
            await reader.read()
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()
            await writer.wait_closed()

    return script


@contextlib.asynccontextmanager
async def ending(tls: ssl.SSLContext, answer: bytes, *, polite: bool, spoil: Callable[[bytes], bytes] = bytes) -> AsyncIterator[int]:
    """Serve one answer over TLS, and end with or without close_notify; yields the port. `spoil` changes what is sent of it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = tls.wrap_bio(received, sent, server_side=True)

        async def through(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    writer.write(sent.read())
                    received.write(await reader.read(65_536))

        await through(session.do_handshake)
        await through(lambda: session.read(65_536))
        writer.write(sent.read())
        if answer:
            session.write(answer)
        if polite:
            with contextlib.suppress(ssl.SSLError):
                session.unwrap()
        writer.write(spoil(sent.read()))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def response(status: int = 200, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Text", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# TLS


def make_tls(
    names: Sequence[str] = ("localhost",), *, days: float = 90, authority_days: float = 900, named: bool = True
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context with a fresh chain (leaf and authority served), and a client's that trusts it.

    Where it is not `named`, the first name stands in its subject alone.
    """
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = certificate("Test Authority", authority_key, "Test Authority", authority_key, authority_days, authority=True)
    leaf = certificate(names[0], key, "Test Authority", authority_key, days, names=names if named else ())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = b"".join(item.public_bytes(serialization.Encoding.PEM) for item in (leaf, authority))
    pem += key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.pem"
        path.write_bytes(pem)
        server.load_cert_chain(path)
    client = ssl.create_default_context(cadata=authority.public_bytes(serialization.Encoding.PEM).decode())
    return server, client


def certificate(
    subject: str, key: Any, issuer: str, issuer_key: Any, days: float, *, names: Sequence[str] = (), authority: bool = False
) -> Any:
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


# DNS


class Dns(asyncio.DatagramProtocol):
    """Answers A questions from `names` and says NXDOMAIN to others; to those in `codes` that code, nothing where it is None, and to nobody
    anything while `silent`."""

    def __init__(self, names: dict[str, str], ttl_s: int = 60) -> None:
        self.names, self.ttl_s, self.silent = names, ttl_s, False
        self.codes: dict[str, int | None] = {}
        self.asked: list[str] = []
        self.server = ""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"

    def datagram_received(self, data: bytes, addr: Any) -> None:
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += data[at] + 1
        name, kind = ".".join(labels).lower(), data[at + 2]
        self.asked.append(name)
        code = self.codes.get(name, 0)
        if self.silent or code is None:
            return
        if code:
            self.transport.sendto(data[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, 0, 0, 0) + data[12 : at + 5], addr)
            return
        address = self.names.get(name)
        answers = 1 if address and kind == 1 else 0
        head = data[:2] + struct.pack("!HHHHH", 0x8180 if address else 0x8183, 1, answers, 0, 0) + data[12 : at + 5]
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, self.ttl_s, 4) + socket.inet_aton(address) if answers and address else b""
        self.transport.sendto(head + record, addr)


@contextlib.asynccontextmanager
async def dns(names: dict[str, str], ttl_s: int = 60) -> AsyncIterator[Dns]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Dns(names, ttl_s), local_addr=("127.0.0.1", 0))
    try:
        yield protocol
    finally:
        transport.close()


@contextlib.contextmanager
def dns_in_a_thread(names: dict[str, str], ttl_s: int = 60) -> Iterator[Dns]:
    """The same for tests without an event loop of their own."""
    loop = asyncio.new_event_loop()
    transport, server = loop.run_until_complete(loop.create_datagram_endpoint(lambda: Dns(names, ttl_s), local_addr=("127.0.0.1", 0)))
    thread = threading.Thread(target=loop.run_forever, name="resolver")
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(transport.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
