"""What the scripts of trials are asked and answer, by the store and by consumers alike."""

from __future__ import annotations

from typing import Any

from monitor.core.texts import shorten
from monitor.store import keys
from monitor.store.port import Ended, Grant, Refusal, TrialEnd


def grant_arguments(pool: str, endpoint_id: str, token: str) -> tuple[list[str], list[str]]:
    """Keys and arguments of grant_trial."""
    return [keys.trials(pool), keys.trials_issued(pool), keys.trial(pool, endpoint_id)], [endpoint_id, token]


def end_arguments(pool: str, end: TrialEnd) -> tuple[list[str], list[str | int]]:
    """Keys and arguments of end_trial."""
    names = [keys.trials(pool), keys.trials_issued(pool), keys.trial(pool, end.endpoint), keys.reports(pool)]
    result = end.outcome, f"{end.duration_ms:.3f}", "" if end.code is None else end.code, end.observer
    return names, [end.endpoint, end.gen, end.token, *result, keys.REPORTS_LENGTH_MAX]


def granted(answer: Any) -> Grant | Refusal:
    """What grant_trial says. Raises ValueError for what it never says."""
    try:
        what, *rest = answer
        return Grant(*map(int, rest)) if what == b"granted" else Refusal(what.decode())
    except (TypeError, AttributeError, ValueError):
        raise ValueError(f"no answer of grant_trial: {shorten(repr(answer))}") from None


def ended(answer: Any) -> Ended:
    """What end_trial says. Raises ValueError for what it never says."""
    try:
        return Ended(answer.decode())
    except (AttributeError, ValueError):
        raise ValueError(f"no answer of end_trial: {shorten(repr(answer))}") from None
