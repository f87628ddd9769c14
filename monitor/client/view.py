"""A consumer's view of the published pools: every rule of docs/reference/keys.md ("A correct consumer"), and no I/O.

Times are whole milliseconds of one local monotonic clock, except where a name says `server`. Writers hold the lock;
readers take what is there: each pool's wheel, list and index entry is replaced whole, never changed in place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil

import msgspec

from monitor.client.local import LocalBreaker
from monitor.client.records import Change, EndpointView, Freshness, Staleness, endpoint_view, why
from monitor.client.wheel import Entropy, equal_weights, gate, wheel
from monitor.core.overlay import WITHDRAWN
from monitor.pool.snapshot import SCHEMA, WEIGHT_SUM, Delta, PublishedEndpoint, Snapshot, fold, sound

Version = tuple[int, int]
NOTHING: Version = (-1, -1)
NOBODY: frozenset[str] = frozenset()


class Fetch(msgspec.Struct, frozen=True):
    """One reading: the server's clock, the evaluators' heartbeat (None when there was none, 0 when it vouches for no pool), the local
    time before it, and the pools that the heartbeat names as lagging."""

    server_ms: int
    alive_ms: int | None
    at_ms: int
    lagging: frozenset[str] = NOBODY

    def vouches_for(self, pool: str) -> bool:
        """Whether the heartbeat says that the pool's endpoints are being judged."""
        return bool(self.alive_ms) and pool not in self.lagging


class Saved(msgspec.Struct, frozen=True):
    """A pool in the last-known-good file, with its age when it was written."""

    snapshot: Snapshot
    age_ms: int


class _Use(msgspec.Struct, frozen=True):
    """All but the snapshot that decides how a pool is used. `alone`: nobody has vouched for the weights for too long."""

    freshness: Freshness
    alone: bool
    out: frozenset[str]


class _Pool:
    """What is known of one pool. Its age is `age_ms` at `anchor_ms` and grows with the local clock.

    `lagging`: the last heartbeat said that nobody judges its endpoints. Then no snapshot makes it younger: one may still be
    published for other reasons, and tells of the same old results.
    """

    __slots__ = ("age_ms", "alive_ms", "anchor_ms", "cold", "endpoints", "lagging", "published", "snapshot", "use")

    def __init__(self, snapshot: Snapshot, age_ms: int, anchor_ms: int, *, cold: bool) -> None:
        self.snapshot = snapshot
        self.age_ms = age_ms
        self.anchor_ms = anchor_ms
        self.alive_ms: int | None = None
        self.cold = cold
        self.lagging = False
        self.endpoints: dict[str, EndpointView] = {}
        self.published: dict[str, PublishedEndpoint] = {}
        """What `endpoints` were made of: an endpoint that a delta left alone is the same object in the next version."""
        self.use: _Use | None = None

    def age_at(self, now_ms: int) -> int:
        return self.age_ms + max(0, now_ms - self.anchor_ms)

    def freshness_at(self, now_ms: int) -> Freshness:
        age_ms = self.age_at(now_ms)
        if self.cold:
            return Freshness.COLD
        if age_ms < self.snapshot.ttl_ms:
            return Freshness.FRESH
        return Freshness.FROZEN if age_ms < self.snapshot.max_stale_ms else Freshness.EXPIRED

    def rejuvenate(self, age_ms: int, at_ms: int) -> None:
        """Take a younger age; an older one tells nothing new."""
        age_ms = max(0, age_ms)
        if age_ms < self.age_at(at_ms):
            self.age_ms, self.anchor_ms = age_ms, at_ms

    def lag(self, at_ms: int) -> None:
        """It is not fresh: nobody has vouched for it for `ttl_ms` at least."""
        self.lagging = True
        if self.age_at(at_ms) < self.snapshot.ttl_ms:
            self.age_ms, self.anchor_ms = self.snapshot.ttl_ms, at_ms


