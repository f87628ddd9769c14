"""A redirect of a notification is followed with its method and its body, or it is a failure that says where it leads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.probes.policy import TargetPolicy
from tests.integration.commands import Run
from tests.receiving import Service, answers, peer, refused, sent, to
from workers.receivers.answers import REDIRECTS_MAX
from workers.receivers.send import Receivers


@pytest.fixture
def other() -> Service:
    service = Service()
    yield service  # type: ignore[misc]
    service.stop()


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_keeps_the_method_is_followed_with_the_message(service: Service, other: Service, status: int) -> None:
    service.status, service.headers = status, {"Location": f"http://127.0.0.1:{other.port}/new?key=1"}
    assert "HTTP 200" in sent(to(f"json://127.0.0.1:{service.port}/old"), "Down", "shop-1")
    ((path, body),) = other.requests
    assert (path, other.methods) == ("/new?key=1", ["POST"])
    assert json.loads(body)["message"] == "shop-1"


def test_credentials_of_a_url_do_not_follow_a_redirect_to_another_host(service: Service, other: Service) -> None:
    service.status, service.headers = 307, {"Location": f"http://localhost:{other.port}/"}
    assert "HTTP 200" in sent(to(f"json://user:sesame-open@127.0.0.1:{service.port}/"))
    assert len(other.requests) == 1
    assert [head.get("Authorization") is not None for head in (*service.heads, *other.heads)] == [True, False]


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("scheme", ["json", "form", "xml", "mmost", "ntfy"])
def test_a_redirect_that_would_drop_the_message_is_a_failure(service: Service, other: Service, status: int, scheme: str) -> None:
    service.status, service.headers = status, {"Location": f"http://me:pass-word@127.0.0.1:{other.port}/login?token=abcdef"}
    error = refused(to(f"{scheme}://127.0.0.1:{service.port}/a-token-of-more-than-24-letters"))
    where = f"redirects to http://127.0.0.1:{other.port}, which would not be sent the message: only 307 and 308 keep it"
    assert where in str(error)
    assert f"HTTP {status}" in str(error)
    assert "pass-word" not in str(error)
    assert "abcdef" not in str(error)
    assert error.permanent is (status == 301)
    assert other.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_message_in_a_query_is_not_lost_in_a_redirect(service: Service, other: Service, status: int) -> None:
    service.status, service.headers = status, {"Location": f"http://127.0.0.1:{other.port}/login"}
    error = refused(to(f"form://127.0.0.1:{service.port}/hook?method=GET"))
    assert f"http://127.0.0.1:{other.port}, which would not be sent the message" in str(error)
    assert other.requests == []


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("http://127.0.0.1:99999/", "redirects to an address that cannot be read"),
        ("http://[::1/", "redirects to an address that cannot be read"),
        ("ftp://files.example.org/x", "redirects to ftp://files.example.org, which is not HTTP"),
        ("file:///etc/passwd", "redirects to file://, which is not HTTP"),
        ("javascript:alert(1)", "redirects to javascript://, which is not HTTP"),
        ("http://\x1bred.example.org/", "redirects to http://\\x1bred.example.org, which"),
    ],
)
def test_a_redirect_to_anything_else_is_told(service: Service, location: str, told: str) -> None:
    service.status, service.headers = 302, {"Location": location}
    assert told in str(refused(to(f"json://127.0.0.1:{service.port}/")))


def test_a_redirect_without_a_location_is_a_failure(service: Service) -> None:
    service.status = 302
    assert "HTTP 302" in str(refused(to(f"json://127.0.0.1:{service.port}/")))


@pytest.mark.parametrize("status", [300, 305, 306, 399])
def test_an_answer_that_leads_elsewhere_without_being_a_known_redirect_says_where(service: Service, status: int) -> None:
    service.status, service.headers = status, {"Location": "http://other.example.org/new"}
    error = refused(to(f"json://127.0.0.1:{service.port}/"))
    assert f"HTTP {status}" in str(error)
    assert "redirects to http://other.example.org, which would not be sent the message" in str(error)


def test_a_redirect_to_where_nobody_answers_says_where_and_why(service: Service) -> None:
    service.status, service.headers = 307, {"Location": "http://nowhere.invalid/new"}
    error = refused(to(f"json://127.0.0.1:{service.port}/"))
    assert "redirects to http://nowhere.invalid; " in str(error)
    assert "Failed to resolve" in str(error)
    assert not error.permanent


def test_a_redirect_to_where_the_answer_is_lost_may_have_been_heard(service: Service) -> None:
    with peer(answers(b"")) as silent:
        service.status, service.headers = 307, {"Location": f"http://127.0.0.1:{silent.port}/new"}
        error = refused(to(f"json://127.0.0.1:{service.port}/"))
    assert f"redirects to http://127.0.0.1:{silent.port}; " in str(error)
    assert error.unheard


def test_redirects_in_a_circle_end(service: Service) -> None:
    service.status, service.headers = 307, {"Location": "/again"}
    error = refused(to(f"json://127.0.0.1:{service.port}/"))
    assert "HTTP 307" in str(error)
    assert f"redirects to http://127.0.0.1:{service.port}" in str(error)
    assert len(service.requests) == REDIRECTS_MAX + 1


def test_redirects_are_not_followed_where_the_address_says_so(service: Service, other: Service) -> None:
    service.status, service.headers = 307, {"Location": f"http://127.0.0.1:{other.port}/"}
    error = refused(to(f"json://127.0.0.1:{service.port}/?redirect=no"))
    assert "HTTP 307" in str(error)
    assert f"redirects to http://127.0.0.1:{other.port}" in str(error)
    assert other.requests == []


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_to_a_denied_address_does_not_reach_it(service: Service, other: Service, status: int) -> None:
    service.status, service.headers = status, {"Location": f"http://127.0.0.2:{other.port}/"}
    error = refused(to(f"json://127.0.0.1:{service.port}/"), Receivers(TargetPolicy(deny=["127.0.0.2"])))
    assert "address 127.0.0.2 is denied (127.0.0.2), by the settings target_allow and target_deny" in str(error)
    assert other.requests == []


def test_the_test_of_a_receiver_tells_where_a_redirect_leads(service: Service, other: Service, run: Run, tmp_path: Path) -> None:
    service.status, service.headers = 302, {"Location": f"http://127.0.0.1:{other.port}/login"}
    (tmp_path / "alerting.yml").write_text(
        f"route: {{receiver: hook}}\nreceivers: [{{name: hook, apprise_configs: [{{url: 'json://127.0.0.1:{service.port}/'}}]}}]\n"
    )
    done = run("receivers", "test", "hook", "--alerting", "alerting.yml", code=1)
    assert f"hook/apprise/0: failed: JSON: HTTP 302 Found redirects to http://127.0.0.1:{other.port}, which would not" in done.stdout
    assert other.requests == []
