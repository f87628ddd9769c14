"""A body is matched as the text that its charset or its byte order mark says."""

from __future__ import annotations

import codecs

import pytest

from monitor.core.outcome import FailureClass, Outcome
from monitor.probes.charset import as_utf8
from tests.unit.probes.servers import response
from tests.unit.probes.test_http import against


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html; charset=iso-8859-1", "Größe: 5".encode("latin-1")),
        ("text/html; charset=x-nonsense", "Größe: 5".encode()),  # a label that nobody knows: the bytes as they are
        ("text/html;charset='windows-1252'", "Größe: 5".encode("cp1252")),
        ('text/html; x=y; Charset = "utf-16"', "Größe: 5".encode("utf-16-le")),
        ("text/html; charset=utf-16", "Größe: 5".encode("utf-16")),
        ("text/html; charset=utf-16be", "Größe: 5".encode("utf-16-be")),
        ("text/html", codecs.BOM_UTF16_LE + "Größe: 5".encode("utf-16-le")),
        ("text/html", codecs.BOM_UTF16_BE + "Größe: 5".encode("utf-16-be")),
        ("text/html", codecs.BOM_UTF32_LE + "Größe: 5".encode("utf-32-le")),
        ("text/html; charset=iso-8859-1", codecs.BOM_UTF8 + "Größe: 5".encode()),
        ("text/html", "Größe: 5".encode()),
        ("text/html; xcharset=iso-8859-1", "Größe: 5".encode()),
        ("text/html; charset=x-cp1252", "Größe: 5".encode("cp1252")),
        ("text/html; charset=UCS-2", "Größe: 5".encode("utf-16-le")),
        ("text/html; charset=x-mac-roman", "Größe: 5".encode("mac-roman")),
        ("text/html; charset=punycode", "Größe: 5".encode()),
        ("text/html; charset=", "Größe: 5".encode()),
    ],
)
def test_patterns_match_text(content_type: str, body: bytes) -> None:
    result = against(response(200, body, f"Content-Type: {content_type}"), expect_body="^Größe: \\d$")
    assert (result.outcome, result.text) == (Outcome.SUCCESS, "")


@pytest.mark.parametrize("charset", ["gbk", "gb2312", "gb18030", "x-gbk"])
def test_gbk(charset: str) -> None:
    answer = response(200, "服务正常".encode("gbk"), f"Content-Type: text/html; charset={charset}")
    assert against(answer, expect_body="服务正.$").outcome is Outcome.SUCCESS
    result = against(answer, expect_body_not="正常")
    assert (result.failure, result.text) == (FailureClass.ASSERTION, 'body matches /正常/, want no match (got "服务正常")')


def test_what_is_no_text_of_its_charset_is_read_as_far_as_it_is() -> None:
    assert as_utf8(b"a\x81\x00b", b"text/html; charset=gbk") == "a\ufffd\x00b".encode()
    assert as_utf8(b"\xff\xfea\x00b", b"") == "a\ufffd".encode()
    assert as_utf8(b"\xe9\x80", b"text/html; charset=us-ascii") == "é€".encode()  # as browsers read it
    assert as_utf8(b"\xe9\xff\x00", b"") == b"\xe9\xff\x00"
