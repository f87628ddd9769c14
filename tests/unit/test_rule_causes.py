"""Whatever a rule names leads to its evaluation when it changes: every variable and every shipped rule, made true by each of its
causes and made false again, through the journey itself. Nothing here evaluates a rule by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from alert_rules.files.rule_file import load_rules, parse_rule_text
from alert_rules.notify.sent import Sent
from alert_rules.rules.facts import VARIABLES, Scope
from alert_rules.rules.memory import decode_assertion
from alert_rules.rules.rule import RuleSet
from monitor import registry
from monitor.clock import FakeClock
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.outcome import Certificate, FailureClass, Outcome, Result
from monitor.core.process import Process, encode_process
from monitor.core.record import Override
from monitor.core.reports import Counters as Counted
from monitor.core.reports import Report, encode_report
from monitor.core.schedule import silent_after_ms
from monitor.store.memory.store import MemoryStore
from monitor.store.port import Lease, SetAside
from monitor.store.queues import QUEUES, Queue
from tests.registering import register
from workers.journey.counters import Counters
from workers.journey.decide import DecideStep, Probed
from workers.journey.endpoint_cache import EndpointCache
from workers.journey.publish import Publisher
from workers.journey.quarantine import Quarantine
from workers.journey.system import SystemStep
from workers.journey.traffic import TrafficStep

S, MINUTE, DAY = 1_000, 60_000, 86_400_000
WEIGHED_AFTER_MS = 10_000
"""A pool is weighed some seconds after one of its members changed without tripping."""
TRUE_AT_FIRST = {'endpoint == "e"', 'verdict == "UNKNOWN"', "pool_unknown == 2"}
START = FakeClock().now_ms()


class Life:
    """Two endpoints in a pool, `e` and `f`, and everything that may happen to them; time passes only here."""

    def __init__(self, rules: RuleSet) -> None:
        self.clock = FakeClock(START)
        self.store = MemoryStore(self.clock)
        counters = Counters()
        quarantine = Quarantine(self.store, counters)
        self.cache = EndpointCache(self.store, self.clock, lambda _: object(), quarantine)  # type: ignore[arg-type,return-value]
        self.publisher = Publisher(
            store=self.store,
            clock=self.clock,
            rules=rules,
            route=lambda _: None,
            counters=counters,
            quarantine=quarantine,
            soon=lambda *_: None,
        )
        self.deciding = DecideStep(
            store=self.store,
            clock=self.clock,
            cache=self.cache,
            rules=rules,
            publish=lambda *_: None,
            route=lambda _: None,
            counters=counters,
            quarantine=quarantine,
            soon=lambda *_: None,
        )
        self.system = SystemStep(
            store=self.store, clock=self.clock, rules=rules, heartbeat_age_max_ms=10 * S, route=lambda _: None, quarantine=quarantine
        )
        self.traffic = TrafficStep(
            store=self.store, clock=self.clock, rule=self.deciding.rule, counters=counters, quarantine=quarantine, soon=lambda *_: None
        )
        self.seq = 0
        self.asserted: dict[str, set[str]] = {}

    async def begin(self) -> Life:
        endpoints = [Endpoint(id=name, url=f"http://127.0.0.1:1/{name}", pool="shop", interval_ms=10 * S, retries=0) for name in "ef"]
        await register(self.store, endpoints, pools=[Pool(name="shop", open_ms=5 * S)])
        await self.work()
        return self

    # What happens ---------------------------------------------------------------------------------------------------

    async def result(self, outcome: Outcome, name: str = "e", **seen: Any) -> None:
        """A probe's result, 10 s after what was before."""
        self.clock.advance(10 * S)
        await self.same_time(outcome, name, **seen)

    async def same_time(self, outcome: Outcome, name: str = "e", **seen: Any) -> None:
        claim = await self.store.claim_probes(0, 100, DAY)
        claimed = next((item for item in claim.items if item.id == name), None)
        assert claimed is not None, f"{name} is not due"
        now_ms = self.clock.now_ms()
        result = Result(outcome=outcome, **{"at_ms": now_ms, "started_ms": now_ms, "scheduled_ms": now_ms, "duration_ms": 5.0, **seen})
        endpoint = (await self.store.endpoints([name]))[name]
        probed = Probed(self.cache.make(endpoint), claimed.token_ms, result, lambda: None)
        await self.deciding._commit_results([probed])
        await self.back(name)
        await self.work()

    async def back(self, but: str) -> None:
        """The claim took every endpoint: those that got no result are due again."""
        home = self.store._slots[0]
        for name in home.due:
            if name != but:
                home.due[name] = self.clock.now_ms() - self.clock.now_ms() % 2

    async def ok(self, name: str = "e", **seen: Any) -> None:
        await self.result(Outcome.SUCCESS, name, **{"status": 200, **seen})

    async def fail(self, name: str = "e", **seen: Any) -> None:
        failed = {"failure": FailureClass.STATUS, "text": "status 503, want 2xx", "status": 503, **seen}
        await self.result(Outcome.FAILURE, name, **failed)

    async def times(self, what: Callable[..., Awaitable[None]], n: int, *args: Any, **seen: Any) -> None:
        for _ in range(n):
            await what(*args, **seen)

    async def passes(self, ms: int, step_ms: int = 10 * S) -> None:
        """Time alone."""
        for _ in range(0, ms, step_ms):
            self.clock.advance(step_ms)
            await self.work()

    async def edit(self, name: str = "e", **entry: Any) -> None:
        await registry.edit(self.store, name, entry, actor="ada")
        await self.work()

    async def says(self, override: Override | None, name: str = "e") -> None:
        await registry.set_override(self.store, name, override, "a test", actor="ada")
        await self.work()

    async def pause(self, paused: bool = True) -> None:
        await registry.set_paused(self.store, ["e"], paused=paused, actor="ada")
        await self.work()

    async def work(self) -> None:
        """All that is due now, by the queues alone."""
        for _ in range(6):
            await self.traffic.judge(await self._claim(Queue.TRAFFIC))
            await self.deciding.reevaluate(0, await self._claim(Queue.REEVALUATE))
            await self.publisher.weigh_leased((0, lease) for lease in await self._claim(Queue.DIRTY))
        await self.system.evaluate()
        token_ms, events = await self.store.claim_alert_events(0, 1_000, S)
        if events:
            await self.store.ack_alert_events(0, token_ms, [entry_id for entry_id, _ in events])
        for _, data in events:
            said = decode_assertion(data)
            self.asserted[said.subject] = {alert.labels["alertname"] for alert in said.alerts}

    async def reports(self, seconds: int, *, well: str = "", **failing: int) -> None:
        """Consumers call both endpoints ten times a second, and so many of the calls fail for each, but none at the one that is `well`."""
        for _ in range(seconds):
            self.clock.advance(S)
            self.seq += 1
            slot_ms = self.clock.now_ms() // S * S - S
            for name, failed in failing.items():
                seen = Counted({"success": 10 - failed, "failure/503": failed})
                endpoints = {"e": seen, "f": seen} | ({well: Counted({"success": 10})} if well else {})
                report = Report(observer=name, seq=self.seq, slot_ms=slot_ms, endpoints=endpoints)
                self.store.report("shop", encode_report(report))
            await self.work()

    async def _claim(self, queue: Queue) -> Sequence[Lease]:
        return await self.store.claim(queue, 0, 100, QUEUES[queue].lease_ms)

    def fires(self, name: str = "Rule", subject: str = "") -> bool:
        return any(name in names for key, names in self.asserted.items() if subject in key)


