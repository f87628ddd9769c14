"""Command-line options made of the tables of settings: what a manifest can say, an option can say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from monitor.config.fields import ENDPOINT_FIELDS
from monitor.config.kinds import kinds, option_kinds
from monitor.config.policies import ROLES
from monitor.core.errors import ConfigError, Problem

F = TypeVar("F", bound=Callable[..., Any])

_REPEATED = {"labels": ("--label", "k=v"), "depends_on": ("--depends-on", "ID")}


def settings_options(command: F) -> F:
    """Add an option for every setting of an endpoint and of each kind of prober."""
    added: dict[str, Callable[[F], F]] = {}
    for key, field in ENDPOINT_FIELDS.items():
        if key in _REPEATED:
            flag, metavar = _REPEATED[key]
            added[key] = click.option(flag, key, multiple=True, metavar=metavar, help=f"{field.help} Repeatable.")
        else:
            added[key] = click.option(f"--{key.replace('_', '-')}", key, metavar=field.example, help=field.help)
    for role in ROLES.values():
        added[role.key] = click.option(
            f"--{role.key}", role.key, metavar="KIND[,NAME=VALUE]...", help=f"{role.help} Example: {role.example}."
        )
    for key in sorted({option for kind in kinds().values() for option in kind.options}):
        holders = option_kinds(key)
        of = "" if len(holders) == len(kinds()) else f"[{', '.join(kind.name for kind in holders)}] "
        first = holders[0].options[key]
        added[key] = click.option(first.flag, key, multiple=first.repeatable, metavar="VALUE", help=of + first.help)
    for option in reversed(added.values()):
        command = option(command)
    return command


def entry_from(url: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a manifest that these options say; options that were not given are left out."""
    entry: dict[str, Any] = {} if url is None else {"url": url}
    for key, value in options.items():
        if value is None or value == ():
            continue
        if key in ROLES and value == "":
            entry[key] = None
        elif key == "labels":
            entry[key] = dict(_label(text) for text in value)
        elif key == "depends_on":
            entry[key] = [parent for parent in value if parent]
        else:
            entry[key] = list(value) if isinstance(value, tuple) else value
    return entry


def _label(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError([Problem("--label", "labels", repr(text), "this is no label", "write name=value, or name= to take one away")])
    return name, value or None
