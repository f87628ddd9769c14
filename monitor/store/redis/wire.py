"""The connection to the server: a small pool, scripts by their hash, one deadline per exchange, errors as StoreError.

redis-py's connections are used without its client: an exchange is one write and its replies, so that a batch of hundreds of
commits costs one turn of the loop, and what is repeated after a broken connection is decided here and not inside a library.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from monitor.core.errors import StoreError, StoreRefusal
from monitor.store.redis_url import read_redis_url
from monitor.store.scripts import digest, names, source

Argument: TypeAlias = bytes | str | int | float
Command: TypeAlias = Sequence[Argument]
_Packed: TypeAlias = bytes
_Asked: TypeAlias = tuple[Sequence[_Packed], asyncio.Future[list[Any]]]

_CONNECTIONS_MAX = 16
_ASKED_TOGETHER_MAX = 64
_CONNECT_TIMEOUT_S = 3.0
_HEALTH_CHECK_S = 10.0
_LISTEN_SILENCE_S = 6.0

_OF_THE_SERVER = re.compile(r"(?!WRONGTYPE )[A-Z]+ ")
"""Error replies that speak of the server's state (BUSY, MISCONF ...) and not of the command; redis-py has classes of its own for others."""

_SCRIPTS = {name: source(name) for name in names()}
_HASHES = {name: digest(body) for name, body in _SCRIPTS.items()}


def script(name: str, keys: Sequence[str], *args: Argument) -> Command:
    """The command that runs lua/<name>.lua."""
    return ("EVALSHA", _HASHES[name], len(keys), *keys, *args)


async def _ping(connection: AbstractConnection) -> None:
    """Keep a subscribed connection talking, so that silence means that it is lost."""
    with contextlib.suppress(RedisError, OSError):
        while True:
            await asyncio.sleep(_LISTEN_SILENCE_S / 3)
            await connection.send_command("PING", check_health=False)


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, ResponseError):
            ours = type(reply) is ResponseError and not _OF_THE_SERVER.match(str(reply))
            raise (StoreRefusal if ours else StoreError)(f"the store refuses: {reply}") from reply
    return replies


