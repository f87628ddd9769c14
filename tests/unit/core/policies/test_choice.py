"""Which policies are in force: an endpoint's over its pool's over what is built in."""

from __future__ import annotations

import msgspec

from monitor.core.endpoint import Endpoint, PolicyChoice, Pool
from monitor.core.policies.choice import contradictions, resolved

ENDPOINT = Endpoint(id="a", url="http://a/", pool="p")


def test_without_a_word_probes_are_judged_by_runs() -> None:
    assert resolved(ENDPOINT, Pool(name="p")).active.kind == "consecutive"


def test_equal_settings_give_the_very_same_object() -> None:
    again = msgspec.structs.replace(ENDPOINT, id="b", active=PolicyChoice("consecutive"))
    pool = Pool(name="p", active=PolicyChoice("consecutive"))
    assert resolved(again, pool) is resolved(msgspec.structs.replace(again, id="c"), msgspec.structs.replace(pool, name="q"))


def test_kind_none_switches_the_judge_of_traffic_off() -> None:
    assert resolved(ENDPOINT, Pool(name="p", passive=PolicyChoice("none"))).passive is None
    assert resolved(msgspec.structs.replace(ENDPOINT, passive=PolicyChoice("none")), Pool(name="p")).passive is None


def test_entries_of_a_release_without_policies_are_read() -> None:
    old = msgspec.json.decode(b'{"id":"a","url":"http://a/","pool":"p"}', type=Endpoint)
    assert old.active is None
    assert msgspec.json.decode(b'{"name":"p","open_ms":1000}', type=Pool).passive is None


def test_what_contradicts_itself_in_the_store_does_not_count() -> None:
    own = msgspec.structs.replace(ENDPOINT, passive=PolicyChoice("envoy", {"max_ejection_time_ms": 1_000, "interval_ms": 7_000}))
    pool = Pool(name="p", passive=PolicyChoice("envoy", {"base_ejection_time_ms": 2_000}))
    assert [role for role, _ in contradictions(own, pool)] == ["passive"]
    chosen = resolved(own, pool).passive
    assert chosen is not None
    assert (chosen.settings.base_ejection_time_ms, chosen.settings.interval_ms) == (2_000, 10_000)
    broken = Pool(name="p", passive=PolicyChoice("envoy", {"base_ejection_time_ms": 2_000, "max_ejection_time_ms": 1_000}))
    chosen = resolved(ENDPOINT, broken).passive
    assert chosen is not None
    assert (chosen.kind, chosen.settings.base_ejection_time_ms) == ("envoy", 30_000)
