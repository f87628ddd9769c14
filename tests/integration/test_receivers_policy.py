"""The target policy holds for notifications, on the address that is connected to."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from monitor.probes.policy import TargetPolicy
from tests.integration.commands import Run
from tests.receiving import Mailbox, Service, refused, sent, to
from workers.receivers import plugins
from workers.receivers.heard import Heard
from workers.receivers.send import Receivers
from workers.receivers.wire import WIRE, RefusedError, Wire

NO_LOOPBACK = TargetPolicy(deny=["loopback"])


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1:{port}/",
        "json://localhost:{port}/",
        "xml://127.0.0.1:{port}/",
        "ntfy://127.0.0.1:{port}/alerts",
        "mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org",
        "rsyslog://127.0.0.1:{port}",
        "mailto://localhost:{port}?from=a@example.org&to=b@example.org",
    ],
)
def test_a_denied_address_is_not_reached(service: Service, url: str) -> None:
    error = refused(to(url.format(port=service.port)), Receivers(NO_LOOPBACK))
    assert "is denied (loopback), by the settings target_allow and target_deny" in str(error)
    assert error.permanent
    assert not error.unheard
    assert service.requests == []


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "0.0.0.0", "224.0.0.1", "2852039166"])
def test_what_is_denied_by_default_is_denied_to_receivers_too(host: str) -> None:
    assert "is denied" in str(refused(to(f"json://{host}/latest")))


def test_loopback_and_private_addresses_are_allowed_by_default(service: Service, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    assert "HTTP 200" in sent(to(f"json://localhost:{service.port}/"))
    sent(to(f"mailto://localhost:{port}?from=a@example.org&to=b@example.org"))
    assert box.recipients() == ["b@example.org"]


def test_the_settings_of_the_policy_hold_for_the_test_of_a_receiver(service: Service, run: Run, tmp_path: Path) -> None:
    hook = f"{{name: hook, apprise_configs: [{{url: 'json://127.0.0.1:{service.port}/'}}]}}"
    (tmp_path / "alerting.yml").write_text(f"route: {{receiver: hook}}\nreceivers: [{hook}]\n")
    command = ("receivers", "test", "hook", "--alerting", "alerting.yml")
    done = run(*command, code=1, env={"WATCHKEEPER_TARGET_DENY": "127.0.0.0/8"})
    assert "failed for good: JSON: address 127.0.0.1 is denied (127.0.0.0/8), by the settings" in done.stdout
    assert service.requests == []
    run(*command, env={"WATCHKEEPER_TARGET_DENY": "127.0.0.0/8", "WATCHKEEPER_TARGET_ALLOW": "127.0.0.1"})
    assert len(service.requests) == 1


def test_one_denied_address_of_a_name_does_not_keep_from_another(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    original = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "both.test":
            return original(host, port, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    house = Receivers(TargetPolicy(deny=["127.0.0.2"]))
    assert "HTTP 200" in sent(to(f"json://both.test:{service.port}/"), house=house)
    service.status = 500
    assert "HTTP 500" in str(refused(to(f"json://both.test:{service.port}/"), house))


def test_a_proxy_is_judged_and_so_is_an_address_that_is_written(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{service.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert "HTTP 200" in sent(to("json://hooks.example.org/"))
    assert service.requests[0][0] == "http://hooks.example.org/"
    assert "address 169.254.169.254 is denied" in str(refused(to("json://169.254.169.254/")))
    assert "address 127.0.0.1 is denied" in str(refused(to("json://hooks.example.org/"), Receivers(NO_LOOPBACK)))
    assert len(service.requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1"])
def test_plugins_that_use_sockets_of_their_own_are_judged_alike(host: str) -> None:
    """By name (growl), by datagram (rsyslog): the name is looked up once more to be judged."""
    plugins.apprise()
    token = WIRE.set(Wire(NO_LOOPBACK, Heard()))
    try:
        with socket.socket() as stream, pytest.raises(RefusedError, match="is denied"):
            stream.connect((host, 9))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, pytest.raises(RefusedError, match="is denied"):
            datagram.sendto(b"x", (host, 9))
        with pytest.raises(RefusedError, match="is denied"):
            socket.create_connection((host, 9), timeout=1)
    finally:
        WIRE.reset(token)


def test_what_is_not_sent_by_us_is_left_alone(service: Service) -> None:
    plugins.apprise()
    assert WIRE.get() is None
    socket.create_connection(("127.0.0.1", service.port)).close()
