"""`watchkeeper pool`: pools, and members that an operator takes out of traffic."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.common import System, again_and_again, by_option, needs_system, why_option
from monitor.cli.output import bar, emit, output_option, say
from monitor.core.record import DRAINED, Override

if TYPE_CHECKING:
    from monitor.query.status import MemberWeight, PoolWeights
    from monitor.store.port import Store

WATCH_S = 1.0
BAR_PLACES = 30


@click.group()
def pool() -> None:
    """Pools: endpoints that share traffic."""


@pool.command("list")
@output_option
@needs_system
def list_pools(system: System, output: str) -> None:
    """List the pools with their settings and members. What cannot be read is named on stderr.

    \b
    Examples:
      watchkeeper pool list
      watchkeeper pool list -o json
    """

    from monitor import registry  # noqa: PLC0415 - after the help
    from monitor.config.manifest_writer import pool_settings  # noqa: PLC0415
    from monitor.config.policies import ROLES, format_line, member_of  # noqa: PLC0415
    from monitor.core.endpoint import PolicyChoice, Pool  # noqa: PLC0415
    from monitor.query.policies import in_force  # noqa: PLC0415

    known = system.run(registry.read_known)
    settings = known.registered.pools
    members = Counter(endpoint.pool for endpoint in known.registered.endpoints.values())
    rows = []
    for name in sorted(settings.keys() | members):
        pool = settings.get(name) or Pool(name=name)
        chosen = {role: format_line(getattr(pool, role) or PolicyChoice(ROLES[role].default)) for role in ROLES}
        policies = chosen if output == "table" else {"policies": in_force(member_of(pool), pool)}
        rows.append({"pool": name, "members": members[name], **pool_settings(pool), **policies})
    columns = ("pool", "members", "max_ejection_percent", "panic", "warm_up", "active", "passive", "open", "open_max")
    emit(rows, columns, output)
    for unreadable in known.unreadable():
        say(unreadable)


@pool.command()
@click.argument("pool_name", metavar="POOL")
@click.option("--watch", is_flag=True, help=f"Draw again every {WATCH_S:g} s until Ctrl-C.")
@output_option
@needs_system
def weights(system: System, pool_name: str, watch: bool, output: str) -> None:
    """Draw each member's weight as a bar, with what it is made of.

    The line in a bar is the base share: what the member would get if all were equally well. base, cap, target and damped are shares of the
    pool's traffic; h (success), l (latency) and sigma (warm-up) are factors of its quality, relative to the other members.

    \b
    Examples:
      watchkeeper pool weights shop
      watchkeeper pool weights shop --watch
      watchkeeper pool weights shop -o json
    """
    from monitor.query.status import read_weights  # noqa: PLC0415 - after the help

    async def show(store: Store) -> None:
        found = await read_weights(store, pool_name, await store.now_ms())
        if watch and sys.stdout.isatty():
            click.clear()
        if output == "table":
            whole = max([(member.weight or 0) / 1000 for member in found.members] + [member.factors.base for member in found.members])
            emit([_weight_row(member, whole) for member in found.members], _WEIGHT_COLUMNS, output)
        else:
            emit([_weight_data(found, member) for member in found.members], (), output)
        if found.panic or found.shed:
            say(f"pool {found.pool}: panic {found.panic:.0%}, shed {found.shed:.0%}")

    system.run(lambda store: again_and_again(lambda: show(store), WATCH_S) if watch else show(store))


_WEIGHT_COLUMNS = ("endpoint", "weight", "share", "base", "h", "l", "sigma", "cap", "target", "damped", "why")


def _weight_row(member: MemberWeight, whole: float) -> dict[str, Any]:
    factors = member.factors
    shares = {key: f"{getattr(factors, key):.3f}" for key in ("base", "h", "l", "sigma", "cap", "target", "damped")}
    drawn = bar((member.weight or 0) / 1000, factors.base, whole, BAR_PLACES)
    return {"endpoint": member.endpoint, "weight": member.weight, "share": drawn, **shares, "why": factors.why}


def _weight_data(found: PoolWeights, member: MemberWeight) -> dict[str, Any]:
    factors = member.factors
    return {
        "pool": found.pool,
        "endpoint": member.endpoint,
        "weight": member.weight,
        "breaker": member.breaker,
        "override": member.override,
        "tier": factors.tier,
        **{key: round(getattr(factors, key), 6) for key in ("base", "h", "l", "sigma", "cap", "target", "damped")},
        "trial_share": round(factors.trial, 6),
        "h_traffic": round(factors.h_traffic, 6),
        "l_traffic": round(factors.l_traffic, 6),
        "why": factors.why,
        "pool_panic": found.panic,
        "pool_shed": found.shed,
    }


@pool.command()
@click.argument("pool_name", metavar="POOL")
@by_option
@why_option
@needs_system
def reset(system: System, pool_name: str, actor: str, reason: str) -> None:
    """Take a pool's settings away, also those that cannot be read; it goes on with what is built in. Its endpoints stay.

    \b
    Example:
      watchkeeper pool reset shop
    """
    from monitor import registry  # noqa: PLC0415 - after the help

    if system.run(lambda store: registry.reset_pool(store, pool_name, actor=actor, reason=reason)):
        say(f"pool {pool_name}: works with the built-in settings now")
    else:
        say(f"pool {pool_name}: nothing to change")


@pool.command()
@click.argument("endpoint_id", metavar="ENDPOINT")
@click.option("--reason", default=DRAINED, show_default=True, help="Why; `status`, `explain` and `events` show it.")
@by_option
@needs_system
def drain(system: System, endpoint_id: str, actor: str, reason: str) -> None:
    """Give an endpoint no new traffic, without counting it as unhealthy.

    \b
    Example:
      watchkeeper pool drain shop-1 --reason "kernel update"
    """
    override(system, endpoint_id, Override.DRAIN, reason, actor)


@pool.command()
@click.argument("endpoint_id", metavar="ENDPOINT")
@click.option("--reason", default="taken back by an operator", show_default=True, help="Why; `status`, `explain` and `events` show it.")
@by_option
@needs_system
def undrain(system: System, endpoint_id: str, actor: str, reason: str) -> None:
    """Take a drained endpoint back.

    \b
    Example:
      watchkeeper pool undrain shop-1
    """
    override(system, endpoint_id, None, reason, actor, only=Override.DRAIN)


def override(system: System, endpoint_id: str, wanted: Override | None, reason: str, actor: str, *, only: Override | None = None) -> None:
    """Set or take back an override and say what changed. `only`: refuse to take back any other than this."""
    from monitor import registry  # noqa: PLC0415 - after the help

    transition = system.run(lambda store: registry.set_override(store, endpoint_id, wanted, reason, actor=actor, only=only))
    if transition is None:
        say(f"{endpoint_id}: nothing to change")
    else:
        say(f"{endpoint_id}: override {transition.old} -> {transition.new} ({transition.reason}) by {transition.actor}")
