"""Memory and the real server, under the same operations, are the same store.

Both run on the machine's clock. Tokens and due times differ by milliseconds, so each store gets its own tokens and what is
compared is everything else: who was claimed, how each commit was answered, what can be read afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from monitor.clock import SystemClock
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.errors import Stale
from monitor.store.memory.store import MemoryStore
from monitor.store.port import (
    AlertPhase,
    Asked,
    AssertedAlert,
    Commit,
    Committed,
    EndedAlert,
    Entry,
    Epoch,
    Flush,
    Membership,
    NewDelivery,
    PoolPut,
    Publication,
    Put,
    RegistryAnswer,
    RegistryChanges,
    Removal,
    Renaming,
    Settle,
    Store,
    SubjectAssertion,
    Write,
    digest,
)
from monitor.store.queues import Queue
from monitor.store.redis.store import RedisStore
from tests.registering import pools as settings_of
from tests.registering import register, set_override

IDS = [f"e{i}" for i in range(6)]
POOLS = ["a", "b"]
FAR_MS = 1_000_000
ids = st.sampled_from(IDS)
pools = st.sampled_from(POOLS)
groups = st.sampled_from(["g", "h"])
fingerprints = st.sampled_from(["f1", "f2"])
subjects = st.sampled_from(["endpoint:e", "system"])
ends = st.sampled_from([0, 101, 102])
data = st.binary(max_size=8)
Tokens = tuple[int, int]
"""The same lease in either store."""


class Twins(RuleBasedStateMachine):
    url: str
    slots: int

    def __init__(self) -> None:
        super().__init__()
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
        self.runner = asyncio.Runner()
        self.stores: tuple[Store, Store] = (MemoryStore(SystemClock(), self.slots), RedisStore(self.url, slots=self.slots))
        self.tokens: dict[str, Tokens] = {}
        self.now_ms = SystemClock().now_ms()
        self.deliveries: dict[str, tuple[str, str]] = {}
        for store in self.stores:
            self.runner.run(store.open(create=True))

    def teardown(self) -> None:
        for store in self.stores:
            self.runner.run(store.close())
        self.runner.close()

    def both(self, ask: Callable[[Store, int], Awaitable[Any]]) -> tuple[Any, Any]:
        """Ask each store; `ask` also gets the store's number, to find its tokens."""

        async def answer(number: int) -> Any:
            try:
                return await ask(self.stores[number], number)
            except Stale:
                return Stale

        memory, real = self.runner.run(answer(0)), self.runner.run(answer(1))
        return memory, real

    def same(self, ask: Callable[[Store, int], Awaitable[Any]]) -> Any:
        memory, real = self.both(ask)
        assert memory == real
        return memory

    @rule(
        puts=st.lists(st.tuples(ids, pools, st.booleans(), st.sampled_from([60_000, 3_600_000])), max_size=4, unique_by=lambda put: put[0]),
        removes=st.lists(ids, max_size=2, unique=True),
        settings_of=st.lists(pools, max_size=1),
        forget=st.lists(pools, max_size=1),
    )
    def register(self, puts: list[tuple[str, str, bool, int]], removes: list[str], settings_of: list[str], forget: list[str]) -> None:
        endpoints = [Endpoint(id=name, url="http://x/", pool=pool, paused=paused, interval_ms=ms) for name, pool, paused, ms in puts]
        self.same(lambda store, _: register(store, endpoints, removes, [Pool(name=name) for name in settings_of], forget))

    @rule(
        name=ids,
        pool=pools,
        other=ids,
        read=st.sampled_from(["right", "none", "wrong"]),
        revision=st.sampled_from(["right", "none", "wrong"]),
        weight=st.integers(1, 2),
        transitions=st.lists(data, max_size=2),
        in_stream=st.booleans(),
    )
    def register_from_a_reading(
        self, name: str, pool: str, other: str, read: str, revision: str, weight: int, transitions: list[bytes], in_stream: bool
    ) -> None:
        """One put, one removal and one pool, decided from what is there, from nothing, or from what was there before."""
        texts = tuple(transition.hex().encode() for transition in transitions)

        async def write(store: Store, _: int) -> RegistryAnswer:
            entries, settings = await store.endpoint_entries(), await store.pool_entries()
            wrong: Entry[Any] = Entry("0" * 40, None)

            def old(found: Entry[Any] | None) -> Entry[Any] | None:
                return {"right": found, "none": None, "wrong": wrong}[read]

            endpoint = Endpoint(id=name, url="http://x/", pool=pool, weight=weight, depends_on=("a",) * (weight - 1))
            held = await store.registry_revision()
            changes = RegistryChanges(
                puts=(Put(endpoint=endpoint, old=old(entries.get(name)), transitions=texts),),
                removals=(Removal(id=other, old=old(entries.get(other)) or wrong, transitions=texts),) if other != name else (),
                pools=(PoolPut(pool=Pool(name=pool, warm_up_ms=weight), old=old(settings.get(pool)), transitions=texts),),
                transitions=texts,
                in_stream=in_stream,
                revision={"right": held, "none": None, "wrong": held + 1}[revision],
            )
            answer = await store.register(changes)
            assert not answer.ok or revision == "none" or answer.revision in {await store.registry_revision(), held + 1}
            return msgspec.structs.replace(answer, revision=0)  # Each store's is its own time.

        self.same(write)

    @rule(old=ids, new=ids, read=st.sampled_from(["right", "right", "wrong"]), moved=st.sampled_from([0, 0, 0, 1]), other=ids)
    def rename(self, old: str, new: str, read: str, moved: int, other: str) -> None:
        async def rename(store: Store, _: int) -> RegistryAnswer:
            entries = await store.endpoint_entries()
            wrong: Entry[Any] = Entry("0" * 40, None)
            found = entries.get(old, wrong)
            before = found.value or Endpoint(id=old, url="http://x/", pool="a")
            child = entries.get(other)
            (loaded,) = await store.load([old])
            children = ()
            if child and child.value and other not in {old, new}:
                children = (Put(endpoint=msgspec.structs.replace(child.value, weight=7), old=child, transitions=(b"c",)),)
            renaming = Renaming(
                old_id=old,
                old=found if read == "right" else wrong,
                endpoint=msgspec.structs.replace(before, id=new),
                told_old=b"gone",
                told_new=b"come",
                ver=max(0, loaded.ver),
                record=b"r",
                children=children,
                revision=await store.registry_revision() + moved,
            )
            return msgspec.structs.replace(await store.rename(renaming), revision=0)

        if old != new:
            self.same(rename)

    @rule(name=ids, ver=st.integers(-1, 0))
    def ask_probe(self, name: str, ver: int) -> None:
        async def ask(store: Store, _: int) -> Asked:
            (loaded,) = await store.load([name])
            return await store.ask_probe(name, max(0, loaded.ver + ver))

        self.same(ask)

    @rule()
    def claim(self) -> None:
        async def claim(store: Store, _: int) -> dict[str, int]:
            claims = [await store.claim_probes(slot, 100, 10**10) for slot in range(self.slots)]
            return {item.id: item.token_ms for claim in claims for item in claim.items}

        memory, real = self.both(claim)
        assert memory.keys() == real.keys()
        self.tokens |= {name: (memory[name], real[name]) for name in memory}

    @rule(
        items=st.lists(
            st.tuples(ids, st.sampled_from(["held", "none", "wrong"]), st.integers(-1, 1), st.sampled_from([0, 1, None]), pools, data),
            max_size=5,
        ),
        dirty=st.sampled_from([None, 0, FAR_MS]),
    )
    def commit(self, items: list[tuple[str, str, int, int | None, str, bytes]], dirty: int | None) -> None:
        async def decided(store: Store, number: int) -> list[Commit]:
            held = {name: loaded.ver for name, loaded in zip(IDS, await store.load(IDS), strict=True)}
            return [
                Commit(
                    id=name,
                    token_ms={"held": self.tokens.get(name, (1, 1))[number], "none": None, "wrong": 17}[token],
                    ver=max(0, held[name] + min(ver, 0)),
                    next_ver=held[name] + 1,
                    record=body,
                    memory=body or None,
                    vouched_ms=FAR_MS if ver > 0 else 0,
                    reevaluate_ms=reevaluate_ms,
                    pool=pool,
                    writes=(Write("ring", len(body), body),) if body else (),
                    transitions=(body,) if ver > 0 else (),
                    alerts=(body, b"x") if body else (),
                    dirty_at_ms=None if dirty is None else self.now_ms + dirty,
                )
                for name, token, ver, reevaluate_ms, pool, body in items
            ]

        async def commit(store: Store, number: int) -> list[Committed]:
            return await store.commit(await decided(store, number))

        self.same(commit)

    @rule(name=ids, pool=pools, override=data)
    def override(self, name: str, pool: str, override: bytes) -> None:
        endpoint = Endpoint(id=name, url="http://x/", pool=pool)
        self.same(lambda store, _: set_override(store, endpoint, override, b"o" + override))
        self.same(lambda store, _: store.set_override(endpoint, digest(override), b"x", b"ox"))

    @rule(queue=st.sampled_from([Queue.DIRTY, Queue.REEVALUATE]), stays=st.booleans())
    def drain(self, queue: Queue, stays: bool) -> None:
        async def drain(store: Store, _: int) -> list[tuple[str, bool]]:
            found = []
            for slot in range(self.slots):
                for lease in await store.claim(queue, slot, 100, 60_000):
                    next_ms = self.now_ms + FAR_MS if stays else None
                    found.append((lease.member, await store.finish(queue, slot, lease.member, lease.token_ms, next_ms)))
            return sorted(found)

        self.same(drain)

    @rule(ver=st.integers(1, 4), pool=pools, body=data, tombstone=st.booleans(), seen=st.sampled_from([0, 0, 0, 2]), follows=st.booleans())
    def publish(self, ver: int, pool: str, body: bytes, tombstone: bool, seen: int, follows: bool) -> None:
        async def publish(store: Store, _: int) -> int:
            epoch = Epoch((await store.epoch()).number, seen)
            after = (await store.load_pool(pool)).logged if follows else (epoch.number, ver - 1)
            publication = Publication(pool=pool, epoch=epoch, ver=ver, snapshot=body, delta=body, after=after, tombstone=tombstone)
            return (await store.publish(publication)).publications

        self.same(publish)

    @rule(ahead=st.integers(0, 3))
    def begin_anew(self, ahead: int) -> None:
        """By a publisher that has seen more publications than the data set knows of."""

        async def begin(store: Store, _: int) -> int:
            epoch = await store.epoch()
            return (await store.epoch(Epoch(epoch.number, ahead))).publications

        self.same(begin)

    @rule()
    def lag(self) -> None:
        self.same(lambda store, _: store.lagging())

    @rule(ver=st.integers(0, 2), states=data, events=st.lists(data, max_size=2))
    def subject(self, ver: int, states: bytes, events: list[bytes]) -> None:
        told = {"alerting": bool(events), "alerts": events, "transitions": events[:1]}
        self.same(lambda store, _: store.commit_subject("system", ver, ver + 1, states, **told))
        self.same(lambda store, _: store.alerting())

    @rule(acked=st.integers(0, 3))
    def route(self, acked: int) -> None:
        async def route(store: Store, _: int) -> list[bytes]:
            found: list[bytes] = []
            for slot in range(self.slots):
                token_ms, events = await store.claim_alert_events(slot, 3, 60_000)
                if events:
                    await store.ack_alert_events(slot, token_ms, [entry_id for entry_id, _ in events[:acked]])
                found += [body for _, body in events]
            return found

        self.same(route)

    @rule(
        subject=subjects,
        ver=st.integers(1, 3),
        alerts=st.lists(
            st.tuples(fingerprints, st.lists(groups, max_size=2), ends, st.integers(1, 2)), max_size=2, unique_by=lambda one: one[0]
        ),
        ended=st.lists(fingerprints, max_size=2),
        reason=st.sampled_from(["", "gone"]),
    )
    def assert_alerts(self, subject: str, ver: int, alerts: list[tuple[str, list[str], int, int]], ended: list[str], reason: str) -> None:
        rows = tuple(
            AssertedAlert(
                fingerprint=fingerprint,
                alert=b"alert",
                starts_ms=starts_ms,
                ends_ms=ends_ms,
                groups=tuple(Membership(fingerprint=fingerprint, group=group, meta=b"m", first_flush_ms=1) for group in named),
            )
            for fingerprint, named, ends_ms, starts_ms in alerts
        )
        gone = tuple(EndedAlert(fingerprint=name, alert=b"last", reason="drained") for name in ended)
        said = SubjectAssertion(subject=subject, ver=ver, at_ms=100 + ver, expires_ms=1, alerts=rows, ended=gone, reason=reason)
        self.same(lambda store, _: store.assert_alerts([said]))

    @rule(rows=st.lists(st.tuples(fingerprints, groups), max_size=2))
    def join(self, rows: list[tuple[str, str]]) -> None:
        memberships = [Membership(fingerprint=name, group=group, meta=b"j", first_flush_ms=1) for name, group in rows]
        self.same(lambda store, _: store.join_groups(memberships))

    @rule(at_ms=st.integers(100, 104))
    def end_asserted(self, at_ms: int) -> None:
        async def end(store: Store, _: int) -> list[tuple[str, int]]:
            leases = await store.claim(Queue.ASSERTIONS, 0, 1, 60_000)
            return [(one.member, await store.end_asserted(one.member, one.token_ms, at_ms, "lost", 1)) for one in leases]

        self.same(end)

    @rule(
        integrations=st.lists(st.sampled_from(["mail", "chat"]), max_size=2, unique=True),
        drop=st.dictionaries(fingerprints, ends),
        log=st.dictionaries(st.just("mail"), data, max_size=1),
        meta=st.none() | st.just(b"meta"),
        twice=st.booleans(),
    )
    def flush(self, integrations: list[str], drop: dict[str, int], log: dict[str, bytes], meta: bytes | None, twice: bool) -> None:
        rows: dict[str, tuple[NewDelivery, ...]] = {}
        for group in ("g", "h"):
            made = [NewDelivery(f"{group}-{name}-{len(self.deliveries)}", name, b"p", 1) for name in integrations]
            self.deliveries |= {row.id: (group, row.place) for row in made}
            rows[group] = tuple(made)

        async def flush(store: Store, _: int) -> list[Any]:
            answers: list[Any] = []
            for lease in await store.claim(Queue.GROUPS, 0, 9, 60_000):
                decided = Flush(
                    group=lease.member,
                    token_ms=lease.token_ms,
                    next_ms=1,
                    deliveries=rows[lease.member],
                    drop=drop,
                    log=log,
                    meta=meta,
                )
                for _ in range(2 if twice else 1):
                    try:
                        answers.append(await store.commit_flush(decided))
                    except Stale:
                        answers.append(Stale)
            return answers

        self.same(flush)

    @rule(
        log=st.none() | data.filter(bool),
        drop=st.dictionaries(fingerprints, ends),
        what=st.sampled_from(["settle", "settle and flush at once", "retry"]),
    )
    def deliver(self, log: bytes | None, drop: dict[str, int], what: str) -> None:
        async def deliver(store: Store, _: int) -> list[str]:
            leases = await store.claim(Queue.DELIVERIES, 0, 1, 60_000)
            for lease in leases:
                group, place = self.deliveries[lease.member]
                if what == "retry":
                    await store.retry_delivery(lease.member, lease.token_ms, b"again", 1)
                else:
                    row = Settle(
                        id=lease.member,
                        token_ms=lease.token_ms,
                        group=group,
                        place=place,
                        log=log,
                        drop=drop,
                        sent=b"s",
                        at_once="at once" in what,
                    )
                    await store.settle_delivery(row)
            return [lease.member for lease in leases]

        self.same(deliver)

    @invariant()
    def everything_read_is_the_same(self) -> None:
        async def read(store: Store, _: int) -> list[Any]:
            return [
                await store.endpoints(),
                await settings_of(store),
                [(loaded.ver > 0, loaded.record, loaded.override, loaded.memory) for loaded in await store.load(IDS)],
                [await store.transitions(name) for name in IDS],
                await store.endpoint_entries(),
                await store.pool_entries(),
                [msgspec.structs.replace(load, logged=load.logged[1:]) for load in [await store.load_pool(pool) for pool in POOLS]],
                [await store.samples(name, "ring") for name in IDS],
                [await store.load_group(group) for group in ("g", "h")],
                await store.load_deliveries(sorted(self.deliveries)),
                [await store.alerts(phase, 10) for phase in AlertPhase],
                [await store.alert(name) for name in ("f1", "f2")],
                await store.load_subject("system"),
                sorted(body for _, body in await store.events(1_000)),
                [body for _, body in await store.sent(1_000)],
                await store.streams(),
                sorted(await store.ready()),
            ]

        self.same(read)


@pytest.mark.parametrize("slots", [1, 3])
def test_memory_and_the_server_are_the_same_store(any_redis_url: str, slots: int) -> None:
    machine = type("Machine", (Twins,), {"url": any_redis_url, "slots": slots})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=25, stateful_step_count=25, suppress_health_check=list(HealthCheck)),
    )