class Wire:
    """Belongs to the event loop that first used it, until `close`."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Raises ConfigError for a URL that names what cannot be used."""
        self._timeout_s = timeout_s
        found = read_redis_url(url)
        self._idle: list[AbstractConnection] = []
        self._waiting: list[_Asked] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._packer: AbstractConnection | None = None
        self._factory = ConnectionPool.from_url(
            url,
            protocol=2,
            encoding_errors="surrogateescape",  # Names lead back to where they came from (store/names.py).
            socket_timeout=None,  # `execute` bounds the whole exchange
            health_check_interval=_HEALTH_CHECK_S,
            driver_info=None,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            **({} if found.scheme == "unix" else {"socket_keepalive": True}),
        )
        self._free = asyncio.Semaphore(min(_CONNECTIONS_MAX, self._factory.max_connections))

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().disconnect()

    async def execute(self, *commands: Command, repeat: bool = True) -> list[Any]:
        """Send commands in one write; return their replies.

        What several coroutines execute in one turn of the loop goes out as one exchange. A broken connection is replaced and the
        commands are sent once more, unless `repeat` is false: then nothing is known of them. Raises StoreError.

        Commands are written down here and not where exchanges are put together, so that one which cannot be fails alone.
        """
        if not commands:
            return []
        packed = self._pack(commands)
        if not repeat:
            await self._talk(self._pack([("PING",)]), repeat=True)  # A connection that died while it was idle is found out before.
            return _checked(await self._talk(packed, repeat=False))
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Any]] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._send_waiting)
        self._waiting.append((packed, answer))
        return _checked(await answer)

    async def execute_each(self, *commands: Command) -> list[Any]:
        """As `execute`, but a command that is refused leaves its StoreRefusal among the replies of the others."""
        answers = await asyncio.gather(*(self.execute_one(*command) for command in commands), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, StoreRefusal):
                raise answer
        return answers

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), _ASKED_TOGETHER_MAX):
            task = asyncio.ensure_future(self._serve(waiting[first : first + _ASKED_TOGETHER_MAX]))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, asked: Sequence[_Asked]) -> None:
        try:
            replies = await self._talk([command for commands, _ in asked for command in commands], repeat=True)
        except BaseException as error:  # Whatever it is, nobody may be left waiting.
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(StoreError(str(error) or type(error).__name__))
            if isinstance(error, StoreError):
                return
            raise
        first = 0
        for commands, answer in asked:
            if not answer.done():  # Whoever waited may have been cancelled.
                answer.set_result(replies[first : first + len(commands)])
            first += len(commands)

    def _pack(self, commands: Sequence[Command]) -> list[_Packed]:
        if self._packer is None:
            self._packer = self._factory.make_connection()  # type: ignore[no-untyped-call]  # Never connected.
        try:
            return [b"".join(self._packer.pack_command(*command)) for command in commands]
        except Exception as error:
            raise StoreRefusal(f"a command cannot be written: {error}") from error

    async def _talk(self, commands: Sequence[_Packed], *, repeat: bool) -> list[Any]:
        """One exchange, with what a lost connection or a forgotten script calls for. An error reply stands among the replies."""
        try:
            try:
                replies = await self._exchange(commands)
            except RedisConnectionError:
                await self.close()  # the others of that server are as dead
                if not repeat:
                    raise
                replies = await self._exchange(commands)
            unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                await self._exchange(self._pack([("SCRIPT", "LOAD", body) for body in _SCRIPTS.values()]))
                for i, reply in zip(unknown, await self._exchange([commands[i] for i in unknown]), strict=True):
                    replies[i] = reply
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreError(f"the store does not answer: {error or type(error).__name__}") from error
        return replies

    async def execute_one(self, *command: Argument, repeat: bool = True) -> Any:
        return (await self.execute(command, repeat=repeat))[0]

    async def run(self, name: str, keys: Sequence[str], *args: Argument, repeat: bool = True) -> Any:
        """Run one script and return its reply."""
        return (await self.execute(script(name, keys, *args), repeat=repeat))[0]

    async def _exchange(self, commands: Sequence[_Packed]) -> list[Any]:
        async with self._free:
            connection = self._idle.pop() if self._idle else self._connection()
            try:
                async with asyncio.timeout(self._timeout_s):
                    await connection.send_packed_command(commands)
                    replies = [await self._reply(connection) for _ in commands]
            except BaseException:
                await connection.disconnect(nowait=True)  # replies not read would be taken for those of the next exchange
                raise
            self._idle.append(connection)
            return replies

    async def listen(self, channel: str, heard: Callable[[bytes], None], listening: Callable[[], None]) -> None:
        """Subscribe on a connection of its own and call `heard` with each message, until cancelled. Raises StoreError when it is lost,
        which a server that has gone without a word is taken for after _LISTEN_SILENCE_S."""
        connection: AbstractConnection = self._factory.make_connection()  # type: ignore[no-untyped-call]
        pinging: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command("SUBSCRIBE", channel, check_health=False)
            pinging = asyncio.ensure_future(_ping(connection))
            while True:
                kind, *rest = await connection.read_response(timeout=_LISTEN_SILENCE_S) or (b"",)
                if kind == b"subscribe":
                    listening()
                elif kind == b"message":
                    heard(rest[-1])
                elif kind != b"pong":
                    raise StoreError(f"the store says nothing any more on {channel}")
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreError(f"the store does not answer: {error or type(error).__name__}") from error
        finally:
            if pinging is not None:
                pinging.cancel()
            await connection.disconnect(nowait=True)

    @staticmethod
    async def _reply(connection: AbstractConnection) -> Any:
        try:
            return await connection.read_response()
        except ResponseError as error:
            return error

    def _connection(self) -> AbstractConnection:
        return self._factory.make_connection()  # type: ignore[no-untyped-call,no-any-return]
