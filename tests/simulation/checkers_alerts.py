"""What must hold of alerts, of those who are told, and of everything that is kept: bounded, readable, and nothing of what is gone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from datetime import UTC, datetime

import msgspec

from alert_rules.notify.dedup import decode_log_entry
from alert_rules.rules.alert import fingerprint
from alert_rules.rules.evaluate import evaluate
from alert_rules.rules.facts import endpoint_facts, pool_facts
from alert_rules.rules.memory import SYSTEM_SUBJECT, Memory, decode_assertion, decode_memory, endpoint_subject, pool_subject
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.process import decode_process
from monitor.core.record import Transition, decode_override, decode_record
from monitor.pool.compose import NOTHING_TOLD, decode_pool_record, decode_snapshot
from monitor.store import keys
from monitor.store.port import AlertPhase
from monitor.store.queues import QUEUES, Queue
from tests.simulation.checkers import STEPPED_MS, damaged, endpoints, read, record_of
from tests.simulation.network import run_now
from tests.simulation.parts import rules
from tests.simulation.seen import Told
from tests.simulation.server import EPOCH_MS
from tests.simulation.world import World
from workers.journey.deliver import _decode_delivery
from workers.journey.flush import _decode_alert, _decode_meta

LATE_FIRING_MS = 20_000
TOLD_AFTER_S = 40.0
STALE_MS = 10_000
"""How old a heartbeat of a process that died may become before it is swept."""
QUEUED_MS = 15_000
"""How long the longest lease lasts, and what follows it."""
ROUTED_MS = 2_000
"""How soon an event of alerts is taken in when all is well."""
DECIDED_MS = 2_000
"""How far apart the end of an alert and the transition that ended it may be dated."""
REPEATED = "repeat interval elapsed"


def memories(world: World) -> dict[str, Memory]:
    """What the rules remember of each subject that lives."""
    server = world.server
    found = {endpoint_subject(name): run_now(server.load([name]))[0].memory for name in endpoints(world)}
    for subject, (_, body) in server._subjects.items():
        found[subject] = body if subject == SYSTEM_SUBJECT else bytes((read(decode_pool_record, body) or NOTHING_TOLD).memory)
    return {subject: read(decode_memory, body) or Memory() for subject, body in found.items()}


def firing(world: World) -> dict[str, str]:
    """Fingerprint -> name and subject of the alerts that fire in the store."""
    stored = run_now(world.server.alerts(AlertPhase.FIRING, 10_000))
    return {one.fingerprint: one.subject for one in stored}


def the_store_says_what_the_records_say(world: World) -> Iterator[str]:
    """No alert is stuck, and none is missing: what fires in the alert store is what the subjects' records hold."""
    held = {fingerprint(state.labels): subject for subject, memory in memories(world).items() for state in memory.firing}
    stored = firing(world)
    for name in held.keys() - stored.keys():
        yield f"{held[name]} holds that {name} fires, and the store has it not"
    for name in stored.keys() - held.keys():
        yield f"{name} of {stored[name]} fires in the store, and nobody holds it"


def alerts_fire_because_of_what_is(world: World) -> Iterator[str]:
    """The rules of endpoints and pools, evaluated with nothing remembered, find the alerts that are held."""
    now_ms = world.server.time.now_ms()
    kept = memories(world)
    for name, endpoint in endpoints(world).items():
        record = record_of(world, name)
        labels = {**endpoint.labels, "endpoint": name, "pool": endpoint.pool}
        found = evaluate(rules(), labels, None, endpoint_facts(endpoint, record), Memory(), now_ms).memory
        waiting = {rule.key for rule in rules().rules if rule.for_ms or rule.keep_firing_for_ms}
        expected = {state.rule for state in found.firing} - waiting
        remembered = {state.rule for state in kept[endpoint_subject(name)].firing} - waiting
        if expected != remembered:
            yield f"{name}: {sorted(expected)} should fire, {sorted(remembered)} are held"
    for pool, data in zip(pools := sorted(world.server.published), run_now(world.server.snapshots(pools)), strict=True):
        snapshot = read(decode_snapshot, data)
        if snapshot is None:
            continue
        outdated = {name for name, one in endpoints(world).items() if one.paused or record_of(world, name).outdated}
        found = evaluate(rules(), {"pool": pool}, None, pool_facts(snapshot, outdated), Memory(), now_ms).memory
        remembered = {state.rule for state in kept.get(pool_subject(pool), Memory()).firing}
        if {state.rule for state in found.firing} != remembered:
            yield f"pool {pool}: {sorted(state.rule for state in found.firing)} should fire, {sorted(remembered)} are held"


