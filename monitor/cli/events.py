"""`watchkeeper events`: transitions with their reasons, those that were and those that come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.common import System, again_and_again, needs_system
from monitor.cli.filters import Since, label_option, matches, pool_option, since_option
from monitor.cli.look import stamp
from monitor.cli.output import emit, json_text, output_option, say, tell

if TYPE_CHECKING:
    from alert_rules.routes.matcher import Matcher
    from monitor.core.record import Transition
    from monitor.store.port import Store

FOLLOW_S = 0.5
EVENTS_SHOWN = 50
EVENT_COLUMNS = ("at", "pool", "endpoint", "kind", "old", "new", "actor", "policy", "reason")


@click.command()
@pool_option
@click.option("--endpoint", multiple=True, metavar="ENDPOINT", help="Only of this endpoint. May be repeated: of any of them.")
@label_option("endpoint's labels (as they are now)")
@since_option("those since then")
@click.option("-f", "--follow", is_flag=True, help="Go on with new ones until Ctrl-C.")
@click.option("-n", "--limit", default=EVENTS_SHOWN, show_default=True, type=click.IntRange(1, 10_000), help="How many of the last ones.")
@output_option
@needs_system
def events(  # noqa: PLR0917 - click passes what people may write.
    system: System,
    pool: tuple[str, ...],
    endpoint: tuple[str, ...],
    label: tuple[Sequence[Matcher], ...],
    since: Since | None,
    follow: bool,
    limit: int,
    output: str,
) -> None:
    """Show transitions with their reasons, oldest first. Filters look through the newest 50,000.

    \b
    Examples:
      watchkeeper events
      watchkeeper events -f --pool shop
      watchkeeper events --since 2h --label team=shop
      watchkeeper events -n 1000 -o json
    """
    from monitor.query.events import Wanted, read_events  # noqa: PLC0415 - after the help

    filtered = bool(pool or endpoint or label or since)

    async def read(store: Store, after: str = "") -> tuple[list[Transition], str]:
        wanted = None
        if filtered:
            since_ms = since.start_ms(await store.now_ms()) if since else 0
            by_label = (lambda labels: matches(label, labels)) if label else None
            wanted = Wanted(pools=pool, endpoints=endpoint, labels=by_label, since_ms=since_ms)
        return await read_events(store, limit, after, wanted)

    if not follow:
        found, _ = system.run(read)
        if found or output != "table":
            emit([event_row(transition, table=output == "table") for transition in found], EVENT_COLUMNS, output)
        else:
            say("no event is as you ask" if filtered else "nothing has changed yet")
        return
    cursor = ""

    async def show_new(store: Store) -> None:
        nonlocal cursor
        found, cursor = await read(store, cursor)
        for transition in found:
            print_line(transition, output)

    system.run(lambda store: again_and_again(lambda: show_new(store), FOLLOW_S))


def event_row(transition: Transition, *, table: bool) -> dict[str, Any]:
    """A transition as a row: short for the table, with generation and evidence for programs. `policy` says in the table whose evidence
    decided, by which policy and rule; for programs `source`, `policy` and `rule` do."""
    from monitor.query.policies import decider  # noqa: PLC0415 - after the help

    row = {
        "at": stamp(transition.at_ms),
        "pool": transition.pool,
        "endpoint": transition.endpoint or None,
        "kind": transition.kind,
        "old": transition.old,
        "new": transition.new,
        "actor": transition.actor or None,
        "policy": decider(transition) or None,
        "reason": transition.reason,
    }
    if table:
        return row
    decided = {"source": transition.source or None, "policy": transition.policy or None, "rule": transition.rule or None}
    return {**row, **decided, "at_ms": transition.at_ms, "gen": transition.gen, "evidence": transition.evidence}


def print_line(transition: Transition, output: str) -> None:
    """One line for one event: a follower's reader wants each as it comes."""
    row = event_row(transition, table=output == "table")
    if output == "table":
        by = f" (by {row['actor']})" if row["actor"] else f" ({row['policy']})" if row["policy"] else ""
        tell(f"{row['at']}  {row['endpoint'] or row['pool'] or '-'}  {row['kind']} {row['old']} -> {row['new']}: {row['reason']}{by}")
    else:
        click.echo(json_text(row))
