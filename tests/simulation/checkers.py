"""What must hold however bad the weather was. Each checker reads the outside's view and the store, and returns its complaints."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from monitor.core.endpoint import Endpoint, Pool
from monitor.core.history import MINUTE, RING_LENGTH, open_rows, read_rows, read_samples
from monitor.core.record import EMPTY, Record, Transition, decode_override, decode_record
from monitor.core.schedule import LEASE_SLACK_MS
from monitor.pool.balancer import Weighing
from monitor.pool.compose import MemberState, compose, decode_snapshot
from monitor.pool.snapshot import TTL_MS, WEIGHT_SUM, Delta, Snapshot, fold
from monitor.store.queues import Queue
from tests.simulation.network import run_now
from tests.simulation.server import EPOCH_MS
from tests.simulation.world import World

T = TypeVar("T")

STEPPED_MS = 15_000
"""Within this time after a step of the server's time what lies ahead is brought back, and so is until when a pool is vouched for."""
LAG_MAX = 0.25
"""Part of a base share by which a published weight may differ from what the evidence gives at this moment: a step of latency moves it by
up to 18 % where probes are frequent, and so may the steps of others that it is compared with."""
LATE_MS = 20_000
"""So much later than it was sent a request may still be served: a claim, say, whose caller has given it up."""
SETTLED_MS = 6_000
"""A pool that is to be weighed within this time need not be published as it is now."""


def endpoints(world: World) -> dict[str, Endpoint]:
    return run_now(world.server.endpoints())


def record_of(world: World, name: str) -> Record:
    """An endpoint's record; one that cannot be read counts as none, for us as for whoever decides."""
    return read(decode_record, run_now(world.server.load([name]))[0].record) or EMPTY


def read(decode: Callable[[bytes], T], data: bytes) -> T | None:
    try:
        return decode(data)
    except Exception:
        return None


def damaged(world: World, *kinds: str) -> set[str]:
    return {damage.key for damage in world.seen.damages if not kinds or damage.kind in kinds}


def nothing_was_left_uncaught(world: World) -> Iterator[str]:
    yield from world.seen.errors


def no_claim_is_settled_twice(world: World) -> Iterator[str]:
    """A probe may run twice; its result counts once."""
    for claim, count in world.seen.settled.items():
        if count > max(1, world.seen.claimed[claim]):
            yield f"{claim[1]}: the claim {claim[2]} was settled {count} times"


def nothing_is_probed_after_its_lease(world: World) -> Iterator[str]:
    """Whoever comes too late leaves the probe to whoever has it now."""
    yield from world.seen.late


def nobody_is_forgotten(world: World) -> Iterator[str]:
    """Every endpoint is probed again within two intervals, and a lease for each claim in a row that the weather may bring to nothing."""
    starts = defaultdict(list)
    for start in world.seen.starts:
        starts[start.endpoint].append(start.at_ms)
    end_ms = world.loop.now_ms()
    for name, endpoint in endpoints(world).items():
        if endpoint.paused:
            continue
        lease_ms = endpoint.attempts_budget_ms + LEASE_SLACK_MS
        turn_ms = 2 * endpoint.interval_ms + 1_000
        late_ms = turn_ms + 2 * lease_ms + (STEPPED_MS if world.weather.server_steps_s else 0)
        late_ms += LATE_MS if world.weather.store_late or world.weather.outage_s else 0
        calm = [world.calm_at_ms + late_ms, *(at for at in starts[name] if at > world.calm_at_ms + late_ms), end_ms]
        yield from _gaps(name, calm, turn_ms, "in the calm")
        if world.weather.steady and not world.weather.operate_every_s and name not in damaged(world):
            allowed_ms = turn_ms + round(world.weather.ours_s) * 1000
            yield from _gaps(name, [0, *starts[name]], allowed_ms + 4_000, "in the weather")


def _gaps(name: str, times: list[int], allowed_ms: int, when: str) -> Iterator[str]:
    before, after = max(itertools.pairwise(times), key=lambda pair: pair[1] - pair[0])
    if after - before > allowed_ms:
        yield f"{name} was not probed for {after - before} ms {when} (from {before}), allowed are {allowed_ms}"


