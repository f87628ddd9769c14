"""What commands share: finding the running system, and using its store."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from monitor.config.kinds import Deny
    from monitor.config.settings import Settings
    from monitor.probes.policy import TargetPolicy
    from monitor.store.port import Store

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class System:
    """The system that a command speaks to. Nothing is read or connected before it is needed."""

    def __init__(self, options: dict[str, object], config: Path | None) -> None:
        self._options = options
        self._config = config

    @functools.cached_property
    def settings(self) -> Settings:
        from monitor.config.settings import load_settings  # noqa: PLC0415 - help must not wait for it

        return load_settings(self._options, config=self._config)

    @functools.cached_property
    def policy(self) -> TargetPolicy:
        from monitor.probes.policy import TargetPolicy  # noqa: PLC0415

        return TargetPolicy(allow=self.settings.target_allow, deny=self.settings.target_deny)

    @property
    def deny(self) -> Deny:
        return self.policy.refusal

    def run(self, use: Callable[[Store], Awaitable[T]]) -> T:
        """Open the store, use it, close it. ConfigError where no system is found, StoreError where it does not answer."""
        from monitor.config.settings import find_redis_url  # noqa: PLC0415
        from monitor.store.redis.store import RedisStore  # noqa: PLC0415

        async def session() -> T:
            store = RedisStore(find_redis_url(self.settings), slots=self.settings.slots)
            try:
                await store.open()
                return await use(store)
            finally:
                await store.close()

        return asyncio.run(session())


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
