"""Leased trials: never more at a time than may, every permit is used or comes back, and what is of the breaker's last life is dropped."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from monitor.core.policies.call import CallOutcome
from monitor.core.policies.policy import CONCURRENT_MAX
from monitor.core.reports import Trial, TrialReport, decode
from monitor.pool.trials import LiveToken, TrialCount, TrialTerms
from monitor.store import keys
from monitor.store.port import Ended, Grant, Publication, Refusal, TrialEnd
from monitor.store.redis.store import RedisStore
from tests.contract.conftest import House, on_servers

LEASE_MS = 600_000
TERMS = TrialTerms(gen=7, permitted=5, concurrent=4, lease_ms=LEASE_MS)


class Shop:
    """A pool whose endpoint `e` users may try."""

    def __init__(self, house: House) -> None:
        self.house, self.ver = house, 0

    async def publish(self, **terms: TrialTerms) -> None:
        epoch, self.ver = await self.house.store.epoch(), self.ver + 1
        logged = (await self.house.store.load_pool("shop")).logged
        await self.house.store.publish(
            Publication(
                pool="shop", epoch=epoch, ver=self.ver, snapshot=b"s", delta=b"d", after=logged, trials=terms, trials_ttl_ms=10 * LEASE_MS
            )
        )

    async def grant(self, token: str, endpoint: str = "e") -> Grant | Refusal:
        return await self.house.store.grant_trial("shop", endpoint, f"web-1/{token}")

    async def end(self, token: str, outcome: str = "success", gen: int = 7, **more: object) -> Ended:
        end = TrialEnd(endpoint="e", gen=gen, token=f"web-1/{token}", outcome=outcome, observer="web-1", **more)  # type: ignore[arg-type]
        return await self.house.store.end_trial("shop", end)

    async def count(self) -> TrialCount:
        return (await self.house.store.trials_of("shop"))["e"].count

    async def live(self) -> int:
        return len((await self.house.store.trials_of("shop"))["e"].live)

    async def told(self) -> list[Trial]:
        found = [decode(data) for _, data in await self.house.store.reports("shop", 1_000)]
        return [report.trial for report in found if isinstance(report, TrialReport)]


@pytest.fixture
def shop(house: House) -> Shop:
    return Shop(house)


async def test_one_at_a_time_at_first_two_after_a_success_and_four_after_two(shop):
    await shop.publish(e=msgspec.structs.replace(TERMS, permitted=100))
    for ok, at_once in enumerate((1, 2, 4, 4)):
        answers = [await shop.grant(f"{ok}-{n}") for n in range(6)]
        assert [isinstance(answer, Grant) for answer in answers] == [True] * at_once + [False] * (6 - at_once)
        assert answers[-1] is Refusal.BUSY
        for n in range(at_once):
            assert await shop.end(f"{ok}-{n}", "success" if n == 0 else "cancelled") is (Ended.COUNTED if n == 0 else Ended.RELEASED)


async def test_no_more_than_are_permitted(shop):
    await shop.publish(e=msgspec.structs.replace(TERMS, permitted=2))
    for token in "ab":
        assert isinstance(await shop.grant(token), Grant)
        await shop.end(token)
    assert await shop.grant("c") is Refusal.SPENT
    assert await shop.count() == TrialCount(ok=2)


async def test_nobody_tries_what_users_may_not(shop):
    assert await shop.grant("a") is Refusal.NONE
    await shop.publish(e=TERMS)
    assert await shop.grant("a", "other") is Refusal.NONE
    assert isinstance(await shop.grant("a"), Grant)
    await shop.publish()
    assert await shop.grant("b") is Refusal.NONE
    assert await shop.house.store.trials_of("shop") == {}
    assert await shop.end("a") is Ended.STALE
    assert await shop.told() == []


async def test_a_result_is_told_with_its_generation_by_the_step_that_ends_the_token(shop):
    await shop.publish(e=TERMS)
    assert await shop.grant("a") == await shop.grant("a"), "an answer that was lost is asked for again"
    assert await shop.live() == 1
    assert await shop.end("a", "failure", duration_ms=3.5, code=503) is Ended.COUNTED
    assert await shop.end("a", "success") is Ended.LOST
    trial = Trial(endpoint="e", gen=7, outcome=CallOutcome.FAILURE, duration_ms=3.5, code=503, observer="web-1")
    assert await shop.told() == [trial]
    assert await shop.count() == TrialCount(failed=1)
    assert await shop.live() == 0


async def test_who_holds_a_token_is_shown_with_the_end_of_the_lease(shop):
    await shop.publish(e=TERMS)
    granted = await shop.grant("a")
    assert isinstance(granted, Grant)
    assert abs(granted.until_ms - await shop.house.store.now_ms() - LEASE_MS) < 5_000
    assert (granted.gen, granted.lease_ms) == (7, LEASE_MS)
    (state,) = (await shop.house.store.trials_of("shop")).values()
    assert state.terms == TERMS
    assert state.live == (LiveToken("web-1", granted.until_ms),)


@pytest.mark.parametrize("outcome", ["cancelled", "ignored", "rejected", "short_circuited", "", "no such word"])
async def test_what_judges_nobody_gives_the_permit_back(shop, outcome):
    await shop.publish(e=TERMS)
    await shop.grant("a")
    assert await shop.end("a", outcome) is Ended.RELEASED
    assert await shop.count() == TrialCount()
    assert await shop.told() == []
    assert isinstance(await shop.grant("b"), Grant)


async def test_a_lost_lease_gives_its_permit_back_and_its_result_does_not_count(shop):
    await shop.publish(e=msgspec.structs.replace(TERMS, permitted=1, lease_ms=50))
    await shop.grant("a")
    assert await shop.grant("b") is Refusal.BUSY
    await shop.house.passes(50)
    assert await shop.live() == 0
    assert isinstance(await shop.grant("b"), Grant)
    assert await shop.end("a") is Ended.LOST
    assert await shop.count() == TrialCount(lost=1)
    await shop.house.passes(50)
    assert await shop.end("b") is Ended.LOST
    assert await shop.count() == TrialCount(lost=2)
    assert await shop.told() == []


async def test_another_generation_begins_with_all_permits_and_drops_what_the_last_one_finds(shop):
    await shop.publish(e=msgspec.structs.replace(TERMS, permitted=1))
    await shop.grant("a")
    await shop.publish(e=msgspec.structs.replace(TERMS, permitted=1, gen=9))
    assert await shop.end("a") is Ended.STALE
    assert isinstance(await shop.grant("b"), Grant)
    assert await shop.end("a") is Ended.STALE
    assert await shop.live() == 1
    assert await shop.end("b", gen=9) is Ended.COUNTED
    assert [trial.gen for trial in await shop.told()] == [9]


async def test_what_is_published_again_takes_no_token_away(shop):
    await shop.publish(e=TERMS)
    await shop.grant("a")
    await shop.publish(e=TERMS, other=TERMS)
    assert await shop.grant("b") is Refusal.BUSY
    assert await shop.end("a") is Ended.COUNTED


async def test_never_more_than_four_at_a_time_whatever_is_published(shop):
    await shop.publish(e=msgspec.structs.replace(TERMS, permitted=100, concurrent=50))
    for token in "ab":
        await shop.grant(token)
        await shop.end(token)
    granted = [await shop.grant(f"t{n}") for n in range(10)]
    assert sum(isinstance(answer, Grant) for answer in granted) == CONCURRENT_MAX


async def test_many_who_ask_at_once_get_what_there_is(shop):
    await shop.publish(e=TERMS)
    answers = await asyncio.gather(*(shop.grant(f"t{n}") for n in range(100)))
    assert sum(isinstance(answer, Grant) for answer in answers) == 1


@on_servers
async def test_keys_of_another_type_keep_nobody_from_trying(shop):
    await shop.publish(e=TERMS)
    execute = shop.house.store._wire.execute_one
    for key in (keys.trials_issued("shop"), keys.trial("shop", "e"), keys.reports("shop")):
        await execute("SET", key, "rubbish")
    assert (await shop.house.store.trials_of("shop"))["e"].live == ()
    await shop.grant("a")
    assert await shop.end("a") is Ended.COUNTED
    assert len(await shop.told()) == 1
    await execute("DEL", keys.trials("shop"))
    await execute("SET", keys.trials("shop"), "rubbish")
    assert await shop.grant("b") is Refusal.NONE
    assert await shop.house.store.trials_of("shop") == {}
    await shop.publish(e=TERMS)
    assert isinstance(await shop.grant("c"), Grant)


@on_servers
@pytest.mark.parametrize("held", ["", "7 5 4", "7 5 4 x", "-1 5 4 100", "7 5 4 100 1", "\xff"])
async def test_terms_that_cannot_be_read_admit_nobody(shop, held):
    await shop.publish(e=TERMS)
    await shop.house.store._wire.execute_one("HSET", keys.trials("shop"), "e", held)
    assert await shop.grant("a") is Refusal.NONE
    assert await shop.house.store.trials_of("shop") == {}


@on_servers
async def test_a_lease_from_before_a_step_back_of_the_time_ends_within_one_lease(shop):
    terms = msgspec.structs.replace(TERMS, lease_ms=50)
    await shop.publish(e=terms)
    await shop.grant("a")
    far_ms = await shop.house.store.now_ms() + 86_400_000
    await shop.house.store._wire.execute_one("ZADD", keys.trial("shop", "e"), far_ms, "7:web-1/a")
    assert await shop.grant("b") is Refusal.BUSY
    await shop.house.passes(50)
    assert isinstance(await shop.grant("b"), Grant)


async def test_permits_that_were_lost_come_back_when_nobody_asked_for_long(shop):
    await shop.publish(e=msgspec.structs.replace(TERMS, permitted=1, lease_ms=20))
    await shop.grant("a")
    await shop.house.passes(100)
    assert isinstance(await shop.grant("b"), Grant)
    assert await shop.count() == TrialCount(lost=1)


@on_servers
async def test_nothing_of_a_trial_stays_for_ever(shop):
    await shop.publish(e=TERMS)
    await shop.grant("a")
    for key in (keys.trials("shop"), keys.trials_issued("shop"), keys.trial("shop", "e")):
        assert 0 < await shop.house.store._wire.execute_one("PTTL", key) <= 12 * LEASE_MS
    await shop.publish()
    assert await shop.house.store._wire.execute_one("EXISTS", keys.trials("shop"), keys.trials_issued("shop")) == 0


# Under any interleaving ---------------------------------------------------------------------------------------------


class TrialsMachine(RuleBasedStateMachine):
    """Consumers that ask, end, die and come late; the breaker that moves on; time that passes. The model knows only the promises:
    at most min(concurrent, 4, 1 -> 2 -> 4) live tokens (I11), at most `permitted` that are used or in use, and nobody waits longer than
    one lease for a permit that a dead holder keeps (I12)."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        if self.url:
            with redis.Redis.from_url(self.url) as client:
                client.flushall()
        self.runner = asyncio.Runner()
        self.house = House(self.url, 1)
        self.runner.run(self.house.store.open(create=True))
        self.shop = Shop(self.house)
        self.gen, self.terms = 0, TERMS
        self.names = 0
        self.tokens: dict[str, tuple[int, int]] = {}  # token -> its generation, the end of its lease: those that nobody ended yet
        self.ok = self.used = 0
        self.told = 0
        self.half_open(5, 4)

    def teardown(self) -> None:
        self.runner.run(self.house.store.close())
        self.runner.close()

    def now_ms(self) -> int:
        return self.runner.run(self.house.store.now_ms())

    def live(self) -> list[str]:
        now_ms = self.now_ms()
        return [token for token, (gen, until_ms) in self.tokens.items() if gen == self.gen and until_ms > now_ms]

    def move(self, ms: int) -> None:
        """Let the server's time be another; a real one's leases are moved instead, by as much the other way."""
        self.house._clock.jump(ms)
        if isinstance(self.house.store, RedisStore):
            execute, key = self.house.store._wire.execute_one, keys.trial("shop", "e")
            for member in self.runner.run(execute("ZRANGE", key, 0, -1)):
                self.runner.run(execute("ZINCRBY", key, -ms, member))
            self.tokens = {token: (gen, until_ms and until_ms - ms) for token, (gen, until_ms) in self.tokens.items()}

    @rule(permitted=st.integers(1, 6), concurrent=st.integers(1, 6))
    def half_open(self, permitted: int, concurrent: int) -> None:
        """The breaker has moved on and is tried anew."""
        self.gen += 2
        self.terms = TrialTerms(self.gen, permitted, concurrent, LEASE_MS)
        self.ok = self.used = 0
        self.runner.run(self.shop.publish(e=self.terms))

    @rule()
    def publish_again(self) -> None:
        self.runner.run(self.shop.publish(e=self.terms, other=self.terms))

    @rule(asked=st.integers(1, 6))
    def ask(self, asked: int) -> None:
        before = len(self.live())
        for token in self.tokens.keys() - set(self.live()):
            self.tokens[token] = self.tokens[token][0], 0  # Lost for good: no step back of the time wakes it.
        tokens = [f"t{self.names + n}" for n in range(asked)]
        self.names += asked

        async def together() -> list[Grant | Refusal]:
            return list(await asyncio.gather(*(self.shop.grant(token) for token in tokens)))

        answers = self.runner.run(together())
        granted = {token: answer for token, answer in zip(tokens, answers, strict=True) if isinstance(answer, Grant)}
        for token, answer in granted.items():
            assert answer.gen == self.gen
            self.tokens[token] = (answer.gen, answer.until_ms)
        may = min(self.terms.at_once(self.ok), self.terms.permitted - self.used)
        assert len(granted) == max(0, min(asked, may - before)), (before, self.used, self.ok)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), outcome=st.sampled_from([*CallOutcome]))
    def end(self, data: st.DataObject, outcome: CallOutcome) -> None:
        token = data.draw(st.sampled_from(sorted(self.tokens)))
        alive = token in self.live()
        gen, _ = self.tokens.pop(token)
        answer = self.runner.run(self.shop.end(token, outcome, gen=gen))
        judged = outcome in (CallOutcome.SUCCESS, CallOutcome.FAILURE, CallOutcome.TIMEOUT)
        if gen != self.gen:
            assert answer is Ended.STALE
        elif not alive:
            assert answer is Ended.LOST
        else:
            assert answer is (Ended.COUNTED if judged else Ended.RELEASED)
            self.used += judged
            self.ok += outcome is CallOutcome.SUCCESS
            self.told += judged

    @rule(ms=st.sampled_from([LEASE_MS // 10, LEASE_MS // 2, LEASE_MS]))
    def passes(self, ms: int) -> None:
        self.move(ms)

    @rule(ms=st.sampled_from([-86_400_000, -LEASE_MS // 2, 86_400_000]))
    def step(self, ms: int) -> None:
        """The server's time steps: leases end further ahead than a lease is long, or have ended at once. The next who asks sees it."""
        self.move(ms)
        self.runner.run(self.shop.publish(e=self.terms))  # What was published may have expired by it.
        latest_ms = self.now_ms() + LEASE_MS
        self.tokens = {token: (gen, min(until_ms, latest_ms)) for token, (gen, until_ms) in self.tokens.items()}
        self.ask(1)

    @invariant()
    def no_more_than_may_try_at_a_time(self) -> None:
        assert len(self.live()) <= min(CONCURRENT_MAX, self.terms.concurrent)
        assert self.used + len(self.live()) <= self.terms.permitted

    @invariant()
    def every_result_that_counted_is_told_once(self) -> None:
        assert len(self.runner.run(self.shop.told())) == self.told

    @invariant()
    def a_lease_later_there_is_a_permit_unless_all_are_used(self) -> None:
        """Never stuck. Looked at without touching anything: what lives now lives a lease at most."""
        now_ms = self.now_ms()
        assert all(until_ms <= now_ms + LEASE_MS + 5_000 for _, until_ms in self.tokens.values())


def test_under_any_interleaving(server):
    machine = type("Trials", (TrialsMachine,), {"url": server})
    examples = 15 if server else 60
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None))
