"""`watchkeeper history`: uptime and latency over minutes, hours and days."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.common import System, needs_system
from monitor.cli.look import age, probes_line, stamp
from monitor.cli.output import FAILED, emit, output_option, say, sparkline
from monitor.core.texts import shorten

if TYPE_CHECKING:
    from datetime import tzinfo

    from monitor.core.history import Row
    from monitor.query.history import History
    from monitor.store.port import Store

COLUMNS = ("start", "uptime", "ok", "failed", "inconclusive", "down", "unknown", "paused", "p50", "p90", "p99")
TRAFFIC_COLUMNS = ("start", "success", "ok", "failed", "other", "p50", "p90", "p99")
PROBES, TRAFFIC = SOURCES = ("probes", "traffic")
PERIODS = {"minutes": "min", "hours": "hour", "days": "day"}


class _Zone(click.ParamType["tzinfo"]):
    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tzinfo:
        from zoneinfo import ZoneInfo  # noqa: PLC0415 - after the help

        try:
            return ZoneInfo(value)
        except (ValueError, OSError, LookupError):  # Names that no file has, that lead out of the folder, or that a folder has.
            self.fail(f"there is no zone {shorten(value)}; write for example Europe/Berlin or UTC", param, ctx)


@click.command()
@click.argument("endpoint_id", metavar="ENDPOINT")
@click.option("--by", type=click.Choice(list(PERIODS)), default="minutes", show_default=True, help="Length of a row.")
@click.option(
    "--timezone", "zone", type=_Zone(), metavar="ZONE", help="Zone of times and days, for example Europe/Berlin (default: this machine's)."
)
@click.option("--source", type=click.Choice(SOURCES), default=PROBES, show_default=True, help="Probes, or what consumers report (minutes).")
@output_option
@needs_system
def history(  # noqa: PLR0917 - click passes what people may write.
    system: System, endpoint_id: str, by: str, zone: tzinfo | None, source: str, output: str
) -> None:
    """Show an endpoint's uptime and latency over time: 120 minutes, 192 hours or 400 days.

    Uptime is up / (up + down) of time. A result stands until the next one; time without one is unknown, a pause is paused, and neither
    is ever down. Counts are of results. Below the rows the latencies are drawn: × stands where only failures came, and a gap where
    nothing is known.

    With --source traffic the rows are the calls that consumers reported in each of the last 120 minutes.

    A day goes from midnight to midnight in your zone as far as hours are kept, which is eight days; days before are those of UTC.

    \b
    Examples:
      watchkeeper history shop-1
      watchkeeper history shop-1 --by days -o json
      watchkeeper history shop-1 --by days --timezone America/New_York
      watchkeeper history shop-1 --source traffic
    """
    if source == TRAFFIC:
        _traffic(system, endpoint_id, by, zone, output)
        return
    from monitor.query.history import read_history  # noqa: PLC0415 - after the help

    async def read(store: Store) -> History:
        return await read_history(store, endpoint_id, PERIODS[by], await store.now_ms(), zone)

    found = system.run(read)
    emit([_row(row, zone, table=output == "table") for row in found.rows], COLUMNS, output)
    if output == "table":
        for line in _summary(found, zone):
            say(line)


def _traffic(system: System, endpoint_id: str, by: str, zone: tzinfo | None, output: str) -> None:
    """The calls that consumers reported. They have no uptime: nothing is known of the time between two of them."""
    from monitor.query.traffic import TrafficHistory, read_traffic_history  # noqa: PLC0415 - after the help

    if by != "minutes":
        raise click.UsageError("of traffic minutes are kept; leave --by out, or say --by minutes")

    async def read(store: Store) -> TrafficHistory:
        return await read_traffic_history(store, endpoint_id, await store.now_ms())

    found = system.run(read)
    emit([_traffic_row(row, zone, table=output == "table") for row in found.rows], TRAFFIC_COLUMNS, output)
    if output == "table":
        say(f"{_success(found.whole) or 'none'} of the calls succeeded" if found.rows else "no consumer has reported a call yet")


def _traffic_row(row: Row, zone: tzinfo | None, *, table: bool) -> dict[str, Any]:
    calls = row.ok + row.failed
    counts = {"ok": row.ok, "failed": row.failed, "other": row.inconclusive}
    latencies = {"p50_ms": row.p50_ms, "p90_ms": row.p90_ms, "p99_ms": row.p99_ms}
    if not table:
        success = row.ok / calls if calls else None
        return {"start_ms": row.start_ms, "start": stamp(row.start_ms, zone), "success": success, **counts, **latencies}
    shown = {name.removesuffix("_ms"): None if ms is None else f"{ms:.1f}ms" for name, ms in latencies.items()}
    return {"start": stamp(row.start_ms, zone), "success": _success(row), **counts, **shown}


def _success(row: Row) -> str | None:
    calls = row.ok + row.failed
    return f"{row.ok / calls:.3%}" if calls else None


def _row(row: Row, zone: tzinfo | None, *, table: bool) -> dict[str, Any]:
    counts: dict[str, Any] = {"ok": row.ok, "failed": row.failed, "inconclusive": row.inconclusive}
    if not table:
        times = {"start_ms": row.start_ms, "start": stamp(row.start_ms, zone), "uptime": row.uptime}
        counts |= {"up_ms": row.up_ms, "down_ms": row.down_ms, "unknown_ms": row.unknown_ms, "paused_ms": row.paused_ms}
        return {**times, **counts, "p50_ms": row.p50_ms, "p90_ms": row.p90_ms, "p99_ms": row.p99_ms}
    shown = {"start": stamp(row.start_ms, zone), "uptime": _percent(row), **counts}
    for name, ms in (("down", row.down_ms), ("unknown", row.unknown_ms), ("paused", row.paused_ms)):
        shown[name] = age(ms) if ms >= 1_000 else None
    for name, latency_ms in (("p50", row.p50_ms), ("p90", row.p90_ms), ("p99", row.p99_ms)):
        shown[name] = None if latency_ms is None else f"{latency_ms:.1f}ms"
    return shown


def _summary(found: History, zone: tzinfo | None) -> Iterator[str]:
    if not found.rows:
        yield "no result yet"
        return
    yield f"uptime {_percent(found.whole)} since {stamp(found.whole.start_ms, zone)}; unknown for {age(found.whole.unknown_ms)}"
    yield f"p50 {sparkline([FAILED if row.p50_ms is None and row.failed else row.p50_ms for row in found.rows])}"
    yield f"last {len(found.samples)} probes {probes_line(found.samples, found.endpoint.interval_ms)}"


def _percent(row: Row) -> str | None:
    return None if row.uptime is None else f"{row.uptime:.3%}"
