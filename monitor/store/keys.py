"""Every key that Watchkeeper keeps in Redis: the only place where a key's name is spelled.

{s0}, {s1} ... are slots: an endpoint lives in slot crc32(id) % slots, and everything that one commit
writes lives in one slot, so that one script can do it. The number of slots is fixed when a data set is made.

Public contract (published state, read by consumers; see docs/reference/keys.md)
key                      type    TTL     cap             writer              reader
wk:v1:{pool}:snap        string  *       members         journey publish     consumers, exporters
wk:v1:{pool}:log         stream  *       LOG_LENGTH_MAX  journey publish     consumers
wk:v1:{pool}:ch          channel                         journey publish     consumers
wk:v1:pools              set     -       pools           journey publish     consumers
wk:v1:alive              string  15 s    LAGGING_MAX     worker processes    consumers
                                 "<server ms>", followed by " [<names of pools that lag>]" where some do; "0" where nothing is judged
wk:v1:{pool}:trials      hash    *       members         journey publish     consumers
                                 id -> "gen permitted concurrent lease_ms" of each endpoint that users may try
wk:v1:{pool}:trials:issued  hash  *      members         consumers (grant_trial, end_trial)   the same, cli
                                 id -> "gen issued lost ok failed"
wk:v1:{pool}:trial:<id>  zset    2 leases  CONCURRENT_MAX   consumers (grant_trial, end_trial)   the same, cli
                                 "gen:<observer>/<rest of the token>" -> end of its lease (ms)
wk:v1:{pool}:reports     stream  1 d     REPORTS_LENGTH_MAX  consumers       journey traffic
wk:v1:reports            zset    -       pools           consumers, journey traffic   journey traffic
                                 pool -> 0 (a consumer announces reports), ms at which to judge them, or lease token while claimed
* none while the pool exists; the tombstone of a removed pool stays for MAX_STALE_MS, so that every consumer sees it; terms and counts of
  trials stay until the endpoint must have left HALF_OPEN, and a few leases more

Internal (may change with any release; a key whose type changes gets another name)
wk:i:{sN}:spec           hash    id -> Endpoint JSON                         registry -> workers, cli
wk:i:{sN}:plan           hash    id -> "interval:phase:lease:delay" (ms), none while paused   registry, realign -> claim, commit scripts
wk:i:{sN}:rev            string  grows with every change in the slot         registry -> claim script, workers
wk:i:{sN}:pace           hash    last: ms of the last claim of probes; since: ms since when claims come without a gap; back: by how much
                                 the server's time has stepped back and is not yet made good; by, from: the last step, and beyond
                                 which ms what those wrote who did not know of it is made good at known; result: ms of the last
                                 result; gap: the last long pause (ms) between two results, which ended at resumed
                                 claim_probes, realign, commit
wk:i:{sN}:due            zset    id -> due ms (even), or lease token (odd) while claimed   registry, ask_probe, claim, commit
wk:i:{sN}:rec            hash    id -> "<ver 13 digits>" + Record JSON       commit -> workers, cli, web
wk:i:{sN}:mem            hash    id -> what the alert rules remember of it, JSON   commit -> workers, cli, web
wk:i:{sN}:alerting       set     ids of endpoints whose rules hold an alert, pending or firing   commit -> cli, web
wk:i:{sN}:judged         zset    pool -> ms until which its newest result vouches for it   commit, registry -> alive
wk:i:{sN}:log:<id>       list    its own transitions, OWN_LOG_LENGTH_MAX     commit, registry -> cli, web
wk:i:{sN}:ovr            hash    id -> OverrideRecord JSON                   registry -> workers, cli
wk:i:{sN}:reevaluate     zset    id -> ms at which to re-evaluate it without a result (no data, `for`)
wk:i:{sN}:ring:<id>      string  last results, cap in core/history           commit -> cli, web
wk:i:{sN}:min|hour|day:<id>  string  rollup rows, caps in core/history       commit -> cli, web
wk:i:{sN}:events         stream  transitions, EVENTS_LENGTH_MAX              commit, registry -> cli
wk:i:{sN}:alerts         stream  assertions not yet taken in, ALERTS_LENGTH_MAX   commit -> route
wk:i:{sN}:routing        string  token of who puts the stream into groups, TTL = its lease
wk:i:{sN}:pool:<name>    set     ids of the pool's members in this slot      registry -> publish
wk:i:{sN}:dirty          zset    pool -> ms at which to weigh it again       commit, registry -> publish
wk:i:{sN}:unpublished    hash    pool -> "<first ms>:<last ms>" of failures to publish it, forgotten after ALIVE_TTL_MS   publish -> alive
wk:i:{pool}:traffic      hash    "" -> "<ver 13 digits>" + TrafficHead JSON, endpoint id -> EndpointTraffic JSON   traffic -> publish, cli
wk:i:{pool}:traffic:min:<id>  string  minutes of an endpoint's traffic, caps in core/history; 3 h   journey traffic -> cli
wk:i:{reg}:pools         hash    pool -> Pool JSON                           registry -> workers, cli
wk:i:{reg}:rev           string  grows with pools' settings, removals and what endpoints depend on   registry -> registry
wk:i:{s0}:subjects       hash    "pool:<name>" or "system" -> "<ver 13 digits>" + body JSON, taken out with the pool   commit_subject
wk:i:{s0}:subjects:alerting  set  those of them whose rules hold an alert, pending or firing   commit_subject -> cli, web
wk:i:{alerts}:alerts     hash    fingerprint -> "<ver 13 digits>" + Alert JSON, once, until it has ended and no group refers to it
wk:i:{alerts}:of         hash    fingerprint -> subject that asserts it
wk:i:{alerts}:held       hash    fingerprint -> how many groups refer to it, none while it is 0
wk:i:{alerts}:open       zset    fingerprint -> start ms, of those that fire without a known end
wk:i:{alerts}:ends       zset    fingerprint -> end ms, reached (resolved) or still to come (firing until then)
wk:i:{alerts}:ended      hash    fingerprint -> why it ended, where it is not its condition
wk:i:{alerts}:asserted   hash    subject -> "<ver 13 digits>" + fingerprints of its last assertion, space-separated
wk:i:{alerts}:assertions zset    subject -> ms at which its alerts end unless they are asserted again, or lease token while claimed
wk:i:{alerts}:ticks      zset    group key -> next tick ms, or lease token while claimed
wk:i:{alerts}:group:<key>  hash  "meta" -> GroupMeta JSON, "a:<fingerprint>" -> "", "n:<place>" -> LogEntry JSON,
                                 "d:<place>" -> id of the delivery in flight; a place is an integration, one of its services or recipients
wk:i:{alerts}:outbox     zset    delivery id -> due ms, or lease token while claimed
wk:i:{alerts}:row:<id>   hash    "row" -> Delivery JSON, "group" -> group key, "place" -> its service's place in the group's log
wk:i:hints               channel "alerts <slot>": its stream has events; a hint only   commit, commit_subject, forget -> alert workers
wk:i:{alerts}:pace       hash    last: ms when the queues were last held against the time; by, from, known as above   realign
wk:i:{alerts}:sent       stream  notifications sent or given up, SENT_LENGTH_MAX
wk:i:{sys}:procs         hash    "<part>:<host>:<pid>" -> "<server ms 13 digits>" + Process JSON (heartbeat; stale ones are swept)
wk:i:{sys}:epoch         hash    run_id, epoch, publications (so many in this epoch)   publish, epoch scripts
wk:i:{sys}:counters      hash    counters for /metrics
wk:i:{sys}:aside         hash    "<kind> <key>" -> SetAside MessagePack, ASIDE_MAX   journey -> cli, web
wk:i:{sys}:slots         string  number of slots of this data set            init, up, heartbeats -> everybody

The broker's (kombu's, in its own format; a message is a hint, and may be lost)
probe                    list    messages for probe workers                  beat -> workers
alert                    list    messages for alert workers                  beat -> alert workers
_kombu.binding.<queue>   set     where messages for a queue go               beat -> beat
_kombu.binding_permanent.<queue>  set  those of them that stay               beat -> beat
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

from monitor.core.endpoint import SLOTS_MAX
from monitor.core.errors import ConfigError, NoDataSetError, Problem, StoreError
from monitor.core.schedule import FRESH_MS
from monitor.store.names import stored
from monitor.store.queues import ALERT_QUEUE, PROBE_QUEUE

LOG_LENGTH_MAX = 1_000
EVENTS_LENGTH_MAX = 10_000
ALERTS_LENGTH_MAX = 100_000
SENT_LENGTH_MAX = 1_000
ALIVE_TTL_MS = FRESH_MS
REPORTS_LENGTH_MAX = 10_000
"""About so many entries of consumers wait to be judged; then the oldest go."""
REPORTS_READ_BYTES_MAX = 4_194_304
"""After so many bytes of entries one reading of them ends."""
TRAFFIC_TTL_MS = 86_400_000
"""What is known of a pool's traffic goes when nothing was reported for so long."""
TRAFFIC_MINUTES_TTL_MS = 10_800_000
"""Longer than the minutes that are kept."""
LAGGING_MAX = 1_000
"""Most pools that a heartbeat names; where more lag it vouches for none."""
CLAIM_MAX = 2_000
"""Most members that one claim takes."""
OWN_LOG_LENGTH_MAX = 50
TOLD_MAX = 100
"""Among so many of the newest events is one sought that belongs to no entry, so that what is repeated is told once."""
ASIDE_MAX = 1_000
ASIDE_BYTES_MAX = 65_536
"""Of what cannot be read so many bytes are kept."""
VERSION_DIGITS = 13
UNREADABLE = -1
"""The version of a record whose version cannot be read."""
SLOTS_DEFAULT = 1
"""The number of slots of a data set that is made by somebody who names none."""

