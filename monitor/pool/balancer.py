"""Weights: how much of a pool's traffic each endpoint may take. "Why was it ejected?" is answered here.

1. Quality q = h * l * sigma in (0, 1] (quality.py): success and latency relative to the others, and warm-up.
2. Tier: 0 admitted, 1 degraded (flapping, or wanting ejection in a pool where too many do), 2 ejected (OPEN, HALF_OPEN).
   FORCED_OPEN and DRAIN are out: they never receive, and neither limit nor reference counts them. FORCED_CLOSED, DISABLED
   and METRICS_ONLY are 0.
3. Lexicographic water-filling: tier 0 shares the traffic in proportion to b * q, nobody above phi * b / B; what is left
   spills to tier 1, then 2, where q is at least 0.1. phi = 100 / (100 - max_ejection_percent): a continuous panic.
4. Damping (damping.py): a fall is immediate, a rise back to the base share takes its time.
5. Integers by largest remainder; their sum is exactly WEIGHT_SUM.

An endpoint that users' trials judge (HALF_OPEN after what consumers reported) has its trial share before the tiers get theirs: 1 % of the
traffic and no more than a tenth of its base share, for balancers that cannot hold tokens. It is no panic, and nobody is ejected for it.

At most floor(max_ejection_percent * N / 100) endpoints, and never all, are ejected. When more want it, all of those become
suspects of tier 1: choosing among them would be by name. When nobody is left to compare with, all get their base share.

Of a pool with `panic` false, tier 2 receives nothing. The rest is `shed`: target shares and `shed` sum to 1, and the
integers divide what is not shed. Where every endpoint is out, all weights are 0, their sum too, and `shed` is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from monitor.core.endpoint import Pool
from monitor.core.overlay import WITHDRAWN
from monitor.core.record import Breaker, Evidence, Override, Verdict
from monitor.pool.damping import damp
from monitor.pool.filling import EPSILON, apportion, fill
from monitor.pool.quality import Quality, qualities
from monitor.pool.snapshot import WEIGHT_SUM

ADMITTED: Final = 0
DEGRADED: Final = 1
EJECTED: Final = 2
OUT: Final = 3
SPILL_QUALITY_MIN: Final = 0.1
TRIAL_SHARE: Final = 0.01
"""Part of a pool's traffic that tries one endpoint, at least one unit of weight and otherwise at most TRIAL_OF_BASE of its base share."""
TRIAL_OF_BASE: Final = 0.1
PUBLISH_STEP: Final = 0.05
"""Least change of a weight, as a part of the base share, that is worth publishing."""

# Bound once: reading a member from its enum is slow, and this is done for each member of a pool.
_CLOSED, _OPEN, _HALF_OPEN = Breaker.CLOSED, Breaker.OPEN, Breaker.HALF_OPEN
_HEALTHY, _UNKNOWN = Verdict.HEALTHY, Verdict.UNKNOWN


class Candidate(msgspec.Struct, frozen=True):
    """A member of a pool, as the balancer needs to know it."""

    id: str
    weight: int
    breaker: Breaker = Breaker.CLOSED
    override: Override | None = None
    evidence: Evidence = Evidence()
    flapping: bool = False
    warm_up_since_ms: int = 0
    verdict: Verdict = Verdict.HEALTHY
    traffic: Evidence = Evidence()
    """As `evidence`, from what consumers report."""
    user_trials: bool = False
    """Where it is HALF_OPEN, consumers' requests try it (core.record.BreakerState)."""


class Factors(msgspec.Struct, frozen=True):
    """What a weight is made of. Shares are parts of the whole pool's traffic, 0 to 1.

    `base` is b / B, `cap` the largest share allowed, `target` what the evidence calls for, `damped` what is given now, `trial` the part
    that is given for trials alone. `h_traffic` and `l_traffic` are what consumers' requests alone say (pool/quality).
    """

    base: float
    tier: int
    h: float
    l: float  # noqa: E741 - h, l and sigma are the names of the formula.
    sigma: float
    cap: float
    target: float
    damped: float
    why: str
    trial: float = 0.0
    h_traffic: float = 1.0
    l_traffic: float = 1.0


