"""Names: cached, stale while no resolver answers, and told apart from a name that does not exist."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from monitor.clock import FakeClock
from monitor.core.outcome import FailureClass, Outcome, StaleAnswer
from monitor.probes.catalog import prepare
from monitor.probes.resolver import OTHERS_WINDOW_MS, STALE_MAX_MS, STALE_RETRY_MS, TTL_MIN_MS, Lookup, Resolver, literal
from monitor.probes.runner import make_context, run_probe
from tests.unit.probes.servers import Dns, answering, dns, endpoint, probe, response, run, serving


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("::1", ("::1",)),
        ("localhost", ("127.0.0.1", "::1")),
        ("app.localhost", ("127.0.0.1", "::1")),
        ("example.com", ()),
    ],
)
def test_what_needs_no_query(host: str, addresses: tuple[str, ...]) -> None:
    assert literal(host) == addresses


def test_answers_are_kept_for_their_time_and_questions_are_shared() -> None:
    async def main() -> None:
        async with dns({"shop.test": "127.0.0.1"}, ttl_s=30) as server:
            clock = FakeClock()
            resolver = Resolver(clock, [server.server])
            answers = await asyncio.gather(*(resolver.lookup("shop.test", 2_000) for _ in range(20)))
            assert {answer.addresses for answer in answers} == {("127.0.0.1",)}
            asked = len(server.asked)
            assert asked <= 2  # one for each address family
            assert resolver.cached("shop.test") == ("127.0.0.1",)
            clock.advance(30_000)
            assert resolver.cached("shop.test") == ()
            assert await resolver.lookup("nowhere.test", 2_000) == Lookup(text="nowhere.test does not exist")
            await resolver.close()

    run(main())


def test_a_stale_answer_serves_while_no_resolver_answers() -> None:
    async def main() -> None:
        async with dns({"shop.test": "127.0.0.1"}, ttl_s=0) as server:
            clock = FakeClock()
            resolver = Resolver(clock, [server.server], timeout_ms=100, tries=1)
            await resolver.lookup("shop.test", 2_000)
            clock.advance(2_000)
            server.silent = True
            other = await resolver.lookup("other.test", 2_000)
            assert (other.ours, other.addresses) == (True, ())
            asked = len(server.asked)
            assert (await resolver.lookup("shop.test", 2_000)).addresses == ("127.0.0.1",)
            assert len(server.asked) > asked
            asked = len(server.asked)
            assert (await resolver.lookup("shop.test", 2_000)).addresses == ("127.0.0.1",)
            assert len(server.asked) == asked, "it serves unquestioned for a while"
            await asyncio.gather(*resolver._asked.values())
            clock.advance(STALE_RETRY_MS)
            assert (await resolver.lookup("shop.test", 2_000)).addresses == ("127.0.0.1",)
            assert len(server.asked) > asked
            assert resolver.cached("shop.test") == ()
            await resolver.close()

    run(main())


def test_a_probe_tells_a_missing_name_from_a_dead_resolver() -> None:
    async def main() -> None:
        async with dns({"shop.test": "127.0.0.1"}) as server, serving(answering(response(200))) as port:
            found = await probe(f"http://shop.test:{port}/", nameservers=[server.server])
            assert (found.outcome, found.ip) == (Outcome.SUCCESS, "127.0.0.1")
            assert found.phases.resolve_ms > 0
            missing = await probe("http://nowhere.test/", nameservers=[server.server])
            assert (missing.outcome, missing.failure, missing.text) == (
                Outcome.FAILURE,
                FailureClass.RESOLVE,
                "nowhere.test does not exist",
            )
            server.silent = True
            silent = await probe("http://shop.test/", nameservers=[server.server], timeout_ms=300)
            assert (silent.outcome, silent.text) == (Outcome.INCONCLUSIVE, "no resolver answered for shop.test")
        nobody = await probe("http://shop.test/", nameservers=[server.server])
        assert (nobody.outcome, nobody.text) == (
            Outcome.INCONCLUSIVE,
            "no resolver answered for shop.test: could not contact dns servers",
        )

    run(main())


SERVFAIL, REFUSED = 2, 5
FAST = {"timeout_ms": 100, "tries": 1}


@contextlib.asynccontextmanager
async def resolving(*names: str, **settings: Any) -> AsyncIterator[tuple[Dns, FakeClock, Resolver]]:
    """A resolver that has asked once for each of these names, and whose answers have expired since."""
    async with dns(dict.fromkeys(names, "127.0.0.1"), ttl_s=0) as server:
        clock = FakeClock()
        resolver = Resolver(clock, [server.server], **FAST, **settings)
        for name in names:
            assert (await resolver.lookup(name, 2_000)).addresses
        clock.advance(TTL_MIN_MS + 1)
        yield server, clock, resolver
        await resolver.close()


def test_a_stale_answer_says_how_old_it_is_and_why_and_serves_for_some_minutes_only() -> None:
    async def main() -> None:
        async with resolving("shop.test", "other.test") as (server, clock, resolver):
            server.codes["shop.test"] = SERVFAIL
            stale = Lookup(("127.0.0.1",), stale=StaleAnswer(clock.now_ms() - TTL_MIN_MS - 1, "the resolver says SERVFAIL for shop.test"))
            assert await resolver.lookup("shop.test", 2_000) == stale
            clock.advance(STALE_MAX_MS - 2)
            assert await resolver.lookup("shop.test", 2_000) == stale
            clock.advance(1)
            assert await resolver.lookup("shop.test", 2_000) == Lookup(text="the resolver says SERVFAIL for shop.test")
            del server.codes["shop.test"]
            assert await resolver.lookup("shop.test", 2_000) == Lookup(("127.0.0.1",))

    run(main())


@pytest.mark.parametrize("silent", [False, True])
def test_a_stale_answer_says_so_where_it_is_the_resolver_that_is_ours(silent: bool) -> None:
    async def main() -> None:
        async with resolving("shop.test", "other.test") as (server, _, resolver):
            server.silent = silent
            server.codes = {"shop.test": SERVFAIL, "other.test": SERVFAIL}
            for name in ("other.test", "shop.test"):
                await resolver.lookup(name, 2_000)
            await asyncio.gather(*resolver._asked.values())
            stale = (await resolver.lookup("shop.test", 2_000)).stale
            assert stale is not None
            assert stale.ours
            assert stale.why.startswith("no resolver answered for shop.test: ")

    run(main())


def test_an_answer_that_is_only_late_is_no_stale_one() -> None:
    async def main() -> None:
        async with resolving("shop.test") as (server, clock, resolver):
            server.silent = True
            late = await resolver.lookup("shop.test", 40)
            assert late == Lookup(("127.0.0.1",)), "the question is not answered yet, and has not failed"
            await asyncio.gather(*resolver._asked.values())
            server.silent = False
            clock.advance(STALE_RETRY_MS)
            assert await resolver.lookup("shop.test", 2_000) == Lookup(("127.0.0.1",))

    run(main())


def test_no_stale_answer_serves_where_the_settings_say_so() -> None:
    async def main() -> None:
        async with resolving("shop.test", stale_max_ms=0) as (server, _, resolver):
            server.codes["shop.test"] = SERVFAIL
            assert await resolver.lookup("shop.test", 2_000) == Lookup(text="the resolver says SERVFAIL for shop.test")

    run(main())


def test_a_name_that_does_not_exist_any_more_has_no_stale_answer() -> None:
    async def main() -> None:
        async with resolving("shop.test") as (server, _, resolver):
            del server.names["shop.test"]
            assert await resolver.lookup("shop.test", 2_000) == Lookup(text="shop.test does not exist")
            server.codes["shop.test"] = SERVFAIL
            assert await resolver.lookup("shop.test", 2_000) == Lookup(text="the resolver says SERVFAIL for shop.test")

    run(main())


@pytest.mark.parametrize(
    ("code", "alone"),
    [
        (SERVFAIL, Lookup(text="the resolver says SERVFAIL for shop.test")),
        (REFUSED, Lookup(text="the resolver says REFUSED for shop.test")),
        (None, Lookup(text="the resolver replies, but not for shop.test")),
    ],
)
@pytest.mark.parametrize("others", [(), ("a.test", "b.test")])
def test_a_name_that_alone_has_no_answer_is_the_targets_failure(code: int | None, alone: Lookup, others: tuple[str, ...]) -> None:
    async def main() -> None:
        async with resolving("shop.test", *others, stale_max_ms=0) as (server, _, resolver):
            server.codes["shop.test"] = code
            assert await resolver.lookup("shop.test", 2_000) == alone
            for other in others:
                assert (await resolver.lookup(other, 2_000)).addresses

    run(main())


@pytest.mark.parametrize("code", [SERVFAIL, REFUSED, None])
def test_where_most_other_names_have_no_answer_either_the_resolver_is_ours(code: int | None) -> None:
    async def main() -> None:
        failing = ["a.test", "b.test"]
        async with resolving(*failing, "shop.test", "c.test", "d.test", stale_max_ms=0) as (server, _, resolver):
            server.codes |= dict.fromkeys([*failing, "e.test", "shop.test"], code)
            await asyncio.gather(*(resolver.lookup(name, 2_000) for name in failing))
            assert not (await resolver.lookup("shop.test", 2_000)).ours, "half of the others have an answer"
            await resolver.lookup("e.test", 2_000)
            ours = await resolver.lookup("shop.test", 2_000)
            assert ours.ours
            assert ours.text.endswith("; nor for 3 of 5 others")

    run(main())


def test_names_of_the_hosts_file_tell_nothing_of_the_resolver() -> None:
    """They are answered though no resolver replies."""

    async def main() -> None:
        async with resolving("a.test", "shop.test", stale_max_ms=0) as (server, _, resolver):
            server.codes = {"a.test": SERVFAIL, "shop.test": SERVFAIL}
            await resolver.lookup("a.test", 2_000)
            asked = len(server.asked)
            assert "127.0.0.1" in (await resolver.lookup("LOCALHOST", 2_000)).addresses
            assert len(server.asked) == asked
            ours = await resolver.lookup("shop.test", 2_000)
            assert (ours.ours, ours.text) == (True, "no resolver answered for shop.test: it says SERVFAIL; nor for 1 of 1 others")

    run(main())


def test_what_was_heard_of_others_tells_of_the_resolver_for_some_minutes() -> None:
    async def main() -> None:
        async with resolving("other.test", "shop.test", stale_max_ms=0) as (server, clock, resolver):
            server.codes = {"other.test": SERVFAIL, "shop.test": SERVFAIL}
            await resolver.lookup("other.test", 2_000)
            assert (await resolver.lookup("shop.test", 2_000)).ours
            clock.advance(OTHERS_WINDOW_MS)
            assert not (await resolver.lookup("shop.test", 2_000)).ours

    run(main())


def test_names_that_a_target_redirects_to_tell_nothing_of_the_resolver() -> None:
    """Else one target could turn the failures of all others into errors of ours."""

    async def main() -> None:
        async with dns({"shop.test": "127.0.0.1"}) as server:
            server.codes = {"shop.test": SERVFAIL, "a.test": SERVFAIL, "b.test": SERVFAIL}
            context = make_context(FakeClock(), nameservers=[server.server], lag_max_s=60)
            for name in ("a.test", "b.test"):
                async with serving(answering(response(302, b"", f"Location: http://{name}/"))) as port:
                    watched = endpoint(f"http://127.0.0.1:{port}/")
                    result = await run_probe(watched, prepare(watched), context, 1_000)
                    assert (result.failure, result.text) == (FailureClass.RESOLVE, f"the resolver says SERVFAIL for {name}")
            assert not (await context.network.resolver.lookup("shop.test", 2_000)).ours
            await context.close()

    run(main())


def test_a_resolver_that_replies_to_nobody_is_ours() -> None:
    async def main() -> None:
        async with resolving("a.test", "b.test", "shop.test", stale_max_ms=0) as (server, clock, resolver):
            server.silent = True
            clock.advance(1)
            assert (await resolver.lookup("shop.test", 2_000)).ours
            assert (await resolver.lookup("shop.test", 50)).ours, "there is no time to wait for a reply"

    run(main())


def test_a_probe_with_a_stale_answer_says_so_also_after_a_redirect() -> None:
    async def main() -> None:
        async with dns({"shop.test": "127.0.0.1"}, ttl_s=0) as server, serving(answering(response(200))) as port:
            home = f"Location: http://127.0.0.1:{port}/"
            async with serving(answering(response(302, b"", home))) as first, serving(answering(b"")) as closing:
                clock = FakeClock()
                answered_ms = clock.now_ms()
                context = make_context(clock, nameservers=[server.server], lag_max_s=60)
                await context.network.resolver.lookup("shop.test", 2_000)
                clock.advance(2_000)
                server.codes["shop.test"] = SERVFAIL
                for url in (f"http://shop.test:{first}/", f"tcp://shop.test:{port}", f"http://shop.test:{closing}/"):
                    watched = endpoint(url)
                    result = await run_probe(watched, prepare(watched), context, 1_000)
                    assert result.stale == StaleAnswer(answered_ms, "the resolver says SERVFAIL for shop.test"), url
                await context.close()

    run(main())
