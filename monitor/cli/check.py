"""`watchkeeper endpoint check`: a registered endpoint is probed now, by a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from monitor.cli.common import System, needs_system
from monitor.cli.output import emit_one, output_option, say
from monitor.cli.probe import shown_phases
from monitor.core.durations import format_duration, parse_duration

if TYPE_CHECKING:
    from monitor.registry.check import Checked
    from monitor.store.port import Store

EXIT_NO_RESULT = 4
OVERDUE_MS = 2_000
"""What is due for less than this is not late: its probe was taken up, or is about to be."""


def _duration(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("endpoint_id", metavar="ENDPOINT")
@click.option("--wait", "wait_max_ms", metavar="DURATION", callback=_duration, help="How long at most (default: as two probes may take).")
@output_option
@needs_system
def check(system: System, endpoint_id: str, wait_max_ms: int | None, output: str) -> None:
    """Let a worker probe a registered endpoint now, and show the result and what follows from it.

    The result counts as any other: it is in the history, and may open or close the breaker. The endpoint keeps its place on the grid of
    its interval. A paused endpoint is not probed.

    \b
    Examples:
      watchkeeper endpoint check shop-1
      watchkeeper endpoint check shop-1 --wait 5s -o json

    \b
    Exit codes: 0 success, 1 failure or inconclusive, 2 refused, 3 the store does not answer, 4 no result came in time.
    """
    from monitor import registry  # noqa: PLC0415 - after the help

    async def checked(store: Store) -> Checked | list[str]:
        try:
            return await registry.check(store, endpoint_id, wait_max_ms)
        except TimeoutError:
            return await _why_none(system, store)

    found = system.run(checked)
    if isinstance(found, list):
        say(f"no result of {endpoint_id} came in time; it stays due. {' '.join(found)}")
        raise SystemExit(EXIT_NO_RESULT)
    emit_one(_row(found, output), output)
    raise SystemExit(0 if found.after.probes.last.outcome == "SUCCESS" else 1)


async def _why_none(system: System, store: Store) -> list[str]:
    """What a person may look at where no result comes."""
    from monitor.core.parts import PartName  # noqa: PLC0415 - after the help
    from monitor.core.process import STALE_AFTER_HEARTBEATS  # noqa: PLC0415

    live = {name.partition(":")[0] for name in await store.heartbeats(system.settings.heartbeat_ms * STALE_AFTER_HEARTBEATS)}
    missing = [part.value for part in (PartName.BEAT, PartName.WORKER) if part.value not in live]
    if missing:
        return [f"No {part} lives; `watchkeeper up` starts one." for part in missing]
    late, late_ms = await store.due_overdue()
    if late_ms < OVERDUE_MS:
        return ["Nothing is overdue: its probe may be in flight. Give it longer with --wait."]
    return [f"{late} endpoints are due, the first since {format_duration(late_ms // 1000 * 1000)}; look at the workers."]


def _row(checked: Checked, output: str) -> dict[str, Any]:
    from monitor.core.outcome import Outcome  # noqa: PLC0415 - after the help
    from monitor.core.verdict import verdict  # noqa: PLC0415

    endpoint, after, before = checked.endpoint, checked.after, checked.before.breaker
    last, breaker = after.probes.last, after.breaker
    conclusive = last.outcome is not Outcome.INCONCLUSIVE
    row: dict[str, Any] = {
        "endpoint": endpoint.id,
        "pool": endpoint.pool,
        "url": endpoint.url,
        "verdict": verdict(after, no_data=after.silent).value,
        "outcome": last.outcome.value,
        "failure": last.failure.value if last.failure and conclusive else None,
        "text": last.text,
        "status": (last.status if conclusive else 0) or None,
        "duration_ms": round(last.duration_ms, 2),
        "phases": shown_phases(last.phases, as_text=output == "table"),
        "attempts": last.attempts,
        "breaker": breaker.state.value,
        "breaker_before": before.state.value,
        "reason": breaker.reason or None,
        "failures": after.probes.run_length if after.probes.run_outcome is Outcome.FAILURE else 0,
        "failure_threshold": endpoint.failure_threshold,
        "override": checked.override.override.value if checked.override else None,
    }
    if output != "table":
        row |= {"at_ms": last.at_ms, "ip": last.ip, "http_version": last.http_version, "body_bytes": last.body_bytes}
    elif breaker.state is not before.state:
        row["breaker"] = f"{before.state.value} -> {breaker.state.value}"
    if output == "table":
        del row["breaker_before"]
    return row
