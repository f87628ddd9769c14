"""What commands share: finding the running system, and using its store."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from monitor.cli.output import say
from monitor.core.errors import NoDataSetError, StoreError

if TYPE_CHECKING:
    from monitor.config.kinds import Deny
    from monitor.config.settings import Settings
    from monitor.probes.policy import TargetPolicy
    from monitor.store.port import Store

DATA_SET_WAIT_S = 3.0

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class System:
    """The system that a command speaks to. Nothing is read or connected before it is needed."""

    def __init__(self, options: dict[str, object], config: Path | None) -> None:
        self._options = options
        self._config = config

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings with this command's options on top. ConfigError where one cannot be used."""
        from monitor.config.settings import load_settings  # noqa: PLC0415 - help must not wait for it

        return load_settings(self._options, config=self._config)

    @functools.cached_property
    def policy(self) -> TargetPolicy:
        """Which addresses may be probed from here."""
        from monitor.probes.policy import TargetPolicy  # noqa: PLC0415

        return TargetPolicy(allow=self.settings.target_allow, deny=self.settings.target_deny)

    @property
    def deny(self) -> Deny:
        """Says why an address must not be registered."""
        return self.policy.refusal

    def run(self, use: Callable[[Store], Awaitable[T]]) -> T:
        """Open the store, use it, close it. ConfigError where no system is found, StoreError where it does not answer.

        A system that has just started, or lost its data, has its data set back within a heartbeat: that long it is waited for.
        """
        from monitor.config.settings import find_redis_url  # noqa: PLC0415
        from monitor.store.redis.store import RedisStore  # noqa: PLC0415

        async def session() -> T:
            store = RedisStore(find_redis_url(self.settings), slots=self.settings.slots)
            try:
                await _open(store)
                return await use(store)
            finally:
                await store.close()

        return asyncio.run(session())


async def _open(store: Store) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + DATA_SET_WAIT_S
    while True:
        try:
            return await store.open()
        except NoDataSetError:
            if loop.time() >= until:
                raise
            await asyncio.sleep(0.1)


def system_user() -> str:
    """Who runs this command, for the events that follow from it."""
    import getpass  # noqa: PLC0415 - after the help

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # A container's user need not have a name.
        return f"uid {os.getuid()}"


def by_option(command: F) -> F:
    """Add `--by`, passed on as `actor`."""
    option = click.option(
        "--by", "actor", metavar="NAME", default=system_user, help="Who does this (default: the system user); shown in events."
    )
    return option(command)


def why_option(command: F) -> F:
    """Add an optional `--reason`."""
    return click.option("--reason", default="", metavar="TEXT", help="Why; shown in events.")(command)


def needs_system(command: F) -> F:
    """Add the options that find a running system; the command gets a `system`."""

    @functools.wraps(command)
    def wrapped(*args: Any, data_dir: Path | None, redis_url: str | None, config: Path | None, **kwargs: Any) -> Any:
        return command(*args, system=System({"data_dir": data_dir, "redis_url": redis_url}, config), **kwargs)

    options = (
        click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the running system (default: the settings')."),
        click.option("--redis-url", metavar="URL", help="Redis of the running system, instead of looking for it."),
        click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file."),
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


async def again_and_again(show: Callable[[], Awaitable[None]], pause_s: float) -> None:
    """Until Ctrl-C. Who watches wants to see the system come back: that the store is away is said once, and ends nothing."""
    away = False
    while True:
        try:
            await show()
            away = False
        except StoreError as error:
            if not away:
                say(f"{str(error).rstrip('.')}; trying again")
            away = True
        await asyncio.sleep(pause_s)
