"""`watchkeeper quarantine`: what is stored and could not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from monitor.cli.common import System, by_option, needs_system, why_option
from monitor.cli.look import stamp
from monitor.cli.output import emit, output_option, say, tell
from monitor.core.secret import SECRET
from monitor.core.texts import SEEN_LENGTH_MAX, cut
from monitor.store.names import printable

if TYPE_CHECKING:
    from monitor.store.port import SetAside, Store

SHOWN_MAX = 200
MAY_HOLD_SECRETS = ("endpoint", "pool", "snapshot")
"""Of these kinds nothing is shown: options and URLs may hold secrets, which cannot be told apart in what cannot be read."""


@click.group()
def quarantine() -> None:
    """Records that could not be read: copies are kept aside, and their subjects have started afresh.

    They come from another release, from a hand in Redis, or from a disk that lies. While there are any, the rule UnreadableData fires.
    """


@quarantine.command("list")
@output_option
@needs_system
def list_aside(system: System, output: str) -> None:
    """List what was set aside.

    \b
    Examples:
      watchkeeper quarantine list
      watchkeeper quarantine list -o json

    JSON adds how each begins, except for endpoints, pools and snapshots, which may hold secrets.
    """
    rows = [
        {
            "kind": printable(item.kind),
            "key": printable(item.key),
            "at": stamp(item.at_ms),
            "at_ms": item.at_ms,
            "bytes": len(item.data),
            "why": item.why,
            "begins": SECRET if item.kind in MAY_HOLD_SECRETS else item.data[:SHOWN_MAX].decode(errors="backslashreplace"),
        }
        for item in system.run(lambda store: store.aside())
    ]
    if rows or output != "table":
        emit(rows, ("kind", "key", "at", "bytes", "why"), output)
    else:
        say("nothing is set aside: everything could be read")


@quarantine.command()
@click.argument("kind", required=False)
@click.argument("key", required=False)
@click.option("--all", "everything", is_flag=True, help="Delete every copy.")
@by_option
@why_option
@needs_system
def rm(  # noqa: PLR0917 - its arguments and options are as many.
    system: System, kind: str | None, key: str | None, everything: bool, actor: str, reason: str
) -> None:
    """Delete a copy, or all of them: it was examined, or is of no use.

    \b
    Examples:
      watchkeeper quarantine rm record shop-1
      watchkeeper quarantine rm --all --reason "they were of a release that is gone"
    """
    from monitor import registry  # noqa: PLC0415 - after the help

    if everything == bool(kind and key):
        raise click.UsageError("give KIND and KEY as `watchkeeper quarantine list` shows them, or --all")

    async def discard(store: Store) -> tuple[list[SetAside], list[SetAside]]:
        wanted = [item for item in await store.aside() if everything or (printable(item.kind), printable(item.key)) == (kind, key)]
        return await registry.discard(store, wanted, actor=actor, reason=reason)

    gone, stayed = system.run(discard)
    for item in gone:
        tell(f"{printable(item.kind)} {printable(item.key)} deleted")
    for item in stayed:
        say(f"{printable(item.kind)} {printable(item.key)} stays: another copy has come in its place meanwhile; look at that one")
    if stayed or not (gone or everything):
        if not stayed:
            say(f"there is no copy of {cut(str(kind), SEEN_LENGTH_MAX)} {cut(str(key), SEEN_LENGTH_MAX)}")
        raise click.exceptions.Exit(1)
