"""An HTTP/1 response, read as browsers, curl and Go read it, and as RFC 9112 lets its recipients.

Forgiven are lines that end in LF alone, folded headers, control characters and any bytes in values, equal lengths said twice,
a length beside chunks (the chunks win), space and extensions after a chunk's size. Not forgiven is what leaves open whether the
response is whole or what it means: lengths that differ, sizes that are no number, a line without a colon, an unknown coding.
"""

from __future__ import annotations

import re

CHUNK_LINE_BYTES_MAX = 16_384
"""Longest line of a chunk's size with its extensions."""
NUMBER_DIGITS_MAX = 18

_CHUNK_SIZE, _CHUNK_END, _TRAILERS = range(3)
_START = b"HTTP/"
_PLAIN_HEAD = re.compile(rb"HTTP/(\d\.\d) +(\d{3})(?: [\t -\xff]*+)?(\r\n(?:[!-9;-~]++:[\t -\xff]*+\r\n)*+)\r\n")
"""A head with nothing to forgive, as nearly all are; read at once, since each probe reads one."""
_FORGIVEN_HEAD = re.compile(rb"HTTP/(\d\.\d) +(\d{3})(?: [^\n]*?)?(\r\n(?:[^:\n]++:[^\n]*+\n)*+)\r\n")
_FRAMING = re.compile(rb"\n(content-length|transfer-encoding):([^\n]*)\r")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_LINE_END = re.compile(rb"(?<!\r)\r++\n")
_FOLD = re.compile(rb"\n[ \t]+")
_BLANKS_AFTER_NAME = re.compile(rb"(?<=\n)([^:\n]*?)[ \t]+(?=:)")
_NO_COLON = re.compile(rb"\n(?![ \t])[^:\n]*(?=\n)")
_NO_NAME = re.compile(rb"\n:[^\n]*")
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]+")
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_TRAILER_LINES = re.compile(rb"(?:(?:[^:\n]*+:|[ \t])[^\n]*+\n)*+")
_BLANK = b" \t"
_WITHOUT_BODY = frozenset({101, 204, 304})


class NotHttpError(Exception):
    """What came is no HTTP response; the text says why."""


