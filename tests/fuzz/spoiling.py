"""What others may have done to a document of ours: a value of it is another, a field is gone, or its bytes are torn."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

NUMBERS = st.sampled_from([-1, -1000, 0, 1, 1001, 2**31, 2**53, 2**63, 2**64, 10**30, -(10**30), 0.5, -0.5, 1.5, 1e308]) | st.integers()
ODD = st.one_of(
    st.sampled_from([None, True, False, "", "\0", "\x1b[2J", "é" * 300, "🦆", [], {}, [[]], [None], {"": None}]),
    NUMBERS,
    st.text(max_size=20),
    st.lists(st.none() | st.integers(-2, 2), max_size=3),
)
"""JSON values that nobody had in mind."""


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


@st.composite
def spoiled(draw: st.DrawFn, whole: Any) -> Any:
    """The JSON value with up to three of its parts replaced, removed or written twice."""
    changed = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(changed))
        if not places:
            break
        *path, last = draw(st.sampled_from(places))
        holder = changed
        for key in path:
            holder = holder[key]
        deed = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if deed == "replace":
            number = isinstance(holder[last], int | float)
            holder[last] = copy.deepcopy(draw(st.one_of(NUMBERS, NUMBERS, ODD) if number else ODD))
        elif deed == "remove":
            del holder[last]
        elif isinstance(holder, list):
            holder.append(holder[last])
        else:
            holder[draw(st.text(max_size=5))] = copy.deepcopy(draw(ODD))
    return changed


@st.composite
def mangled(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes cut, overwritten, repeated, or others altogether."""
    deed = draw(st.sampled_from(["cut", "overwrite", "insert", "double", "other", "deep"]))
    at = draw(st.integers(0, len(content)))
    piece = draw(st.binary(max_size=8))
    return {
        "cut": content[:at],
        "overwrite": content[:at] + piece + content[at + len(piece) :],
        "insert": content[:at] + piece + content[at:],
        "double": content + content,
        "other": piece,
        "deep": content[:at] + b"[" * 5_000,
    }[deed]


def rubbish(whole: Any) -> st.SearchStrategy[bytes]:
    """The document as somebody may have left it."""
    content = json.dumps(whole).encode()
    return st.one_of(spoiled(whole).map(lambda changed: json.dumps(changed).encode()), mangled(content))


def document(**changes: Any) -> dict[str, Any]:
    """A snapshot of the pool `shop` with two endpoints, as it stands in Redis."""
    endpoint = {
        "id": "a", "url": "http://127.0.0.1:1/", "addr": "127.0.0.1", "port": 1, "labels": {}, "weight": 500, "breaker": "CLOSED",
        "override": None, "gen": 0, "verdict": "HEALTHY", "since_ms": 0, "open_until_ms": 0, "latency_ms": 1, "reason": "",
    }  # fmt: skip
    return {
        "schema": 1, "pool": "shop", "epoch": 1, "ver": 1, "ts_ms": 0, "ttl_ms": 15_000, "max_stale_ms": 180_000, "panic": 0.0, "shed": 0.0,
        "endpoints": [endpoint, endpoint | {"id": "b"}],
    } | changes  # fmt: skip
