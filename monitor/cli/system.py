"""Commands that run the system, whole or in parts, and show its settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from monitor.cli.common import System, needs_system
from monitor.cli.output import emit, output_option, tell
from monitor.config.settings import PREFIX, Settings, find_redis_url, load_settings, settings_table
from monitor.core.durations import format_duration
from monitor.core.parts import PartName
from monitor.core.secret import hide_password
from monitor.store.redis_url import RedisUrl

_FILE = click.Path(path_type=Path)
_METAVARS = {"listen": "HOST:PORT", "redis_url": "URL", "data_dir": "DIR", "rules": "FILE|DIR", "location": "NAME"}


def _options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The named settings as options, with the settings' own descriptions as help, and --config."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            field = Settings.model_fields[name]
            multiple = name == "rules"
            flag = "--" + name.replace("_", "-")
            metavar = _METAVARS.get(name, "FILE" if "Path" in str(field.annotation) else "N")
            command = click.option(flag, name, multiple=multiple, metavar=metavar, help=field.description)(command)
        return click.option("--config", type=_FILE, metavar="FILE", help=f"Configuration file, also {PREFIX}CONFIG.")(command)

    return decorate


@click.command()
@_options("redis_url", "data_dir", "listen", "rules", "alerting", "workers", "slots")
@click.option("--verbose", "-v", is_flag=True, help="Show what the parts log; their files are in DIR/logs.")
def up(config: Path | None, verbose: bool, **options: object) -> None:
    """Run the whole system on this machine until Ctrl-C."""
    from workers.local.up import run_up  # noqa: PLC0415 - help need not wait for it

    run_up(load_settings(options, config=config), _say, verbose=verbose)


@click.command()
@_options("redis_url", "data_dir", "slots")
def init(config: Path | None, **options: object) -> None:
    """Make the data set in a Redis, once; `up` does so by itself.

    Where there is one already it stays as it is. With --slots (or the setting) another number than it has is refused: the number of
    slots is fixed when the data set is made.

    \b
    Example:
      watchkeeper init --redis-url redis://10.0.0.5:6379/0 --slots 4

    \b
    Exit codes: 0 there is a data set, 2 it has another number of slots, 3 the store does not answer.
    """
    import asyncio  # noqa: PLC0415 - help need not wait for it

    from monitor.store.redis.store import RedisStore  # noqa: PLC0415

    settings = load_settings(options, config=config)

    async def make() -> int:
        store = RedisStore(find_redis_url(settings), slots=settings.slots)
        try:
            await store.open(create=True)
            return store.slots
        finally:
            await store.close()

    slots = asyncio.run(make())
    _say(f"the data set has {slots} slot{'s' if slots > 1 else ''}")


def _part(name: PartName, summary: str, *names: str) -> click.Command:
    def run(config: Path | None, **options: object) -> int:
        from workers.part import run_part  # noqa: PLC0415 - help need not wait for Celery

        return run_part(name, load_settings(options, config=config))

    return click.command(name=name, help=summary)(_options("redis_url", "data_dir", *names)(run))


worker = _part(PartName.WORKER, "Run one probe worker.", "rules", "alerting", "location", "slots")
alert_worker = _part(PartName.ALERT_WORKER, "Run the worker that routes alerts and sends notifications.", "rules", "alerting", "slots")
beat = _part(PartName.BEAT, "Run beat, which claims what falls due; several at once are harmless.", "slots")
web = _part(PartName.WEB, "Run the web listener.", "listen", "slots")


@click.command()
@output_option
@needs_system
def settings(system: System, output: str) -> None:
    """Show every setting: its value, where it came from, what it is for."""
    rows = settings_table(system.settings)
    if output != "table":
        emit((msgspec.to_builtins(row) for row in rows), (), output)
        return
    for row in rows:
        tell(f"{row.name} = {row.value or '(none)'}{_in_words(row.name, row.value)}")
        tell(f"    from {row.source}. {row.description}")


@click.command(name="redis-url")
@needs_system
@click.option("--hide", is_flag=True, help="Hide the password.")
def redis_url(system: System, hide: bool) -> None:
    """Print the URL of the Redis in use, its password included, as redis-cli and other clients take it."""
    url = RedisUrl(find_redis_url(system.settings)).for_others
    click.echo(hide_password(url) if hide else url)


def _in_words(name: str, value: str) -> str:
    return f" ({format_duration(int(value))})" if name.endswith("_ms") else ""


def _say(line: str) -> None:
    """One line on stderr; a reader that has gone must not stop the system."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - it stays open for good
