"""Fresh, frozen, expired, cold: what a consumer does as its knowledge ages (rules 5, 6 and 7)."""

from monitor.client.records import Freshness
from monitor.client.view import Fetch, Saved
from monitor.core.record import Override

FRESH, FROZEN, EXPIRED, COLD = Freshness
WEIGHTS = {"a": 700, "b": 300, "c": 0}
EQUAL = {"a": 334, "b": 333, "c": 333}


def test_without_an_evaluator_weights_freeze_and_then_expire(timeline):
    timeline.at(0).publish(WEIGHTS).expect(FRESH, 0)
    timeline.at(14_999).expect(FRESH, 14_999)
    assert timeline.at(15_000).expect(FROZEN).picks() == {"a": 700, "b": 300}
    assert timeline.at(179_999).expect(FROZEN).picks() == {"a": 700, "b": 300}
    assert timeline.at(180_000).expect(EXPIRED).picks() == EQUAL
    assert timeline.at(900_000).publish(WEIGHTS).expect(FRESH, 0).picks() == {"a": 700, "b": 300}


def test_an_unchanged_snapshot_with_a_live_evaluator_is_fresh(timeline):
    timeline.at(0).publish(WEIGHTS)
    for now_ms in range(3_000, 600_000, 3_000):
        timeline.at(now_ms).poll(alive=True).expect(FRESH, 0)


def test_redis_that_answers_without_a_heartbeat_keeps_nothing_fresh(timeline):
    timeline.at(0).publish(WEIGHTS).at(14_000).poll(alive=False).at(15_000).poll(alive=False).expect(FROZEN, 15_000)


def test_one_heartbeat_read_twice_counts_once(timeline):
    timeline.at(0).publish(WEIGHTS).at(1_000).poll(alive=True)
    same = Fetch(server_ms=1_700_000_010_000, alive_ms=1_700_000_001_000, at_ms=10_000)
    timeline.at(10_000).view.confirm("shop", same)
    timeline.expect(FRESH, 9_000)


def test_age_counts_the_time_before_the_fetch(timeline, make_snapshot):
    timeline.at(0).view.offer(make_snapshot(WEIGHTS, ts_ms=1_000_000), Fetch(1_020_000, None, 0))
    timeline.expect(FROZEN, 20_000).at(5_000).expect(FROZEN, 25_000)


def test_a_writer_with_a_clock_ahead_does_not_keep_a_pool_young(timeline):
    timeline.at(0).publish(WEIGHTS, skew_ms=3_600_000).expect(FRESH, 0)
    timeline.at(16_000).poll(alive=False).expect(FROZEN, 16_000)


def test_a_writer_with_a_clock_behind_does_not_age_a_pool(timeline):
    timeline.at(0).publish(WEIGHTS).poll(alive=True)
    timeline.at(1_000).publish(WEIGHTS, skew_ms=-3_600_000).expect(FRESH, 1_000)


def test_a_missing_key_is_no_news(timeline):
    timeline.at(0).publish(WEIGHTS).at(5_000).view.missing("shop")
    assert timeline.expect(FRESH, 5_000).picks() == {"a": 700, "b": 300}
    assert timeline.at(15_000).expect(FROZEN).picks() == {"a": 700, "b": 300}


def test_an_empty_pool_counts_only_with_a_tombstone(timeline, make_snapshot):
    timeline.at(0).publish(WEIGHTS)
    assert not timeline.view.offer(make_snapshot({}, ver=2), timeline.fetch())
    assert timeline.picks() == {"a": 700, "b": 300}
    timeline.publish({}, tombstone=True)
    assert timeline.view.pools() == ()
    assert timeline.view.endpoints("shop") == ()
    assert {change.id for change in timeline.changes if change.new is None} == {"a", "b", "c"}
    assert timeline.view.index == {}


def test_a_removed_pool_may_begin_again_once_its_key_is_gone(timeline, make_snapshot):
    timeline.at(0).publish(WEIGHTS).publish({}, tombstone=True)
    timeline.view.missing("shop")
    assert timeline.view.offer(make_snapshot({"z": 1_000}, ver=1), timeline.fetch())
    assert timeline.picks() == {"z": 1_000}


def test_a_tombstone_is_forgotten_when_it_is_too_old(timeline, make_snapshot):
    timeline.at(0).publish(WEIGHTS).publish({}, tombstone=True).at(179_999)
    assert not timeline.view.offer(make_snapshot({"z": 1_000}, ver=1), timeline.fetch())
    assert timeline.at(180_000).view.offer(make_snapshot({"z": 1_000}, ver=1), timeline.fetch())


def test_what_an_operator_drained_gets_nothing_even_when_expired(timeline, make_snapshot):
    first = make_snapshot(WEIGHTS)
    drained = tuple(
        type(one)(**{name: getattr(one, name) for name in one.__struct_fields__} | {"override": Override.DRAIN}) if one.id == "c" else one
        for one in first.endpoints
    )
    timeline.at(0).publish(WEIGHTS, endpoints=drained)
    assert timeline.at(180_000).expect(EXPIRED).picks() == {"a": 500, "b": 500}


def test_shed_is_for_known_states_only(timeline):
    timeline.at(0).publish(WEIGHTS, shed=0.25)
    assert sum(next(timeline.view.gates["shop"]) for _ in range(1_000)) == 250
    timeline.at(180_000)
    assert sum(next(timeline.view.gates["shop"]) for _ in range(1_000)) == 0


