"""`watchkeeper pool`: pools, and members that an operator takes out of traffic."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.common import System, needs_system
from monitor.cli.output import emit, output_option, say
from monitor.core.record import Override

if TYPE_CHECKING:
    from monitor.store.port import Store


@click.group()
def pool() -> None:
    """Pools: endpoints that share traffic."""


@pool.command("list")
@output_option
@needs_system
def list_pools(system: System, output: str) -> None:
    """List the pools with their settings and members.

    \b
    Examples:
      watchkeeper pool list
      watchkeeper pool list -o json
    """

    async def read(store: Store) -> list[dict[str, Any]]:
        from monitor.config.manifest_writer import pool_settings  # noqa: PLC0415
        from monitor.core.endpoint import Pool  # noqa: PLC0415 - after the help

        known = await store.pools()
        members = Counter(endpoint.pool for endpoint in (await store.endpoints()).values())
        return [
            {"pool": name, "members": members[name], **pool_settings(known.get(name) or Pool(name=name))}
            for name in sorted(known.keys() | members)
        ]

    columns = ("pool", "members", "max_ejection_percent", "panic", "warm_up", "policy", "open", "open_max")
    emit(system.run(read), columns, output)


@pool.command()
@click.argument("endpoint_id", metavar="ENDPOINT")
@click.option("--reason", default="drained by an operator", show_default=True, help="Why; it reaches logs, pages and messages.")
@needs_system
def drain(system: System, endpoint_id: str, reason: str) -> None:
    """Give an endpoint no new traffic, without counting it as ill.

    \b
    Example:
      watchkeeper pool drain shop-1 --reason "kernel update"
    """
    override(system, endpoint_id, Override.DRAIN, reason)


@pool.command()
@click.argument("endpoint_id", metavar="ENDPOINT")
@click.option("--reason", default="taken back by an operator", show_default=True, help="Why; it reaches logs, pages and messages.")
@needs_system
def undrain(system: System, endpoint_id: str, reason: str) -> None:
    """Take a drained endpoint back.

    \b
    Example:
      watchkeeper pool undrain shop-1
    """
    override(system, endpoint_id, None, reason, only=Override.DRAIN)


def override(system: System, endpoint_id: str, wanted: Override | None, reason: str, *, only: Override | None = None) -> None:
    """Set or take back an operator's word and say what changed. `only`: refuse to take back any other word than this."""
    from monitor import registry  # noqa: PLC0415 - after the help
    from monitor.clock import SystemClock  # noqa: PLC0415

    now_ms = SystemClock().now_ms()
    transition = system.run(lambda store: registry.set_override(store, endpoint_id, wanted, reason, now_ms, only=only))
    if transition is None:
        say(f"{endpoint_id}: nothing to change")
    else:
        say(f"{endpoint_id}: override {transition.old} -> {transition.new} ({transition.reason})")