POOLS = "wk:v1:pools"
ALIVE = "wk:v1:alive"
REPORTS = "wk:v1:reports"
REGISTRY_POOLS = "wk:i:{reg}:pools"
REGISTRY_REVISION = "wk:i:{reg}:rev"
SUBJECTS = "wk:i:{s0}:subjects"
ALERTING_SUBJECTS = "wk:i:{s0}:subjects:alerting"
HINTS = "wk:i:hints"
ALERT_STORE = tuple(f"wk:i:{{alerts}}:{name}" for name in ("alerts", "of", "held", "open", "ends", "ended"))
"""In the order in which the scripts take them (lua/shared/alerts.lua)."""
ALERT_ENDS = ALERT_STORE[4]
ASSERTED = "wk:i:{alerts}:asserted"
ASSERTIONS = "wk:i:{alerts}:assertions"
GROUPS = "wk:i:{alerts}:ticks"
DELIVERIES = "wk:i:{alerts}:outbox"
ALERTS_PACE = "wk:i:{alerts}:pace"
SENT = "wk:i:{alerts}:sent"
PROCESSES = "wk:i:{sys}:procs"
EPOCH = "wk:i:{sys}:epoch"
COUNTERS = "wk:i:{sys}:counters"
ASIDE = "wk:i:{sys}:aside"
SLOTS = "wk:i:{sys}:slots"

