"""`watchkeeper endpoint`: the registry, one endpoint at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.check import check
from monitor.cli.common import System, by_option, needs_system, why_option
from monitor.cli.look import stamp
from monitor.cli.output import cell, emit, emit_one, output_option, say, tell
from monitor.cli.probe import probe_once, result_row
from monitor.cli.settings_options import entry_from, settings_options
from monitor.core.errors import ConfigError

if TYPE_CHECKING:
    from monitor.store.port import Store


@click.group()
def endpoint() -> None:
    """Add, list, show, check, edit, rename, remove, pause and resume endpoints.

    \b
    Exit codes: 0 done, 2 refused, 3 the store does not answer.
    """


endpoint.add_command(check)


@endpoint.command()
@click.argument("url")
@click.option("--id", "id", metavar="ID", help="Name of the endpoint; without it host, port and path of the URL.")
@click.option("--pool", "pool", metavar="NAME", help="Pool that it shares traffic with; without it one of its own.")
@settings_options
@by_option
@why_option
@output_option
@needs_system
def add(system: System, url: str, actor: str, reason: str, output: str, **options: Any) -> None:
    """Register URL, probe it once from this machine, and print phases and verdict.

    It is registered whatever that probe sees.

    \b
    Examples:
      watchkeeper endpoint add http://127.0.0.1:9001/health --pool shop --label team=shop
      watchkeeper endpoint add https://example.org --id example --interval 30s --expect-status 200-399
      watchkeeper endpoint add tcp://127.0.0.1:5432 --id db
      watchkeeper endpoint add http://10.0.0.7/ --headers 'Authorization: env:SHOP_TOKEN'

    \b
    Exit codes: 0 registered, 2 refused (nothing was registered), 3 the store does not answer.
    """
    from monitor import registry  # noqa: PLC0415 - after the help

    added = system.run(lambda store: registry.add(store, entry_from(url, options), actor=actor, reason=reason, deny=system.deny))
    say(f"endpoint {added.id} registered in pool {added.pool}")
    try:
        emit_one(result_row(added, probe_once(system, added), debug=output != "table"), output)
    except ConfigError as error:  # A secret that only the workers can read.
        say(f"not probed from here: {error}")


@endpoint.command("list")
@click.option("--pool", metavar="NAME", help="Only the members of this pool.")
@output_option
@needs_system
def list_endpoints(system: System, pool: str | None, output: str) -> None:
    """List the registered endpoints with their settings; secrets are hidden. What cannot be read is named on stderr.

    \b
    Examples:
      watchkeeper endpoint list --pool shop
      watchkeeper endpoint list -o json
    """
    from monitor import registry  # noqa: PLC0415 - after the help
    from monitor.config.manifest_writer import shown  # noqa: PLC0415

    known = system.run(lambda store: registry.read_members(store, pool) if pool else registry.read_known(store))
    found = known.registered.endpoints
    rows = [shown(found[key]) for key in sorted(found)]
    emit(rows, ("id", "url", "pool", "interval", "timeout", "labels", "paused"), output)
    for unreadable in known.unreadable():
        say(unreadable)


@endpoint.command()
@click.argument("endpoint_id", metavar="ENDPOINT")
@output_option
@needs_system
def show(system: System, endpoint_id: str, output: str) -> None:
    """Show every setting of an endpoint, and what a person changed last; secrets are hidden.

    \b
    Example:
      watchkeeper endpoint show shop-1 -o yaml
    """
    from monitor import registry  # noqa: PLC0415 - after the help
    from monitor.config.manifest_writer import shown  # noqa: PLC0415
    from monitor.query.events import last_act  # noqa: PLC0415

    async def read(store: Store) -> dict[str, Any]:
        found = await registry.find(store, endpoint_id)
        act = await last_act(store, endpoint_id)
        changed = f"{stamp(act.at_ms)} by {act.actor}: {act.kind} {act.old} -> {act.new} ({act.reason})" if act else None
        return {**shown(found), "changed": changed}

    emit_one(system.run(read), output)


@endpoint.command()
@click.argument("endpoint_id", metavar="ENDPOINT")
@click.option("--url", metavar="URL", help="Another URL.")
@click.option("--pool", "pool", metavar="NAME", help="Another pool.")
@click.option("--owner", "owner", metavar="NAME", help="Another owner: whose `apply --prune` may remove it.")
@settings_options
@by_option
@why_option
@needs_system
def edit(system: System, endpoint_id: str, url: str | None, actor: str, reason: str, **options: Any) -> None:
    """Change the settings that are given; the others stay. `--label name=` takes a label away.

    \b
    Examples:
      watchkeeper endpoint edit shop-1 --interval 5s --timeout 1s
      watchkeeper endpoint edit shop-1 --label team=web --label old=
    """
    from monitor import registry  # noqa: PLC0415 - after the help

    entry = entry_from(url, options)
    if not entry:
        raise click.UsageError("nothing to change; give at least one option, such as --interval 5s")
    change = system.run(lambda store: registry.edit(store, endpoint_id, entry, actor=actor, reason=reason, deny=system.deny))
    for key, (old, new) in change.fields.items():
        tell(f"endpoint {endpoint_id} changed: {key} {cell(old)} -> {cell(new)}")
    if not change.fields:
        say(f"endpoint {endpoint_id}: nothing to change")


@endpoint.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@by_option
@why_option
@needs_system
def rename(system: System, old: str, new: str, actor: str, reason: str) -> None:
    """Rename an endpoint, with its history, state, override and log.

    It stays in its pool. Those that depend on it follow; a manifest that still has the old name would register it again.

    \b
    Example:
      watchkeeper endpoint rename shop-1 checkout-1 --reason "one service now"
    """
    from monitor import registry  # noqa: PLC0415 - after the help

    children = system.run(lambda store: registry.rename(store, old, new, actor=actor, reason=reason))
    click.echo(f"endpoint {old} renamed to {new}")
    for child in children:
        click.echo(f"endpoint {child} depends on {new}")


@endpoint.command()
@click.argument("endpoint_ids", metavar="ENDPOINT...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Even where others depend on it; they lose that parent.")
@by_option
@why_option
@needs_system
def rm(system: System, endpoint_ids: Sequence[str], force: bool, actor: str, reason: str) -> None:
    """Remove endpoints with their state and history, and entries that cannot be read.

    \b
    Examples:
      watchkeeper endpoint rm shop-1 shop-2
      watchkeeper endpoint rm db --force
    """
    from monitor import registry  # noqa: PLC0415 - after the help

    system.run(lambda store: registry.remove(store, endpoint_ids, actor=actor, reason=reason, force=force))
    for endpoint_id in endpoint_ids:
        tell(f"endpoint {endpoint_id} removed")


@endpoint.command()
@click.argument("endpoint_ids", metavar="ENDPOINT...", nargs=-1, required=True)
@by_option
@why_option
@needs_system
def pause(system: System, endpoint_ids: Sequence[str], actor: str, reason: str) -> None:
    """Stop probing endpoints, and keep what is known of them.

    \b
    Example:
      watchkeeper endpoint pause shop-1
    """
    _set_paused(system, endpoint_ids, actor, reason, paused=True)


@endpoint.command()
@click.argument("endpoint_ids", metavar="ENDPOINT...", nargs=-1, required=True)
@by_option
@why_option
@needs_system
def resume(system: System, endpoint_ids: Sequence[str], actor: str, reason: str) -> None:
    """Probe paused endpoints again.

    \b
    Example:
      watchkeeper endpoint resume shop-1
    """
    _set_paused(system, endpoint_ids, actor, reason, paused=False)


def _set_paused(system: System, endpoint_ids: Sequence[str], actor: str, reason: str, *, paused: bool) -> None:
    from monitor import registry  # noqa: PLC0415 - after the help

    changed = system.run(lambda store: registry.set_paused(store, endpoint_ids, paused=paused, actor=actor, reason=reason))
    word = "paused" if paused else "resumed"
    for endpoint_id in endpoint_ids:
        tell(f"endpoint {endpoint_id} {word}" + ("" if endpoint_id in changed else " already"))
