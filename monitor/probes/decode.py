"""Content codings, undone with a cap on what comes out: a small body may hide a huge one."""

from __future__ import annotations

import zlib
from typing import Any, Protocol


class UnsupportedCodingError(Exception):
    """The body came in a coding that we cannot undo."""


class Decoder(Protocol):
    """Takes one content encoding away, and never makes more bytes than it is allowed to."""

    def decode(self, data: bytes, room: int) -> bytes:
        """Return at most `room` bytes of what `data` holds. Raises ValueError where it is damaged."""


class _Zlib:
    def __init__(self, coding: str) -> None:
        self._raw_next = coding == "deflate"
        self._inflate = zlib.decompressobj(47)  # gzip or zlib, told apart by their header

    def decode(self, data: bytes, room: int) -> bytes:
        try:
            return self._inflate.decompress(data, room)
        except zlib.error as error:
            if not self._raw_next:
                raise ValueError(str(error)) from None
        self._raw_next = False  # some servers send deflate without its zlib header
        self._inflate = zlib.decompressobj(-15)
        return self.decode(data, room)


class _Brotli:
    def __init__(self, brotli: Any) -> None:
        self._error: type[Exception] = brotli.error
        self._inflate = brotli.Decompressor()

    def decode(self, data: bytes, room: int) -> bytes:
        try:
            return bytes(self._inflate.process(data, output_buffer_limit=room))
        except self._error as error:
            raise ValueError(str(error)) from None


def decoder_for(coding: str) -> Decoder | None:
    """Return a decoder, or None for identity. Raises UnsupportedCodingError for every other coding."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "x-gzip", "deflate"):
        return _Zlib(coding)
    if coding == "br" and (brotli := _brotli()) is not None:
        return _Brotli(brotli)
    raise UnsupportedCodingError(f"content coding {coding!r} is not supported")


def _brotli() -> Any:
    """Return the brotli module where one is installed that can cap its output (1.2 and later)."""
    try:
        import brotli  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        return None
    try:
        brotli.Decompressor().process(b"", output_buffer_limit=1)
    except (TypeError, brotli.error):
        return None
    return brotli