def people_know_how_it_ended(world: World) -> Iterator[str]:
    """Every service that was told that an alert fires was told its end, unless it still fires. Where the alert and a group that holds it
    became unreadable both, nothing says any more where it belonged."""
    told: dict[tuple[str, str], str] = {}
    since_ms, until_ms = world.lost_ms
    for message in world.seen.told:
        if since_ms <= message.sent_ms <= until_ms:
            continue  # The store has forgotten what made it so.
        for line in message.lines:
            status, name, rest = line.split(" ", 2)
            told[message.place, name] = f"{status} {rest}"
    stored = firing(world)
    nowhere = damaged(world, "alert") if damaged(world, "group") else set()
    for (place, name), said in told.items():
        if name in nowhere:
            continue
        if said.startswith("FIRING") and name not in stored:
            yield f"{place} was never told that {name} ({said}) ended"
        if said.startswith("RESOLVED") and name in stored:
            yield f"{place} was told that {name} ({said}) ended, and it fires"


def somebody_was_told(world: World) -> Iterator[str]:
    """What was down for long enough, and was watched all the time, somebody heard of."""
    weather = world.weather
    if weather.operate_every_s or weather.flush or weather.restart or weather.server_steps_s or weather.rubbish_every_s:
        return
    heard = {line.split()[-1] for message in world.seen.told for line in message.lines if " EndpointDown " in line}
    for name, spells in world.targets.spells.items():
        down_s = max((until_s - since_s for since_s, until_s in spells), default=0.0)
        if down_s > TOLD_AFTER_S + weather.ours_s and name not in heard:
            yield f"{name} was down for {down_s:.0f} s and nobody was told"


def nobody_is_told_twice(world: World) -> Iterator[str]:
    """A message comes again only where its sender died, or could not reach the store, between the acceptance and the log."""
    before: dict[tuple[str, str, tuple[str, ...]], Told] = {}
    for message in world.seen.told:
        key = (message.place, message.group, tuple(sorted(message.lines)))
        first = before.get(key)
        excused = message.reason == REPEATED or _touched(world, message.lines) or _began_twice(world, message.lines)
        if first and not _unlogged(world, first, message) and not excused:
            yield f"at {message.at_ms} {message.place} was told again ({message.reason}) {message.group}: {'; '.join(message.lines)}"
        before[key] = message


def _unlogged(world: World, first: Told, again: Told) -> bool:
    """Whether the log of the first of two messages could not be written before the second was sent."""
    weather = world.weather
    began_ms = min(first.sent_ms, again.sent_ms)
    # A step of time ends every lease, soon after it: both were being sent then, or the log of the first one is refused.
    stepped = any(began_ms - STEPPED_MS <= step_ms <= max(first.at_ms, again.sent_ms) for step_ms in world.steps_ms)
    if first.logged:
        return stepped and again.sent_ms < first.at_ms
    lossy = weather.store_refusal or weather.store_silence or weather.store_late or weather.outage_s
    return bool(lossy) or stepped or first.unheard or first.sender.died_s * 1000 <= again.at_ms


def _touched(world: World, lines: tuple[str, ...]) -> bool:
    """Whether what was remembered of one of these alerts was spoilt or lost."""
    if world.weather.flush or world.weather.restart:
        return True
    if not world.seen.damages:
        return False
    if damaged(world, "log entry", "group", "alert", "delivery", "assertion"):
        return True
    names = {line.split()[-1] for line in lines}
    return bool(
        names
        & (damaged(world, "memory", "record", "version", "endpoint", "override") | {s.partition(":")[2] for s in damaged(world, "subject")})
    )


