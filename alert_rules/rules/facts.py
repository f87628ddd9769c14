"""The facts that rules can speak of: one table of variables, and the functions that fill them.

A variable's prefix decides who a rule speaks of: `pool_` a pool, `system_` Watchkeeper itself, anything else an endpoint.
docs/reference/rule-variables.md is rendered from this table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from monitor.core.durations import DAY_MS
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import FailureClass, Outcome
from monitor.core.overlay import ADMITTED, WITHDRAWN
from monitor.core.record import Breaker, Override, Record, Source, Verdict
from monitor.core.verdict import verdict
from monitor.pool.snapshot import PublishedEndpoint, Snapshot
from monitor.pool.traffic.shapes import NO_HEAD, TrafficHead

NO_CERTIFICATE_DAYS = 36_500
SUSPECTS_NAMED = 3
_CLOSED = Breaker.CLOSED

Facts = Mapping[str, Any]


class Scope(StrEnum):
    """Of whom a rule speaks."""

    ENDPOINT = "endpoint"
    POOL = "pool"
    SYSTEM = "system"


class Variable(NamedTuple):
    """`samples` are values on which a rule is tried when it is read; `values` lists all there are, where that is a short list."""

    name: str
    type: str
    meaning: str
    samples: tuple[Any, ...]
    values: tuple[str, ...] = ()


def _text(name: str, meaning: str, *samples: str) -> Variable:
    return Variable(name, "string", meaning, samples or ("", "text"))


def _choice(name: str, meaning: str, values: tuple[str, ...]) -> Variable:
    return Variable(name, "string", meaning, values, values)


def _int(name: str, meaning: str, *samples: int) -> Variable:
    return Variable(name, "int", meaning, samples or (0, 1, 1_000_000))


def _bool(name: str, meaning: str) -> Variable:
    return Variable(name, "bool", meaning, (False, True))


_TABLE: dict[Scope, tuple[Variable, ...]] = {
    Scope.ENDPOINT: (
        _text("endpoint", "Id of the endpoint.", "shop-1"),
        _text("pool", "Name of its pool. Rules about pools know it too.", "shop"),
        _text("url", "Address as it was registered.", "http://127.0.0.1:9001/health"),
        _text("kind", "Kind of prober.", "http", "tcp"),
        Variable("labels", "map", 'Its own labels; ask `"team" in labels` before `labels.team`.', ({}, {"team": "shop"})),
        _choice("verdict", "What its results say of it.", tuple(Verdict)),
        _choice("breaker", "State of its breaker.", tuple(Breaker)),
        _choice(
            "breaker_source", "Whose evidence moved a breaker that is not CLOSED: probes or consumers' reports; else empty.", ("", *Source)
        ),
        _text("breaker_reason", "Why its breaker is not CLOSED; else empty.", "", "15 of 33 calls failed"),
        _choice("override", "An operator's override; empty without one.", ("", *Override)),
        _int("failures", "Failed probes in a row, up to the last result; 0 after a success.", 0, 3, 1_000),
        _int("successes", "Successful probes in a row, up to the last result; 0 after a failure.", 0, 3, 1_000),
        _bool("flapping", "Its outcomes change too often to be believed."),
        _int("status", "Status code of the last conclusive result; 0 where the protocol has none or no answer came.", 0, 200, 503),
        _text(
            "error",
            "What the last failure saw and wanted, while probes fail or the breaker is not CLOSED; else empty.",
            "",
            "connection refused",
        ),
        _choice("failure_class", "Where the last conclusive result failed; empty after a success.", ("", *FailureClass)),
        _int(
            "latency_ms",
            "Latency of its successes, the median of three: a rise counts at once, a fall gradually; 0 before the first.",
            0,
            120,
            5_000,
        ),
        _int("timeout_ms", "Its timeout.", 5_000),
        _int("interval_ms", "Its interval.", 10_000),
        _int("certificate_days", f"Days until its certificate expires; {NO_CERTIFICATE_DAYS} without one.", -1, 5, NO_CERTIFICATE_DAYS),
        _bool("no_data", "No result has come for too long although it is not paused."),
        _bool("paused", "It is not probed, because somebody said so."),
        _bool(
            "outdated",
            "What probes told of it is from before a pause: true while it is paused, and after a resume until a probe says how it is. "
            "Meanwhile rules on what probes tell are silent, unless they name `outdated` themselves.",
        ),
        _int("weight", "Base weight in its pool, 1 to 1000.", 1, 100, 1_000),
    ),
    Scope.POOL: (
        _int("pool_size", "Endpoints in the pool.", 0, 1, 100),
        _int("pool_healthy", "Endpoints with the verdict HEALTHY.", 0, 1, 100),
        _int("pool_degraded", "Endpoints with the verdict DEGRADED.", 0, 1, 100),
        _int("pool_unhealthy", "Endpoints with the verdict UNHEALTHY.", 0, 1, 100),
        _int("pool_unknown", "Endpoints with the verdict UNKNOWN.", 0, 1, 100),
        _int("pool_admitted", "Endpoints that receive traffic, with a breaker that is CLOSED or that an operator overrides.", 0, 1, 100),
        _int(
            "pool_withdrawn",
            "Endpoints that are not admitted because somebody said so: drained, forced open, or down when they were paused.",
            0,
            1,
            100,
        ),
        _int("pool_failed", "Endpoints that are neither admitted nor withdrawn: failures took them out.", 0, 1, 100),
        _int(
            "pool_healthy_percent",
            "HEALTHY endpoints in percent of those with a known verdict; 100 where none has one.",
            0,
            50,
            100,
        ),
        _int(
            "pool_traffic_success_percent",
            "Successful calls, in percent of those that consumers reported of endpoints with a CLOSED breaker, older ones fading; 100 "
            "where they reported too few.",
            0,
            50,
            100,
        ),
        _int("pool_observers_quarantined", "Consumers whose reports do not count, because they fail where the others do not.", 0, 1, 10),
        _text("pool_suspects", "Their names, the first three; empty where there is none.", "", "web-1:4711"),
        Variable("pool_panic", "double", "Share of traffic, 0.0 to 1.0, sent to endpoints that should have none.", (0.0, 0.5, 1.0)),
        Variable("pool_shed", "double", "Share of traffic, 0.0 to 1.0, that is better refused.", (0.0, 0.5, 1.0)),
    ),
    Scope.SYSTEM: (
        _int("system_overdue_ms", "How late the most overdue probe is."),
        _int("system_overdue_endpoints", "Endpoints past their due time.", 0, 1, 10_000),
        _int("system_lateness_ms", "Start lateness of recent probes (99th percentile)."),
        _int("system_workers", "Probe workers with a heartbeat.", 0, 1, 16),
        _int("system_alert_workers", "Alert workers with a heartbeat.", 0, 1, 16),
        _int("system_beats", "Beat processes with a heartbeat.", 0, 1, 2),
        _int("system_groups_overdue_ms", "How late the most overdue group of alerts is."),
        _int("system_deliveries_overdue_ms", "How late the most overdue delivery of a message is."),
        _int("system_pools_lagging", "Pools whose endpoints nobody judges, or that nobody publishes, for too long.", 0, 1, 1_000),
        _int("system_dead_deliveries", "Messages given up during the last hour (of the last hundred).", 0, 1, 100),
        _int("system_unreadable", "Stored records that could not be read; `watchkeeper quarantine list` shows them.", 0, 1, 100),
        _bool("system_tilted", "The clock of one of its processes has jumped: for half a minute that one records and judges nothing."),
    ),
}

VARIABLES: dict[Scope, dict[str, Variable]] = {scope: {one.name: one for one in table} for scope, table in _TABLE.items()}
VARIABLES[Scope.POOL]["pool"] = VARIABLES[Scope.ENDPOINT]["pool"]

FROM_PROBES = frozenset(
    {
        "verdict",
        "breaker",
        "breaker_source",
        "breaker_reason",
        "failures",
        "successes",
        "flapping",
        "status",
        "error",
        "failure_class",
        "latency_ms",
    },
)
"""Variables of which nothing is known while the endpoint is `outdated`."""
COUNTED = frozenset({"failures", "successes", "latency_ms"})
"""Variables that may change with every probe."""


def scope_of(facts: Facts) -> Scope:
    """Whom the facts speak of."""
    if "endpoint" in facts:
        return Scope.ENDPOINT
    return Scope.POOL if "pool" in facts else Scope.SYSTEM


def endpoint_facts(endpoint: Endpoint, record: Record) -> dict[str, Any]:
    """What rules can know of an endpoint, as its record had it when it was decided: with the override, the silence and the time of
    that decision, so that the facts of two records differ in whatever has changed between them, time included."""
    probes, override = record.probes, record.override
    no_data = record.silent and not endpoint.paused
    last = probes.last
    failing = probes.run_outcome is Outcome.FAILURE
    expires_ms = last.certificate_not_after_ms
    breaker = record.breaker.state
    return {
        "endpoint": endpoint.id,
        "pool": endpoint.pool,
        "url": endpoint.url,
        "kind": endpoint.kind,
        "labels": endpoint.labels,
        "verdict": verdict(record, no_data=no_data)._value_,
        "breaker": breaker._value_,
        "breaker_source": "" if breaker is _CLOSED else record.breaker.source,
        "breaker_reason": "" if breaker is _CLOSED else record.breaker.reason,
        "override": override._value_ if override else "",
        "failures": probes.run_length if failing else 0,
        "successes": probes.run_length if probes.run_outcome is Outcome.SUCCESS else 0,
        "flapping": probes.flapping,
        "status": last.status,
        "error": probes.last_failure_text if failing or breaker is not _CLOSED else "",
        "failure_class": last.failure._value_ if failing and last.failure else "",
        "latency_ms": two_digits(record.weighing.latency_ms),
        "timeout_ms": endpoint.timeout_ms,
        "interval_ms": endpoint.interval_ms,
        "certificate_days": (expires_ms - record.decided_ms) // DAY_MS if expires_ms else NO_CERTIFICATE_DAYS,
        "no_data": no_data,
        "paused": endpoint.paused,
        "outdated": endpoint.paused or record.outdated,
        "weight": endpoint.weight,
    }


def pool_facts(snapshot: Snapshot, outdated: Collection[str] = (), traffic: TrafficHead = NO_HEAD) -> dict[str, Any]:
    """What rules can know of a pool, as it is published. `outdated` are members of whom probes told nothing since they were paused;
    `traffic` is what consumers have reported."""
    verdicts = [one.verdict for one in snapshot.endpoints]
    healthy, unknown = verdicts.count(Verdict.HEALTHY), verdicts.count(Verdict.UNKNOWN)
    known = len(verdicts) - unknown
    out = [one for one in snapshot.endpoints if not _admitted(one)]
    withdrawn = sum(one.override in WITHDRAWN or one.id in outdated for one in out)
    return {
        "pool": snapshot.pool,
        "pool_size": len(verdicts),
        "pool_healthy": healthy,
        "pool_degraded": verdicts.count(Verdict.DEGRADED),
        "pool_unhealthy": verdicts.count(Verdict.UNHEALTHY),
        "pool_unknown": unknown,
        "pool_admitted": len(verdicts) - len(out),
        "pool_withdrawn": withdrawn,
        "pool_failed": len(out) - withdrawn,
        "pool_healthy_percent": 100 * healthy // known if known else 100,
        "pool_traffic_success_percent": traffic.success_percent,
        "pool_observers_quarantined": len(traffic.quarantined),
        "pool_suspects": ", ".join([*traffic.quarantined[:SUSPECTS_NAMED], *(["…"] if len(traffic.quarantined) > SUSPECTS_NAMED else [])]),
        "pool_panic": round(snapshot.panic, 3),
        "pool_shed": round(snapshot.shed, 3),
    }


def unsaid_pool_facts(snapshot: Snapshot, removed: int, traffic: TrafficHead = NO_HEAD) -> dict[str, Any]:
    """The facts of a pool as they would be if no operator had said anything, and as if `removed` endpoints that have failed were
    there still."""
    admitted = sum(one.breaker == _CLOSED for one in snapshot.endpoints)
    size = len(snapshot.endpoints) + removed
    counts = {"pool_size": size, "pool_admitted": admitted, "pool_withdrawn": 0, "pool_failed": size - admitted}
    return pool_facts(snapshot, (), traffic) | counts


def _admitted(one: PublishedEndpoint) -> bool:
    return one.weight > 0 and (one.breaker == _CLOSED or one.override in ADMITTED)


def system_facts(
    *,
    overdue_ms: int = 0,
    overdue_endpoints: int = 0,
    lateness_ms: int = 0,
    workers: int = 0,
    alert_workers: int = 0,
    beats: int = 0,
    groups_overdue_ms: int = 0,
    deliveries_overdue_ms: int = 0,
    pools_lagging: int = 0,
    dead_deliveries: int = 0,
    unreadable: int = 0,
    tilted: bool = False,
) -> dict[str, Any]:
    """What rules can know of Watchkeeper itself."""
    return {f"system_{name}": value for name, value in locals().items()}


def two_digits(ms: float) -> int:
    """Round to two significant digits, so that a fact does not change with every probe."""
    whole = int(ms + 0.5)
    if whole < 100:
        return whole
    unit = int(10 ** (len(str(whole)) - 2))
    return (whole + unit // 2) // unit * unit


def render_reference() -> str:
    """The page docs/reference/rule-variables.md."""
    heads = {
        Scope.ENDPOINT: "An endpoint",
        Scope.POOL: "A pool",
        Scope.SYSTEM: "Watchkeeper itself",
    }
    page = [_INTRODUCTION]
    for scope, head in heads.items():
        page += [f"## {head}", "", "| variable | type | meaning |", "|---|---|---|"]
        for one in _TABLE[scope]:
            listed = " One of " + ", ".join(f"`{value}`" if value else "empty" for value in one.values) + "." if one.values else ""
            page.append(f"| `{one.name}` | {one.type} | {one.meaning}{listed} |")
        page.append("")
    return "\n".join(page)


_INTRODUCTION = """\
# Variables of alert rules

A rule's `expr` is a [CEL](https://cel.dev) expression that is true while the alert should fire. The variables that it names decide
whom it speaks of: those that begin with `pool_` a pool, with `system_` Watchkeeper itself, all others an endpoint. One
rule speaks of one of the three. An expression is evaluated when a variable that it names has changed.

Numbers and texts are never converted by themselves: write `double(latency_ms) * 1.5`, not `latency_ms * 1.5`.
A label that an expression names must be asked for: `"team" in labels && labels.team == "shop"`.
Annotations are Jinja2 templates over the same variables; there `labels` holds all labels of the alert, and `value` the facts
that made it fire.

A rule with the name of a shipped rule takes its place; with `expr: "false"` it switches that rule off.
"""
