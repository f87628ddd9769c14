"""`watchkeeper status` and `explain`: what is true, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.common import System, again_and_again, needs_system
from monitor.cli.filters import Since, label_option, matches, pool_option, since_option
from monitor.cli.output import FAILED, emit, emit_one, output_option, say, sparkline, tell
from monitor.core.said import escaped
from monitor.core.secret import hide_password

if TYPE_CHECKING:
    from datetime import tzinfo

    from alert_rules.routes.matcher import Matcher
    from monitor.core.history import Sample
    from monitor.core.record import BreakerState
    from monitor.query.status import EndpointStatus, Explanation, PoolStatus
    from monitor.store.port import Store

WATCH_S = 2.0
MISSING_INTERVALS = 2.5
"""Between two probes in a row lie two intervals at most: the first may end at once, and the second only when the third begins."""
PAUSED = "PAUSED"
VERDICTS = ("HEALTHY", "DEGRADED", "UNHEALTHY", "UNKNOWN", PAUSED)
"""As the table shows them: an endpoint that is paused is only that."""
COLUMNS = ("pool", "endpoint", "verdict", "breaker", "weight", "latency", "history", "since", "reason", "last_error")


@click.command()
@click.argument("pools", nargs=-1, metavar="[POOL]...")
@pool_option
@label_option("labels")
@click.option(
    "--verdict", multiple=True, type=click.Choice(VERDICTS, case_sensitive=False), help="Only with this verdict. May be repeated: with any."
)
@since_option("those whose state has changed since")
@click.option("--watch", is_flag=True, help=f"Draw again every {WATCH_S:g} s until Ctrl-C.")
@output_option
@needs_system
def status(  # noqa: PLR0917 - click passes what people may write.
    system: System,
    pools: tuple[str, ...],
    pool: tuple[str, ...],
    label: tuple[Sequence[Matcher], ...],
    verdict: tuple[str, ...],
    since: Since | None,
    watch: bool,
    output: str,
) -> None:
    """Show pools and endpoints: verdict, breaker with its reason, weight, latency, last error.

    HISTORY draws the last probes: a bar for a success, the higher the longer it took, × for a failure, and a gap where nothing is known.

    \b
    Examples:
      watchkeeper status
      watchkeeper status shop --watch
      watchkeeper status --verdict UNHEALTHY --label team=shop
      watchkeeper status --since 15m -o json
    """
    from monitor.query.status import read_pools  # noqa: PLC0415 - after the help

    def chosen(member: EndpointStatus, now_ms: int) -> bool:
        return (
            (not verdict or _verdict(member) in verdict)
            and (since is None or _since_ms(member) >= since.start_ms(now_ms))
            and matches(label, member.endpoint.known_by)
        )

    async def show(store: Store) -> None:
        now_ms = await store.now_ms()
        found, lagging = await read_pools(store, (*pools, *pool)), await store.lagging()
        if watch and sys.stdout.isatty():
            click.clear()
        members = [(member, one) for one in found for member in one.members]
        shown = [(member, one) for member, one in members if chosen(member, now_ms)]
        if output != "table":
            emit([_data_row(member) | _pool_data(one, lagging) for member, one in shown], (), output)
        elif shown:
            emit([_table_row(member, now_ms) for member, _ in shown], COLUMNS, output)
        elif members:
            say(f"none of {len(members)} endpoints is as you ask")
        else:
            say("nothing is registered yet; `watchkeeper endpoint add URL` registers an endpoint")
        for line in _words(found, lagging):
            say(escaped(line))

    system.run(lambda store: again_and_again(lambda: show(store), WATCH_S) if watch else show(store))


def _words(pools: Sequence[PoolStatus], lagging: Sequence[str]) -> Iterator[str]:
    """What a person is to know of these pools beside their rows."""
    from monitor.store.names import printable  # noqa: PLC0415 - after the help

    for pool in pools:
        for name in pool.unreadable:
            yield f"endpoint {printable(name)} of pool {pool.pool.name} cannot be read; `watchkeeper endpoint list` says why"
        for member in pool.members:
            if member.unreadable:
                yield f"of {member.endpoint.id} something cannot be read; `watchkeeper quarantine list` shows what"
        if pool.snapshot and (pool.snapshot.panic or pool.snapshot.shed):
            yield f"pool {pool.pool.name}: panic {pool.snapshot.panic:.0%}, shed {pool.snapshot.shed:.0%}"
        for observer in pool.observers:
            if observer.quarantined_ms:
                yield (
                    f"pool {pool.pool.name}: what {printable(observer.name)} reports does not count: it fails on "
                    f"{observer.failing_share:.0%} of the endpoints that it calls, where the others do not"
                )
    names = {pool.pool.name for pool in pools}
    for name in lagging:
        if name in names:
            yield f"pool {name}: no results come, or they are not published; its consumers keep the last weights. Look at the workers"


def _verdict(member: EndpointStatus) -> str:
    return PAUSED if member.endpoint.paused else member.verdict.value


def _since_ms(member: EndpointStatus) -> int:
    """When the present state began: the operator's word, the breaker's, or the run of equal results; 0 where there is none."""
    record = member.record
    return member.override.at_ms if member.override else record.breaker.since_ms or record.probes.run_since_ms


def _table_row(member: EndpointStatus, now_ms: int) -> dict[str, Any]:
    from monitor.query.reasons import stale_text  # noqa: PLC0415 - after the help

    record, since_ms = member.record, _since_ms(member)
    latency_ms = record.weighing.latency_ms
    return {
        "pool": member.endpoint.pool,
        "endpoint": member.endpoint.id,
        "verdict": _verdict(member),
        "breaker": f"{record.breaker.state.value} ({member.override.override.value})" if member.override else record.breaker.state.value,
        "weight": member.weight,
        "latency": f"{latency_ms:.1f}ms" if latency_ms else None,
        "history": probes_line(member.samples, member.endpoint.interval_ms),
        "since": age(now_ms - since_ms) if since_ms else None,
        "reason": member.override.reason if member.override else _reason(record.breaker),
        "last_error": stale_text(record, now_ms) or record.probes.last_failure_text or record.probes.last.text or None,
    }


def _reason(breaker: BreakerState) -> str | None:
    from monitor.query.policies import decider  # noqa: PLC0415 - after the help

    by = decider(breaker)
    return f"{by}: {breaker.reason}" if by else breaker.reason or None


def probes_line(samples: Sequence[Sample], interval_ms: int) -> str:
    """Probes, oldest first: a success as high as it took long, a failure as its mark, a gap for what says nothing and for missing ones."""
    values: list[float | str | None] = []
    before_ms = samples[0].at_ms if samples else 0
    for sample in samples:
        if sample.at_ms - before_ms > MISSING_INTERVALS * interval_ms:
            values.append(None)
        outcome = sample.outcome.value
        values.append(sample.duration_ms if outcome == "SUCCESS" else FAILED if outcome == "FAILURE" else None)
        before_ms = sample.at_ms
    return sparkline(values)


def _data_row(member: EndpointStatus) -> dict[str, Any]:
    record, override = member.record, member.override
    last = record.probes.last
    return {
        "pool": member.endpoint.pool,
        "endpoint": member.endpoint.id,
        "url": hide_password(member.endpoint.url),
        "paused": member.endpoint.paused,
        "verdict": member.verdict.value,
        "breaker": record.breaker.state.value,
        "override": override.override.value if override else None,
        "reason": override.reason if override else record.breaker.reason,
        "source": record.breaker.source or None,
        "policy": record.breaker.policy or None,
        "rule": record.breaker.rule or None,
        "since_ms": record.breaker.since_ms,
        "state_since_ms": _since_ms(member),
        "open_until_ms": record.breaker.open_until_ms,
        "weight": member.weight,
        "latency_ms": round(record.weighing.latency_ms, 3),
        "flapping": record.probes.flapping,
        "last_at_ms": last.at_ms,
        "last_outcome": last.outcome.value if last.at_ms else None,
        "last_text": last.text,
        "last_error": record.probes.last_failure_text or last.text,
        "last_error_at_ms": record.probes.last_failure_ms if record.probes.last_failure_text or not last.text else last.at_ms,
        "unreadable": member.unreadable,
        "stale_answer": {"at_ms": stale.at_ms, "why": stale.why} if (stale := last.stale) else None,
        "samples": [{"at_ms": s.at_ms, "outcome": s.outcome.value, "duration_ms": round(s.duration_ms, 3)} for s in member.samples],
        "alerts": [{"alertname": alert.labels.get("alertname"), "status": alert.status.value} for alert in member.alerts],
    }


def _pool_data(pool: PoolStatus, lagging: Sequence[str]) -> dict[str, Any]:
    """What people are told of an endpoint's pool in words."""
    published = pool.snapshot
    return {
        "pool_panic": published.panic if published else 0.0,
        "pool_shed": published.shed if published else 0.0,
        "pool_lagging": pool.pool.name in lagging,
        "pool_success_percent": pool.success_percent,
        "pool_observers": len(pool.observers),
        "pool_quarantined": [
            {"observer": one.name, "since_ms": one.quarantined_ms, "seen_ms": one.seen_ms, "failing_share": one.failing_share}
            for one in pool.observers
            if one.quarantined_ms
        ],
    }


