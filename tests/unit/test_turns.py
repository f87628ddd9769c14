"""Turns to send: a service has a few, and half of all are for those that have none."""

from __future__ import annotations

from workers.receivers.turns import Turns


def test_a_service_has_a_few_and_the_next_follows_an_end() -> None:
    turns = Turns(each_max=2, all_max=8)
    first, second, third, fourth = (turns.ask("a") for _ in range(4))
    assert [turn.done() for turn in (first, second, third, fourth)] == [True, True, False, False]
    turns.end("a", first)
    assert [third.done(), fourth.done()] == [True, False]


def test_slow_services_leave_turns_for_those_that_have_none() -> None:
    turns = Turns(each_max=3, all_max=8)
    slow = [turns.ask(service) for service in "abcd" for _ in range(5)]
    assert sum(turn.done() for turn in slow) == 6  # Three of a, one of each other: half is taken by then.
    assert turns.ask("e").done()
    assert turns.ask("f").done()
    assert not turns.ask("g").done()  # All are taken.


def test_a_free_turn_goes_to_who_has_the_fewest() -> None:
    turns = Turns(each_max=2, all_max=2)
    first, more, other = turns.ask("a"), turns.ask("a"), turns.ask("b")
    assert [first.done(), more.done(), other.done()] == [True, False, True]
    last = turns.ask("c")
    turns.end("b", other)
    assert [more.done(), last.done()] == [False, True]


def test_whoever_stops_waiting_takes_no_turn() -> None:
    turns = Turns(each_max=1, all_max=4)
    first, second, third = (turns.ask("a") for _ in range(3))
    turns.end("a", second)
    turns.end("a", first)
    assert third.done()
    turns.end("a", third)
    assert turns.ask("a").done()


def test_a_slow_service_has_one_turn_until_it_answers() -> None:
    turns = Turns(each_max=4, all_max=16)
    turns.judge("a", slow=True)
    first, second, third = (turns.ask("a") for _ in range(3))
    assert [first.done(), second.done()] == [True, False]
    turns.judge("a", slow=False)
    assert [second.done(), third.done()] == [True, True]


def test_slow_services_have_half_of_all_however_many_they_are() -> None:
    turns = Turns(each_max=4, all_max=8)
    for number in range(20):
        turns.judge(f"slow {number}", slow=True)
    slow = [turns.ask(f"slow {number}") for number in range(20)]
    assert sum(turn.done() for turn in slow) == 4
    assert all(turns.ask(service).done() for service in "abcd")