REFILLED_IN_SLOT = {
    "rev": "string",
    "pace": "hash",
    "plan": "hash",
    "due": "zset",
    "rec": "hash",
    "mem": "hash",
    "alerting": "set",
    "judged": "zset",
    "reevaluate": "zset",
    "events": "stream",
    "alerts": "stream",
    "routing": "string",
    "dirty": "zset",
    "unpublished": "hash",
}
REFILLED = {
    PROBE_QUEUE: "list",
    ALERT_QUEUE: "list",
    **{f"_kombu.{kind}.{queue}": "set" for kind in ("binding", "binding_permanent") for queue in (PROBE_QUEUE, ALERT_QUEUE)},
    POOLS: "set",
    ALIVE: "string",
    REPORTS: "zset",
    REGISTRY_REVISION: "string",
    SUBJECTS: "hash",
    ALERTING_SUBJECTS: "set",
    **dict(zip(ALERT_STORE, ("hash", "hash", "hash", "zset", "zset", "hash"), strict=True)),
    ASSERTED: "hash",
    ASSERTIONS: "zset",
    GROUPS: "zset",
    DELIVERIES: "zset",
    ALERTS_PACE: "hash",
    SENT: "stream",
    PROCESSES: "hash",
    EPOCH: "hash",
    COUNTERS: "hash",
    ASIDE: "hash",
    SLOTS: "string",
}
"""Keys that many need and that our processes fill again by themselves, with their types: where one holds another type, what it held is
lost already, and it is deleted (lua/drop_foreign.lua). What people have said (spec, ovr, their pools) is not among them."""


