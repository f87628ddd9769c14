"""The evidence that weights are made of: decayed counts and a peak-sensitive latency.

Counts fade with a time constant of max(30 s, 3 intervals), so that a result's part is the same however often we probe.
Latency is Finagle's peak EWMA over the median of the last three successful answers: slowness that lasts for two probes counts
at once, a recovery gradually, and a single outlier not at all. (Finagle sees every request; we see one probe in an interval,
and one of them is no evidence.) Errors do not count, so that fast ones never attract traffic. Evidence of a silent endpoint
stays as it was.
"""

from __future__ import annotations

from math import exp, log2
from typing import Final

from monitor.core.endpoint import Endpoint
from monitor.core.record import Evidence

TAU_MIN_MS: Final = 30_000
TAU_INTERVALS: Final = 3
SHRINK: Final = 10.0
"""k: as many imagined results at the pool's rate as keep a few real ones from deciding alone."""
LATENCY_FLOOR_MS: Final = 10.0
"""Latencies are raised to this before they are compared: differences below it are noise of ours, not evidence."""


def tau_ms(endpoint: Endpoint) -> int:
    """Time constant of the decay."""
    return max(TAU_MIN_MS, TAU_INTERVALS * endpoint.interval_ms)


def fold(evidence: Evidence, tau: int, success: bool, duration_ms: float, now_ms: int) -> Evidence:
    """Return the evidence with one more conclusive result."""
    keep = exp(-max(0, now_ms - evidence.at_ms) / tau) if evidence.at_ms else 0.0
    total = evidence.total * keep + 1.0
    recent_ms, earlier_ms = evidence.recent_ms, evidence.earlier_ms
    if not success:
        return Evidence(evidence.ok * keep, total, evidence.latency_ms, evidence.latency_n * keep, now_ms, recent_ms, earlier_ms)
    if not earlier_ms:
        latency_ms = min(duration_ms, recent_ms) if recent_ms else duration_ms
    else:
        latency_ms = max(min(duration_ms, recent_ms), min(max(duration_ms, recent_ms), earlier_ms))
        if latency_ms < evidence.latency_ms:
            latency_ms = evidence.latency_ms * keep + latency_ms * (1.0 - keep)
    return Evidence(evidence.ok * keep + 1.0, total, latency_ms, evidence.latency_n * keep + 1.0, now_ms, duration_ms, recent_ms)


def restart(evidence: Evidence) -> Evidence:
    """Forget the counts from before a trip; the latency of the answers that succeeded stays true."""
    return Evidence(0.0, 0.0, evidence.latency_ms, evidence.latency_n, evidence.at_ms, evidence.recent_ms, evidence.earlier_ms)


def grade(evidence: Evidence) -> tuple[int, int]:
    """Success and latency in steps that are worth weighing again: 1/32 of success, half an octave of latency.

    After shrinking, half an octave moves a weight by 5 % of its base share, the least that is published, at three intervals in the time
    constant, and by up to 18 % at thirty. Finer steps would have pools weighed for the noise of ordinary answers.
    """
    success = 32 if evidence.ok == evidence.total else int(32 * (evidence.ok + SHRINK) / (evidence.total + SHRINK))
    latency = int(2 * log2(evidence.latency_ms / LATENCY_FLOOR_MS)) if evidence.latency_ms > LATENCY_FLOOR_MS else 0
    return success, latency
