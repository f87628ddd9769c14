"""When is a message that was not accepted tried again, and when is it given up?"""

from __future__ import annotations

import zlib

FIRST_MS = 500
FACTOR = 1.5
CAP_MS = 60_000
JITTER = 0.5
ATTEMPTS_MAX = 50
RETRY_AFTER_MAX_MS = 3_600_000


def backoff_ms(delivery_id: str, attempts: int) -> int:
    """Pause after so many failed attempts: 0.5 s, then half as much again each time, at most 60 s; give or take half of it.

    The jitter comes from the delivery and the attempt, so that a decision replays.
    """
    pause_ms = min(FIRST_MS * FACTOR ** min(attempts - 1, 32), CAP_MS)
    spread = zlib.crc32(f"{delivery_id}:{attempts}".encode()) / 0xFFFFFFFF * 2 - 1
    return min(int(pause_ms * (1 + JITTER * spread)), CAP_MS)


def next_attempt_ms(
    delivery_id: str,
    *,
    attempts: int,
    created_ms: int,
    now_ms: int,
    retry_for_ms: int,
    permanent: bool = False,
    retry_after_ms: int | None = None,
) -> int | None:
    """When to try again after a failed attempt, or None: give up, so that the group's next tick decides afresh.

    `attempts` counts the failed one; `retry_for_ms` is how long after `created_ms` an attempt may still begin (GroupMeta.retry_for_ms).
    A service's Retry-After is honoured beyond that, up to an hour.
    """
    if permanent or attempts >= ATTEMPTS_MAX:
        return None
    if retry_after_ms is not None:
        return now_ms + max(min(retry_after_ms, RETRY_AFTER_MAX_MS), FIRST_MS)
    at_ms = now_ms + backoff_ms(delivery_id, attempts)
    return at_ms if at_ms <= created_ms + retry_for_ms else None