def transitions_form_a_chain(world: World) -> Iterator[str]:
    """No transition is lost or duplicated: each begins where the last one ended, and the generation grows by one."""
    last: dict[str, tuple[str, int]] = {}
    anew = damaged(world, "record", "version", "endpoint") | world.operators.removed
    for _, data in run_now(world.server.events(1_000_000)):
        transition = msgspec.json.decode(data, type=Transition)
        if transition.kind != "breaker":
            continue
        state, gen = last.get(transition.endpoint, ("CLOSED", 0))
        follows = (transition.old, transition.gen) == (state, gen + 1)
        begins = transition.endpoint in anew and (transition.old, transition.gen) == ("CLOSED", 1)
        if not follows and not begins:
            yield f"{transition.endpoint}: {transition.old} -> {transition.new} (gen {transition.gen}) after {state} (gen {gen})"
        last[transition.endpoint] = (transition.new, transition.gen)
    for name in endpoints(world):
        record = record_of(world, name)
        state, gen = last.get(name, ("CLOSED", 0))
        if name not in anew and (record.breaker.state, record.breaker.gen) != (state, gen):
            yield f"{name} is {record.breaker.state} (gen {record.breaker.gen}), the last transition led to {state} (gen {gen})"


def words_form_a_chain(world: World) -> Iterator[str]:
    """Each override and each pause names what it took the place of, and nobody's word got lost between two."""
    last: dict[tuple[str, str], str] = {}
    spoilt = damaged(world, "override", "endpoint")
    for _, data in run_now(world.server.events(1_000_000)):
        transition = msgspec.json.decode(data, type=Transition)
        if transition.new in {"REMOVED", "REGISTERED"}:
            last = {key: state for key, state in last.items() if key[1] != transition.endpoint}
        if transition.kind == "override":
            key, begins = ("override", transition.endpoint), "AUTO"
        elif transition.kind == "registry" and transition.new in {"PAUSED", "ACTIVE"}:
            key, begins = ("pause", transition.endpoint), "ACTIVE"
        else:
            continue
        if transition.old != last.get(key, begins) and transition.endpoint not in spoilt:
            yield f"{transition.endpoint}: {transition.old} -> {transition.new} ({transition.actor}) after {last.get(key, begins)}"
        last[key] = transition.new


def publications_are_sound(world: World) -> Iterator[str]:
    """What a consumer takes in only grows, is the fold of its deltas, weighs 1000 in all, and is in the end what was published last.

    After a restart without its last second a server may accept a version that consumers have seen already: they wait for more.
    """
    folded: dict[str, Snapshot] = {}
    runs: dict[str, int] = {}
    newest: dict[str, Snapshot] = {}
    for published in world.seen.publications:
        pool, publication = published.publication.pool, published.publication
        snapshot = msgspec.json.decode(publication.snapshot, type=Snapshot)
        newest[pool] = snapshot
        before = folded.get(pool, Snapshot(pool=pool, epoch=0, ver=0, ts_ms=0, panic=0, shed=0, endpoints=()))
        at = f"{pool} {snapshot.epoch}-{snapshot.ver}"
        if (snapshot.epoch, snapshot.ver) <= (before.epoch, before.ver):
            if published.run == runs[pool]:
                yield f"{at} came after {before.epoch}-{before.ver}"
            continue
        follows = (snapshot.epoch, snapshot.ver) == (before.epoch, before.ver + 1) and published.run == runs.get(pool, 0)
        if follows and fold(before, msgspec.json.decode(publication.delta, type=Delta)) != snapshot:
            yield f"{at} is not the fold of its log"
        folded[pool], runs[pool] = snapshot, published.run
        weights = sum(endpoint.weight for endpoint in snapshot.endpoints)
        admitted = any(one.override in (None, "FORCED_CLOSED", "DISABLED", "METRICS_ONLY") for one in snapshot.endpoints)
        if weights != (WEIGHT_SUM if admitted else 0):
            yield f"{at}: the weights sum to {weights}"
    for pool, snapshot in newest.items():
        if folded[pool] != snapshot:
            yield f"{pool}: consumers hold {folded[pool].epoch}-{folded[pool].ver}, published is {snapshot.epoch}-{snapshot.ver}"