class View:
    """Feed it with `offer`, `advance`, `confirm`, `missing` and `tick`; read `wheels`, `gates`, `index` and the methods below."""

    def __init__(
        self, entropy: Entropy, on_change: Callable[[list[Change]], None] = lambda _: None, on_trials: Callable[[], None] = lambda: None
    ) -> None:
        self.lock = threading.RLock()
        self.wheels: dict[str, Iterator[EndpointView]] = {}
        self.gates: dict[str, Iterator[bool]] = {}
        self.index: dict[str, EndpointView] = {}
        self.trying: dict[str, frozenset[str]] = {}
        """By pool: the endpoints that have no traffic but their trial share, which only a token opens. Absent where there is none."""
        self.local = LocalBreaker()
        self._entropy = entropy
        self._on_change = on_change
        self._on_trials = on_trials
        self._pools: dict[str, _Pool] = {}

    # Reading ----------------------------------------------------------------------------------------------------
    def pools(self) -> tuple[str, ...]:
        """Names of the pools known, without those removed by a tombstone."""
        return tuple(sorted(name for name, pool in self._pools.copy().items() if pool.snapshot.tombstone is not True))

    def snapshot(self, name: str) -> Snapshot | None:
        """The newest snapshot of a pool, None where nothing is known of it."""
        pool = self._pools.get(name)
        return pool.snapshot if pool else None

    def endpoints(self, name: str) -> tuple[EndpointView, ...]:
        """All endpoints of a pool, those without traffic too."""
        pool = self._pools.get(name)
        return tuple(pool.endpoints.values()) if pool else ()

    def pool_of(self, endpoint_id: str) -> str | None:
        """The pool that an endpoint is in, None where no known pool has it."""
        known = self.index.get(endpoint_id)
        return known.pool if known else None

    def version(self, name: str) -> Version:
        """(epoch, ver) read from Redis; a version from a file binds nobody."""
        pool = self._pools.get(name)
        return NOTHING if pool is None or pool.cold else (pool.snapshot.epoch, pool.snapshot.ver)

    def versions(self) -> dict[str, Version]:
        """The (epoch, ver) of each pool that is known."""
        return {name: (pool.snapshot.epoch, pool.snapshot.ver) for name, pool in self._pools.copy().items()}

    def staleness(self, name: str, now_ms: int) -> Staleness:
        """How fresh a pool is at a monotonic time, and its age; COLD and None where nothing is known of it."""
        pool = self._pools.get(name)
        return Staleness(pool.freshness_at(now_ms), pool.age_at(now_ms)) if pool else Staleness(Freshness.COLD, None)

    def saved(self, now_ms: int) -> tuple[Saved, ...]:
        """What is worth keeping for the next cold start."""
        with self.lock:
            return tuple(Saved(pool.snapshot, pool.age_at(now_ms)) for pool in self._pools.values() if pool.snapshot.endpoints)

    # Feeding ----------------------------------------------------------------------------------------------------
    def offer(self, snapshot: Snapshot, fetch: Fetch) -> bool:
        """Take a snapshot read from Redis if it is newer. False when it is refused: older, of another schema, with numbers that break
        the contract, or empty without a tombstone, which is an accident and not a fact."""
        with self.lock:
            if snapshot.schema != SCHEMA or not (snapshot.endpoints or snapshot.tombstone is True) or not sound(snapshot):
                return False
            version = self.version(snapshot.pool)
            if (snapshot.epoch, snapshot.ver) < version:
                return False
            if (snapshot.epoch, snapshot.ver) > version:
                age_ms = max(0, fetch.server_ms - snapshot.ts_ms)
                pool = self._pools[snapshot.pool] = self._successor(snapshot, age_ms, fetch.at_ms)
                self._heard(pool, fetch)
                self._rebuild(pool, fetch.at_ms)
            else:
                self.confirm(snapshot.pool, fetch)
            return True

    def advance(self, name: str, deltas: Iterable[Delta], fetch: Fetch) -> bool:
        """Fold log entries into what is known. False when they do not follow on it: read the snapshot instead.

        Entries already known are skipped. A new epoch is never folded: its writer may have started from other data than ours.
        """
        with self.lock:
            pool = self._pools.get(name)
            if pool is None or pool.cold:
                return False
            snapshot = pool.snapshot
            for delta in deltas:
                if (delta.epoch, delta.ver) <= (snapshot.epoch, snapshot.ver):
                    continue
                if (delta.schema, delta.pool, delta.epoch, delta.ver) != (SCHEMA, name, snapshot.epoch, snapshot.ver + 1):
                    return False
                snapshot = fold(snapshot, delta)
            return self.offer(snapshot, fetch)

    def confirm(self, name: str, fetch: Fetch) -> None:
        """The snapshot in Redis is the one that we have: with a live evaluator it is as good as new."""
        with self.lock:
            pool = self._pools[name]
            self._heard(pool, fetch)
            self._age(pool, fetch.at_ms)

    def missing(self, name: str) -> None:
        """There is no snapshot in Redis. That is no news about any endpoint: the pool just grows older. A pool whose tombstone
        was seen is forgotten with its version, so that it may begin again."""
        with self.lock:
            pool = self._pools.get(name)
            if pool is not None:
                self._bury(name, pool)

    def restore(self, saved: Sequence[Saved], away_ms: int, now_ms: int) -> None:
        """Start from a last-known-good file written `away_ms` ago."""
        with self.lock:
            for entry in saved:
                if entry.snapshot.schema == SCHEMA and entry.snapshot.pool not in self._pools:
                    pool = _Pool(entry.snapshot, entry.age_ms + away_ms, now_ms, cold=True)
                    self._pools[entry.snapshot.pool] = pool
                    self._rebuild(pool, now_ms)

    def tick(self, now_ms: int) -> None:
        """Let time pass: pools freeze and expire, endpoints that the local breaker put out come back, and a tombstone is
        forgotten when it has gone from Redis too."""
        with self.lock:
            for name, pool in tuple(self._pools.items()):
                self._age(pool, now_ms)
                if pool.age_at(now_ms) >= pool.snapshot.max_stale_ms:
                    self._bury(name, pool)

    def report(self, endpoint_id: str, ok: bool, now_ms: int) -> None:
        """Count one request of this consumer for its local breaker."""
        with self.lock:
            known = self.index.get(endpoint_id)
            if known is not None and self.local.report(endpoint_id, ok, now_ms):
                self._age(self._pools[known.pool], now_ms)

    def _bury(self, name: str, pool: _Pool) -> None:
        if pool.snapshot.tombstone is True:
            del self._pools[name], self.wheels[name], self.gates[name]
            self.trying = {key: ids for key, ids in self.trying.items() if key != name}

    # Aging ------------------------------------------------------------------------------------------------------
    def _successor(self, snapshot: Snapshot, age_ms: int, at_ms: int) -> _Pool:
        """The pool's next life. It shows changes from the last one, and is never older: what follows a state known to be true at some
        time was true later (so a writer whose clock is behind does not age the pool)."""
        pool = _Pool(snapshot, age_ms, at_ms, cold=False)
        before = self._pools.get(snapshot.pool)
        if before is not None:
            pool.endpoints, pool.published, pool.alive_ms = before.endpoints, before.published, before.alive_ms
            if before.lagging and snapshot.tombstone is not True:
                pool.age_ms, pool.lagging = before.age_at(at_ms), True
            elif not before.cold:
                pool.rejuvenate(before.age_at(at_ms), at_ms)
        return pool

    @staticmethod
    def _heard(pool: _Pool, fetch: Fetch) -> None:
        """A heartbeat counts once: the same one read again says nothing about the time since."""
        if fetch.alive_ms is None or fetch.alive_ms == pool.alive_ms:
            return
        pool.alive_ms = fetch.alive_ms
        if fetch.vouches_for(pool.snapshot.pool) or pool.snapshot.tombstone is True:
            pool.lagging = False
            pool.rejuvenate(fetch.server_ms - fetch.alive_ms, fetch.at_ms)
        else:
            pool.lag(fetch.at_ms)

    def _age(self, pool: _Pool, now_ms: int) -> None:
        """Build the pool anew if time alone has changed how it is used."""
        if self._use(pool, now_ms) != pool.use:
            self._rebuild(pool, now_ms)

    def _use(self, pool: _Pool, now_ms: int) -> _Use:
        alone = pool.age_at(now_ms) >= pool.snapshot.max_stale_ms
        out = self.local.out_of([endpoint.id for endpoint in pool.snapshot.endpoints], now_ms) if alone else NOBODY
        return _Use(pool.freshness_at(now_ms), alone, out)

    def _try(self, name: str, pool: _Pool, use: _Use) -> None:
        tried = NOBODY if use.alone else frozenset(endpoint.id for endpoint in pool.snapshot.endpoints if _is_tried(endpoint))
        if tried != self.trying.get(name, NOBODY):
            self.trying = {key: ids for key, ids in {**self.trying, name: tried}.items() if ids}
            self._on_trials()

    def _rebuild(self, pool: _Pool, now_ms: int) -> None:
        """Make the wheel, the index and the changes of a pool from all that decides about them."""
        name = pool.snapshot.pool
        pool.use = use = self._use(pool, now_ms)
        before, made_of = pool.endpoints, pool.published
        pool.endpoints, pool.published = {}, {one.id: one for one in pool.snapshot.endpoints}
        for published, weight in zip(pool.snapshot.endpoints, _weights(pool.snapshot, use), strict=True):
            shown = before.get(published.id)
            if shown is None or made_of[published.id] is not published or (shown.weight, shown.freshness) != (weight, use.freshness):
                shown = endpoint_view(name, published, weight, use.freshness)
            pool.endpoints[published.id] = shown
        self.wheels[name] = wheel([(endpoint, endpoint.weight) for endpoint in pool.endpoints.values()], self._entropy)
        self._try(name, pool, use)
        self.gates[name] = gate(0.0 if use.alone else pool.snapshot.shed, self._entropy)
        changes = []
        for key in before.keys() | pool.endpoints.keys():
            old, new = before.get(key), pool.endpoints.get(key)
            if new is not None:
                self.index[key] = new
            elif self.index.get(key) is old:
                del self.index[key]
                self.local.forget(key)
            if old is not new and old != new:
                changes.append(Change(name, key, old, new, why(old, new)))
        if changes:
            self._on_change(changes)


def _is_tried(endpoint: PublishedEndpoint) -> bool:
    """Whether all that it gets is its trial share. What it gets beyond that, because too few others are left, needs no token."""
    return 0 < endpoint.weight <= max(1, ceil(endpoint.trial_share * WEIGHT_SUM)) and endpoint.trial_share > 0


def _weights(snapshot: Snapshot, use: _Use) -> list[int]:
    """Published weights while they hold; then equal ones for whoever is neither drained by an operator nor failing here."""
    if not use.alone:
        return [endpoint.weight for endpoint in snapshot.endpoints]
    usable = [endpoint.override not in WITHDRAWN and endpoint.id not in use.out for endpoint in snapshot.endpoints]
    shares = iter(equal_weights(sum(usable)))
    return [next(shares) if usable_one else 0 for usable_one in usable]
