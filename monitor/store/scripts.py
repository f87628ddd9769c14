"""The Lua scripts, each whole: behind the pieces of lua/shared that its line `-- @include` names."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_LUA = Path(__file__).parent / "lua"
_INCLUDE = re.compile(rb"^-- @include (.+)$", re.MULTILINE)


def names() -> list[str]:
    """Of all scripts."""
    return sorted(path.stem for path in _LUA.glob("*.lua"))


def source(name: str) -> bytes:
    """The text of lua/<name>.lua as a server gets it."""
    body = (_LUA / f"{name}.lua").read_bytes()
    shared = [piece.decode() for line in _INCLUDE.findall(body) for piece in line.split()]
    return b"".join([(_LUA / "shared" / f"{piece}.lua").read_bytes() for piece in shared] + [body])


def digest(body: bytes) -> str:
    """The hash by which a server knows a script."""
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()
