"""What must hold however bad the weather was. Each checker reads the outside's view and the store, and returns its complaints."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import msgspec

from monitor.core.record import Transition
from monitor.core.schedule import LEASE_SLACK_MS
from monitor.pool.snapshot import WEIGHT_SUM, Delta, Snapshot, fold
from tests.simulation.world import World


async def no_claim_is_settled_twice(world: World) -> list[str]:
    """A probe may run twice; its result counts once."""
    return [
        f"{name}: the claim {token} was settled {count} times" for (name, token), count in Counter(world.seen.settled).items() if count > 1
    ]


async def nobody_is_forgotten(world: World) -> list[str]:
    """Every endpoint is probed again within two intervals and its lease; each further claim that is lost costs a lease more."""
    complaints = []
    starts = defaultdict(list)
    for name, start_ms in world.seen.starts:
        starts[name].append(start_ms)
    for name, endpoint in world.endpoints.items():
        lease_ms = endpoint.attempts_budget_ms + LEASE_SLACK_MS + endpoint.interval_ms
        allowed_ms = 2 * (endpoint.interval_ms + world.weather.clock_skew_ms) + lease_ms * world.weather.leases_lost
        times = sorted(starts[name])
        gap_ms = max((after - before for before, after in itertools.pairwise(times)), default=allowed_ms + 1)
        if gap_ms > allowed_ms:
            complaints.append(f"{name} was not probed for {gap_ms} ms, allowed are {allowed_ms}")
    return complaints


async def transitions_form_a_chain(world: World) -> list[str]:
    """No transition is lost or doubled: each begins where the last one ended, and the generation grows by one."""
    complaints = []
    last: dict[str, tuple[str, int]] = {}
    for _, data in await world.store.events(1_000_000):
        transition = msgspec.json.decode(data, type=Transition)
        if transition.kind != "breaker":
            continue
        state, gen = last.get(transition.endpoint, ("CLOSED", 0))
        if (transition.old, transition.gen) != (state, gen + 1):
            complaints.append(
                f"{transition.endpoint}: {transition.old} -> {transition.new} (gen {transition.gen}) after {state} (gen {gen})"
            )
        last[transition.endpoint] = (transition.new, transition.gen)
    for name, (state, gen) in last.items():
        endpoint = next(one for snapshot in _snapshots(world).values() for one in snapshot.endpoints if one.id == name)
        if (endpoint.breaker, endpoint.gen) != (state, gen):
            complaints.append(
                f"{name}: published is {endpoint.breaker} (gen {endpoint.gen}), the last transition led to {state} (gen {gen})"
            )
    return complaints


async def published_state_is_sound(world: World) -> list[str]:
    """Versions grow, weights sum to 1000, every snapshot is the fold of the deltas before it; after the calm all are admitted."""
    complaints = []
    folded: dict[str, Snapshot] = {}
    for publication in world.seen.publications:
        pool = publication.pool
        snapshot = msgspec.json.decode(publication.snapshot, type=Snapshot)
        before = folded.get(pool, Snapshot(pool=pool, epoch=0, ver=0, ts_ms=0, panic=0, shed=0, endpoints=()))
        if (snapshot.epoch, snapshot.ver) <= (before.epoch, before.ver):
            complaints.append(f"{pool}: version {snapshot.epoch}-{snapshot.ver} came after {before.epoch}-{before.ver}")
            continue
        folded[pool] = fold(before, msgspec.json.decode(publication.delta, type=Delta))
        if folded[pool] != snapshot:
            complaints.append(f"{pool}: version {snapshot.ver} is not the fold of its log")
        weights = sum(endpoint.weight for endpoint in snapshot.endpoints)
        if weights != WEIGHT_SUM:
            complaints.append(f"{pool}: the weights of version {snapshot.ver} sum to {weights}")
    for pool, snapshot in _snapshots(world).items():
        ill = [endpoint.id for endpoint in snapshot.endpoints if endpoint.breaker != "CLOSED" or endpoint.weight == 0]
        if ill:
            complaints.append(f"{pool}: after the calm {ill} are still out")
    return complaints


async def people_know_how_it_ended(world: World) -> list[str]:
    """Whoever was told that an alert fires was told that it ended; a message comes twice only where its log was not written."""
    told: dict[str, str] = {}
    for body in world.seen.messages:
        for line in body.splitlines():
            status, name, subject, _ = line.split(" ", 3)
            told[f"{name} {subject}"] = status
    complaints = [f"nobody was told that {alert} ended" for alert, status in told.items() if status == "FIRING"]
    opened: Counter[str] = Counter()
    for _, data in await world.store.events(1_000_000):
        transition = msgspec.json.decode(data, type=Transition)
        opened[transition.endpoint] += transition.kind == "breaker" and transition.new == "OPEN" and transition.old == "CLOSED"
    known = {alert.split()[1] for alert in told if alert.startswith("EndpointDown ")}
    complaints += [
        f"{name} was down for long enough and nobody was told" for name in world.down_for_long if opened[name] and name not in known
    ]
    doubles = len(world.seen.messages) - len(set(world.seen.messages))
    unlogged = len(world.seen.messages) - len(await world.store.sent(1_000_000))
    if doubles > unlogged:
        complaints.append(f"{doubles} messages came twice, but only {unlogged} logs were not written")
    return complaints


def _snapshots(world: World) -> dict[str, Snapshot]:
    """The newest snapshot of each pool."""
    return {publication.pool: msgspec.json.decode(publication.snapshot, type=Snapshot) for publication in world.seen.publications}


CHECKERS = (
    no_claim_is_settled_twice,
    nobody_is_forgotten,
    transitions_form_a_chain,
    published_state_is_sound,
    people_know_how_it_ended,
)