class Weighing(msgspec.Struct, frozen=True):
    """A pool's weights. `panic` is the share given to endpoints that should have none; `shed` the share better refused.

    `at_rest` is true when time alone will change nothing: no warm-up and no damping goes on.
    """

    weights: dict[str, int]
    panic: float
    shed: float
    factors: dict[str, Factors]
    at_rest: bool


def weigh(
    pool: Pool,
    candidates: Sequence[Candidate],
    previous: Mapping[str, int] | None,
    previous_ms: int,
    now_ms: int,
) -> Weighing:
    """Return the pool's weights now, given those published at `previous_ms` (None: there were none, so nothing is damped).

    The order of `candidates` does not matter. Ties are broken by id, and only over the last of 1,000 parts.
    Every admitted endpoint has at least 1, unless there are more than 1,000 of them: then the largest remainders have it.
    """
    candidates = sorted(candidates, key=_id)
    tiers, whys = _tiers(pool, candidates)
    total = sum(c.weight for c, tier in zip(candidates, tiers, strict=True) if tier != OUT)
    if not total:
        return _nobody(candidates, whys)
    quality = qualities(pool, candidates, [tier == OUT for tier in tiers], now_ms)
    phi = 100 / (100 - pool.max_ejection_percent) if pool.max_ejection_percent < 100 else float("inf")
    bases = [0.0 if tier == OUT else c.weight / total for c, tier in zip(candidates, tiers, strict=True)]
    caps = [min(1.0, phi * base) for base in bases]
    wants = _wants(tiers, quality, bases)
    trials = [
        min(cap, max(min(TRIAL_SHARE, TRIAL_OF_BASE * base), 1 / WEIGHT_SUM))
        if c.user_trials and c.breaker is _HALF_OPEN and tier == EJECTED
        else 0.0
        for c, tier, base, cap in zip(candidates, tiers, bases, caps, strict=True)
    ]
    targets, shed = _allocate(pool, tiers, wants, caps, trials)

    shares, damped = targets, False
    if previous is not None and ADMITTED in tiers:  # With nobody to lean on there is nothing to wait for: fail open at once.
        elapsed_ms = max(1, now_ms - previous_ms)  # Who is admitted gets a part at once, even where clocks differ.
        before = [previous.get(c.id, 0) / WEIGHT_SUM * (1.0 - shed) for c in candidates]
        shares, damped = damp(before=before, targets=targets, bases=bases, wants=wants, caps=caps, tiers=tiers, elapsed_ms=elapsed_ms)
    units = apportion(shares, [tier == ADMITTED for tier in tiers], WEIGHT_SUM)

    warming = any(q.sigma < 1.0 and tier != OUT for q, tier in zip(quality, tiers, strict=True))
    panic = sum(
        max(0.0, share - trial)
        for c, tier, share, trial in zip(candidates, tiers, shares, trials, strict=True)
        if DEGRADED <= tier <= EJECTED and _unwell(c)
    )
    return Weighing(
        {c.id: unit for c, unit in zip(candidates, units, strict=True)},
        panic,
        shed,
        {
            c.id: Factors(base, tier, q.h, q.l, q.sigma, cap, target, share, why, trial, q.h_traffic, q.l_traffic)
            for c, base, tier, q, cap, target, share, why, trial in zip(
                candidates, bases, tiers, quality, caps, targets, shares, whys, trials, strict=True
            )
        },
        not (warming or damped),
    )


