"""Every variable that a rule can name, and every shipped rule: made true by each of its causes, and made false again.

Endpoints live through real decisions, and their rules are evaluated on the facts of the record before and after each: a variable
whose change leads to no evaluation fails here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pytest
from msgspec.structs import replace

from alert_rules.files.rule_file import load_rules, parse_rule_text
from alert_rules.rules.evaluate import evaluate, next_change_ms
from alert_rules.rules.facts import DAY_MS, VARIABLES, Scope, endpoint_facts, pool_facts, system_facts
from alert_rules.rules.memory import EMPTY, Memory
from alert_rules.rules.rule import RuleSet
from monitor.core.observation import Observation, OperatorWord, TimePassed
from monitor.core.outcome import Certificate, FailureClass
from monitor.core.record import Override
from monitor.pool.snapshot import PublishedEndpoint, Snapshot
from tests.timeline import START_MS, Timeline

INTERVAL_MS = 10_000


class Life(Timeline):
    """An endpoint and its rules: after each observation they are evaluated as a commit evaluates them."""

    def __init__(self, rules: RuleSet) -> None:
        super().__init__(interval_ms=INTERVAL_MS, timeout_ms=5_000, labels={"team": "shop"})
        self.rules = rules
        self.memory = EMPTY
        self.ok()

    def observe(self, observation: Observation) -> Self:
        before = self.record
        super().observe(observation)
        evaluation = evaluate(
            self.rules,
            self.endpoint.labels,
            endpoint_facts(self.endpoint, before) if before.decided_ms else None,
            endpoint_facts(self.endpoint, self.record),
            self.memory,
            self.record.decided_ms or self.now_ms,
            version=f"{self.rules.version}{self.endpoint}",
        )
        assert evaluation.errors == ()
        self.memory = evaluation.memory
        return self

    def probe(self, **fields: Any) -> Self:
        """The next probe of the grid succeeds."""
        return self.after(INTERVAL_MS).ok(**fields)

    def miss(self, **fields: Any) -> Self:
        """The next probe of the grid fails."""
        return self.after(INTERVAL_MS).fail(**fields)

    def looks(self) -> Self:
        """It is re-evaluated without a result."""
        return self.after(1).observe(TimePassed())

    def registered(self, **settings: Any) -> Self:
        """It is registered anew with other settings."""
        self.endpoint = replace(self.endpoint, **settings)
        return self.looks()

    def word(self, override: Override | None) -> Self:
        """An operator's word, as it reaches the record."""
        before, self.override = self.override, override
        return self.observe(OperatorWord(override=override, reason="test", by="ada", replaces=before))

    def quiet(self) -> Self:
        """No result comes for a minute."""
        return self.after(60_000).observe(TimePassed())

    def certified(self, days: float) -> Self:
        """The next probe sees a certificate that expires in so many days."""
        self.after(INTERVAL_MS)
        return self.ok(certificate=Certificate("CN=shop", "CN=ca", int(self.now_ms + days * DAY_MS)))

    def flap(self) -> Self:
        for _ in range(12):
            self.miss().probe()
        return self

    def steady(self) -> Self:
        for _ in range(25):
            self.probe()
        return self

    def fires(self, name: str = "Bad") -> bool:
        return any(state.labels["alertname"] == name for state in self.memory.firing)


Step = Callable[[Life], object]
Cause = tuple[str, Step, Step]
"""An expression, what makes it true, and what makes it false again."""


def trip(life: Life) -> None:
    for _ in range(life.endpoint.failure_threshold):
        life.miss()


def heal(life: Life) -> None:
    life.now_ms = max(life.now_ms, life.record.breaker.open_until_ms)
    for _ in range(4):
        life.probe()


def half_open(life: Life) -> None:
    trip(life)
    life.now_ms = max(life.now_ms, life.record.breaker.open_until_ms)
    life.probe()


def set_to(**settings: Any) -> Step:
    return lambda life: life.registered(**settings)