def age(ms: int) -> str:
    """A length of time in its two largest units, for people."""
    from monitor.core.durations import format_duration  # noqa: PLC0415 - after the help

    seconds = max(0, ms) // 1000
    coarse = seconds if seconds < 3600 else seconds // 60 * 60 if seconds < 86_400 else seconds // 3600 * 3600
    return format_duration(coarse * 1000)


def stamp(at_ms: int, zone: tzinfo | None = None) -> str:
    """The time in a zone (None: this machine's) with its offset, to the second."""
    from datetime import UTC, datetime  # noqa: PLC0415 - after the help

    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).isoformat(sep=" ", timespec="seconds")


@click.command()
@click.argument("endpoint_id", metavar="ENDPOINT")
@output_option
@needs_system
def explain(system: System, endpoint_id: str, output: str) -> None:
    """Show the evidence behind an endpoint's present state, and its weight as factors.

    \b
    Example:
      watchkeeper explain shop-1
    """
    from monitor.query.status import read_explanation  # noqa: PLC0415 - after the help

    async def read(store: Store) -> tuple[Explanation, int]:
        now_ms = await store.now_ms()
        return await read_explanation(store, endpoint_id, now_ms), now_ms

    found, now_ms = system.run(read)
    if output == "table":
        for line in explain_lines(found, now_ms):
            tell(escaped(line))
    else:
        emit_one(explain_row(found), output)