def what_is_published_is_what_is_true(world: World) -> Iterator[str]:
    """After the calm every pool's snapshot says what its records say, and names no pool that is gone."""
    server, now_ms = world.server, world.server.time.now_ms()
    live = {endpoint.pool for endpoint in endpoints(world).values()}
    yield from world.seen.index
    if server.published != live:
        yield f"pools {sorted(server.published)} are published, {sorted(live)} live"
    for pool in sorted(live & server.published):
        load = run_now(server.load_pool(pool))
        try:
            previous = decode_snapshot(load.snapshot)
        except msgspec.MsgspecError as error:
            yield f"{pool}: the snapshot cannot be read: {error}"
            continue
        settings = msgspec.json.decode(load.settings, type=Pool) if load.settings else Pool(name=pool)
        states = [
            MemberState(
                msgspec.json.decode(one.spec, type=Endpoint), read(decode_record, one.record) or EMPTY, decode_override(one.override)
            )
            for one in load.members
        ]
        if any(one.endpoint.paused and one.endpoint.id in damaged(world, "record", "version") for one in states):
            continue  # Nobody decides about a paused endpoint: what was known of it stays published until it is resumed.
        snapshot, weighing = compose(settings, states, None, 0, now_ms)  # By now every rise has ended.
        marks = [queue[pool] for (kind, _), queue in server._queues.items() if kind is Queue.DIRTY and pool in queue]
        if _differs(previous, snapshot, weighing) and min(marks, default=now_ms + SETTLED_MS) >= now_ms + SETTLED_MS:
            yield f"{pool} says {_short(previous)}, its records {_short(snapshot)}"
        for state in states:
            well = state.endpoint.paused or state.record.breaker.state == "CLOSED"
            if not well and not (state.override and state.override.override == "DISABLED"):
                yield f"{state.endpoint.id} is still {state.record.breaker.state} after the calm"


def _differs(old: Snapshot | None, new: Snapshot, weighing: Weighing) -> bool:
    """Whether a consumer would do anything else. A pool is weighed again when the evidence of a member has moved by a grade, so that
    weights may lag behind what all of it would give now."""
    if old is None or {one.id for one in old.endpoints} != weighing.weights.keys():
        return True
    for one in old.endpoints:
        weight, base = weighing.weights[one.id], weighing.factors[one.id].base
        if bool(one.weight) != bool(weight) or abs(one.weight - weight) > WEIGHT_SUM * base * LAG_MAX:
            return True
    return [(one.id, one.breaker, one.override, one.gen, one.verdict, one.labels) for one in old.endpoints] != [
        (one.id, one.breaker, one.override, one.gen, one.verdict, one.labels) for one in new.endpoints
    ]


def _short(snapshot: Snapshot | None) -> list[tuple[object, ...]]:
    return [(one.id, one.weight, one.breaker, one.override, one.gen, one.verdict) for one in snapshot.endpoints] if snapshot else []


def operators_last_word_stands(world: World) -> Iterator[str]:
    """What somebody was told succeeded, and nobody changed since, is so."""
    acts = defaultdict(list)
    for act in world.operators.acts:
        for place, value in act.sets.items():
            acts[place].append((act, value))
    excused = {("override", key) for key in damaged(world, "override")} | {("*", key) for key in damaged(world, "endpoint")}
    for name in world.operators.names:
        found = world.operators.found(name)
        for (who, field), words in acts.items():
            if who != name or (field, name) in excused or ("*", name) in excused:
                continue
            if field != "exists" and not found["exists"]:
                continue
            certain = [act for act, _ in words if act.acknowledged]
            allowed = [value for act, value in words if not any(later.began_s > act.last_s for later in certain)]
            if found[field] not in allowed and (found[field] or "absent") not in allowed:
                last = max((act for act, _ in words), key=lambda act: act.began_s)
                yield f"{name}: {field} is {found[field]!r}, the last words allow {allowed} (last: {last.what})"


def freshness_vouches_for_what_is_judged(world: World) -> Iterator[str]:
    """Whenever the evaluators' heartbeat vouched for a pool, its members had been judged, or it had just been registered."""
    longest_ms = max(TTL_MS, 3 * max((one.interval_ms for one in endpoints(world).values()), default=0))
    untouched = world.operators.untouched_pools()
    judged = [one for one in world.seen.conclusive if one[1] in untouched]
    last: dict[str, int] = {}
    read = 0
    for vouched in world.seen.vouched:
        while read < len(judged) and judged[read][0] <= vouched.at_ms:
            last[judged[read][1]] = judged[read][0]
            read += 1
        time_text, _, names = vouched.value.partition(" ")
        if time_text == "0":
            continue
        lagging = msgspec.json.decode(names) if names else []
        if any(0 <= vouched.at_ms - step_ms <= STEPPED_MS for step_ms in world.steps_ms):
            continue
        for pool, at_ms in last.items():
            stepped = any(at_ms - STEPPED_MS < step_ms < vouched.at_ms for step_ms in world.steps_ms)
            longer_ms = STEPPED_MS + round(world.weather.outage_s * 1000) if stepped else 500  # Nobody saw the time before it.
            if pool not in lagging and vouched.at_ms - at_ms > longest_ms + longer_ms:
                yield f"at {vouched.at_ms} the heartbeat vouched for {pool}, which was not judged for {vouched.at_ms - at_ms} ms"
                return


