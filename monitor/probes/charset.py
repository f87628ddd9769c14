"""Bodies as text: patterns search UTF-8, whatever a target writes in."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

CHARSETS_CACHED_MAX = 256
CONTENT_TYPE_LENGTH_MAX = 200
"""How much of a Content-Type is searched for its charset."""

_CHARSET = re.compile(rb"""(?<![\w-])charset\s*=\s*["']?\s*([\w.:+-]{1,40})""", re.IGNORECASE)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BOM_STARTS = {mark[:1] for mark, _ in _BOMS}
_LABELS = {
    "windows-31j": "cp932", "windows-874": "cp874", "dos-874": "cp874", "koi8": "koi8-r", "koi": "koi8-r", "koi8-ru": "koi8-u",
    "iso-8859-8-i": "iso8859-8", "iso-8859-8-e": "iso8859-8", "logical": "iso8859-8", "visual": "iso8859-8",
    "unicode": "utf-16-le", "ucs-2": "utf-16-le", "csunicode": "utf-16-le", "iso-10646-ucs-2": "utf-16-le",
    "unicode11utf8": "utf-8", "unicode20utf8": "utf-8", "x-unicode20utf8": "utf-8", "unicode-1-1-utf-8": "utf-8",
}  # fmt: skip
"""Labels that browsers know and Python does not (WHATWG Encoding Standard, 4.2)."""
_TEXT = re.compile(
    r"utf-(?:8|16|32)(?:-[bl]e)?|iso8859-\d+|cp\d+|koi8-[rtu]|mac-\w+|gb\w+|big5\w*|euc_\w+|shift_jis\w*|iso2022_\w+|johab|hz|tis-620"
)
"""Python's codecs that decode any bytes to text in linear time: not punycode, for example."""
_UNREGISTERED = re.compile(r"^(?:x-)+")
_AS_BROWSERS = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874", "gb2312": "gb18030",
    "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "utf-16": "utf-16-le", "utf-32": "utf-32-le",
}  # fmt: skip
"""What is written under a narrower name in practice (WHATWG Encoding Standard, 4.2)."""


def as_utf8(body: bytes, content_type: bytes) -> bytes:
    """The body in UTF-8 without its byte order mark; unchanged where its charset is not known.

    A byte order mark speaks first, as in browsers, then the charset of the Content-Type.
    """
    for mark, charset in _BOMS if body[:1] in _BOM_STARTS else ():
        if body.startswith(mark):
            return _converted(body[len(mark) :], charset)
    return _converted(body, _charset(content_type[:CONTENT_TYPE_LENGTH_MAX]))


def _converted(body: bytes, charset: str) -> bytes:
    return body if charset in ("utf-8", "") else body.decode(charset, "replace").encode("utf-8", "replace")


@lru_cache(CHARSETS_CACHED_MAX)
def _charset(content_type: bytes) -> str:
    """The codec of the charset that is said, or an empty text where nobody knows it."""
    said = _CHARSET.search(content_type)
    if said is None:
        return "utf-8"
    try:
        label = said[1].decode("ascii").lower()
        name = codecs.lookup(_LABELS.get(label) or _UNREGISTERED.sub("", label)).name
    except (LookupError, ValueError):
        return ""
    name = _AS_BROWSERS.get(name, name)
    return name if _TEXT.fullmatch(name) else ""