Step = Callable[[Life], Awaitable[None]]


async def down(life: Life) -> None:
    await life.times(life.fail, 3)


async def up(life: Life) -> None:
    await life.passes(60 * S)
    await life.times(life.ok, 3)


async def expiring(life: Life, days: float = 13.5) -> None:
    not_after_ms = life.clock.now_ms() + 10 * S + int(days * DAY)
    await life.ok(certificate=Certificate(subject="s", issuer="i", not_after_ms=not_after_ms))


async def aged(life: Life, *, probed: bool) -> None:
    """A certificate of 14 days and one hour ages past 14 days, under steady probing or without a probe."""
    not_after_ms = life.clock.now_ms() + 14 * DAY + 3_600 * S
    certificate = Certificate(subject="s", issuer="i", not_after_ms=not_after_ms)
    await life.ok(certificate=certificate)
    assert not life.fires()
    if not probed:
        await life.pause()
        await life.passes(3_600 * S + MINUTE, MINUTE)
        return
    for _ in range(62):
        life.clock.advance(50 * S)
        await life.ok(certificate=certificate)


async def renewed(life: Life) -> None:
    if (await life.store.endpoints(["e"]))["e"].paused:
        await life.pause(False)
    await expiring(life, 90)


async def flapping(life: Life) -> None:
    for n in range(24):
        await (life.ok if n % 2 else life.fail)()


