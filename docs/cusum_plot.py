"""The picture in explanation/cusum.md: scores of endpoints that fail differently often, made by the policy itself."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.core.policies.call import Call, CallOutcome
from monitor.core.policies.cusum import Cusum
from monitor.core.policies.cusum_score import capped, runs
from monitor.core.policies.cusum_state import Settings
from monitor.core.policies.policy import Member, spread
from monitor.core.record import Breaker, BreakerState

SECONDS = 60
WIDTH, HEIGHT, LEFT, TOP = 880, 330, 56, 24
PLOT_WIDTH, PLOT_HEIGHT, SCORE_MAX = 540, 250, 1.15
SERIES = (  # what its caption says, the share of its calls that fail, whether those of the others do as well, and its colour
    ("all calls fail", 1.0, False, "#cf222e"),
    ("half of them", 0.5, False, "#bc4c00"),
    ("30 %", 0.3, False, "#8250df"),
    ("5 %, an ordinary day", 0.05, False, "#1a7f37"),
    ("80 %, as all others", 0.8, True, "#0969da"),
)
SEED = 11


def scores(share: float, shared: bool) -> Iterator[float]:
    """An endpoint's score after each second, as a share of what trips, until it trips; three members have a call a second each."""
    policy, settings = Cusum(), Settings()
    members = [Member(name, BreakerState(), policy.begin(settings, 0)) for name in "abc"]
    for second in range(SECONDS):
        for place, member in enumerate(members):
            fails = spread(member.id, second, SEED) < (share if shared or not place else 0.0)
            call = Call(CallOutcome.FAILURE if fails else CallOutcome.SUCCESS)
            members[place] = policy.observe(settings, member, call, policy.gather(settings, members, second * 1000), second * 1000).member
        if members[0].breaker.state is not Breaker.CLOSED:
            yield 1.0
            return
        yield min(1.0, capped(runs(members[0].memory)[0]))


def svg() -> str:
    """The picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="13"'
        ' role="img" aria-label="Scores over a minute: the more calls fail, the sooner an endpoint reaches the line at which it trips.">',
        f'  <rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#f6f8fa"/>',
        f'  <path d="M{LEFT} {TOP}V{TOP + PLOT_HEIGHT}H{LEFT + PLOT_WIDTH}" fill="none" stroke="#57606a"/>',
        f'  <path d="M{LEFT} {_y(1):.1f}H{LEFT + PLOT_WIDTH}" fill="none" stroke="#57606a" stroke-dasharray="5 4"/>',
        f'  <text x="{LEFT + PLOT_WIDTH}" y="{_y(1) - 6:.1f}" text-anchor="end" fill="#57606a">trips: score 11.4</text>',
        f'  <text x="{LEFT - 8}" y="{_y(0) + 4:.1f}" text-anchor="end" fill="#57606a">0</text>',
        f'  <text x="{LEFT - 8}" y="{_y(1) + 4:.1f}" text-anchor="end" fill="#57606a">h</text>',
    ]
    below = [(second, 18, f"{second} s") for second in range(0, SECONDS + 1, 10)] + [(SECONDS // 2, 38, "a call a second")]
    parts += (
        f'  <text x="{_x(second):.1f}" y="{TOP + PLOT_HEIGHT + down}" text-anchor="middle" fill="#57606a">{text}</text>'
        for second, down, text in below
    )
    for row, (caption, share, shared, colour) in enumerate(SERIES):
        values = list(scores(share, shared))
        line = " ".join(f"{_x(second + 1):.1f},{_y(value):.1f}" for second, value in enumerate(values))
        parts.append(f'  <polyline points="{_x(0):.1f},{_y(0):.1f} {line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if values[-1] == 1.0:
            parts.append(f'  <circle cx="{_x(len(values)):.1f}" cy="{_y(1):.1f}" r="5" fill="{colour}"/>')
        told = f"{caption}: {f'trips after {len(values)} s' if values[-1] == 1.0 else 'stays low'}"
        parts.append(f'  <text x="{LEFT + PLOT_WIDTH + 14}" y="{TOP + 40 + 26 * row}" fill="{colour}" font-weight="600">{told}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _x(second: float) -> float:
    return LEFT + PLOT_WIDTH * second / SECONDS


def _y(score: float) -> float:
    return TOP + PLOT_HEIGHT * (1 - score / SCORE_MAX)