def says(override: Override | None) -> Step:
    return lambda life: life.word(override)


def seen_at_next_look(override: Override | None) -> Step:
    """The word is in the store, and the next re-evaluation takes it into account."""
    return lambda life: life.set(override).looks()


def slow(life: Life) -> None:
    for _ in range(3):
        life.probe(duration_ms=4_000.0)


def fast(life: Life) -> None:
    for _ in range(30):
        life.probe(duration_ms=5.0)


def age_under_probes(life: Life) -> None:
    """A certificate ages past the limit while every probe succeeds, and shows the same one."""
    life.certified(14 + 1 / 24)
    expires_ms = life.record.probes.last.certificate_not_after_ms
    assert not life.fires()
    for _ in range(4):
        life.after(30 * 60_000).ok(certificate=Certificate("CN=shop", "CN=ca", expires_ms))


def age_by_itself(life: Life) -> None:
    """It ages between two probes, and the rules are woken for it."""
    life.certified(14 + 1 / 24)
    assert not life.fires()
    life.now_ms = next_change_ms(life.rules, life.record, life.now_ms)
    life.observe(TimePassed(judging_since_ms=life.now_ms))


ENDPOINT_CAUSES: dict[str, list[Cause]] = {
    "pool": [('pool == "other"', set_to(pool="other"), set_to(pool="shop"))],
    "url": [('url == "http://other/"', set_to(url="http://other/"), set_to(url="http://shop/"))],
    "kind": [('kind == "tcp"', set_to(kind="tcp"), set_to(kind="http"))],
    "labels": [('"tier" in labels', set_to(labels={"tier": "1"}), set_to(labels={}))],
    "timeout_ms": [("timeout_ms > 6000", set_to(timeout_ms=7_000), set_to(timeout_ms=5_000))],
    "interval_ms": [("interval_ms > 20000", set_to(interval_ms=30_000), set_to(interval_ms=INTERVAL_MS))],
    "weight": [("weight > 500", set_to(weight=900), set_to(weight=100))],
    "paused": [("paused", set_to(paused=True), set_to(paused=False))],
    "verdict": [
        ('verdict == "UNHEALTHY"', trip, heal),
        ('verdict == "DEGRADED"', Life.miss, Life.probe),
        ('verdict == "DEGRADED"', half_open, heal),
        ('verdict == "DEGRADED"', Life.flap, Life.steady),
        ('verdict == "UNKNOWN"', Life.quiet, Life.probe),
        ('verdict != "HEALTHY"', trip, heal),
    ],
    "breaker": [('breaker == "OPEN"', trip, heal), ('breaker == "HALF_OPEN"', half_open, heal)],
    "override": [
        (f'override == "{one}"', how(one), how(None)) for one in Override for how in (says, seen_at_next_look)
    ]
    + [('override == ""', lambda life: life.word(Override.DRAIN).word(None), says(Override.DRAIN))],
    "failures": [("failures >= 2", lambda life: life.miss().miss(), Life.probe)],
    "successes": [("successes >= 3", lambda life: life.probe().probe().probe(), Life.miss)],
    "flapping": [("flapping", Life.flap, Life.steady)],
    "status": [("status == 503", lambda life: life.miss(status=503), lambda life: life.probe(status=200))],
    "error": [('error.contains("refused")', lambda life: life.miss(text="connection refused"), Life.probe)],
    "failure_class": [('failure_class == "connect"', lambda life: life.miss(failure=FailureClass.CONNECT), Life.probe)],
    "latency_ms": [("latency_ms > 2500", slow, fast)],
    "certificate_days": [
        ("certificate_days < 14", lambda life: life.certified(3), lambda life: life.certified(90)),
        ("certificate_days < 14", age_under_probes, lambda life: life.certified(90)),
        ("certificate_days < 14", age_by_itself, lambda life: life.certified(90)),
        ("certificate_days < 14", lambda life: life.certified(-1), Life.probe),  # A success without one: it has none any more.
    ],
    "no_data": [
        ("no_data", Life.quiet, Life.probe),
        ("no_data", lambda life: life.registered(paused=False).quiet(), set_to(paused=True)),
        ("no_data", Life.quiet, Life.miss),
    ],
}  # fmt: skip