def test_the_local_breaker_decides_only_when_expired(timeline):
    timeline.at(0).publish(WEIGHTS).report("a", *[False] * 9)
    assert timeline.picks() == {"a": 700, "b": 300}


def test_the_local_breaker_puts_out_half_at_most_and_brings_back(timeline):
    timeline.at(0).publish(WEIGHTS).at(180_000).report("a", False, False, True, False, False, False, False)
    assert timeline.picks() == EQUAL
    assert timeline.report("a", False).picks() == {"b": 500, "c": 500}
    assert timeline.report("b", *[False] * 5).picks() == {"b": 500, "c": 500}
    assert timeline.at(185_000).picks() == EQUAL
    assert timeline.report("a", False).at(194_999).picks() == {"b": 500, "c": 500}
    assert timeline.at(195_000).report("a", True).picks() == EQUAL


def test_a_cold_start_uses_the_file_and_anything_redis_says_beats_it(timeline, make_snapshot):
    saved = Saved(make_snapshot(WEIGHTS, epoch=9, ver=9), age_ms=1_000)
    timeline.at(0).view.restore([saved], away_ms=60_000, now_ms=0)
    assert timeline.expect(COLD, 61_000).picks() == {"a": 700, "b": 300}
    assert timeline.at(119_000).expect(COLD, 180_000).picks() == EQUAL
    timeline.at(120_000).publish({"a": 1_000}).expect(FRESH)
    assert timeline.picks() == {"a": 1_000}


def test_nothing_known_is_cold(timeline):
    timeline.at(0).expect(COLD)
    assert timeline.view.staleness("shop", 0).age_ms is None


def test_changes_say_why(timeline):
    timeline.at(0).publish({"a": 500, "b": 500}).at(1_000)
    timeline.changes.clear()
    timeline.publish({"a": 1_000, "b": 0})
    assert {change.id: change.why for change in timeline.changes} == {"a": "weight 500 -> 1000", "b": "3 failures in a row"}
    timeline.changes.clear()
    timeline.at(16_000)
    assert {change.why for change in timeline.changes} == {"FRESH -> FROZEN"}


# A heartbeat that names pools ------------------------------------------------------------------------------------


def test_a_pool_that_the_heartbeat_names_is_frozen_at_once_and_expires_in_its_time(timeline):
    """It is named when nobody has judged it for its ttl at least; every further heartbeat says the same."""
    timeline.at(0).publish(WEIGHTS)
    for now_ms in range(2_000, 30_000, 2_000):
        timeline.at(now_ms).poll(alive=True).expect(FRESH, 0)
    timeline.at(30_000).poll(alive=True, lagging=("cart", "shop")).expect(FROZEN, 15_000)
    for now_ms in range(32_000, 195_000, 2_000):
        timeline.at(now_ms).poll(alive=True, lagging=("shop",)).expect(FROZEN, now_ms - 15_000)
    assert timeline.at(194_999).expect(FROZEN).picks() == {"a": 700, "b": 300}
    assert timeline.at(195_000).expect(EXPIRED, 180_000).picks() == EQUAL
    timeline.at(196_000).poll(alive=True).expect(FRESH, 0)


def test_a_heartbeat_that_names_another_pool_vouches_for_this_one(timeline):
    timeline.at(0).publish(WEIGHTS).at(600_000).poll(alive=True, lagging=("cart",)).expect(FRESH, 0)


def test_a_heartbeat_that_vouches_for_nobody_freezes(timeline):
    timeline.at(0).publish(WEIGHTS).at(5_000)
    timeline.view.confirm("shop", Fetch(server_ms=1_700_000_005_000, alive_ms=0, at_ms=5_000))
    timeline.expect(FROZEN, 15_000).at(6_000).poll(alive=True).expect(FRESH, 0)


def test_what_is_published_of_a_pool_that_lags_does_not_make_it_younger(timeline):
    """An operator drains, and no result has come for minutes: the drain counts, the rest is as old as before."""
    timeline.at(0).publish(WEIGHTS).at(20_000).poll(alive=True, lagging=("shop",))
    timeline.at(50_000).publish({"a": 1_000, "b": 0}).expect(FROZEN, 50_000)
    assert timeline.picks() == {"a": 1_000}
    timeline.at(52_000).poll(alive=True).expect(FRESH, 0).at(60_000).publish(WEIGHTS).expect(FRESH, 0)


def test_a_view_that_starts_while_a_pool_lags_takes_a_young_snapshot_for_frozen(timeline, make_snapshot):
    timeline.at(0)
    assert timeline.view.offer(make_snapshot(WEIGHTS), timeline.fetch(alive=True, lagging=("shop",)))
    timeline.expect(FROZEN, 15_000)


def test_a_lagging_pool_that_is_removed_is_removed(timeline):
    timeline.at(0).publish(WEIGHTS).at(20_000).poll(alive=True, lagging=("shop",)).at(170_000).expect(FROZEN)
    timeline.at(250_000).expect(EXPIRED).publish({}, tombstone=True).expect(FRESH, 0)
    assert timeline.view.pools() == ()
    timeline.at(251_000)
    assert timeline.view.snapshot("shop").tombstone is True


def test_changes_of_a_pool_that_begins_to_lag_say_why(timeline):
    timeline.at(0).publish(WEIGHTS).at(5_000)
    timeline.changes.clear()
    timeline.poll(alive=True, lagging=("shop",))
    assert {change.why for change in timeline.changes} == {"FRESH -> FROZEN"}
