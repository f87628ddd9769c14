"""Every option that a Redis URL may carry, on real servers (TLS, sockets, passwords): with the store, the client and the broker."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kombu import Connection

from monitor.client import HealthView
from monitor.core.errors import ConfigError, StoreError
from monitor.store import keys
from monitor.store.redis.store import RedisStore
from monitor.store.redis_url import RedisUrl
from tests.conftest import die_with_parent, free_port
from tests.integration.commands import WATCHKEEPER, make_data_set
from tests.integration.test_client_redis import HALF, Publisher
from tests.missing import missing
from tests.unit.probes.servers import certificate
from tests.waiting import wait_for
from workers.app import configuration

PASSWORD = "p@ss/w:rd%"
"""Every sign that a URL gives a meaning to."""


@dataclass
class Secured:
    """Debian's Redis with a password, listening on TCP, TLS (which asks for a certificate) and a socket."""

    folder: Path
    port: int
    tls_port: int

    @property
    def files(self) -> str:
        return f"ssl_ca_certs={self.folder}/ca.pem&ssl_certfile={self.folder}/own.pem&ssl_keyfile={self.folder}/own.pem"

    def url(self, scheme: str, options: str = "") -> str:
        login = f":{quote(PASSWORD, safe='')}@"
        mark = "?" if options else ""
        if scheme == "unix":
            return f"unix://{login}{self.folder}/redis.sock{mark}{options}"
        return f"{scheme}://{login}127.0.0.1:{self.tls_port if scheme == 'rediss' else self.port}/0{mark}{options}"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    binary = shutil.which("redis-server")
    if binary is None:
        missing("redis-server is not installed")
    server = Secured(tmp_path_factory.mktemp("tls"), free_port(), free_port())
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = certificate("Test Authority", authority_key, "Test Authority", authority_key, 90, authority=True)
    leaf = certificate("redis", key, "Test Authority", authority_key, 90, names=["127.0.0.1"])
    pem = serialization.Encoding.PEM

    def private(encryption: serialization.KeySerializationEncryption) -> bytes:
        return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption)

    (server.folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    (server.folder / "own.pem").write_bytes(leaf.public_bytes(pem) + private(serialization.NoEncryption()))
    (server.folder / "locked.pem").write_bytes(private(serialization.BestAvailableEncryption(b"sesame")))
    options = {
        "port": server.port, "tls-port": server.tls_port, "bind": "127.0.0.1", "unixsocket": "redis.sock", "dir": ".", "save": "",
        "requirepass": PASSWORD, "tls-auth-clients": "yes", "tls-ca-cert-file": "ca.pem", "tls-cert-file": "own.pem",
        "tls-key-file": "own.pem",
    }  # fmt: skip
    process = subprocess.Popen(
        [binary, *(word for name, value in options.items() for word in (f"--{name}", str(value)))],
        cwd=server.folder, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent,  # noqa: PLW1509 - no other way to die with the parent
    )  # fmt: skip

    def answers() -> bool:
        try:
            with redis.Redis.from_url(server.url("redis")) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    wait_for(answers)
    Publisher(server.url("redis")).publish(HALF)
    make_data_set(server.url("redis"))
    yield server
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=10)


def used_by_all(url: str) -> None:
    """Store, client and broker each do with it what they do."""

    async def store() -> None:
        store = RedisStore(url)
        try:
            await store.open()
            assert await store.endpoints() == {}
        finally:
            await store.close()

    asyncio.run(store())
    with HealthView(url, poll_ms=60_000) as view:
        assert view.pools() == ("shop",)
    settings = configuration(url)
    with Connection(
        settings["broker_url"], ssl=settings["broker_use_ssl"] or False, transport_options=settings["broker_transport_options"]
    ) as connection:
        queue = connection.SimpleQueue("test")
        queue.put("a message")
        assert queue.get(timeout=5).payload == "a message"
        queue.clear()
        queue.close()