def rules_of(expr: str) -> RuleSet:
    quoted = expr.replace("'", "''")
    return parse_rule_text(f"groups:\n- name: g\n  rules:\n  - {{alert: Bad, expr: '{quoted}'}}\n")


@pytest.mark.parametrize(
    ("expr", "cause", "cure"),
    [pytest.param(*cause, id=f"{name}-{n}") for name, causes in ENDPOINT_CAUSES.items() for n, cause in enumerate(causes)],
)
def test_every_variable_of_an_endpoint(expr: str, cause: Step, cure: Step) -> None:
    life = Life(rules_of(expr))
    if expr != 'override == ""':
        assert not life.fires()
    cause(life)
    assert life.fires(), life.record
    cure(life)
    assert not life.fires(), life.record
    cause(life)
    assert life.fires(), "a second time"


def test_an_endpoint_by_its_name() -> None:
    """Its name never changes: a rule that names one fires from the first result on, until the endpoint is removed."""
    assert Life(rules_of('endpoint == "shop-1"')).fires()
    assert not Life(rules_of('endpoint == "shop-2"')).fires()


def test_no_variable_of_an_endpoint_is_left_out() -> None:
    assert ENDPOINT_CAUSES.keys() | {"endpoint"} == VARIABLES[Scope.ENDPOINT].keys()


# Pools and the system -------------------------------------------------------------------------------------------------


def member(name: str, verdict: str = "HEALTHY", weight: int = 500, breaker: str = "CLOSED") -> PublishedEndpoint:
    return PublishedEndpoint(
        id=name, url="http://x", addr="x", port=80, labels={}, weight=weight, breaker=breaker, override=None, gen=0, verdict=verdict,
        since_ms=0, open_until_ms=0, latency_ms=0, reason="",
    )  # fmt: skip


def pool(*members: PublishedEndpoint, panic: float = 0.0, shed: float = 0.0) -> dict[str, Any]:
    return pool_facts(Snapshot(pool="shop", epoch=1, ver=1, ts_ms=START_MS, panic=panic, shed=shed, endpoints=members))


WELL = pool(member("a"), member("b"))
ONE_DOWN = pool(member("a"), member("b", "UNHEALTHY", 100, "OPEN"))
ALL_DOWN = pool(member("a", "UNHEALTHY", 500, "OPEN"), member("b", "UNHEALTHY", 500, "HALF_OPEN"))
Facts = dict[str, Any]

OTHER_CAUSES: dict[str, tuple[str, Facts, Facts]] = {
    "pool": ('pool == "shop" && pool_size > 2', pool(member("a"), member("b"), member("c")), WELL),
    "pool_size": ("pool_size < 2", pool(member("a")), WELL),
    "pool_healthy": ("pool_healthy < 2", ONE_DOWN, WELL),
    "pool_degraded": ("pool_degraded > 0", pool(member("a", "DEGRADED"), member("b")), WELL),
    "pool_unhealthy": ("pool_unhealthy > 0", ONE_DOWN, WELL),
    "pool_unknown": ("pool_unknown > 0", pool(member("a", "UNKNOWN"), member("b")), WELL),
    "pool_admitted": ("pool_admitted < 2", ONE_DOWN, WELL),
    "pool_healthy_percent": ("pool_healthy_percent <= 50", ONE_DOWN, WELL),
    "pool_panic": ("pool_panic > 0.1", pool(member("a"), panic=0.2), WELL),
    "pool_shed": ("pool_shed > 0.1", pool(member("a"), shed=0.2), WELL),
    **{
        name: (f"{name} > 0", system_facts(**{name.removeprefix("system_"): 5}), system_facts())
        for name in VARIABLES[Scope.SYSTEM]
        if name != "system_tilted"
    },
    "system_tilted": ("system_tilted", system_facts(tilted=True), system_facts()),
}