def read_slots(marker: bytes | None, wanted: int | None) -> int:
    """The number of slots of a data set. NoDataSetError where there is none, ConfigError where it is not the one that is `wanted`."""
    if marker is None:
        raise NoDataSetError("there is no data set yet; `watchkeeper up` or `watchkeeper init` makes it")
    if not marker.isdigit() or not 1 <= int(marker[:9]) <= SLOTS_MAX:
        raise StoreError(f"the number of slots cannot be read: {marker[:20]!r}")
    slots = int(marker)
    if wanted is not None and slots != wanted:
        hint = f"leave the setting out, or give {slots}; another number needs another data set"
        raise ConfigError([Problem("", "slots", str(wanted), f"the data set has {slots}, and that cannot change", hint)])
    return slots


def slot_of(endpoint_id: str, slots: int) -> int:
    """The slot in which an endpoint lives."""
    return zlib.crc32(stored(endpoint_id)) % slots if slots > 1 else 0


def in_slot(slot: int, name: str) -> str:
    """A slot's key, by its name in the legend: spec, plan, rev and so on."""
    return f"wk:i:{{s{slot}}}:{name}"


def of_endpoint(slot: int, name: str, endpoint_id: str) -> str:
    """An endpoint's own key: ring, min, hour, day, log."""
    return f"wk:i:{{s{slot}}}:{name}:{endpoint_id}"


def members(slot: int, pool: str) -> str:
    """The set of a pool's members in one slot."""
    return f"wk:i:{{s{slot}}}:pool:{pool}"


def snapshot(pool: str) -> str:
    """A pool's published snapshot."""
    return f"wk:v1:{{{pool}}}:snap"


def log(pool: str) -> str:
    """The stream of a pool's published deltas."""
    return f"wk:v1:{{{pool}}}:log"


def channel(pool: str) -> str:
    """The channel of hints that a pool has a new version."""
    return f"wk:v1:{{{pool}}}:ch"


def trials(pool: str) -> str:
    """Who may try which HALF_OPEN endpoint of a pool."""
    return f"wk:v1:{{{pool}}}:trials"


def trials_issued(pool: str) -> str:
    """What became of the permits of a pool's trials."""
    return f"wk:v1:{{{pool}}}:trials:issued"


def trial(pool: str, endpoint_id: str) -> str:
    """The live tokens of an endpoint."""
    return f"wk:v1:{{{pool}}}:trial:{endpoint_id}"


def reports(pool: str) -> str:
    """The stream in which consumers report on a pool."""
    return f"wk:v1:{{{pool}}}:reports"


def traffic(pool: str) -> str:
    """What is known of a pool's traffic, by endpoint."""
    return f"wk:i:{{{pool}}}:traffic"


def traffic_minutes(pool: str, endpoint_id: str) -> str:
    """The minutes of an endpoint's traffic."""
    return f"wk:i:{{{pool}}}:traffic:min:{endpoint_id}"


def group(key: str) -> str:
    """A group of alerts, by its key."""
    return f"wk:i:{{alerts}}:group:{key}"


def delivery(delivery_id: str) -> str:
    """A row of the outbox, by its id."""
    return f"wk:i:{{alerts}}:row:{delivery_id}"


def heartbeat_value(now_ms: int, lagging: Sequence[str]) -> str:
    """The evaluators' heartbeat: the server's time, and the pools that it does not vouch for."""
    return f"{now_ms} {json.dumps(lagging, separators=(',', ':'))}" if lagging else str(now_ms)


def version_text(ver: int) -> str:
    """A version as it stands before a body; that of what cannot be read is told apart by its sign."""
    return f"{ver:0{VERSION_DIGITS}d}"


def split_version(held: bytes | None) -> tuple[int, bytes]:
    """The version and the body of a versioned value; UNREADABLE and all of it where it has none, 0 and b"" for nothing."""
    if not held:
        return 0, b""
    head = held[:VERSION_DIGITS]
    return (int(head), held[VERSION_DIGITS:]) if len(head) == VERSION_DIGITS and head.isdigit() else (UNREADABLE, held)


def aside_field(kind: str, key: str) -> bytes:
    """The field under which a copy of what cannot be read is kept."""
    return stored(f"{kind} {key}" if key else kind)
