"""Why an endpoint is in its present state, and what its weight is made of: text for people, from facts alone."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from monitor.core import flapping
from monitor.core.durations import format_duration
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.outcome import Outcome
from monitor.core.policies.choice import ACTIVE_DEFAULT, resolved
from monitor.core.record import Breaker, Override, Record, Source, Transition, Verdict
from monitor.pool.balancer import ADMITTED, DEGRADED, EJECTED, OUT, Factors
from monitor.pool.snapshot import WEIGHT_SUM
from monitor.pool.trials import TrialState
from monitor.query.policies import decider, policy_texts
from monitor.query.traffic import TrafficStatus

_TIERS = {ADMITTED: "admitted", DEGRADED: "degraded: takes only what the admitted may not", EJECTED: "ejected", OUT: "out"}


class Line(msgspec.Struct, frozen=True):
    """One statement; `topic` is verdict, breaker, policies, override, run, last, flapping, evidence, warm-up, weight, trials, traffic,
    owner or changed."""

    topic: str
    text: str


def explain(  # noqa: PLR0917 - an explanation has this many parts.
    endpoint: Endpoint,
    pool: Pool,
    record: Record,
    override: Override | None,
    known: Verdict,
    factors: Factors | None,
    now_ms: int,
) -> list[Line]:
    """Return the statements, from the conclusion `known` down to what it rests on. `factors` None: the pool was not weighed yet."""
    lines = [Line("verdict", _verdict_text(record, known, now_ms))]
    if override is not None:
        lines.append(Line("override", f"{override.value}: an operator's word beats the breaker until `auto` takes it back"))
    lines.append(Line("breaker", _breaker_text(record, now_ms)))
    if by := decider(record.breaker):
        lines.append(Line("breaker", f"decided by {by}"))
    if record.breaker.evidence:
        lines.append(Line("breaker", "evidence: " + ", ".join(f"{key} {value}" for key, value in record.breaker.evidence.items())))
    lines.extend(Line("policies", text) for text in policy_texts(endpoint, pool))
    lines.append(Line("run", _run_text(endpoint, pool, record, now_ms)))
    lines.append(Line("last", _last_text(record, now_ms)))
    lines.append(Line("flapping", _flapping_text(record, pool)))
    evidence = record.weighing
    lines.append(
        Line(
            "evidence",
            f"{evidence.ok:.2f} successes of {evidence.total:.2f} recent results, older ones fading; "
            f"latency of successes {evidence.latency_ms:.1f} ms from {evidence.latency_n:.2f}",
        )
    )
    if record.warm_up_since_ms and now_ms - record.warm_up_since_ms < pool.warm_up_ms:
        rest = format_duration(pool.warm_up_ms - max(0, now_ms - record.warm_up_since_ms))
        lines.append(Line("warm-up", f"closed {_ago(record.warm_up_since_ms, now_ms)}; full weight in {rest}"))
    lines.extend(weight_lines(factors))
    return lines


def ownership(endpoint: Endpoint, transitions: Sequence[Transition], now_ms: int) -> list[Line]:
    """Whose endpoint it is, and what a person did last; `transitions` are its own, oldest first."""
    lines = [Line("owner", endpoint.owner)]
    acts = [transition for transition in transitions if transition.actor]
    if acts:
        last = acts[-1]
        lines.append(Line("changed", f"by {last.actor} {_ago(last.at_ms, now_ms)}: {last.kind} {last.old} -> {last.new} ({last.reason})"))
    return lines


def traffic_lines(traffic: TrafficStatus, now_ms: int) -> list[Line]:
    """What consumers' own calls have shown; nothing where none reports."""
    if not traffic.at_ms:
        return []
    words = ", ".join(f"{word} {n:.2f}" for word, n in traffic.calls.items())
    took = "" if traffic.p50_ms is None else f"; successes took p50 {traffic.p50_ms:.1f} ms, p90 {traffic.p90_ms:.1f} ms"
    lines = [Line("traffic", f"calls of consumers, older ones fading: {words or 'none'}{took} (counted {_ago(traffic.at_ms, now_ms)})")]
    return [*lines, Line("traffic", f"not ejected: {traffic.held}")] if traffic.held else lines


def trial_lines(trials: TrialState | None, now_ms: int) -> list[Line]:
    """Who tries a half-open endpoint, and how that goes."""
    if trials is None:
        return []
    terms, count = trials.terms, trials.count
    used = f"{count.ok} of {terms.permitted} trials succeeded, {count.failed} failed, {count.lost} leases lost"
    texts = [f"{used}; at most {terms.at_once(count.ok)} at a time now, each within {format_duration(terms.lease_ms)}"]
    texts += [f"{one.holder} tries it, for {format_duration(max(0, one.until_ms - now_ms))} more at most" for one in trials.live]
    return [Line("trials", text) for text in texts]