class ResponseReader:
    """Takes the bytes of one connection as they come; interim responses (1xx) are passed over.

    `status` is not 0 once the final response's head has come; `done` tells that the response is whole, and what follows it is not
    looked at. Trailers are dropped.
    """

    status = 0
    http_version = ""
    done = False
    until_close = False
    """Whether the end of the connection is the end of the body (RFC 9112, 6.3)."""
    _fields = _names = b""
    _left = 0
    _chunks: _Chunks | None = None
    _rest = b""
    _seen = 0

    def __init__(self, *, head_only: bool = False) -> None:
        self._head_only = head_only

    @property
    def header_bytes(self) -> int:
        """How long all headers are together."""
        return len(self._fields)

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header by its lower-case name."""
        at = self._names.find(b"\n" + name + b":")
        if at < 0:
            return None
        return self._fields[at + len(name) + 2 : self._fields.index(b"\r", at)].strip(_BLANK)

    def values(self, name: bytes) -> list[bytes]:
        """All its values, in their order."""
        found, start = [], b"\n" + name + b":"
        at = self._names.find(start)
        while at >= 0:
            end = self._fields.index(b"\r", at)
            found.append(self._fields[at + len(start) : end].strip(_BLANK))
            at = self._names.find(start, end)
        return found

    @property
    def unread(self) -> bytes:
        """What came of a head that is not there yet."""
        return self._rest

    def feed(self, data: memoryview | bytes) -> memoryview | bytes:
        """Return the part of the body that is in `data`. Raises NotHttpError."""
        if not self.status:
            data = self._read_heads(self._rest + data if self._rest else bytes(data))
        left = self._left
        if left:
            if len(data) < left:
                self._left = left - len(data)
                return data
            self._left, self.done = 0, True
            return data[:left]
        if self.until_close:
            return data
        if self._chunks is None or self.done:
            return b""
        data = self._chunks.feed(bytes(data))
        self.done = self._chunks.done
        return data

    def _read_heads(self, data: bytes) -> bytes:
        """Read the head, and those of interim responses before it; return what follows."""
        while True:
            whole = not self._seen or _END_OF_HEAD.search(data, self._seen)  # One that drips is not gone through with every drop.
            head = _PLAIN_HEAD.match(data) if whole else None
            if head is not None:
                data, self._seen = data[head.end() :], 0
            else:
                end = _END_OF_HEAD.search(data, self._seen)
                if end is None:
                    if not data.startswith(_START[: len(data)]):
                        raise NotHttpError("it does not begin with HTTP/")
                    self._rest, self._seen = data, max(0, len(data) - 2)
                    return b""
                head = _forgiven(data[: end.start()])
                data, self._seen = data[end.end() :], 0
            status = int(head[2])
            if status >= 200 or status == 101:
                break
            if status < 100:
                raise NotHttpError(f"there is no status {status:03}")
        self._rest = b""
        self.status, self.http_version = status, head[1].decode()
        self._fields, self._names = head[3], head[3].lower()
        self._begin_body()
        return data

    def _begin_body(self) -> None:
        length, chunked = None, False
        for name, value in _FRAMING.findall(self._names):
            if name == b"content-length":
                length = _length(value, length)
            else:
                chunked = _is_chunked(value) or chunked
        if self._head_only or self.status in _WITHOUT_BODY:
            self.done = True
        elif chunked:
            self._chunks = _Chunks()
        elif length is None:
            self.until_close = True
        elif length:
            self._left = length
        else:
            self.done = True


def _forgiven(head: bytes) -> re.Match[bytes]:
    """A head brought into plain form, so far as it can be forgiven. Raises NotHttpError."""
    first, _, fields = _LINE_END.sub(b"\n", head.rstrip(b"\r")).partition(b"\n")
    fields = fields.replace(b"\r", b"\x7f").replace(b"\0", b"\x7f")  # they end nothing, are no blanks, and mean nothing in a URL
    if fields[:1] in (b" ", b"\t"):
        raise NotHttpError("its first header begins with a space")
    if fields:
        fields = b"\n" + fields + b"\n"
        if _NO_COLON.search(fields):
            raise NotHttpError("a header has no colon")
        fields = _NO_NAME.sub(b"", _BLANKS_AFTER_NAME.sub(rb"\1", _FOLD.sub(b" ", fields)))
    plain = _FORGIVEN_HEAD.match((first + (fields or b"\n") + b"\n").replace(b"\n", b"\r\n"))
    if plain is None:
        raise NotHttpError("its first line is no status line")
    return plain


class _Chunks:
    """A chunked body with its trailers (RFC 9112, 7.1)."""

    __slots__ = ("_left", "_rest", "_state", "done")

    def __init__(self) -> None:
        self._state = _CHUNK_SIZE
        self._left = 0
        self._rest = b""
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """Return what the chunks in `data` hold. Raises NotHttpError."""
        data, pieces, at = self._rest + data, [], 0
        while not self.done:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
            if self._state == _CHUNK_SIZE and (head := _CHUNK_HEAD.match(data, at)):  # Whole and plain chunks, of which there may be many.
                start = head.end()
                end = start + int(head[1], 16)
                if start < end and data[end : end + 2] == b"\r\n":
                    pieces.append(data[start:end])
                    at = end + 2
                    continue
            elif self._state == _TRAILERS and data.find(b"\n", at) >= 0:
                at = _TRAILER_LINES.match(data, at).end()  # type: ignore[union-attr]  # It matches nothing, too.
            end = data.find(b"\n", at)
            if end < 0:
                break
            self._line(data[at:end].removesuffix(b"\r"))
            at = end + 1
        self._keep(data[at:])
        return b"".join(pieces)

    def _line(self, line: bytes) -> None:
        if self._state == _CHUNK_SIZE:
            self._left = _chunk_size(line)
            self._state = _CHUNK_END if self._left else _TRAILERS
        elif self._state == _CHUNK_END:
            if line:
                raise NotHttpError("a chunk is longer than its size")
            self._state = _CHUNK_SIZE
        elif not line:
            self.done = True
        elif b":" not in line and line[:1] not in (b" ", b"\t"):
            raise NotHttpError("a trailer has no colon")

    def _keep(self, rest: bytes) -> None:
        """Keep the beginning of a line whose end has not come."""
        if len(rest) > CHUNK_LINE_BYTES_MAX:
            if self._state != _TRAILERS or b":" not in rest:
                raise NotHttpError(f"a line between its chunks is longer than {CHUNK_LINE_BYTES_MAX} bytes")
            rest = b":"  # nobody reads trailers: that it has a colon is all there is to know
        self._rest = rest


def _length(value: bytes, before: int | None) -> int | None:
    """The length that a header says, once or several times, beside what another said before."""
    for text in value.split(b","):
        digits = text.strip(_BLANK)
        number = digits.lstrip(b"0")
        if not digits.isdigit() or len(number) > NUMBER_DIGITS_MAX:
            raise NotHttpError("its Content-Length is no number")
        said = int(number or b"0")
        if before is not None and before != said:
            raise NotHttpError(f"its lengths differ: {before} and {said}")
        before = said
    return before


def _is_chunked(value: bytes) -> bool:
    codings = [coding for part in value.split(b",") if (coding := part.strip(_BLANK)) not in (b"", b"identity")]
    if any(coding != b"chunked" for coding in codings):
        raise NotHttpError("its transfer coding is not chunked")
    return bool(codings)


def _chunk_size(line: bytes) -> int:
    size = line.partition(b";")[0].rstrip(b" \t\r")
    if not _HEXADECIMAL.fullmatch(size) or len(size.lstrip(b"0")) > NUMBER_DIGITS_MAX:
        raise NotHttpError("the size of a chunk is no number")
    return int(size, 16)
