"""Every key that Watchkeeper keeps in Redis: the only place where a key's name is spelled.

{s0}, {s1} ... are slots: an endpoint lives in slot crc32(id) % slots, and everything that one commit
writes lives in one slot, so that one script can do it. The number of slots is fixed when a data set is made.

Public contract (published state, read by consumers; see docs/reference/keys.md)
key                      type    TTL     cap             writer              reader
wk:v1:{pool}:snap        string  *       members         pipeline.publish    consumers, exporters
wk:v1:{pool}:log         stream  *       LOG_LENGTH_MAX  pipeline.publish    consumers
wk:v1:{pool}:ch          channel                         pipeline.publish    consumers
wk:v1:pools              set     -       pools           registry, publish   consumers
wk:v1:alive              string  15 s                    worker processes    consumers, web
* none while the pool exists; the tombstone of a removed pool stays for MAX_STALE_MS, so that every consumer sees it

Internal (may change with any release)
wk:i:{sN}:spec           hash    id -> Endpoint JSON                         registry -> workers, cli
wk:i:{sN}:plan           hash    id -> "interval:phase:lease:delay" (ms), none while paused   registry -> claim and commit scripts
wk:i:{sN}:rev            string  grows with every change in the slot         registry -> claim script, workers
wk:i:{sN}:due            zset    id -> due ms (even), or lease token (odd) while claimed   registry, claim, commit
wk:i:{sN}:rec            hash    id -> "<ver 13 digits>" + Record JSON       commit -> workers, cli, web
wk:i:{sN}:mem            hash    id -> what the alert rules remember of it, JSON   commit -> workers, cli, web
wk:i:{sN}:judged         zset    pool -> ms until which its newest result vouches for it   commit, registry -> alive
wk:i:{sN}:log:<id>       list    its own transitions, OWN_LOG_LENGTH_MAX     commit, registry -> cli, web
wk:i:{sN}:ovr            hash    id -> OverrideRecord JSON                   registry -> workers, cli
wk:i:{sN}:reevaluate          zset    id -> ms at which it must be looked at without a result (no data, `for`)
wk:i:{sN}:ring:<id>      string  last results, cap in core/history           commit -> cli, web
wk:i:{sN}:min|hour|day:<id>  string  rollup rows, caps in core/history       commit -> cli, web
wk:i:{sN}:events         stream  transitions, EVENTS_LENGTH_MAX              commit, registry -> cli
wk:i:{sN}:alerts         stream  alert events not yet put into groups, ALERTS_LENGTH_MAX   commit -> route_alerts
wk:i:{sN}:routing        string  token of who puts the stream into groups, TTL = its lease
wk:i:{sN}:pool:<name>    set     ids of the pool's members in this slot      registry -> publish
wk:i:{sN}:dirty          zset    pool -> ms at which to weigh it again       commit, registry -> publish
wk:i:{reg}:pools         hash    pool -> Pool JSON                           registry -> workers, cli
wk:i:{s0}:subjects       hash    "pool:<name>" or "system" -> "<ver 13 digits>" + body JSON   commit_subject
wk:i:{alerts}:groups     zset    group key -> next flush ms, or lease token while claimed
wk:i:{alerts}:g:<key>    hash    "meta" -> GroupMeta JSON, "a:<fingerprint>" -> "<updated ms 13 digits>" + Alert JSON,
                                 "n:<integration>" -> LogEntry JSON, "d:<integration>" -> id of the delivery under way
wk:i:{alerts}:out        zset    delivery id -> due ms, or lease token while claimed
wk:i:{alerts}:d:<id>     string  Delivery JSON
wk:i:{alerts}:sent       stream  notifications sent or given up, SENT_LENGTH_MAX
wk:i:{sys}:procs         hash    "<part>:<host>:<pid>" -> "<server ms 13 digits>" + Process JSON (heartbeat; stale ones are swept)
wk:i:{sys}:epoch         hash    run_id, epoch
wk:i:{sys}:counters      hash    counters for /metrics
wk:i:{sys}:slots         string  number of slots of this data set            init, up, heartbeats -> everybody
"""

