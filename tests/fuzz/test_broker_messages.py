"""What stands in a list of the broker: a message of ours goes on with its task and arguments alone, the rest is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.core.errors import DECODE_ERRORS
from tests.fuzz.play import cases
from workers.broker import SHAPES, Inspector, fresh

JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(["probe_batch", "deliver", "base64"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=20,
)
NUMBERS = st.one_of(st.integers(-1, 70), st.sampled_from([2**53, 2**53 + 1, 2**64]), JSON)
ITEMS = st.one_of(st.lists(st.tuples(st.text(max_size=9), NUMBERS, NUMBERS), max_size=5), JSON)
ARGUMENTS = st.one_of(st.tuples(NUMBERS), st.tuples(NUMBERS, ITEMS), st.tuples(NUMBERS, NUMBERS, ITEMS), JSON)
REST = st.one_of(st.just({}), st.just({"callbacks": None}), JSON)


def message(task: Any, body: Any, changes: dict[str, Any]) -> bytes:
    made = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": task},
        "properties": {"body_encoding": "base64"},
    }
    return json.dumps({**made, **changes}).encode()


MESSAGES = st.builds(
    message,
    st.one_of(st.sampled_from(sorted(SHAPES)), JSON),
    st.one_of(st.tuples(ARGUMENTS, st.just({}), REST), st.tuples(ARGUMENTS, REST, REST), JSON),
    st.one_of(st.just({}), st.dictionaries(st.sampled_from(["body", "content-type", "headers", "properties", "more"]), JSON, max_size=2)),
)


@cases(300)
@given(MESSAGES, st.integers(0, 400), st.binary(max_size=3))
@example(b"[" * 100_000, 0, b"")
@example(message("probe_batch", [[0, 1, [["\udcff", 1, 1]]], {}, {}], {}), 10_000, b"")
def test_a_message_goes_on_clean_or_is_refused(data: bytes, place: int, piece: bytes) -> None:
    damaged = data[:place] + piece + data[place + len(piece) :]
    for sent in (data, damaged):
        try:
            made = json.loads(fresh(sent))
        except DECODE_ERRORS:
            continue
        assert set(made) == {"body", "content-type", "content-encoding", "headers", "properties"}
        assert set(made["headers"]) == {"lang", "task", "id", "root_id"}
        arguments, named, embedded = json.loads(base64.b64decode(made["body"]))
        assert not named
        assert not any(embedded.values())
        msgspec.convert(arguments, SHAPES[made["headers"]["task"]])


@cases(100)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=50)), max_size=30))
def test_all_are_counted_and_few_are_told(pieces: list[bytes | None]) -> None:
    inspector, told, counted = Inspector(), list[bytes](), 0

    def count(name: str, by: int) -> None:
        nonlocal counted
        assert name == "messages_refused"
        counted += by

    inspector.count, inspector.tell = count, lambda _queue, data, _why: told.append(data)
    for piece in pieces:
        assert inspector(None if piece is None else [b"probe", piece]) is None
    assert counted == sum(piece is not None for piece in pieces)
    assert min(counted, 1) <= len(told) <= 2  # The second where the machine has slept in between.


@pytest.mark.parametrize(
    "body", [[[0, 1, [["a", 1e3, 1]]], {}, {}], [[0, True, []], {}, {}], [[0, 1, [["a", -1, 1]]], {}, {}], [[0, 1, []], {}, None]]
)
def test_what_is_nearly_a_message_is_none(body: Any) -> None:
    with pytest.raises(DECODE_ERRORS):
        fresh(message("probe_batch", body, {}))