def explain_row(found: Explanation) -> dict[str, Any]:
    """The explanation for programs; the endpoint and its pool as their listings show them, so that secrets stay hidden."""
    import msgspec  # noqa: PLC0415 - after the help

    from monitor.config.manifest_writer import pool_settings, shown  # noqa: PLC0415
    from monitor.query.policies import in_force  # noqa: PLC0415

    row: dict[str, Any] = msgspec.to_builtins(found)
    row["status"]["endpoint"] = shown(found.status.endpoint)
    row["pool"] = {"name": found.pool.name, **pool_settings(found.pool)}
    row["policies"] = in_force(found.status.endpoint, found.pool)
    return row


def explain_lines(found: Explanation, now_ms: int) -> Iterator[str]:
    """The explanation as a person reads it."""
    from monitor.query.policies import decider  # noqa: PLC0415 - after the help
    from monitor.query.reasons import explain as reasons  # noqa: PLC0415
    from monitor.query.reasons import ownership, traffic_lines, trial_lines  # noqa: PLC0415

    status = found.status
    said = status.override.override if status.override else None
    yield f"{status.endpoint.id} ({hide_password(status.endpoint.url)}) in pool {found.pool.name}"
    lines = reasons(status.endpoint, found.pool, status.record, said, status.verdict, found.factors, now_ms)
    lines += (*trial_lines(found.trials, now_ms), *traffic_lines(found.traffic, now_ms))
    for line in (*lines, *ownership(status.endpoint, found.transitions, now_ms)):
        yield f"  {line.topic + ':':<11} {line.text}"
    if status.override:
        by = f"{status.override.by}, " if status.override.by else ""
        yield f"  {'operator:':<11} {status.override.reason} ({by}{age(now_ms - status.override.at_ms)} ago)"
    unhealthy = [name for name, verdict in found.parents.items() if verdict.value == "UNHEALTHY"]
    if unhealthy:
        yield f"  depends on: {', '.join(unhealthy)} (UNHEALTHY)"
    if missing := [name for name in status.endpoint.depends_on if name not in found.parents]:
        yield f"  depends on: {', '.join(missing)} (not registered, or cannot be read; `endpoint edit --depends-on` names the parents anew)"
    for alert in status.alerts:
        yield f"  alert {alert.labels.get('alertname')} is {alert.status.value} for {age(now_ms - alert.active_since_ms)}: {alert.value}"
    if found.transitions:
        yield "  last transitions:"
        for transition in found.transitions:
            by = f" (by {transition.actor})" if transition.actor else f" ({decider(transition)})" if transition.policy else ""
            yield f"    {stamp(transition.at_ms)}  {transition.kind} {transition.old} -> {transition.new}: {transition.reason}{by}"