from __future__ import annotations

import zlib

from monitor.core.errors import ConfigError, NoDataSetError, Problem, StoreError

LOG_LENGTH_MAX = 1_000
EVENTS_LENGTH_MAX = 10_000
ALERTS_LENGTH_MAX = 100_000
SENT_LENGTH_MAX = 1_000
ALIVE_TTL_MS = 15_000
CLAIM_MAX = 2_000
"""Most members that one claim takes."""
OWN_LOG_LENGTH_MAX = 50
VERSION_DIGITS = 13
UNREADABLE = -1
"""The version of a record whose version cannot be read."""
UPDATED_DIGITS = 13
SLOTS_DEFAULT = 1
"""The number of slots of a data set that is made by somebody who names none."""

POOLS = "wk:v1:pools"
ALIVE = "wk:v1:alive"
REGISTRY_POOLS = "wk:i:{reg}:pools"
SUBJECTS = "wk:i:{s0}:subjects"
GROUPS = "wk:i:{alerts}:groups"
DELIVERIES = "wk:i:{alerts}:out"
SENT = "wk:i:{alerts}:sent"
PROCESSES = "wk:i:{sys}:procs"
EPOCH = "wk:i:{sys}:epoch"
COUNTERS = "wk:i:{sys}:counters"
SLOTS = "wk:i:{sys}:slots"


def read_slots(marker: bytes | None, wanted: int | None) -> int:
    """The number of slots of a data set. NoDataSetError where there is none, ConfigError where it is not the one that is `wanted`."""
    if marker is None:
        raise NoDataSetError("there is no data set yet; `watchkeeper up` or `watchkeeper init` makes it")
    if not marker.isdigit():
        raise StoreError(f"the number of slots cannot be read: {marker[:20]!r}")
    slots = int(marker)
    if wanted is not None and slots != wanted:
        hint = f"leave the setting out, or give {slots}; another number needs another data set"
        raise ConfigError([Problem("", "slots", str(wanted), f"the data set has {slots}, and that cannot change", hint)])
    return slots


def slot_of(endpoint_id: str, slots: int) -> int:
    """The slot in which an endpoint lives."""
    return zlib.crc32(endpoint_id.encode()) % slots if slots > 1 else 0


def in_slot(slot: int, name: str) -> str:
    """A slot's key: spec, plan, rev, due, rec, ovr, watch, events, alerts, dirty."""
    return f"wk:i:{{s{slot}}}:{name}"


def of_endpoint(slot: int, name: str, endpoint_id: str) -> str:
    """An endpoint's own key: ring, min, hour, day, log."""
    return f"wk:i:{{s{slot}}}:{name}:{endpoint_id}"


def members(slot: int, pool: str) -> str:
    return f"wk:i:{{s{slot}}}:pool:{pool}"


def snapshot(pool: str) -> str:
    return f"wk:v1:{{{pool}}}:snap"


def log(pool: str) -> str:
    return f"wk:v1:{{{pool}}}:log"


def channel(pool: str) -> str:
    return f"wk:v1:{{{pool}}}:ch"


def group(key: str) -> str:
    return f"wk:i:{{alerts}}:g:{key}"


def delivery(delivery_id: str) -> str:
    return f"wk:i:{{alerts}}:d:{delivery_id}"


def version_text(ver: int) -> str:
    """A version as it stands before a body; that of what cannot be read is told apart by its sign."""
    return f"{ver:0{VERSION_DIGITS}d}"


def split_version(held: bytes | None) -> tuple[int, bytes]:
    """The version and the body of a versioned value; UNREADABLE and all of it where it has none, 0 and b"" for nothing."""
    if not held:
        return 0, b""
    head = held[:VERSION_DIGITS]
    return (int(head), held[VERSION_DIGITS:]) if len(head) == VERSION_DIGITS and head.isdigit() else (UNREADABLE, held)
