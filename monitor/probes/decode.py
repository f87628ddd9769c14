"""Content codings, undone with a cap on what comes out: a small body may hide a huge one."""

from __future__ import annotations

import codecs
import zlib
from typing import Any, Protocol

CODINGS_MAX = 3
"""Codings of one body, one around the other."""
CODED_BYTES_MAX = 1_048_576
"""Between two codings, at once."""
MEMBERS_MAX = 256
"""Members of one gzip body: each costs some microseconds, however empty it is."""

_GZIP = b"\x1f\x8b"
_SLIPS = frozenset({
    "", "identity", "none", "null", "no", "off", "false", "default", "auto", "binary", "7bit", "8bit", "raw", "plain", "text", "html",
    "json", "unicode", "chunked", "aws-chunked", "amz-1.0",
})  # fmt: skip


class UnsupportedCodingError(Exception):
    """The body came in a coding that we cannot undo."""


class Decoder(Protocol):
    """Takes one content encoding away, and never makes more bytes than it is allowed to."""

    @property
    def whole(self) -> bool:
        """Whether the stream has come to its end; nothing at all is whole, too."""

    def decode(self, data: bytes, room: int) -> bytes:
        """Return at most `room` bytes of what `data` holds. Raises ValueError where it is damaged."""


class _Zlib:
    """gzip of one or more members (RFC 1952, 2.2), or deflate with its zlib header or, as some servers send it, without."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._inflate: Any = None
        self._head = b""
        self._members = 0
        self._bare = False

    @property
    def whole(self) -> bool:
        return self._inflate is None and not self._head

    def decode(self, data: bytes, room: int) -> bytes:
        pieces = []
        while data and room > 0:
            if self._inflate is None:
                data, self._head = self._head + data, b""
                if self._bare:
                    break  # some servers end a bare stream with the checksum of the header that they left out
                if self._members and (self._coding == "deflate" or not data.startswith(_GZIP[: len(data)])):
                    raise ValueError("there are bytes after its end")
                if len(data) < len(_GZIP):
                    self._head = data
                    break
                if self._members == MEMBERS_MAX:
                    raise ValueError(f"it has more than {MEMBERS_MAX} members")
                window = _window(data)
                self._bare = window < 0
                self._inflate = zlib.decompressobj(window)
            try:
                piece = self._inflate.decompress(data, room)
            except zlib.error as error:
                raise ValueError(str(error)) from None
            pieces.append(piece)
            room -= len(piece)
            data = b""
            if self._inflate.eof:
                data, self._inflate = self._inflate.unused_data, None
                self._members += 1
        return b"".join(pieces)


def _window(head: bytes) -> int:
    """zlib's window bits for what begins so: 47 tells gzip and zlib apart by themselves, -15 takes a bare stream."""
    is_zlib = head[0] & 0x0F == 8 and int.from_bytes(head[:2]) % 31 == 0
    return 47 if is_zlib or head.startswith(_GZIP) else -15


class _Brotli:
    def __init__(self, brotli: Any) -> None:
        self._error: type[Exception] = brotli.error
        self._inflate = brotli.Decompressor()
        self._begun = False

    @property
    def whole(self) -> bool:
        return not self._begun or bool(self._inflate.is_finished())

    def decode(self, data: bytes, room: int) -> bytes:
        self._begun = True
        if self._inflate.is_finished():
            return b""
        try:
            return bytes(self._inflate.process(data, output_buffer_limit=room))
        except self._error as error:
            raise ValueError(str(error)) from None


class _Chain:
    """Several codings, the last applied one first."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    @property
    def whole(self) -> bool:
        return all(decoder.whole for decoder in self._decoders)

    def decode(self, data: bytes, room: int) -> bytes:
        for decoder in self._decoders[:-1]:
            data = decoder.decode(data, CODED_BYTES_MAX)
            if len(data) == CODED_BYTES_MAX:
                raise ValueError(f"more than {CODED_BYTES_MAX} bytes between two codings")
        return self._decoders[-1].decode(data, room)


def decoder_for(codings: str) -> Decoder | None:
    """Return what undoes the codings of a Content-Encoding header, or None where there is nothing to undo.

    Raises UnsupportedCodingError for what we cannot undo. A charset and the like in its place are slips of whoever configured
    the server: browsers take the bytes as they are.
    """
    decoders = [_one(coding) for text in codings.split(",") if not _is_slip(coding := _bare(text))]
    if len(decoders) > CODINGS_MAX:
        raise UnsupportedCodingError(f"more than {CODINGS_MAX} content codings are not supported")
    return (_Chain(decoders[::-1]) if len(decoders) > 1 else decoders[0]) if decoders else None


def accepted() -> str:
    """What can be undone, as Accept-Encoding tells it."""
    return "gzip, deflate, br" if _brotli() is not None else "gzip, deflate"


def _one(coding: str) -> Decoder:
    if coding in ("gzip", "x-gzip", "deflate"):
        return _Zlib(coding)
    if coding == "br" and (brotli := _brotli()) is not None:
        return _Brotli(brotli)
    raise UnsupportedCodingError(f"content coding {coding!r} is not supported")


def _bare(text: str) -> str:
    """A coding without what is none of its name: quotes, a weight, `charset=` before a charset."""
    return text.partition(";")[0].strip(" \t\"'").lower().removeprefix("charset=")


def _is_slip(coding: str) -> bool:
    if coding in _SLIPS or "/" in coding:
        return True
    try:
        return bool(codecs.lookup(coding)._is_text_encoding)
    except (LookupError, ValueError):
        return False


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
