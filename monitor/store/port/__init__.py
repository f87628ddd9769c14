"""The store as the rest of the house sees it. Two homes keep it: `redis` (the real one) and `memory` (the shipped fake).

One contract suite, tests/contract, runs on both. Every write is conditional on a token or a version and safe to repeat.
Times are whole milliseconds. Values are bytes that the caller has encoded: the store knows nothing of their shape.
All methods raise StoreError when the store cannot be reached or refuses.

Each part has one name in three places: here with its types, in `redis` and in `memory`.
"""

from __future__ import annotations

from typing import Protocol

from monitor.core.history import RowWrite as Write
from monitor.store.port.alerts import (
    AlertPhase,
    AlertPort,
    AssertedAlert,
    DeliveryRow,
    EndedAlert,
    Flush,
    GroupLoad,
    Membership,
    NewDelivery,
    Settle,
    StoredAlert,
    SubjectAssertion,
)
from monitor.store.port.aside import AsidePort, SetAside
from monitor.store.port.life import NO_EPOCH, Epoch, EpochEnded, LifePort
from monitor.store.port.pools import Member, PoolLoad, PoolPort, Publication, refused
from monitor.store.port.probes import Asked, Claim, Claimed, Commit, Committed, Loaded, ProbePort
from monitor.store.port.processes import ProcessPort
from monitor.store.port.queues import Lease, QueuePort
from monitor.store.port.reading import ReadingPort
from monitor.store.port.registry import (
    Entry,
    PoolPut,
    PoolRemoval,
    Put,
    RegistryAnswer,
    RegistryChanges,
    RegistryPort,
    Removal,
    Renaming,
    digest,
)
from monitor.store.port.traffic import Traffic, TrafficCommit, TrafficPort
from monitor.store.port.trials import Ended, Grant, Refusal, TrialEnd, TrialPort
from monitor.store.queues import Queue

__all__ = [
    "NO_EPOCH",
    "AlertPhase",
    "Asked",
    "AssertedAlert",
    "Claim",
    "Claimed",
    "Commit",
    "Committed",
    "DeliveryRow",
    "Ended",
    "EndedAlert",
    "Entry",
    "Epoch",
    "EpochEnded",
    "Flush",
    "Grant",
    "GroupLoad",
    "Lease",
    "Loaded",
    "Member",
    "Membership",
    "NewDelivery",
    "PoolLoad",
    "PoolPut",
    "PoolRemoval",
    "Publication",
    "Put",
    "Queue",
    "Refusal",
    "RegistryAnswer",
    "RegistryChanges",
    "Removal",
    "Renaming",
    "SetAside",
    "Settle",
    "Store",
    "StoredAlert",
    "SubjectAssertion",
    "Traffic",
    "TrafficCommit",
    "TrialEnd",
    "Write",
    "digest",
    "refused",
]


class Store(
    LifePort, RegistryPort, ProbePort, QueuePort, PoolPort, TrafficPort, TrialPort, AlertPort, AsidePort, ReadingPort, ProcessPort, Protocol
):
    """See the package's text. `slots` is the number of slots of the data set."""

    slots: int
