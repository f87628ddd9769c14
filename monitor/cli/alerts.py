"""`watchkeeper alerts`, `rules` and `receivers`: what fires, what rules say, and whether messages arrive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.common import System, needs_system
from monitor.cli.filters import Since, label_option, matches, pool_option, since_option
from monitor.cli.look import age, stamp
from monitor.cli.output import emit, output_option, say, tell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alert_rules.notify.sent import Sent
    from alert_rules.routes.matcher import Matcher
    from alert_rules.routes.route import Routing
    from monitor.store.port import Store

SENT_SHOWN = 50
SENT_MAX = 1_000


@click.group()
def alerts() -> None:
    """Alerts that are pending or firing, and notifications that were sent."""


@alerts.command("list")
@click.option("--resolved", is_flag=True, help="Those that have ended and that somebody is still to hear of, newest first.")
@pool_option
@label_option("labels")
@output_option
@needs_system
def list_alerts(system: System, resolved: bool, pool: tuple[str, ...], label: tuple[Sequence[Matcher], ...], output: str) -> None:
    """List pending and firing alerts, oldest first.

    \b
    Examples:
      watchkeeper alerts list
      watchkeeper alerts list --pool shop --label severity=critical
      watchkeeper alerts list --resolved
      watchkeeper alerts list -o json
    """
    from monitor.query.alerts import READ_MAX, AlertView, read_alerts, read_resolved  # noqa: PLC0415 - after the help

    async def read(store: Store) -> tuple[int, list[AlertView]]:
        return await store.now_ms(), await (read_resolved(store, READ_MAX) if resolved else read_alerts(store))

    now_ms, found = system.run(read)
    rows = [
        {
            "status": alert.status,
            "alertname": alert.labels.get("alertname") or ("(unreadable)" if alert.unreadable else None),
            "severity": alert.labels.get("severity"),
            "subject": alert.labels.get("endpoint") or alert.labels.get("pool"),
            "active": age((alert.ends_ms or now_ms) - alert.active_since_ms),
            "active_since_ms": alert.active_since_ms,
            "summary": alert.annotations.get("summary"),
            "value": alert.value,
            "labels": alert.labels,
            "annotations": alert.annotations,
            "fingerprint": alert.fingerprint,
            "asserted_by": alert.subject,
            "version": alert.version,
            **({"ends_ms": alert.ends_ms, "end_reason": alert.end_reason} if alert.ends_ms else {}),
        }
        for alert in found
        if _chosen(pool, label, alert.labels)
    ]
    if rows or output != "table":
        reason = ("end_reason",) if resolved else ()
        emit(rows, ("status", "alertname", "severity", "subject", "active", "summary", *reason), output)
    elif found:
        say(f"none of {len(found)} alerts is as you ask")
    else:
        say("no alert has ended that somebody is still to hear of" if resolved else "no alert is pending or firing")


@alerts.command("sent")
@click.option("--receiver", multiple=True, metavar="RECEIVER", help="Only to this receiver. May be repeated: to any of them.")
@pool_option
@label_option("alerts' common labels")
@since_option("those since then")
@click.option("-n", "--limit", default=SENT_SHOWN, show_default=True, type=click.IntRange(1, SENT_MAX), help="How many of the newest.")
@output_option
@needs_system
def list_sent(  # noqa: PLR0917 - click passes what people may write.
    system: System,
    receiver: tuple[str, ...],
    pool: tuple[str, ...],
    label: tuple[Sequence[Matcher], ...],
    since: Since | None,
    limit: int,
    output: str,
) -> None:
    """List notifications that were sent, given up or superseded, newest first. A superseded one was not sent, because what it says
    was no longer so; its group has decided afresh. The newest 1,000 are kept, with the labels that all their alerts share.

    \b
    Examples:
      watchkeeper alerts sent
      watchkeeper alerts sent --receiver on-call --since 1d
      watchkeeper alerts sent --pool shop -o json
    """
    import msgspec  # noqa: PLC0415 - after the help

    from monitor.query.alerts import read_sent  # noqa: PLC0415

    async def read(store: Store) -> tuple[int, list[Sent]]:
        return await store.now_ms(), await read_sent(store, SENT_MAX)

    now_ms, found = system.run(read)
    start_ms = since.start_ms(now_ms) if since else 0
    chosen = [
        sent
        for sent in found
        if sent.at_ms >= start_ms and (not receiver or sent.receiver in receiver) and _chosen(pool, label, sent.labels)
    ]
    rows = [{"at": stamp(sent.at_ms), "result": _result(sent), **msgspec.to_builtins(sent)} for sent in chosen[:limit]]
    if rows or output != "table":
        emit(rows, ("at", "receiver", "integration", "result", "reason", "firing", "resolved", "attempts", "answer"), output)
    else:
        say(f"none of {len(found)} notifications is as you ask" if found else "no notification was sent yet")


def _chosen(pools: Sequence[str], matchers: Sequence[Sequence[Matcher]], labels: Mapping[str, str]) -> bool:
    return (not pools or labels.get("pool") in pools) and matches(matchers, labels)


def _result(sent: Sent) -> str:
    if sent.superseded:
        return "superseded"
    return "delivered" if sent.delivered else "given up"


@click.group()
def rules() -> None:
    """Alert rules."""


@rules.command("check")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="FILE|DIR...")
@output_option
def check_rules(paths: tuple[Path, ...], output: str) -> None:
    """Read rule files and say what is wrong with them, or list their rules.

    \b
    Examples:
      watchkeeper rules check my-rules.yml
      watchkeeper rules check rules.d -o json
    """
    from alert_rules.files.rule_file import load_rules  # noqa: PLC0415 - after the help
    from monitor.core.durations import format_duration  # noqa: PLC0415

    found = load_rules(paths, include_pack=False)
    rows = [
        {
            "alert": rule.name,
            "scope": rule.scope.value,
            "for": format_duration(rule.for_ms),
            "keep_firing_for": format_duration(rule.keep_firing_for_ms),
            "expr": rule.expr,
            "where": rule.where,
        }
        for rule in found.rules
    ]
    emit(rows, ("alert", "scope", "for", "keep_firing_for", "expr", "where"), output)
    say("1 rule is fine" if len(rows) == 1 else f"{len(rows)} rules are fine")


@click.group()
def receivers() -> None:
    """Receivers of notifications."""


@receivers.command("list")
@click.option("--alerting", type=click.Path(path_type=Path), help="Routing file (default: the settings').")
@output_option
@needs_system
def list_receivers(system: System, alerting: Path | None, output: str) -> None:
    """List receivers and their integrations; what is secret in an address is not shown.

    \b
    Example:
      watchkeeper receivers list --alerting alerting.yml
    """
    from workers.receivers.address import shown_url  # noqa: PLC0415 - after the help

    routing = _routing(system, alerting)
    rows = [
        {"receiver": name, "integration": one.key, "url": shown_url(one), "send_resolved": one.send_resolved}
        for name in routing.receivers
        for one in routing.integrations(name)
    ]
    emit(rows, ("receiver", "integration", "url", "send_resolved"), output)


@receivers.command("test")
@click.argument("name")
@click.option("--alerting", type=click.Path(path_type=Path), help="Routing file (default: the settings').")
@output_option
@needs_system
def try_receiver(system: System, name: str, alerting: Path | None, output: str) -> None:
    """Send a real test message to every service of a receiver, and to each recipient, and print what it answered.

    \b
    Example:
      watchkeeper receivers test team-shop --alerting alerting.yml
    """
    import asyncio  # noqa: PLC0415 - after the help
    import functools  # noqa: PLC0415

    from alert_rules.notify.message import render_message, sample_notification  # noqa: PLC0415
    from monitor.clock import SystemClock  # noqa: PLC0415
    from monitor.core.errors import ConfigError, DeliveryError, Problem, did_you_mean  # noqa: PLC0415
    from monitor.probes.policy import TargetPolicy  # noqa: PLC0415
    from workers.receivers.address import services  # noqa: PLC0415
    from workers.receivers.send import Receivers  # noqa: PLC0415

    routing = _routing(system, alerting)
    if name not in routing.receivers:
        hint = did_you_mean(name, sorted(routing.receivers), "`watchkeeper receivers list` lists them")
        raise ConfigError([Problem("", "receiver", name, "there is no such receiver", hint)])
    integrations = routing.integrations(name)
    if not integrations:
        raise ConfigError([Problem("", "receiver", name, "it sends nowhere", "give it `apprise_configs: [{url: SCHEME://...}]`")])
    policy = TargetPolicy(allow=system.settings.target_allow, deny=system.settings.target_deny)
    rows = []
    each = [one for integration in integrations for one in asyncio.run(services(integration))]
    for integration in each:
        compose = functools.partial(render_message, sample_notification(integration, SystemClock().now_ms()), integration)
        try:
            answer, result = asyncio.run(Receivers(policy).send(integration, compose)), "accepted"
        except DeliveryError as error:
            answer, result = str(error), "failed for good" if error.permanent else "failed"
        rows.append({"integration": integration.log_key, "result": result, "answer": answer})
        if output == "table":
            tell(f"{integration.log_key}: {result}: {answer}")
    if output != "table":
        emit(rows, (), output)
    if any(row["result"] != "accepted" for row in rows):
        raise click.exceptions.Exit(1)


def _routing(system: System, alerting: Path | None) -> Routing:
    from alert_rules.files.routing_file import load_routing  # noqa: PLC0415
    from alert_rules.routes.route import default_routing  # noqa: PLC0415 - after the help

    path = alerting or system.settings.alerting
    routing = load_routing(path) if path else default_routing()
    for warning in routing.warnings:
        say(warning)
    return routing