def _began_twice(world: World, lines: tuple[str, ...]) -> bool:
    """Whether one of these alerts began, ended and began again within the second that a message tells."""
    told = {(name, " ".join(start)) for _, name, *start, _, _ in map(str.split, lines)}
    begun = defaultdict(set)
    for _, name, start_ms in world.seen.ended:
        begun[name, _second(start_ms // 1000)].add(start_ms)
    return any(len(begun[one]) > 1 for one in told)


def what_is_resolved_has_recovered(world: World) -> Iterator[str]:
    """EndpointDown ends as resolved only where the breaker has closed: a pause, a word or a removal says nothing of the endpoint."""
    if _told_of_another_life(world):
        return
    closed = [(one.endpoint, one.at_ms) for one in _transitions(world) if (one.kind, one.new) == ("breaker", "CLOSED")]
    for at_ms, data in world.seen.recovered:
        name = _down(world, data)
        if name and not any(name == who and abs(at_ms - closed_ms) <= DECIDED_MS for who, closed_ms in closed):
            yield f"{name} is told to have recovered at {at_ms - EPOCH_MS}, and its breaker did not close"


def nothing_fires_before_a_probe_after_a_pause(world: World) -> Iterator[str]:
    """An endpoint that was down before a pause does not fire because the pause has ended."""
    if _told_of_another_life(world):
        return
    resumed = [(one.endpoint, one.at_ms) for one in _transitions(world) if (one.kind, one.new) == ("registry", "ACTIVE")]
    for (_, start_ms), data in world.seen.began.items():
        name = _down(world, data)
        last_ms = max((at_ms for who, at_ms in resumed if who == name and at_ms <= start_ms), default=None)
        if last_ms is None:
            continue
        if not any(name == probe.endpoint and last_ms <= EPOCH_MS + probe.at_ms <= start_ms for probe in world.seen.starts):
            yield f"{name} fires at {start_ms - EPOCH_MS}, and was not probed since it was resumed at {last_ms - EPOCH_MS}"


def _down(world: World, data: bytes) -> str:
    """The endpoint of an EndpointDown of which nothing was spoilt; else ""."""
    alert = read(_decode_alert, data)
    if alert is None or alert.labels.get("alertname") != "EndpointDown":
        return ""
    name = alert.labels["endpoint"]
    return "" if name in damaged(world, "record", "memory", "version", "endpoint", "override") else name


def _told_of_another_life(world: World) -> bool:
    """Whether times of the server's cannot be compared, or some of what happened is forgotten."""
    weather = world.weather
    return bool(weather.flush or weather.restart or weather.server_steps_s or damaged(world, "assertion", "alert"))


def _transitions(world: World) -> list[Transition]:
    return [msgspec.json.decode(data, type=Transition) for _, data in run_now(world.server.events(1_000_000))]


def nobody_is_told_late(world: World) -> Iterator[str]:
    """No "firing" is sent later than 20 s after the alert's end."""
    ends = {(name, start_ms // 1000): at_ms for at_ms, name, start_ms in world.seen.ended}
    for message in world.seen.told:
        for line in message.lines:
            status, name, *start, _, _ = line.split()
            if status != "FIRING":
                continue
            ended_ms = next((at for (who, start_s), at in ends.items() if who == name and " ".join(start) == _second(start_s)), None)
            if ended_ms is not None and message.sent_ms - ended_ms > LATE_FIRING_MS:
                yield f"at {message.sent_ms} {message.place} was told {line}, which ended at {ended_ms}"


def _second(start_s: int) -> str:
    """As a message tells it."""
    return datetime.fromtimestamp(start_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def everything_is_bounded(world: World) -> Iterator[str]:
    """Nothing is kept of what is gone, no list is longer than its cap, and nothing waits in a queue beyond its turn."""
    server, now_ms = world.server, world.server.time.now_ms()
    live = endpoints(world)
    pools = {endpoint.pool for endpoint in live.values()}
    for slot in server._slots:
        for what in ("records", "memories", "overrides", "logs", "blobs", "due", "plans"):
            if left := getattr(slot, what).keys() - live.keys():
                yield f"{what} of {sorted(left)} are left, which are no more"
        if left := slot.judged.keys() - pools:
            yield f"the freshness of {sorted(left)} is left, which are no more"
        if any(len(own) > keys.OWN_LOG_LENGTH_MAX for own in slot.logs.values()):
            yield "an endpoint's own log is longer than its cap"
    yield from _queues(world, live.keys(), pools)
    if server._deliveries:
        yield f"deliveries are left: {sorted(server._deliveries)}"
    waiting = [read(decode_assertion, data) for stream in server._alert_events for _, data in stream.after(0)]
    if any(one is None or now_ms - one.at_ms > ROUTED_MS for one in waiting):
        yield f"alert events wait to be routed: {waiting}"
    yield from _alert_store(world, pools)
    hearts = {name for name, (at_ms, _) in server._hearts.items() if now_ms - at_ms > STALE_MS + 5_000}
    if hearts:
        yield f"heartbeats of {sorted(hearts)} were not swept"


def _queues(world: World, live: Collection[str], pools: set[str]) -> Iterator[str]:
    server, now_ms = world.server, world.server.time.now_ms()
    for (queue, number), members in server._queues.items():
        late = {member: due - now_ms for member, due in members.items() if now_ms - due > QUEUED_MS}
        if late:
            yield f"{queue.value}{number}: {late} are past their turn (ms)"
        known = {Queue.DIRTY: pools, Queue.REEVALUATE: set(live), Queue.GROUPS: server._groups.keys()}.get(queue)
        if known is not None and (left := members.keys() - known):
            yield f"{queue.value}{number} holds {sorted(left)}, which are no more"
        horizon_ms = getattr(QUEUES[queue], "horizon_ms", 0) or 600_000
        if far := {member: due - now_ms for member, due in members.items() if due - now_ms > horizon_ms}:
            yield f"{queue.value}{number}: {far} are further ahead (ms) than they can be"


def _alert_store(world: World, pools: set[str]) -> Iterator[str]:
    server = world.server
    held = Counter(name for group in server._groups.values() for name in group.alerts)
    if +server._held != held:
        yield f"the alert store counts {dict(+server._held)} references, the groups hold {dict(held)}"
    for name, alert in server._alerts.items():
        if alert.ends_ms and not held[name]:
            yield f"{name} of {alert.subject} has ended, no group holds it, and it is kept"
    for key, group in server._groups.items():
        if not any(not server._alerts[name].ends_ms for name in group.alerts if name in server._alerts):
            yield f"group {key} is kept, and none of its alerts fires: {sorted(group.alerts)}"
    if left := server._subjects.keys() - {SYSTEM_SUBJECT, *map(pool_subject, pools)}:
        yield f"subjects {sorted(left)} are kept, which are no more"


def everything_can_be_read(world: World) -> Iterator[str]:
    """What was spoilt has been replaced or taken out, unless it is of an endpoint or a pool that is paused: nobody decides about those."""
    paused = {name for name, endpoint in endpoints(world).items() if endpoint.paused}
    paused |= {endpoint.pool for endpoint in endpoints(world).values()} - {
        endpoint.pool for endpoint in endpoints(world).values() if not endpoint.paused
    }
    decoders = {
        "record": decode_record,
        "memory": decode_memory,
        "override": decode_override,
        "snapshot": decode_snapshot,
        "alert": _decode_alert,
        "group": _decode_meta,
        "log entry": decode_log_entry,
        "delivery": _decode_delivery,
        "heartbeat": decode_process,
        "endpoint": msgspec.json.Decoder(Endpoint).decode,
        "pool": msgspec.json.Decoder(Pool).decode,
    }
    for kind, key, data, _ in world.vandal.places():
        body = decode_memory if key == SYSTEM_SUBJECT else decode_pool_record
        decode = body if kind == "subject" else decoders.get(kind, bytes)
        try:
            if data:
                decode(data)
        except Exception as error:
            if key.removeprefix(pool_subject("")) not in paused:
                yield f"the {kind} of {key} cannot be read: {error}"


def unreadable_data_are_told(world: World) -> Iterator[str]:
    """What was set aside is counted, and somebody was told."""
    aside = run_now(world.server.aside())
    kinds: dict[str, int] = defaultdict(int)
    for item in aside:
        kinds[item.kind] += 1
    if aside and not any(" UnreadableData " in line or " UnreadableAlert " in line for told in world.seen.told for line in told.lines):
        yield f"{dict(kinds)} are set aside, and nobody was told"


def operators_are_named(world: World) -> Iterator[str]:
    """Every change that a person made names who made it."""
    for transition in _transitions(world):
        if transition.kind in {"override", "registry"} and not transition.actor:
            yield f"nobody is named for {transition.kind} {transition.endpoint} {transition.old} -> {transition.new}"


CHECKERS = (
    the_store_says_what_the_records_say,
    alerts_fire_because_of_what_is,
    people_know_how_it_ended,
    somebody_was_told,
    nobody_is_told_twice,
    what_is_resolved_has_recovered,
    nothing_fires_before_a_probe_after_a_pause,
    nobody_is_told_late,
    everything_is_bounded,
    everything_can_be_read,
    unreadable_data_are_told,
    operators_are_named,
)
