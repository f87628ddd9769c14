"""The embedded server under the supervisor: its data, its lock, its secrets."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.backoff
import redis.retry

from monitor.config.settings import Settings
from tests.waiting import until
from workers.local.embedded import EmbeddedServer
from workers.local.supervisor import Supervisor
from workers.part import open_listener


def with_server(data_dir: Path, story: Callable[[EmbeddedServer, Supervisor], Coroutine[Any, Any, None]]) -> str:
    """Run the story with a running server, stop it, and return its URL."""

    async def run() -> str:
        server = EmbeddedServer(data_dir)
        supervisor = Supervisor(data_dir / "logs", lambda _: None)
        try:
            await supervisor.start(await server.prepare())
            await story(server, supervisor)
            return server.url
        finally:
            await supervisor.stop()
            server.release()

    return asyncio.run(run())


async def nothing(server: EmbeddedServer, supervisor: Supervisor) -> None: ...


def test_it_serves_its_url_and_nobody_without_the_password(tmp_path: Path) -> None:
    async def story(server: EmbeddedServer, supervisor: Supervisor) -> None:
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        with redis.Redis(port=server.identity.port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()

    with_server(tmp_path, story)


def test_it_and_the_listener_are_on_loopback_alone_unless_told_otherwise(tmp_path: Path) -> None:
    async def story(server: EmbeddedServer, supervisor: Supervisor) -> None:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
        with open_listener(Settings().listen.replace(":8780", ":0")) as listener:
            assert listener.getsockname()[0] == "127.0.0.1"

    with_server(tmp_path, story)


def test_data_and_url_outlive_a_restart(tmp_path: Path) -> None:
    async def write(server: EmbeddedServer, supervisor: Supervisor) -> None:
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", "yes")

    async def read(server: EmbeddedServer, supervisor: Supervisor) -> None:
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"yes"

    assert with_server(tmp_path, write) == with_server(tmp_path, read)


def test_data_outlives_a_killed_server(tmp_path: Path) -> None:
    async def story(server: EmbeddedServer, supervisor: Supervisor) -> None:
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", "yes")
        pid = supervisor.pids()["server"]
        os.kill(pid, signal.SIGKILL)
        await until(lambda: supervisor.pids().get("server", pid) != pid)
        with redis.Redis.from_url(server.url, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 200)) as client:
            assert client.get("kept") == b"yes"

    with_server(tmp_path, story)


def test_a_long_path_with_spaces_and_quotes(tmp_path: Path) -> None:
    data_dir = tmp_path / 'my data\'s "folder" #1' / ("long" * 50) / ("path" * 50)
    with_server(data_dir, nothing)
    assert (data_dir / "server" / "appendonlydir").is_dir()


def test_what_holds_the_password_is_the_owner_s_alone(tmp_path: Path) -> None:
    with_server(tmp_path, nothing)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "server").iterdir() if path.is_file()}
    assert stat.S_IMODE((tmp_path / "server").stat().st_mode) == 0o700
    assert modes["valkey.conf"] == modes["server.json"] == 0o600


def test_a_server_that_outlived_its_supervisor_is_told_to_end(tmp_path: Path) -> None:
    async def story() -> None:
        orphaned = EmbeddedServer(tmp_path)
        part = await orphaned.prepare()
        orphan = await asyncio.create_subprocess_exec(*part.argv, cwd=part.cwd, pass_fds=part.pass_fds, stdout=asyncio.subprocess.DEVNULL)
        orphaned.release()
        try:
            async with asyncio.timeout(10):
                successor = EmbeddedServer(tmp_path)
                assert (await successor.prepare()).argv == part.argv
            assert await asyncio.wait_for(orphan.wait(), 5) == 0
            assert successor.url == orphaned.url
            successor.release()
        finally:
            if orphan.returncode is None:
                orphan.kill()
                await orphan.wait()

    asyncio.run(story())


def test_a_taken_port_is_replaced(tmp_path: Path) -> None:
    first = with_server(tmp_path, nothing)

    async def squat() -> str:
        port = EmbeddedServer(tmp_path)._identity().port
        squatter = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
        async with squatter:
            server = EmbeddedServer(tmp_path)
            supervisor = Supervisor(tmp_path / "logs", lambda _: None)
            await supervisor.start(await server.prepare())
            await supervisor.stop()
            server.release()
            return server.url

    assert asyncio.run(squat()) != first


@pytest.mark.parametrize(
    "kept",
    [b"\xff", b"[", b'{"port":99999,"password":"%s"}', b'{"port":-5,"password":"%s"}', b'{"port":1,"password":""}',
     b'{"port":1,"password":"a word\\nmaxclients 1"}', None],
)  # fmt: skip
def test_an_identity_that_is_none_of_ours_is_replaced(kept: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "server" / "server.json"
    file.parent.mkdir()
    if kept is None:
        os.mkfifo(file)
    else:
        file.write_bytes(kept.replace(b"%s", b"x" * 32))

    async def story(server: EmbeddedServer, supervisor: Supervisor) -> None:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("maxclients") == {"maxclients": "1000"}
            assert len(server.identity.password) >= 32

    with_server(tmp_path, story)