EVERYWHERE = [
    "", "db=0", "client_name=shop-1", "socket_timeout=2.5", "socket_connect_timeout=2", "health_check_interval=0",
    "health_check_interval=30", "max_connections=10", "retry_on_timeout=no", "protocol=2",
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix"])
@pytest.mark.parametrize("options", EVERYWHERE)
def test_an_option_works_with_store_client_and_broker(secured: Secured, scheme: str, options: str) -> None:
    used_by_all(secured.url(scheme, "&".join(filter(None, [options, secured.files if scheme == "rediss" else ""]))))


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
@pytest.mark.parametrize("word", ["yes", "False"])
def test_a_connection_is_kept_alive_or_not(secured: Secured, scheme: str, word: str) -> None:
    used_by_all(secured.url(scheme, f"socket_keepalive={word}" + (f"&{secured.files}" if scheme == "rediss" else "")))


@pytest.mark.parametrize(
    "options",
    [
        "ssl_cert_reqs=none", "ssl_cert_reqs=optional&ssl_ca_certs={ca}", "ssl_cert_reqs=required&ssl_ca_path={folder}&ssl_ca_certs={ca}",
        "ssl_ca_data={data}", "ssl_ca_certs={ca}&ssl_check_hostname=no", "ssl_ca_certs={ca}&ssl_min_version=772",
        "ssl_ca_certs={ca}&ssl_ciphers=ECDHE%2BAESGCM", "ssl_ca_certs={ca}&ssl_include_verify_flags=VERIFY_X509_PARTIAL_CHAIN",
        "ssl_ca_certs={ca}&ssl_exclude_verify_flags=VERIFY_X509_STRICT,VERIFY_X509_PARTIAL_CHAIN",
    ],
)  # fmt: skip
def test_how_the_server_is_trusted(secured: Secured, options: str) -> None:
    ca = secured.folder / "ca.pem"
    own = f"&ssl_certfile={secured.folder}/own.pem&ssl_keyfile={secured.folder}/own.pem"
    used_by_all(secured.url("rediss", options.format(ca=ca, folder=secured.folder, data=quote(ca.read_text(), safe="")) + own))


def test_a_key_that_is_locked_opens_with_its_password_and_nobody_is_asked_for_one(secured: Secured) -> None:
    files = f"ssl_ca_certs={secured.folder}/ca.pem&ssl_certfile={secured.folder}/own.pem&ssl_keyfile={secured.folder}/locked.pem"
    used_by_all(secured.url("rediss", f"{files}&ssl_password=sesame"))
    for options in (files, f"{files}&ssl_password=mustard"):
        with pytest.raises(ConfigError, match="what ssl_ca_certs, ssl_certfile, ssl_keyfile says cannot be used") as refused:
            asyncio.run(RedisStore(secured.url("rediss", options)).open())
        assert "mustard" not in str(refused.value)


def test_a_server_that_nobody_vouches_for_is_not_spoken_to(secured: Secured) -> None:
    url = secured.url("rediss", f"ssl_certfile={secured.folder}/own.pem")
    with pytest.raises(StoreError, match="certificate verify failed"):
        asyncio.run(RedisStore(url).open())
    assert configuration(url)["broker_use_ssl"]["ssl_cert_reqs"] == "required"


@pytest.mark.parametrize("login", ["password={word}", "username=default&password={word}"])
@pytest.mark.parametrize("scheme", ["redis", "unix"])
def test_a_login_among_the_options(secured: Secured, scheme: str, login: str) -> None:
    place = f"{secured.folder}/redis.sock" if scheme == "unix" else f"127.0.0.1:{secured.port}"
    used_by_all(f"{scheme}://{place}?{login.format(word=quote(PASSWORD, safe=''))}")


COMMANDS = [["status"], ["apply", "-f", "-"], ["init"], ["worker"], ["alert-worker"], ["beat"], ["web"], ["up"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://127.0.0.1:1/0?foo=bar", "takes no parameter 'foo'; leave it out"),
        ("rediss://127.0.0.1:1/0?ssl_ca_certs=/nowhere/ca.pem", "what ssl_ca_certs names is not there, or is no file"),
    ],
)
def test_every_command_refuses_what_it_cannot_use_by_name_and_at_once(command: list[str], url: str, said: str, tmp_path: Path) -> None:
    env = {**os.environ, "WATCHKEEPER_REDIS_URL": url, "WATCHKEEPER_DATA_DIR": str(tmp_path), "WATCHKEEPER_LISTEN": "127.0.0.1:0"}
    done = subprocess.run([str(WATCHKEEPER), *command], env=env, capture_output=True, text=True, timeout=30, input="", check=False)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


@pytest.mark.parametrize("url", ["redis://h?foo=bar", "http://h", "rediss://h?ssl_ca_certs=/nowhere", "unix://h?db=x"])
def test_a_consumer_is_told_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="redis_url: "):
        HealthView(url)


def cli(url: str, *command: str) -> str:
    binary = shutil.which("redis-cli")
    if binary is None:
        missing("redis-cli is not installed")
    env = {**os.environ, "WATCHKEEPER_REDIS_URL": url}
    printed = subprocess.run(
        [str(WATCHKEEPER), "redis-url"], env=env, capture_output=True, text=True, timeout=30, check=True
    ).stdout.strip()
    done = subprocess.run([binary, "-u", printed, *command], capture_output=True, text=True, timeout=30, check=False)
    used_by_all(printed)
    return done.stdout.strip()


def test_redis_cli_takes_the_url_that_is_printed(secured: Secured) -> None:
    word = quote(PASSWORD, safe="")
    assert cli(secured.url("redis"), "smembers", keys.POOLS) == "shop"
    assert cli(f"redis://127.0.0.1:{secured.port}?password={word}&db=0&socket_timeout=5", "smembers", keys.POOLS) == "shop"
    tls = ("--cacert", f"{secured.folder}/ca.pem", "--cert", f"{secured.folder}/own.pem", "--key", f"{secured.folder}/own.pem")
    assert cli(secured.url("rediss", secured.files), *tls, "smembers", keys.POOLS) == "shop"


def test_a_url_means_the_same_after_it_was_printed(secured: Secured) -> None:
    used_by_all(RedisUrl(secured.url("unix", "socket_timeout=5")).for_others)
    used_by_all(RedisUrl(secured.url("rediss", secured.files + "&ssl_check_hostname=no")).for_others)
