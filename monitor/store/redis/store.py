"""The store on a Redis-protocol server (Redis 6.2 or later, Valkey).

Every change of an endpoint, of a queue or of a group is one script (lua/), fenced by a token or a version, with all its keys
declared and, but for the registry's, under one hash tag. What a script packs into one argument is MessagePack.
"""

from __future__ import annotations

from monitor.store.redis.alerts import AlertCalls
from monitor.store.redis.aside import AsideCalls
from monitor.store.redis.life import LifeCalls
from monitor.store.redis.pools import PoolCalls
from monitor.store.redis.probes import ProbeCalls
from monitor.store.redis.processes import ProcessCalls
from monitor.store.redis.queues import QueueCalls
from monitor.store.redis.reading import ReadingCalls
from monitor.store.redis.registry import RegistryCalls
from monitor.store.redis.traffic import TrafficCalls
from monitor.store.redis.trials import TrialCalls


class RedisStore(
    LifeCalls,
    RegistryCalls,
    ProbeCalls,
    QueueCalls,
    PoolCalls,
    TrafficCalls,
    TrialCalls,
    AlertCalls,
    AsideCalls,
    ReadingCalls,
    ProcessCalls,
):
    """See port.Store. Use it from one event loop at a time, between `open` and `close`.

    `slots` is the number that the data set must have; None takes whatever it has, and SLOTS_DEFAULT where it is made.
    """
