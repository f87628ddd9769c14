"""What is known of a pool's members, as far as it can be read."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from monitor.core.record import EMPTY, decode_override, decode_record
from monitor.pool.compose import MemberState, override_of
from monitor.pool.snapshot import Snapshot
from monitor.store.entries import read_endpoint
from monitor.store.port import Member
from workers.journey.quarantine import Quarantine


def read_states(quarantine: Quarantine, members: Sequence[Member], previous: Snapshot | None) -> list[MemberState]:
    """The members that can be read. One whose record cannot be read is UNKNOWN; where an override cannot be read, the operator's
    word that is published holds on. What cannot be read waits for the quarantine's `flush`."""
    states = []
    for member in members:
        if not member.spec:  # Nothing is registered under this name.
            continue
        endpoint = quarantine.read("endpoint", member.id, member.spec, functools.partial(read_endpoint, member.id))
        if endpoint is None:
            continue
        record = quarantine.read("record", member.id, member.record, decode_record) or EMPTY
        override = quarantine.read("override", member.id, member.override, decode_override)
        states.append(MemberState(endpoint, record, override_of(override, member.override, previous, member.id)))
    return states
