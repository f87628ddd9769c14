"""A long line to a server: a proxy that hands everything on, only later, in order and without holding back what comes after."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class SlowLine:
    port: int = 0
    connections: int = 0
    flights: int = 0
    """How often a client has sent something after it had heard something: the round trips that it took, of all connections."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)


@contextlib.contextmanager
def slow_line(port: int, round_trip_s: float) -> Iterator[SlowLine]:
    """Listen on `.port` and hand on to a loopback port; a new connection costs a round trip before its first byte."""
    line, loop = SlowLine(), asyncio.new_event_loop()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_at_s: float, heard: list[bool], *, up: bool) -> None:
        while data := await reader.read(65_536):
            if up and heard[0]:
                line.flights += 1
            heard[0] = not up
            loop.call_at(max(loop.time(), open_at_s) + round_trip_s / 2, writer.write, data)
        loop.call_later(round_trip_s / 2, writer.close)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", port)
        heard = [True]
        for work in (copy(reader, back, loop.time() + round_trip_s, heard, up=True), copy(there, writer, 0, heard, up=False)):
            task = loop.create_task(work)
            line._tasks.add(task)
            task.add_done_callback(line._tasks.discard)

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    server = loop.run_until_complete(listen())
    line.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in line._tasks:
            task.cancel()
        server.close()
        loop.run_until_complete(asyncio.gather(*line._tasks, return_exceptions=True))
        loop.close()
