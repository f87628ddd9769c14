"""What is known of a pool's members, as far as it can be read."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from monitor.core.record import EMPTY, NO_EVIDENCE, decode_override, decode_record
from monitor.pool.compose import MemberState, override_of
from monitor.pool.snapshot import Snapshot
from monitor.pool.traffic.shapes import decode_field
from monitor.store.entries import read_endpoint
from monitor.store.port import Member, Traffic
from workers.journey.quarantine import Quarantine

NO_TRAFFIC = Traffic()


def read_states(
    quarantine: Quarantine, members: Sequence[Member], previous: Snapshot | None, traffic: Traffic = NO_TRAFFIC, now_ms: int = 0
) -> list[MemberState]:
    """The members that can be read, with what their `traffic` shows now. One whose record cannot be read is UNKNOWN; where an override
    cannot be read, the operator's word that is published holds on. What cannot be read waits for the quarantine's `flush`."""
    states = []
    for member in members:
        if not member.spec:  # Nothing is registered under this name.
            continue
        endpoint = quarantine.read("endpoint", member.id, member.spec, functools.partial(read_endpoint, member.id))
        if endpoint is None:
            continue
        record = quarantine.read("record", member.id, member.record, decode_record) or EMPTY
        override = quarantine.read("override", member.id, member.override, decode_override)
        field = quarantine.read("traffic", member.id, traffic.fields.get(member.id, b""), decode_field)
        shown = field.evidence.for_weights(now_ms) if field is not None else NO_EVIDENCE
        states.append(MemberState(endpoint, record, override_of(override, member.override, previous, member.id), shown))
    return states
