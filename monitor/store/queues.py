"""The work queues: one table of what each is, and the rules that hold in every one of them.

A queue is a sorted set of members by time. An even score is a due time, an odd one the token of a lease: whoever claims a member
gets the end of his lease as its new score, and may finish it for as long as that score stands. A member whose lease has ended
without an end of its work falls due again with that odd score, so that the next holder knows that he takes it over.
A mark (something changed: do it afresh) always changes the score, so that whoever works from an earlier reading cannot finish it.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType

import msgspec

PROBE_QUEUE = "probe"
ALERT_QUEUE = "alert"
"""Queues of the broker, apart: apprise imports slowly and sleeps in its throttle."""
EARLY_MS = 25
"""How much before its time a member may be claimed by name: a process knows the server's time only as well as it read it last."""

JUDGING_GAP_MS = 10_000
"""After a longer pause between two claims of probes judging begins anew: nobody could assert an alert meanwhile."""
KNOWN_MS = 15_000
"""After a step of the server's time by so much later every process that lives has learnt of it, with one of its heartbeats."""
AHEAD_MS = 20_000
"""A version that lies further ahead of the time was given before a step back; one that lies further below it is of a later life, since
no event of alerts is routed so long after the one that followed it."""
WEIGHED_AGAIN_MS = 60_000
"""So much later than its alerts were written a pool that is at rest is weighed again."""


class Queue(StrEnum):
    """Work that falls due."""

    DIRTY = "dirty"
    """Pools to weigh and publish."""
    REEVALUATE = "reevaluate"
    """Endpoints to evaluate without a result: silence, `for`, `keep_firing_for`, re-assertion."""
    GROUPS = "groups"
    """Groups of alerts to flush."""
    DELIVERIES = "deliveries"
    """Notifications to send."""
    ASSERTIONS = "assertions"
    """Subjects whose alerts end unless they are asserted again."""
    TRAFFIC = "traffic"
    """Pools of which consumers have reported. Its key is public: whoever reports announces the pool there with the score 0."""


class QueueTraits(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of one queue.

    `lease_ms` is how long a holder has; `chunk` how many members one task carries; `task` the name of the Celery task and
    `broker_queue` the one it is published to. A queue that is not `per_slot` exists once.
    """

    per_slot: bool
    lease_ms: int
    chunk: int
    task: str
    broker_queue: str = ALERT_QUEUE


QUEUES: MappingProxyType[Queue, QueueTraits] = MappingProxyType(
    {
        Queue.DIRTY: QueueTraits(per_slot=True, lease_ms=5_000, chunk=100, task="weigh_pools"),
        Queue.REEVALUATE: QueueTraits(per_slot=True, lease_ms=10_000, chunk=100, task="reevaluate_endpoints"),
        Queue.GROUPS: QueueTraits(per_slot=False, lease_ms=10_000, chunk=20, task="flush_groups"),
        Queue.DELIVERIES: QueueTraits(per_slot=False, lease_ms=10_000, chunk=10, task="deliver"),
        Queue.ASSERTIONS: QueueTraits(per_slot=False, lease_ms=10_000, chunk=100, task="end_unasserted"),
        Queue.TRAFFIC: QueueTraits(per_slot=False, lease_ms=5_000, chunk=4, task="judge_traffic"),
    }
)


def due_time(at_ms: int) -> int:
    """A time as the score of a due member: rounded up to an even millisecond."""
    return at_ms + at_ms % 2


def at_once(now_ms: int) -> int:
    """The present as the score of a due member: rounded down, so that it is due."""
    return now_ms - now_ms % 2


def lease_token(end_ms: int) -> int:
    """The end of a lease as its token: rounded up to an odd millisecond."""
    return end_ms + 1 - end_ms % 2


def mark(score: int | None, at_ms: int) -> int:
    """The score of a member after a mark for `at_ms`, rounded down: no later than before, never the same, and even."""
    due_ms = at_once(at_ms)
    return due_ms if score is None else min(due_ms, score - (2 - score % 2))


def is_lease(score: int) -> bool:
    """Whether a score is the token of a lease, running or ended."""
    return score % 2 == 1