async def silent(life: Life) -> None:
    """It is probed, and nothing is learnt."""
    endpoint = (await life.store.endpoints(["e"]))["e"]
    await life.times(life.result, silent_after_ms(endpoint) // (10 * S) + 1, Outcome.INCONCLUSIVE)
    await life.passes(10 * S)


async def remove(life: Life) -> None:
    await registry.remove(life.store, ["e"], actor="ada")
    await life.work()


async def half_down(life: Life) -> None:
    await life.ok("f")
    await down(life)


async def all_down(life: Life) -> None:
    await half_down(life)
    await life.times(life.fail, 3, "f")


async def all_up(life: Life) -> None:
    await life.passes(60 * S)
    for name in ("e", "f"):
        await life.times(life.ok, 3, name)


async def shedding(life: Life) -> None:
    await register(life.store, pools=[Pool(name="shop", open_ms=5 * S, panic=False, max_ejection_percent=100)])
    for name in ("e", "f"):
        await life.ok(name)
        await life.says(Override.DRAIN, name)


def do(method: str, *args: Any, **kwargs: Any) -> Step:
    async def step(life: Life) -> None:
        await getattr(life, method)(*args, **kwargs)

    return step


def many(*steps: Step) -> Step:
    async def step(life: Life) -> None:
        for one in steps:
            await one(life)

    return step


async def beat(life: Life, **said: Any) -> None:
    process = {"part": "worker", "host": "h", "pid": 1, "started_ms": 0, "at_ms": life.clock.now_ms(), **said}
    await life.store.heartbeat(process["part"], encode_process(Process(**process)))
    await life.work()


def heart(**said: Any) -> Step:
    async def step(life: Life) -> None:
        await beat(life, **said)

    return step


async def late(life: Life) -> None:
    """Nobody claims what is due."""
    life.clock.advance(3 * MINUTE)
    await life.work()


async def on_time(life: Life) -> None:
    for name in life.store._slots[0].due:
        life.store._slots[0].due[name] = life.clock.now_ms() + 5 * S - life.clock.now_ms() % 2
    await life.work()


def queue_late(queue: Queue) -> Step:
    async def step(life: Life) -> None:
        life.store._queue(queue)["x"] = life.clock.now_ms() - 2 * MINUTE
        await life.work()

    return step


def queue_served(queue: Queue) -> Step:
    async def step(life: Life) -> None:
        life.store._queue(queue).clear()
        await life.work()

    return step


async def given_up(life: Life) -> None:
    sent = Sent(
        id="1", group="g", receiver="r", integration="r/apprise/0", reason="first notification", firing=1, resolved=0, attempts=9,
        at_ms=life.clock.now_ms(), answer="no", delivered=False,
    )  # fmt: skip
    life.store._sent.append(msgspec.json.encode(sent))
    await life.work()


async def aside(life: Life) -> None:
    await life.store.set_aside([SetAside("record", "x", b"rubbish", "no JSON")])
    await life.work()


async def deleted_aside(life: Life) -> None:
    (copy,) = await life.store.aside()
    assert await life.store.discard_aside(copy)
    await life.work()


async def unjudged(life: Life) -> None:
    """Results of a pool that had them stop, whatever the queues say."""
    await life.ok()
    await life.passes(2 * MINUTE)


async def judged(life: Life) -> None:
    await life.ok()
    await life.ok("f")


suspected = do("reports", 12, a=0, b=0, broken=10)


CASES: dict[str, list[tuple[str, Step, Step]]] = {
    "endpoint": [('endpoint == "e"', do("ok"), remove)],
    "pool": [('pool == "other" && weight > 0', do("edit", pool="other"), do("edit", pool="shop"))],
    "url": [('url.endsWith("/new")', do("edit", url="http://127.0.0.1:1/new"), do("edit", url="http://127.0.0.1:1/e"))],
    "kind": [('kind == "tcp"', do("edit", url="tcp://127.0.0.1:1"), do("edit", url="http://127.0.0.1:1/e"))],
    "labels": [('"team" in labels && labels.team == "a"', do("edit", labels={"team": "a"}), do("edit", labels={"team": "b"}))],
    "verdict": [
        ('verdict == "UNHEALTHY"', down, up),
        ('verdict == "DEGRADED"', do("fail"), do("ok")),
        ('verdict == "UNKNOWN"', many(do("ok"), silent), do("ok")),
    ],
    "breaker": [('breaker == "OPEN"', down, up), ('breaker == "HALF_OPEN"', many(down, do("passes", 60 * S), do("ok")), do("ok"))],
    "breaker_source": [
        ('breaker_source == "active"', down, up),
        ('breaker_source == "passive"', do("reports", 10, well="f", a=9, b=9), many(do("passes", 90 * S), *[do("ok") for _ in range(6)])),
    ],
    "breaker_reason": [('breaker_reason.contains("failed probes in a row")', down, up)],
    "override": [(f'override == "{word}"', do("says", word), do("says", None)) for word in Override]
    + [('override == "DRAIN"', many(do("ok"), do("says", Override.DRAIN)), do("says", Override.FORCED_CLOSED))],
    "failures": [("failures >= 2", do("times", Life.fail, 0), do("ok"))],
    "successes": [("successes >= 2", many(do("ok"), do("ok")), do("fail"))],
    "flapping": [("flapping", flapping, do("passes", 0))],
    "status": [("status == 503", do("fail"), do("ok"))],
    "error": [('error.contains("refused")', do("fail", text="connection refused"), do("ok"))],
    "failure_class": [('failure_class == "tls"', do("fail", failure=FailureClass.TLS), do("fail", failure=FailureClass.CONNECT))],
    "latency_ms": [("latency_ms > 1000", do("passes", 0), do("passes", 0))],
    "timeout_ms": [("timeout_ms == 1000", do("edit", timeout="1s"), do("edit", timeout="2s"))],
    "interval_ms": [("interval_ms == 20000", do("edit", interval="20s"), do("edit", interval="10s"))],
    "certificate_days": [
        ("certificate_days < 14", expiring, renewed),
        ("certificate_days < 14", lambda life: aged(life, probed=True), renewed),
        ("certificate_days < 14", lambda life: aged(life, probed=False), renewed),
        ("certificate_days < 0", many(lambda life: expiring(life, 0.01), do("passes", 1_000 * S)), renewed),
    ],
    "no_data": [("no_data", many(do("ok"), silent), do("ok")), ("no_data", silent, do("pause"))],
    "paused": [("paused", do("pause"), do("pause", False))],
    "outdated": [
        ("outdated", many(do("ok"), do("pause")), many(do("pause", False), do("ok"))),
        ("outdated", many(down, do("pause"), do("pause", False)), do("fail")),
    ],
    "weight": [("weight == 7", do("edit", weight="7"), do("edit", weight="8"))],
    "pool_size": [("pool_size == 1", remove, lambda life: life.begin())],
    "pool_healthy": [("pool_healthy == 2", many(do("ok"), do("ok", "f")), do("fail"))],
    "pool_degraded": [("pool_degraded == 1", do("fail"), do("ok"))],
    "pool_unhealthy": [("pool_unhealthy == 1", half_down, up)],
    "pool_unknown": [
        ("pool_unknown == 1", do("ok"), do("ok", "f")),
        ("pool_unknown == 2", many(do("ok"), do("ok", "f"), silent), judged),
    ],
    "pool_admitted": [
        ("pool_admitted == 1", half_down, up),
        ("pool_admitted == 1", many(judged, do("says", Override.DRAIN)), do("says", None)),
    ],
    "pool_withdrawn": [
        ("pool_withdrawn == 1", many(judged, do("says", Override.DRAIN)), do("says", None)),
        ("pool_withdrawn == 1", many(half_down, do("says", Override.FORCED_OPEN)), do("says", Override.FORCED_CLOSED)),
        ("pool_withdrawn == 1", many(half_down, do("pause")), many(do("pause", False), do("fail"))),
    ],
    "pool_failed": [("pool_failed == 1", half_down, up), ("pool_failed == 1", half_down, do("pause"))],
    "pool_healthy_percent": [("pool_healthy_percent <= 50", half_down, up)],
    "pool_traffic_success_percent": [
        ("pool_traffic_success_percent < 80", do("reports", 20, a=5, b=5), do("reports", 60, a=0, b=0)),
        ("pool_traffic_success_percent < 80", do("reports", 20, a=5, b=5), do("passes", 200 * S)),
    ],
    "pool_observers_quarantined": [
        ("pool_observers_quarantined > 0", suspected, do("reports", 30, a=0, b=0, broken=0)),
        ("pool_observers_quarantined > 0", suspected, do("reports", 30, a=10, b=10, broken=10)),
        ("pool_observers_quarantined > 0", suspected, do("passes", 320 * S)),
    ],
    "pool_suspects": [('pool_suspects.contains("broken")', suspected, do("passes", 320 * S))],
    "pool_panic": [("pool_panic > 0.0", all_down, all_up)],
    "pool_shed": [("pool_shed > 0.0", shedding, many(do("says", None), do("says", None, "f")))],
    "system_overdue_ms": [("system_overdue_ms > 60000", late, on_time)],
    "system_overdue_endpoints": [("system_overdue_endpoints > 1", late, on_time)],
    "system_lateness_ms": [("system_lateness_ms > 10", heart(lateness_p99_ms=11), heart(lateness_p99_ms=1))],
    "system_workers": [("system_workers > 0", heart(), do("passes", 20 * S))],
    "system_alert_workers": [("system_alert_workers > 0", heart(part="alert-worker"), do("passes", 20 * S))],
    "system_beats": [("system_beats > 0", heart(part="beat"), do("passes", 20 * S))],
    "system_groups_overdue_ms": [("system_groups_overdue_ms > 1000", queue_late(Queue.GROUPS), queue_served(Queue.GROUPS))],
    "system_deliveries_overdue_ms": [("system_deliveries_overdue_ms > 1000", queue_late(Queue.DELIVERIES), queue_served(Queue.DELIVERIES))],
    "system_pools_lagging": [("system_pools_lagging > 0", unjudged, judged)],
    "system_dead_deliveries": [("system_dead_deliveries > 0", given_up, do("passes", 3_700 * S, 100 * S))],
    "system_unreadable": [("system_unreadable > 0", aside, deleted_aside)],
    "system_tilted": [("system_tilted", heart(tilted=True), heart(tilted=False))],
}
# Those whose cause needs more than one line.
CASES["failures"] = [("failures >= 2", many(do("fail"), do("fail")), do("ok"))]
CASES["latency_ms"] = [
    ("latency_ms > 1000", many(do("ok", duration_ms=3_000.0), do("ok", duration_ms=3_000.0)), many(*[do("ok") for _ in range(40)]))
]
CASES["flapping"] = [("flapping", flapping, many(*[do("ok") for _ in range(25)]))]
FLAT = [(name, n) for name, cases in CASES.items() for n in range(len(cases))]


def test_every_variable_has_its_causes() -> None:
    assert CASES.keys() == {name for table in VARIABLES.values() for name in table}


@pytest.mark.parametrize(("variable", "n"), FLAT, ids=[f"{name}-{n}" for name, n in FLAT])
def test_a_rule_on_it_fires_by_each_cause_and_ends(variable: str, n: int) -> None:
    expr, made_true, made_false = CASES[variable][n]
    rules = parse_rule_text(f"groups: [{{name: one, rules: [{{alert: Rule, expr: {msgspec.json.encode(expr).decode()}}}]}}]")
    assert variable in rules.rules[0].variables

    async def story() -> None:
        subject = {Scope.ENDPOINT: "endpoint:e", Scope.POOL: "pool:", Scope.SYSTEM: "system"}[rules.rules[0].scope]
        life = await Life(rules).begin()
        assert not life.fires(subject=subject) or expr in TRUE_AT_FIRST, "it fires before its cause"
        for step, wanted in ((made_true, True), (made_false, False)):
            await step(life)
            if subject != "system":
                await life.passes(WEIGHED_AFTER_MS)
            assert life.fires(subject=subject) is wanted, "it does not fire" if wanted else "it does not end"

    asyncio.run(story())


SHIPPED: dict[str, list[tuple[Step, Step]]] = {
    "EndpointDown": [(down, up), (down, remove), (down, do("pause")), *((down, do("says", word)) for word in Override)],
    "EndpointSlow": [
        (
            many(*[do("ok", duration_ms=3_000.0) for _ in range(10)]),
            many(*[do("ok") for _ in range(40)]),
        )
    ],
    "EndpointFlapping": [(flapping, many(*[do("ok") for _ in range(25)]))],
    "CertificateExpiring": [
        (expiring, renewed),
        (lambda life: aged(life, probed=True), renewed),
        (lambda life: aged(life, probed=False), renewed),
    ],
    "NoData": [(many(do("ok"), silent), do("ok")), (silent, do("ok"))],
    "PoolDegraded": [
        (do("reports", 30, a=8, b=8), do("reports", 60, a=0, b=0)),
        (half_down, up),
        (half_down, do("pause")),
        (half_down, do("says", Override.DRAIN)),
    ],
    "ObserverSuspect": [(suspected, do("reports", 30, a=0, b=0, broken=0)), (suspected, do("passes", 320 * S))],
    "PoolDown": [
        (all_down, all_up),
        (all_down, many(do("pause"), do("says", Override.DRAIN, "f"))),
        (all_down, remove),
        (many(judged, do("says", Override.DRAIN, "f"), down), do("says", Override.FORCED_CLOSED, "f")),
    ],
    "WatchkeeperLagging": [
        (late, many(on_time, judged, on_time, do("passes", 20 * S), on_time)),
    ],
    "NotificationsFailing": [(given_up, do("passes", 3_700 * S, 100 * S))],
    "UnreadableData": [(aside, deleted_aside)],
}


SUBJECTS = {"NoData": "endpoint:e"}
"""Where the other endpoint would have the same alert for a reason of its own."""


def test_every_shipped_rule_has_its_causes() -> None:
    assert SHIPPED.keys() == {rule.name for rule in load_rules().rules}


@pytest.mark.parametrize(("name", "n"), [(name, n) for name, cases in SHIPPED.items() for n in range(len(cases))])
def test_a_shipped_rule_fires_by_each_cause_and_ends(name: str, n: int) -> None:
    made_true, made_false = SHIPPED[name][n]

    async def story() -> None:
        life = await Life(only(name)).begin()
        await made_true(life)
        await settle(life, name)
        subject = SUBJECTS.get(name, "")
        assert life.fires(name, subject), f"{name} does not fire"
        await made_false(life)
        if not subject:
            await life.passes(WEIGHED_AFTER_MS)
        if name == "WatchkeeperLagging":  # It keeps firing for a minute.
            for _ in range(8):
                await on_time(life)
                await judged(life)
        assert not life.fires(name, subject), f"{name} does not end"

    asyncio.run(story())


async def settle(life: Life, name: str) -> None:
    """Rules that wait (`for`) are given their time, and their cause goes on."""
    if name == "WatchkeeperLagging":
        life.clock.advance(40 * S)
        await life.work()
    else:
        await life.passes(40 * S if name == "ObserverSuspect" else WEIGHED_AFTER_MS)


def only(name: str) -> RuleSet:
    """The shipped pack without the other rules."""
    pack = load_rules()
    kept = tuple(rule for rule in pack.rules if rule.name == name)
    assert kept
    return RuleSet(kept, pack.version)


def test_scopes_are_covered() -> None:
    assert set(VARIABLES) == set(Scope)
    assert replace(Pool(name="x"), open_ms=1).open_ms == 1