def silence_is_theirs_and_not_ours(world: World) -> Iterator[str]:
    """Where every endpoint was probed as soon as we could, nobody is told that nothing is known of one."""
    if not world.weather.steady:
        return
    for told in world.seen.told:
        for line in told.lines:
            if line.startswith("FIRING") and line.split()[-2] == "NoData" and line.split()[-1] not in damaged(world):
                yield f"at {told.at_ms} {told.place} was told {line}"
                return


def the_ring_keeps_the_newest_results(world: World) -> Iterator[str]:
    """However fast an endpoint is probed, no result takes the place of a newer one, or of one of the last RING_LENGTH."""
    anew = damaged(world, "record", "version", "endpoint") | world.operators.removed
    for name in endpoints(world).keys() - anew:
        written = world.seen.samples[world.server.run, name]
        kept = len(read_samples(run_now(world.server.samples(name, "ring"))))
        if kept < min(RING_LENGTH, written):
            yield f"{name}: {kept} of the last {written} results are kept"


def history_sums_to_the_time_lived(world: World) -> Iterator[str]:
    """Up, down, paused and unknown time of each minute make the minute; where nothing is lost, down is for how long the target was."""
    if world.weather.server_steps_s:
        return
    server, now_ms = world.server, world.server.time.now_ms()
    spoilt = damaged(world, "record", "version", "endpoint")
    for name, endpoint in endpoints(world).items():
        record = record_of(world, name)
        rows = {row.start_ms: row for row in read_rows(MINUTE, run_now(server.samples(name, "min")), now_ms)}
        rows |= {row.start_ms: row for row in open_rows(record.history, endpoint, now_ms).get("min", [])}
        if name in spoilt:
            continue  # Its history began anew within a minute.
        for start_ms, row in sorted(rows.items())[1:]:
            known_ms = row.up_ms + row.down_ms + row.paused_ms
            length_ms = min(now_ms, (start_ms // 60_000 + 1) * 60_000) - start_ms
            if start_ms % 60_000 == 0 and abs(known_ms + row.unknown_ms - length_ms) > 60:
                yield f"{name}: of the {length_ms} ms from {start_ms - EPOCH_MS} {known_ms} are known and {row.unknown_ms} unknown"
            if not world.weather.steady or world.weather.operate_every_s:
                continue
            wrong_ms = abs(row.down_ms - _down_ms(world, name, start_ms, start_ms + length_ms))
            turns = sum(len(spell) for spell in world.targets.spells[name])
            if wrong_ms > row.unknown_ms + endpoint.interval_ms * (1 + turns):
                yield f"{name}: the minute from {start_ms - EPOCH_MS} counts {row.down_ms} ms down, wrong by {wrong_ms}"


def _down_ms(world: World, name: str, from_ms: int, until_ms: int) -> float:
    """For how long a target failed within a time of the server that never stepped."""
    spells = [(EPOCH_MS + 1000 * since_s, EPOCH_MS + 1000 * until_s) for since_s, until_s in world.targets.spells[name]]
    return sum(max(0.0, min(until_ms, ended) - max(from_ms, began)) for began, ended in spells)


CHECKERS = (
    nothing_was_left_uncaught,
    no_claim_is_settled_twice,
    nothing_is_probed_after_its_lease,
    nobody_is_forgotten,
    transitions_form_a_chain,
    words_form_a_chain,
    publications_are_sound,
    what_is_published_is_what_is_true,
    operators_last_word_stands,
    freshness_vouches_for_what_is_judged,
    silence_is_theirs_and_not_ours,
    the_ring_keeps_the_newest_results,
    history_sums_to_the_time_lived,
)
