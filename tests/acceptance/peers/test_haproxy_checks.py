"""The same results of checks: up and down after the same ones as a server of a real HAProxy with `rise` and `fall`.

HAProxy's next check waits at its target until everybody's last result is compared, so nothing here depends on time.
"""

from __future__ import annotations

import asyncio
import csv
import random  # noqa: TID251 - results come from a seeded generator, so that a failure can be had again.
import socket
from collections.abc import Sequence
from pathlib import Path

from monitor.core.endpoint import Pool
from monitor.core.outcome import Outcome
from tests.acceptance.peers.peer import installed, running
from tests.timeline import CLOSED, Timeline

NO_COOLDOWN = Pool(name="shop", open_ms=1, open_max_ms=1)
SERVERS = 50
CHECKS = 60
ROUND_TIMEOUT_S = 20
OK = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"
FAIL = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Server:
    """One server of HAProxy, with what its checks are to see. It starts up, and would go down at the first failure."""

    def __init__(self, number: int, rng: random.Random, first: bool) -> None:
        self.name = f"b{number}"
        self.rise, self.fall = rng.randint(1, 5), rng.randint(1, 5)
        steadiness = rng.choice([0.5, 0.7, 0.85])
        self.results = [first]
        while len(self.results) < CHECKS:
            self.results.append(self.results[-1] is (rng.random() < steadiness))

    def ours(self) -> list[bool]:
        """Whether our breaker is closed after each result."""
        timeline = Timeline(NO_COOLDOWN, failure_threshold=self.fall, success_threshold=self.rise)
        states = []
        for success in self.results:
            timeline.after(10_000).saw(Outcome.SUCCESS if success else Outcome.FAILURE)
            states.append(timeline.record.breaker.state is CLOSED)
        return states


class Checked:
    """The target of all servers: the path of a check names the server, and its answer waits."""

    def __init__(self, names: Sequence[str]) -> None:
        self._waiting: dict[str, asyncio.Queue[asyncio.StreamWriter]] = {name: asyncio.Queue() for name in names}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
        await self._waiting[path.lstrip("/")].put(writer)

    async def all_waiting(self) -> dict[str, asyncio.StreamWriter]:
        """The connections of the next checks, once every server has one: by then the results before them have been counted."""
        async with asyncio.timeout(ROUND_TIMEOUT_S):
            return {name: await queue.get() for name, queue in self._waiting.items()}


async def answer(writer: asyncio.StreamWriter, success: bool) -> None:
    writer.write(OK if success else FAIL)
    await writer.drain()
    writer.close()


def configured(servers: Sequence[Server], port: int, stats: Path) -> str:
    lines = ["global", f"  stats socket {stats} level admin", "defaults", "  mode http", "  option httpchk"]
    lines += ["  timeout connect 20s", "  timeout client 20s", "  timeout server 20s", "  timeout check 60s"]
    for server in servers:
        lines += [f"backend {server.name}", f"  http-check send meth GET uri /{server.name}"]
        lines += [f"  server s 127.0.0.1:{port} check inter 20ms rise {server.rise} fall {server.fall}"]
    return "\n".join(lines) + "\n"


def up(stats: Path) -> dict[str, bool]:
    """HAProxy's word: is the server of each backend up?"""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(stats))
        sock.sendall(b"show stat -1 4 -1\n")
        text = b"".join(iter(lambda: sock.recv(65_536), b"")).decode()
    return {row["# pxname"]: row["status"].startswith("UP") for row in csv.DictReader(text.splitlines()) if row["svname"] == "s"}


def theirs(servers: Sequence[Server], folder: Path) -> dict[str, list[bool]]:
    """Whether HAProxy holds each server for up after each result."""
    program = installed("haproxy")
    stats, config = folder / "stats.sock", folder / "haproxy.cfg"

    async def play() -> dict[str, list[bool]]:
        target = Checked([server.name for server in servers])
        listener = await asyncio.start_server(target.serve, "127.0.0.1", 0, backlog=1024)
        config.write_text(configured(servers, listener.sockets[0].getsockname()[1], stats))
        states: dict[str, list[bool]] = {server.name: [] for server in servers}
        with running(lambda _: [program, "-db", "-f", str(config)], lambda _: stats.exists(), folder / "haproxy.log"):
            writers = await target.all_waiting()
            for number in range(CHECKS):
                await asyncio.gather(*(answer(writers[server.name], server.results[number]) for server in servers))
                writers = await target.all_waiting()
                for name, state in (await asyncio.to_thread(up, stats)).items():
                    states[name].append(state)
            for writer in writers.values():
                writer.close()
        listener.close()
        return states

    return asyncio.run(play())


def test_up_and_down_as_with_rise_and_fall(tmp_path: Path) -> None:
    rng = random.Random(1)
    servers = [Server(number, rng, first=True) for number in range(SERVERS)]
    seen = theirs(servers, tmp_path)
    for server in servers:
        assert server.ours() == seen[server.name], (server.rise, server.fall, server.results)
    assert sum(not state for states in seen.values() for state in states) > SERVERS


def test_only_the_first_check_differs(tmp_path: Path) -> None:
    """One failure suffices where HAProxy has never seen a success; we want the whole run even then. After `rise` successes we agree."""
    rng = random.Random(2)
    servers = [Server(number, rng, first=False) for number in range(SERVERS)]
    for server in servers:
        server.fall = max(server.fall, 2)
        server.results[1 : server.rise + 1] = [True] * server.rise
    seen = theirs(servers, tmp_path)
    for server in servers:
        ours, other = server.ours(), seen[server.name]
        assert (ours[0], other[0]) == (True, False)
        assert ours[server.rise :] == other[server.rise :], (server.rise, server.fall, server.results)