def worth_publishing(previous: Mapping[str, int] | None, weighing: Weighing) -> bool:
    """Whether the weights differ from the published ones by 5 % of a base share, from or to nothing, or in their members."""
    weights = weighing.weights
    if previous is None or previous.keys() != weights.keys():
        return True
    for key, new in weights.items():
        old = previous[key]
        if old != new and (not old or not new or abs(new - old) >= PUBLISH_STEP * WEIGHT_SUM * weighing.factors[key].base):
            return True
    return False


def _id(candidate: Candidate) -> str:
    return candidate.id


def _unwell(candidate: Candidate) -> bool:
    return candidate.breaker is not _CLOSED


def _tiers(pool: Pool, candidates: Sequence[Candidate]) -> tuple[list[int], list[str]]:
    """Each candidate's tier, and why."""
    judged = [_judge(c) for c in candidates]
    present = sum(tier != OUT for tier, _ in judged)
    ejected = sum(tier == EJECTED for tier, _ in judged)
    limit = max(0, min(pool.max_ejection_percent * present // 100, present - 1))
    if ejected > limit:
        suspect = f"{ejected} of {present} want ejection, more than the limit of {limit}"
        judged = [(DEGRADED, f"{why}; {suspect}") if tier == EJECTED else (tier, why) for tier, why in judged]
    return [tier for tier, _ in judged], [why for _, why in judged]


def _judge(candidate: Candidate) -> tuple[int, str]:
    override = candidate.override
    if override is not None:
        return (OUT if override in WITHDRAWN else ADMITTED), _OVERRIDE_WHY[override]
    if candidate.breaker is _OPEN:
        return EJECTED, "the breaker is open"
    if candidate.breaker is not _CLOSED:
        who = "a trial share and tokens of consumers try it" if candidate.user_trials else "trial probes come before traffic"
        return EJECTED, f"the breaker is half open: {who}"
    if candidate.flapping:
        return DEGRADED, "flapping"
    if candidate.verdict is _HEALTHY:
        return ADMITTED, "healthy"
    return ADMITTED, "nothing is known of it" if candidate.verdict is _UNKNOWN else "admitted: what speaks against it is not confirmed"


_OVERRIDE_WHY: Final = {
    Override.FORCED_OPEN: "an operator forced its breaker open",
    Override.FORCED_CLOSED: "an operator forced its breaker closed",
    Override.DISABLED: "an operator disabled its breaker",
    Override.METRICS_ONLY: "an operator lets its breaker count and not open",
    Override.DRAIN: "an operator drains it",
}


def _wants(tiers: Sequence[int], quality: Sequence[Quality], bases: Sequence[float]) -> list[float]:
    """b * q for each, with the floor of the tiers that receive only what spills."""
    fail_open = all(tier in (DEGRADED, OUT) for tier in tiers)
    return [
        base if fail_open else base * (q.q if tier == ADMITTED else max(q.q, SPILL_QUALITY_MIN))
        for tier, q, base in zip(tiers, quality, bases, strict=True)
    ]


def _allocate(
    pool: Pool, tiers: Sequence[int], wants: Sequence[float], caps: Sequence[float], trials: Sequence[float]
) -> tuple[list[float], float]:
    """Target shares, and what nobody may take."""
    shares = list(trials)
    rest = 1.0 - sum(trials)
    spare = [cap - trial for cap, trial in zip(caps, trials, strict=True)]
    for tier in (ADMITTED, DEGRADED, EJECTED) if pool.panic else (ADMITTED, DEGRADED):
        if rest <= 0.0:
            break
        members = [i for i, its in enumerate(tiers) if its == tier]
        rest = fill(rest, members, wants, spare, shares)
    return shares, rest if rest > EPSILON else 0.0


def _nobody(candidates: Sequence[Candidate], whys: Sequence[str]) -> Weighing:
    nothing = {c.id: Factors(0.0, OUT, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, why) for c, why in zip(candidates, whys, strict=True)}
    return Weighing({c.id: 0 for c in candidates}, 0.0, 1.0, nothing, True)
