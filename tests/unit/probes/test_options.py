"""Options: one normal form, which parses to itself; contradictions and nonsense are refused with a hint."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.probes.catalog import PROBERS, prepare
from tests.unit.probes.servers import endpoint

OPTIONS = {option.name: option for prober in PROBERS.values() for option in prober.options}


@pytest.mark.parametrize(
    ("name", "written", "normal"),
    [
        ("expect_status", "200, 204", "200,204"),
        ("expect_status", ["2XX", "301"], "2xx,301"),
        ("expect_status", 200, "200"),
        ("method", "post", "POST"),
        ("headers", ["A: b", "C:d:e"], {"A": "b", "C": "d:e"}),
        ("headers", {"A": 1}, {"A": "1"}),
        ("expect_headers", ["X-A: ^1", "!Server"], {"x-a": "^1", "server": None}),
        ("expect_headers", {"X-A": None}, {"x-a": None}),
        ("expect_response_time", "1s500ms", 1_500),
        ("max_redirects", "0", 0),
        ("verify_tls", "no", False),
        ("server_name", "Bücher.example", "xn--bcher-kva.example"),
        ("expect_certificate_days", 14, 14),
        ("send", "PING\\r\\n", "PING\\r\\n"),
    ],
)
def test_normal_form(name: str, written: Any, normal: Any) -> None:
    assert OPTIONS[name].parse(written) == normal
    assert OPTIONS[name].parse(normal) == normal


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("expect_status", "600"),
        ("expect_status", "299-200"),
        ("expect_status", ""),
        ("method", "GE T"),
        ("headers", "no colon"),
        ("headers", {"Bad name": "x"}),
        ("headers", {"A": "x\r\nB: y"}),
        ("headers", {"Content-Length": "3"}),
        ("expect_body", "(?=x)"),
        ("expect_body", "("),
        ("expect_body", ""),
        ("expect_response_time", "fast"),
        ("max_redirects", -1),
        ("max_redirects", True),
        ("verify_tls", "maybe"),
        ("server_name", " "),
        ("send", "\\x0"),
    ],
)
def test_nonsense_is_refused(name: str, written: Any) -> None:
    with pytest.raises(ValueError, match=r"write|leave|RE2 knows"):
        OPTIONS[name].parse(written)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://a/", {"method": "HEAD", "expect_body": "x"}),
        ("http://a/", {"expect_body": "x", "expect_body_not": "x"}),
        ("http://a/", {"expect_status": "301"}),
        ("http://a/", {"expect_status": "100"}),
        ("http://a/", {"expect_certificate_days": 3}),
        ("http://a/", {"server_name": "b"}),
        ("http://a/", {"expect_response_time": 6_000}),
        ("http:///x", {}),
        ("http://a:bad/", {}),
        ("http://a/", {"headers": {"A": "env:WATCHKEEPER_TEST_UNSET"}}),
        ("http://a/", {"headers": {"A": "file:/nonexistent"}}),
        ("gopher://a/", {}),
        ("nonsense", {}),
    ],
)
def test_contradictions_are_refused(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"write|leave|set it|give"):
        prepare(endpoint(url, **options))


@pytest.mark.parametrize(("make", "why"), [(os.mkfifo, "is a pipe"), (lambda path: path.symlink_to("/dev/zero"), "larger than")])
def test_whatever_stands_in_the_place_of_a_secrets_file_is_refused_and_not_waited_for(
    make: Callable[[Path], object], why: str, tmp_path: Path
) -> None:
    make(tmp_path / "key")
    with pytest.raises(ValueError, match=why):
        prepare(endpoint("http://a/", headers={"X-Key": f"file:{tmp_path}/key"}))


def test_registration_reads_no_secrets() -> None:
    PROBERS["http"].validate(endpoint("http://a/", headers={"A": "env:WATCHKEEPER_TEST_UNSET"}))


def test_every_option_has_a_help_and_a_flag() -> None:
    for option in OPTIONS.values():
        assert option.help.endswith(".")
        assert option.flag.startswith("--")
        if option.default:
            assert option.parse(option.default) == option.default
