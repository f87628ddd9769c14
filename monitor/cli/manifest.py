"""`watchkeeper apply` and `export`: the registry as files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.common import System, by_option, needs_system, why_option
from monitor.cli.output import cell, emit_one, output_option, say, tell
from monitor.config.located import BYTES_MAX
from monitor.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from monitor.registry import Changes, Progress


@click.command()
@click.option(
    "-f", "--file", "paths", multiple=True, required=True, metavar="FILE|DIR|-", help="A manifest, a folder of *.yml files, or stdin."
)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--prune", is_flag=True, help="Remove what the same owner registered and these files do not hold.")
@click.option("--owner", metavar="NAME", help="Who registers this (default: the file's `owner:`, else `manual`).")
@by_option
@why_option
@output_option
@needs_system
def apply(  # noqa: PLR0917 - options come by name.
    system: System, paths: Sequence[str], dry_run: bool, prune: bool, owner: str | None, actor: str, reason: str, output: str
) -> None:
    """Make the registry as manifests say: create, change, and with --prune remove.

    Everything is checked first. One error anywhere, and nothing is applied; each is named with its file, line, key, value and hint.
    Applying the same files again changes nothing. What others registered stays with --prune; what is written here passes to this owner.

    \b
    A manifest:
      owner: team-shop
      pools:
        shop: {failure_threshold: 3, max_ejection_percent: 50}
      defaults: {interval: 10s, timeout: 2s}
      endpoints:
        - {id: shop-1, url: "http://127.0.0.1:9001/health", pool: shop}
        - {id: db, url: "tcp://127.0.0.1:5432"}

    \b
    Examples:
      watchkeeper apply -f shop.yml --dry-run
      watchkeeper apply -f endpoints/ --prune
      watchkeeper export | watchkeeper apply -f -

    \b
    Exit codes: 0 applied (or nothing to do), 2 something written cannot be used, 3 the store does not answer.
    """
    from monitor import registry  # noqa: PLC0415 - after the help
    from monitor.config.manifest import load_sources  # noqa: PLC0415

    roots = load_sources(list(_sources(paths)))
    with _progress() as progress:
        changes = system.run(
            lambda store: registry.apply(
                store,
                roots,
                actor=actor,
                reason=reason,
                owner=owner,
                deny=system.deny,
                dry_run=dry_run,
                prune=prune,
                progress=progress,
            )
        )
    if output != "table":
        emit_one(changes.as_row(), output)
    else:
        _print(changes)
    say(f"{changes.counts} (dry run: nothing was applied)" if dry_run else changes.counts)
    if prune:
        say(f"pruned only what {', '.join(changes.owners)} registered; {changes.left} of others left")


@click.command()
@needs_system
def export(system: System) -> None:
    """Write every endpoint and pool as a manifest on stdout, with their owners. What cannot be read is named on stderr.

    Applied to an empty registry it gives the same endpoints. References to secrets stay references.

    \b
    Examples:
      watchkeeper export > all.yml
      watchkeeper export | watchkeeper apply -f - --dry-run
    """
    from monitor import registry  # noqa: PLC0415 - after the help

    known = system.run(registry.read_known)
    click.echo(registry.export_manifest(known), nl=False)
    for unreadable in known.unreadable():
        say(f"not exported: {unreadable}")


def _sources(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and text of every file; a folder's in the order of their names."""
    from monitor.config.text_files import read_text, text_of, yaml_files  # noqa: PLC0415 - after the help

    for path in paths:
        if path == "-":
            yield "<stdin>", text_of("<stdin>", sys.stdin.buffer.read(BYTES_MAX + 1), BYTES_MAX)
            continue
        files = yaml_files(Path(path))
        if not files:
            raise ConfigError([Problem(path, "--file", "", "the folder holds no *.yml or *.yaml file", "name another folder, or a file")])
        for file in files:
            yield str(file), read_text(file, BYTES_MAX)


def _print(changes: Changes) -> None:
    for pool in changes.pools_changed:
        owners = changes.pool_owners.get(pool)
        tell(f"pool {pool} set" + (f": owner {owners[0]} -> {owners[1]}" if owners else ""))
    for endpoint_id in changes.created:
        tell(f"endpoint {endpoint_id} created")
    for change in changes.changed:
        fields = ", ".join(f"{key} {cell(old)} -> {cell(new)}" for key, (old, new) in change.fields.items())
        tell(f"endpoint {change.id} changed: {fields}")
    for endpoint_id in changes.removed:
        tell(f"endpoint {endpoint_id} removed")
    for pool in changes.pools_removed:
        tell(f"pool {pool} removed")


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on stderr while endpoints are written, on a terminal only."""
    from rich.console import Console  # noqa: PLC0415 - after the help
    from rich.progress import Progress as Bar  # noqa: PLC0415

    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("applying", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
