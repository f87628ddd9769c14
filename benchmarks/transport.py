"""CPU of one HTTP probe: our prober, its floor and httpx's own transport, against one target process.

CPU time of the probing process alone, on uvloop, a fresh connection for each probe. The floor is a bare socket with httptools
and nothing else: no deadline, no policy, no phases, no result.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable

import httptools
import httpx
import uvloop

from benchmarks.lab import Report, Scale, say
from monitor.clock import SystemClock
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Outcome
from monitor.probes.catalog import prepare
from monitor.probes.runner import make_context, run_probe

TARGET = """
import asyncio, sys, uvloop
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\nready"
class Server(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(ANSWER); self.transport.close()
async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
uvloop.run(main())
"""

CONCURRENCY = 50
Shot = Callable[[], Awaitable[None]]


class Floor:
    """One exchange with nothing around it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int, request: bytes) -> None:
        self.loop, self.done = loop, loop.create_future()
        self.parser = httptools.HttpResponseParser(self)
        self.sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.sock.connect_ex(("127.0.0.1", port))
        self.request = request
        try:
            self.sock.send(request)
        except BlockingIOError:
            loop.add_writer(self.sock.fileno(), self.write)
        else:
            loop.add_reader(self.sock.fileno(), self.read)

    def write(self) -> None:
        self.sock.send(self.request)
        self.loop.remove_writer(self.sock.fileno())
        self.loop.add_reader(self.sock.fileno(), self.read)

    def read(self) -> None:
        self.parser.feed_data(self.sock.recv(65_536))

    def on_message_complete(self) -> None:
        self.loop.remove_reader(self.sock.fileno())
        self.sock.close()
        del self.parser
        self.done.set_result(None)


async def measure(name: str, shot: Shot, probes: int) -> dict[str, str | float]:
    async def series(count: int) -> None:
        for _ in range(count):
            await shot()

    await asyncio.gather(*(series(10) for _ in range(CONCURRENCY)))
    before = resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.gather(*(series(probes // CONCURRENCY) for _ in range(CONCURRENCY)))
    after = resource.getrusage(resource.RUSAGE_SELF)
    count = probes // CONCURRENCY * CONCURRENCY
    user, kernel = (after.ru_utime - before.ru_utime) / count * 1e6, (after.ru_stime - before.ru_stime) / count * 1e6
    return {"prober": name, "CPU us/probe": round(user + kernel, 1), "user": round(user, 1), "kernel": round(kernel, 1)}


async def run(port: int, probes: int) -> list[dict[str, str | float]]:
    url = f"http://127.0.0.1:{port}/health"
    context = make_context(SystemClock())
    endpoint = Endpoint(id="target", url=url, pool="target")
    matching = Endpoint(id="target", url=url, pool="target", options={"expect_body": "ready"})
    request = (
        f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: watchkeeper\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()
    )
    loop = asyncio.get_running_loop()

    def probing(endpoint: Endpoint) -> Shot:
        probe = prepare(endpoint)

        async def shot() -> None:
            result = await run_probe(endpoint, probe, context, 0)
            if result.outcome is not Outcome.SUCCESS:
                raise RuntimeError(result.text)

        return shot

    async def floor() -> None:
        await Floor(loop, port, request).done

    transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=None, max_keepalive_connections=0))

    async def through_httpx() -> None:
        response = await transport.handle_async_request(httpx.Request("GET", url, headers={"Connection": "close"}))
        await response.aread()
        await response.aclose()

    rows = [
        await measure("floor: bare socket, httptools", floor, probes),
        await measure("ours, status", probing(endpoint), probes),
        await measure("ours, status and body", probing(matching), probes),
        await measure("httpx.AsyncHTTPTransport", through_httpx, max(probes // 10, CONCURRENCY)),
    ]
    await transport.aclose()
    await context.close()
    return rows


def transports(scale: Scale) -> list[Report]:
    say("transports")
    with subprocess.Popen([sys.executable, "-c", TARGET], stdout=subprocess.PIPE, text=True) as target:
        try:
            port = int(target.stdout.readline()) if target.stdout else 0
            return [Report("One HTTP probe, the probing process alone", uvloop.run(run(port, scale.probes)))]
        finally:
            target.terminate()