def weight_lines(factors: Factors | None) -> list[Line]:
    """The weight as factors, each with what it means."""
    if factors is None:
        return [Line("weight", "the pool has not been weighed yet")]
    f = factors
    quality = f.h * f.l * f.sigma
    return [
        Line("weight", f"{f.damped * WEIGHT_SUM:.0f} of {WEIGHT_SUM}: {f.why}"),
        Line("weight", f"tier {f.tier} ({_TIERS[f.tier]})"),
        Line("weight", f"base share b/B = {f.base:.3f}, at most {f.cap:.3f} whatever happens to the others"),
        Line(
            "weight",
            f"quality {quality:.3f} = success {f.h:.3f} * latency {f.l:.3f} * warm-up {f.sigma:.3f}, relative to the others{_sources(f)}",
        ),
        Line("weight", f"target share {f.target:.3f}, given now {f.damped:.3f}" + _damping_text(f)),
    ]


def _sources(factors: Factors) -> str:
    """What consumers' requests say by themselves, where that is anything."""
    if factors.h_traffic == factors.l_traffic == 1.0:
        return ""
    return f"; of it, what consumers' requests say: success {factors.h_traffic:.3f}, latency {factors.l_traffic:.3f}"


def _damping_text(factors: Factors) -> str:
    if factors.damped < factors.target - 1 / WEIGHT_SUM:
        return ": rising by at most 10 % of the base share per second"
    if factors.damped > factors.target + 1 / WEIGHT_SUM:
        return ": carrying what another does not take yet"
    return ""


def stale_text(record: Record, now_ms: int) -> str:
    """That the address comes from a stale answer, of which age, and why; nothing where it does not."""
    stale = record.probes.last.stale
    return f"the address comes from an answer of {_ago(stale.at_ms, now_ms)}: {stale.why}" if stale else ""


def _verdict_text(record: Record, known: Verdict, now_ms: int) -> str:
    if known is not Verdict.UNKNOWN:
        stale = stale_text(record, now_ms)
        return f"{known.value}; {stale}" if stale else known.value
    if not record.probes.results:
        return f"{known.value}: no conclusive result yet"
    return f"{known.value}: the last conclusive result came {_ago(record.conclusive_ms, now_ms)}"


def _breaker_text(record: Record, now_ms: int) -> str:
    breaker = record.breaker
    if not breaker.gen:
        return f"{breaker.state.value} since the beginning"
    text = f"{breaker.state.value} since {_ago(breaker.since_ms, now_ms)}: {breaker.reason}"
    if breaker.state is Breaker.OPEN:
        wait_ms = breaker.open_until_ms - now_ms
        wait = f"in {format_duration(wait_ms)}" if wait_ms > 0 else "with the next successful probe"
        text += f"; trials begin {wait} (opening {breaker.opens} not yet forgiven)"
    return text


def _run_text(endpoint: Endpoint, pool: Pool, record: Record, now_ms: int) -> str:
    if record.probes.run_outcome is None:
        return "no conclusive result yet"
    text = f"{record.probes.run_length} times {record.probes.run_outcome.value} in a row since {_ago(record.probes.run_since_ms, now_ms)}"
    if record.probes.run_outcome is not Outcome.FAILURE:
        if record.breaker.source is Source.PASSIVE and not record.breaker.hard:
            return f"{text}; probes alone do not close what consumers' calls opened" if record.breaker.state is not Breaker.CLOSED else text
        return f"{text}; {endpoint.success_threshold} in trials close the breaker"
    by_runs = resolved(endpoint, pool).active.kind == ACTIVE_DEFAULT
    return f"{text}; {endpoint.failure_threshold} open the breaker" if by_runs else text


def _last_text(record: Record, now_ms: int) -> str:
    last = record.probes.last
    if not last.at_ms:
        return "never probed"
    text = f": {last.text}" if last.text else ""
    return f"{last.outcome.value} {_ago(last.at_ms, now_ms)} in {last.duration_ms:.1f} ms{text}"


def _flapping_text(record: Record, pool: Pool) -> str:
    value = flapping.value_percent(record.probes.changes, record.probes.results)
    start_percent = pool.flapping_start_percent
    bounds = f"starts above {start_percent} %, stops at {pool.flapping_stop_percent} %" if start_percent else "switched off in its pool"
    return f"{'flapping' if record.probes.flapping else 'steady'}: {value:.1f} % ({bounds})"


def _ago(at_ms: int, now_ms: int) -> str:
    seconds = max(0, now_ms - at_ms) // 1000 * 1000
    return f"{format_duration(seconds)} ago"
