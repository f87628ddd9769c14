"""Names: cached, stale while no resolver answers, and told apart from a name that does not exist."""

from __future__ import annotations

import asyncio

import pytest

from monitor.clock import FakeClock
from monitor.core.outcome import FailureClass, Outcome
from monitor.probes.resolver import STALE_RETRY_MS, Lookup, Resolver, literal
from tests.unit.probes.servers import answering, dns, probe, response, run, serving


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
            assert resolver.cached("shop.test") == ("127.0.0.1",)
            clock.advance(STALE_RETRY_MS)
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
