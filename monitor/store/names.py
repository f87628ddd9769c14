"""Names as they stand in the store, where a hand may have left some that are no text, and as people see and write them."""

from __future__ import annotations


def name_of(stored: bytes) -> str:
    """A stored name as a string that leads back to it: what is no UTF-8 in it becomes lone surrogates (PEP 383)."""
    return stored.decode(errors="surrogateescape")


def stored(name: str) -> bytes:
    """What `name_of` was given."""
    return name.encode(errors="surrogateescape")


def printable(name: str) -> str:
    """A name as text: what is no UTF-8 in it stands as \\xff, and what cannot even be a name as \\ud800."""
    if name.isascii():
        return name
    try:
        return stored(name).decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return name.encode(errors="backslashreplace").decode()


def is_text(name: str) -> bool:
    """Whether it is text that every message can carry."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)