def fires_on(rules: RuleSet, facts: Facts, memory: Memory, now_ms: int) -> tuple[Memory, set[str]]:
    """As pools and the system are evaluated: every rule, each time."""
    memory = evaluate(rules, {}, None, facts, memory, now_ms).memory
    return memory, {state.labels["alertname"] for state in memory.firing}


@pytest.mark.parametrize("name", OTHER_CAUSES)
def test_every_variable_of_a_pool_and_of_the_system(name: str) -> None:
    expr, bad, good = OTHER_CAUSES[name]
    rules, memory = rules_of(expr), EMPTY
    for now_ms, (facts, want) in enumerate([(good, set()), (bad, {"Bad"}), (good, set()), (bad, {"Bad"})]):
        memory, firing = fires_on(rules, facts, memory, START_MS + now_ms)
        assert firing == want


def test_no_variable_of_a_pool_or_of_the_system_is_left_out() -> None:
    assert OTHER_CAUSES.keys() == VARIABLES[Scope.POOL].keys() | VARIABLES[Scope.SYSTEM].keys()


# The rules that are shipped -------------------------------------------------------------------------------------------


def slow_for_a_minute(life: Life) -> None:
    for _ in range(10):
        life.probe(duration_ms=4_000.0)


SHIPPED: dict[str, list[tuple[Step, Step]]] = {
    "EndpointDown": [(trip, heal), (half_open, heal), (trip, set_to(paused=True))],
    "EndpointSlow": [(slow_for_a_minute, fast)],
    "EndpointFlapping": [(Life.flap, Life.steady)],
    "CertificateExpiring": [(step, cure) for _, step, cure in ENDPOINT_CAUSES["certificate_days"]],
    "NoData": [(step, cure) for _, step, cure in ENDPOINT_CAUSES["no_data"]],
}
SHIPPED_OF_OTHERS: dict[str, list[tuple[Facts, Facts]]] = {
    "PoolDegraded": [(ONE_DOWN, WELL)],
    "PoolDown": [(ALL_DOWN, WELL)],
    "WatchkeeperLagging": [
        (system_facts(**{name: 100_000}), system_facts())
        for name in ("overdue_ms", "groups_overdue_ms", "deliveries_overdue_ms", "pools_lagging")
    ],
    "NotificationsFailing": [(system_facts(dead_deliveries=1), system_facts())],
    "UnreadableData": [(system_facts(unreadable=1), system_facts())],
}


@pytest.mark.parametrize(
    ("name", "cause", "cure"),
    [pytest.param(name, *pair, id=f"{name}-{n}") for name, pairs in SHIPPED.items() for n, pair in enumerate(pairs)],
)
def test_every_shipped_rule_about_endpoints(name: str, cause: Step, cure: Step) -> None:
    life = Life(load_rules())
    assert not life.memory.firing
    cause(life)
    assert life.fires(name), life.record
    cure(life)
    assert not life.fires(name), life.record


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [pytest.param(name, *pair, id=f"{name}-{n}") for name, pairs in SHIPPED_OF_OTHERS.items() for n, pair in enumerate(pairs)],
)
def test_every_shipped_rule_about_pools_and_the_system(name: str, bad: Facts, good: Facts) -> None:
    rules, memory, now_ms = load_rules(), EMPTY, START_MS
    for facts, want in ((good, False), (bad, True), (good, False)):
        for _ in range(10):  # For as long as its `for` and its `keep_firing_for` may last.
            now_ms += 30_000
            memory, firing = fires_on(rules, facts, memory, now_ms)
        assert (name in firing) is want


def test_no_shipped_rule_is_left_out() -> None:
    assert SHIPPED.keys() | SHIPPED_OF_OTHERS.keys() == {rule.name for rule in load_rules().rules}
