"""How long a breaker stays open by our own policies: settings that `consecutive` and `cusum` share."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from monitor.core.breaker import Event, Opening, count_opening, enter, opening_ms
from monitor.core.policies.options import TIME_MAX_MS, Limits, SettingError
from monitor.core.policies.policy import Member
from monitor.core.record import BreakerState


class OpeningSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The base of a policy's settings."""

    cooldown_ms: Annotated[
        int, Limits(0, TIME_MAX_MS, "First time that a breaker stays open.", "Hystrix sleepWindowInMilliseconds, Finagle's failure accrual")
    ] = 5_000
    cooldown_max_ms: Annotated[
        int | None,
        Limits(
            0,
            TIME_MAX_MS,
            "Longest, as it doubles from opening to opening; not given: `cooldown_ms`, it does not grow.",
            "Envoy max_ejection_time",
        ),
    ] = None
    cooldown_spread_percent: Annotated[
        int,
        Limits(
            0, 50, "By so much each opening is longer or shorter, so that a pool does not return at once.", "Finagle's jittered backoff"
        ),
    ] = 0

    @property
    def times(self) -> Opening:
        """As the machine takes them."""
        longest_ms = self.cooldown_ms if self.cooldown_max_ms is None else self.cooldown_max_ms
        return Opening(self.cooldown_ms, longest_ms, self.cooldown_spread_percent)


def check_opening(settings: OpeningSettings) -> None:
    """Raise SettingError where the longest opening is shorter than the first."""
    longest_ms = settings.cooldown_max_ms
    if longest_ms is not None and longest_ms < settings.cooldown_ms:
        hint = f"write {settings.cooldown_ms} or more, or a smaller cooldown_ms"
        raise SettingError("cooldown_max_ms", str(longest_ms), f"it is below cooldown_ms, which is {settings.cooldown_ms}", hint)


def opened(
    settings: OpeningSettings,
    member: Member[Any],
    event: Event,
    *,
    now_ms: int,
    rule: str,
    reason: str,
    evidence: dict[str, int | float | str],
    hard: bool = False,
) -> BreakerState:
    """The breaker after an event that opens it, for as long as the settings say."""
    before, times = member.breaker, settings.times
    opens = count_opening(before.opens, times)
    open_until_ms = now_ms + opening_ms(member.id, before.gen + 1, opens, times, member.seed)
    return enter(
        before, event, now_ms=now_ms, rule=rule, reason=reason, evidence=evidence, open_until_ms=open_until_ms, opens=opens, hard=hard
    )
