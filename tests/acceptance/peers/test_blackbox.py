"""The same targets: the same verdicts, and the same values under the same names, as from a real blackbox_exporter."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from monitor.cli.main import cli
from monitor.clock import SystemClock
from monitor.web.metrics import render
from tests.acceptance.peers.conftest import ready
from tests.acceptance.peers.peer import installed, running
from tests.acceptance.system import System, eventually
from tests.unit.probes.servers import Script, answering, closed_port, ending, make_tls, response, serving

TIMEOUT_S = 2
SLOW_S = 1.5 * TIMEOUT_S


@dataclass(frozen=True)
class Case:
    """A target by its name, what is said to us, and what is said to blackbox_exporter."""

    target: str
    success: bool
    ours: dict[str, Any] = field(default_factory=dict)
    http: dict[str, Any] = field(default_factory=dict)
    status: int = 0


READY: tuple[dict[str, Any], dict[str, Any]] = ({"expect_body": "ready"}, {"fail_if_body_not_matches_regexp": ["ready"]})
ODD = {
    "LF": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nready",
    "folds": b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 5\r\n\r\nready",
    "control characters": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=\x01\x7f\r\nContent-Length: 5\r\n\r\nready",
    "one length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nready",
    "a length beside chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nready\r\n0\r\n\r\n",
    "spaces after a chunk's size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nready\r\n0\r\n\r\n",
    "extensions of a chunk": b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a="b"\r\nready\r\n0\r\n\r\n',
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nready",
    "interim": b"HTTP/1.1 103 Early\r\nX: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready",
    "a charset as a coding": b"HTTP/1.1 200 OK\r\nContent-Encoding: utf-8\r\nContent-Length: 5\r\n\r\nready",
    "bytes after the end": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready and more",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nready\r\n0\r\nX: 1\r\n\r\n",
}
BROKEN = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nready",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nready\r\n",
    "a chunk longer than its size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nready\r\n0\r\n\r\n",
    "another transfer coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nready\r\n0\r\n\r\n",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 5\r\n\r\nready",
    "another protocol": b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nready",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nready",
}
NOWHERE = {
    "port 99999": "http://127.0.0.1:99999/",
    "port -1": "http://127.0.0.1:-1/",
    "port 0": "http://127.0.0.1:0/",
    "an open bracket": "http://[::1/",
    "a zone": "http://[fe80::1%25nowhere0]/",
    "no address": "http://127.0.0.256/",
    "an empty label": "http://a..b/",
    "a name that does not exist": "http://nowhere.invalid/",
}
INSECURE = {"tls_config": {"insecure_skip_verify": True}}
CASES = {
    "200": Case("ok", True, status=200),
    "204": Case("204", True, status=204),
    "404": Case("404", False, status=404),
    "404 wanted": Case("404", True, {"expect_status": "404"}, {"valid_status_codes": [404]}, 404),
    "200, 404 wanted": Case("ok", False, {"expect_status": "404"}, {"valid_status_codes": [404]}, 200),
    "500": Case("500", False, status=500),
    "redirect": Case("redirect", True, status=200),
    "redirect to an error": Case("redirect to 404", False, status=404),
    "redirect not followed": Case("redirect", False, {"max_redirects": 0}, {"follow_redirects": False}, 302),
    "redirect wanted": Case(
        "redirect", True, {"max_redirects": 0, "expect_status": "302"}, {"follow_redirects": False, "valid_status_codes": [302]}, 302
    ),
    "redirect in a circle": Case("circle", False),
    "slow": Case("slow", False),
    "hangs in the body": Case("hangs in the body", False, {"expect_body": "ready"}, {"fail_if_body_not_matches_regexp": ["ready"]}),
    "closes at once": Case("closes", False),
    "no HTTP": Case("garbage", False),
    "short body": Case("short", False, {"expect_body": "ready"}, {"fail_if_body_not_matches_regexp": ["ready"]}),
    "refused": Case("refused", False),
    "body": Case("ok", True, {"expect_body": "re.dy$"}, {"fail_if_body_not_matches_regexp": ["re.dy$"]}, 200),
    "body not": Case("ok", False, {"expect_body": "^ready"}, {"fail_if_body_not_matches_regexp": ["^ready"]}, 200),
    "body forbidden": Case("ok", False, {"expect_body_not": "(?i)READY"}, {"fail_if_body_matches_regexp": ["(?i)READY"]}, 200),
    "body allowed": Case("ok", True, {"expect_body_not": "starting"}, {"fail_if_body_matches_regexp": ["starting"]}, 200),
    "body, compressed": Case(
        "gzip", True, {"expect_body": "ready"}, {"fail_if_body_not_matches_regexp": ["ready"], "compression": "gzip"}, 200
    ),
    "gzip cut short": Case(
        "gzip cut short", False, {"expect_body": "ready"}, {"fail_if_body_not_matches_regexp": ["ready"], "compression": "gzip"}
    ),
    "two members of gzip": Case(
        "two members of gzip", True, {"expect_body": "ready"}, {"fail_if_body_not_matches_regexp": ["ready"], "compression": "gzip"}, 200
    ),
    "header": Case(
        "ok", True, {"expect_headers": "X-Mode: ^f.st$"}, {"fail_if_header_not_matches": [{"header": "X-Mode", "regexp": "^f.st$"}]}, 200
    ),
    "header not": Case(
        "ok", False, {"expect_headers": "X-Mode: slow"}, {"fail_if_header_not_matches": [{"header": "X-Mode", "regexp": "slow"}]}, 200
    ),
    "header missing": Case(
        "ok", False, {"expect_headers": "X-Other: .*"}, {"fail_if_header_not_matches": [{"header": "X-Other", "regexp": ".*"}]}, 200
    ),
    **{f"{name}, as clients read it": Case(name, True, *READY, status=200) for name in ODD},
    **{f"{name}, not whole": Case(name, False, *READY) for name in BROKEN},
    "a forbidden word in a second member of gzip": Case(
        "two members of gzip", False, {"expect_body_not": "ready"}, {"fail_if_body_matches_regexp": ["ready"], "compression": "gzip"}, 200
    ),
    "a site that sets a cookie and redirects to itself": Case("cookie", True, *READY, status=200),
    **{f"redirect to {place}": Case(f"redirect to {place}", False) for place in NOWHERE},
    "redirect to Latin-1": Case("redirect to Latin-1", True, *READY, status=200),
    "redirect with a password": Case("redirect with a password", True, *READY, status=200),
    "TLS": Case("tls", True, status=200),
    "TLS with its name in the subject alone": Case("tls, name in the subject", False),
    "TLS that is cut after the body": Case("tls, cut after the body", True, *READY, status=200),
    "TLS that ends where its end ends the body": Case("tls, ended", True, *READY, status=200),
    "TLS expired": Case("expired", False),
    "TLS expired, not verified": Case("expired", True, {"verify_tls": "false"}, INSECURE, 200),
    "TLS of another name": Case("other name", False),
    "TLS of another name, named": Case("other name", True, {"server_name": "shop.test"}, {"tls_config": {"server_name": "shop.test"}}, 200),
    "TLS of nobody": Case("untrusted", False),
    "TLS where there is none": Case("tls to ok", False),
    "no TLS where there is": Case("ok to tls", False),
}
BODY = b"all is\nready"


class World:
    """Targets by name, and the file of the authority that both sides trust."""

    def __init__(self, urls: dict[str, str], authority: Path) -> None:
        self.urls = urls
        self.authority = authority


def hanging(head: bytes) -> Script:
    return answering(head, hang=True)


async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(SLOW_S)
    writer.write(response(200))


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def cookie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    seen = b"Cookie: seen=1" in await reader.readuntil(b"\r\n\r\n")
    writer.write(response(200, BODY) if seen else response(302, b"", "Location: /", "Set-Cookie: seen=1"))


async def latin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
    writer.write(response(200, BODY) if path == b"/caf%E9" else b"HTTP/1.1 302 Found\r\nLocation: /caf\xe9\r\nContent-Length: 0\r\n\r\n")


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    good, trusting = make_tls(("127.0.0.1",))
    (authority,) = trusting.get_ca_certs(binary_form=True)
    ok = answering(response(200, BODY, "X-Mode: fast"))
    plain: dict[str, Script] = {
        "ok": ok,
        "204": answering(response(204)),
        "404": answering(response(404, b"no")),
        "500": answering(response(500, b"no")),
        "slow": slow,
        "hangs in the body": hanging(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"),
        "closes": closing,
        "garbage": answering(b"SSH-2.0-nobody\r\n"),
        "short": answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nready"),
        "gzip": answering(response(200, gzip.compress(BODY), "Content-Encoding: gzip")),
        "two members of gzip": answering(response(200, gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), "Content-Encoding: gzip")),
        "gzip cut short": answering(response(200, gzip.compress(BODY)[:-9], "Content-Encoding: gzip")),
        "cookie": cookie,
        "redirect to Latin-1": latin,
        **{name: answering(answer) for name, answer in (ODD | BROKEN).items()},
    }
    async with contextlib.AsyncExitStack() as stack:
        urls = {"refused": f"http://127.0.0.1:{closed_port()}/"}

        async def serve(name: str, script: Script, tls: ssl.SSLContext | None = None) -> None:
            port = await stack.enter_async_context(serving(script, tls=tls))
            urls[name] = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"

        for name, script in plain.items():
            await serve(name, script)
        await serve("redirect", answering(response(302, b"", f"Location: {urls['ok']}")))
        await serve("redirect to 404", answering(response(301, b"", f"Location: {urls['404']}")))
        place = urls["ok"].replace("//", "//me:s3cret@")
        await serve("redirect with a password", answering(response(302, b"", f"Location: {place}")))
        for name, location in NOWHERE.items():
            await serve(f"redirect to {name}", answering(response(302, b"", f"Location: {location}")))
        await serve("circle", answering(response(302, b"", "Location: /")))
        await serve("tls", ok, good)
        bundle = ssl.DER_cert_to_PEM_cert(authority)
        for name, names, days in (("expired", ("127.0.0.1",), -1.0), ("other name", ("shop.test",), 90.0)):
            server, client = make_tls(names, days=days)
            bundle += ssl.DER_cert_to_PEM_cert(client.get_ca_certs(binary_form=True)[0])
            await serve(name, ok, server)
        await serve("untrusted", ok, make_tls(("127.0.0.1",))[0])
        named, client = make_tls(("127.0.0.1",), named=False)
        bundle += ssl.DER_cert_to_PEM_cert(client.get_ca_certs(binary_form=True)[0])
        await serve("tls, name in the subject", ok, named)
        for name, answer, polite in (
            ("tls, cut after the body", response(200, BODY), False),
            ("tls, ended", b"HTTP/1.1 200 OK\r\n\r\n" + BODY, True),
        ):
            urls[name] = f"https://127.0.0.1:{await stack.enter_async_context(ending(good, answer, polite=polite))}/"
        urls["tls to ok"] = urls["ok"].replace("http:", "https:")
        urls["ok to tls"] = urls["tls"].replace("https:", "http:")
        (folder / "authorities.pem").write_text(bundle)
        yield World(urls, folder / "authorities.pem")


def in_world(folder: Path, story: Callable[[World], None]) -> None:
    """Run a story in a thread beside its targets."""

    async def main() -> None:
        async with world(folder) as found:
            await asyncio.to_thread(story, found)

    asyncio.run(main())


def http_modules(authority: Path) -> dict[str, Any]:
    """The cases as blackbox_exporter's modules."""
    modules = {}
    for name, case in CASES.items():
        tls = {"ca_file": str(authority), **case.http.get("tls_config", {})}
        http = {"preferred_ip_protocol": "ip4", **case.http, "tls_config": tls}
        modules[name] = {"prober": "http", "timeout": f"{TIMEOUT_S}s", "http": http}
    return modules


@contextlib.contextmanager
def blackbox(folder: Path, modules: Mapping[str, Any]) -> Iterator[Callable[[str, str], dict[str, float]]]:
    """A function that lets a running blackbox_exporter probe a target by a module, and returns its samples."""
    program = installed("prometheus-blackbox-exporter")
    config = folder / "blackbox.yml"
    config.write_text(yaml.safe_dump({"modules": dict(modules)}))

    def command(port: int) -> list[str]:
        return [program, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]

    with running(command, lambda port: ready(port, "/-/healthy"), folder / "blackbox.log") as port:

        def ask(name: str, url: str) -> dict[str, float]:
            params = {"module": name, "target": url}
            answer = httpx.get(f"http://127.0.0.1:{port}/probe", params=params, timeout=20).raise_for_status()
            return samples(answer.text)

        yield ask


def samples(text: str, endpoint: str = "") -> dict[str, float]:
    """Samples by name, those of phases by `name{phase}`; of one endpoint where it is named."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not endpoint or sample.labels.get("endpoint") == endpoint:
                phase = sample.labels.get("phase")
                found[f"{sample.name}{{{phase}}}" if phase else sample.name] = sample.value
    return found


def our_word(url: str, ours: Mapping[str, Any]) -> dict[str, Any]:
    """What `watchkeeper probe` prints. Where the machine was too busy to tell, it is called again."""
    options = [word for name, value in ours.items() for word in (f"--{name.replace('_', '-')}", str(value))]

    def told() -> dict[str, Any] | None:
        done = CliRunner().invoke(cli, ["probe", url, "--timeout", f"{TIMEOUT_S}s", "-o", "json", *options])
        assert done.exit_code in (0, 1), done.output
        word: dict[str, Any] = json.loads(done.stdout)
        return word if word["outcome"] != "INCONCLUSIVE" else None

    word = eventually(told, 20)
    assert word is not None
    return word


def test_verdicts_of_one_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("prometheus-blackbox-exporter")

    def story(found: World) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(found.authority))
        with blackbox(tmp_path, http_modules(found.authority)) as ask:
            for name, case in CASES.items():
                word, theirs = our_word(found.urls[case.target], case.ours), ask(name, found.urls[case.target])
                shown = f"{name}: {word}, {theirs}"
                assert (word["outcome"] == "SUCCESS") is case.success, shown
                assert bool(theirs["probe_success"]) is case.success, shown
                if case.status:
                    assert (word["status"] or 0) == theirs["probe_http_status_code"] == case.status, shown
                expiry = theirs.get("probe_ssl_earliest_cert_expiry")
                if expiry is not None and case.success:
                    assert word["certificate"]["not_after_ms"] / 1000 == expiry, shown

    in_world(tmp_path, story)


async def parrot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"+READY\r\n")
    while line := await reader.readline():
        writer.write(b"+you said " + line)


TCP: dict[str, tuple[bool, dict[str, Any], list[dict[str, str]]]] = {
    "open": (True, {}, []),
    "says": (True, {"expect": "READY"}, [{"expect": "READY"}]),
    "says not": (False, {"expect": "BUSY"}, [{"expect": "BUSY"}]),
    "answers": (True, {"send": "ping\\r\\n", "expect": "said ping"}, [{"send": "ping\r"}, {"expect": "said ping"}]),
    "answers not": (False, {"send": "ping\\r\\n", "expect": "said pong"}, [{"send": "ping\r"}, {"expect": "said pong"}]),
}


def test_dialogues_over_tcp(tmp_path: Path) -> None:
    installed("prometheus-blackbox-exporter")
    modules = {name: {"prober": "tcp", "timeout": f"{TIMEOUT_S}s", "tcp": {"query_response": lines}} for name, (_, _, lines) in TCP.items()}

    def story(port: int) -> None:
        with blackbox(tmp_path, modules) as ask:
            for name, (success, ours, _) in TCP.items():
                word, theirs = our_word(f"tcp://127.0.0.1:{port}", ours), ask(name, f"127.0.0.1:{port}")
                assert (word["outcome"] == "SUCCESS") == bool(theirs["probe_success"]) == success, f"{name}: {word}, {theirs}"
            address = f"127.0.0.1:{closed_port()}"
            assert our_word(f"tcp://{address}", {})["outcome"] == "FAILURE"
            assert not ask("open", address)["probe_success"]

    async def main() -> None:
        async with serving(parrot) as port:
            await asyncio.to_thread(story, port)

    asyncio.run(main())


SAME = ("probe_success", "probe_http_status_code", "probe_ssl_earliest_cert_expiry", "probe_ip_protocol")
SERVED = (
    "200",
    "404",
    "redirect",
    "redirect not followed",
    "slow",
    "refused",
    "body not",
    "TLS",
    "TLS expired",
    "TLS expired, not verified",
)


@pytest.mark.timeout(180)
def test_metrics_of_a_running_system(tmp_path: Path, system: System) -> None:
    installed("prometheus-blackbox-exporter")

    def story(found: World) -> None:
        common = {"interval": f"{TIMEOUT_S}s", "timeout": f"{TIMEOUT_S}s", "retries": 0}
        endpoints = [
            {"id": f"e{number}", "url": found.urls[CASES[name].target], **common, **CASES[name].ours} for number, name in enumerate(SERVED)
        ]
        system.variables["SSL_CERT_FILE"] = str(found.authority)
        system.register({"endpoints": endpoints})
        system.start("beat", "worker")

        def scraped() -> str:
            text = system.execute(lambda store: render(store, SystemClock().now_ms(), 60_000)).decode()
            assert all("probe_success" in samples(text, endpoint["id"]) for endpoint in endpoints)
            return text

        text = eventually(scraped, 40)
        with blackbox(tmp_path, http_modules(found.authority)) as ask:
            for name, endpoint in zip(SERVED, endpoints, strict=True):
                theirs, ours = ask(name, endpoint["url"]), samples(text, endpoint["id"])
                shown = f"{name}: {ours}, {theirs}"
                assert ours["probe_success"] == CASES[name].success, shown
                for metric in SAME:
                    if theirs.get(metric) or ours.get(metric):
                        assert ours.get(metric, 0) == theirs.get(metric, 0), f"{metric} of {shown}"
                phases = {sample for sample in theirs if sample.startswith("probe_http_duration_seconds")}
                assert phases <= ours.keys(), shown
                slowest = max(ours["probe_duration_seconds"], theirs["probe_duration_seconds"])
                assert slowest < TIMEOUT_S / 2 or name == "slow", shown

    in_world(tmp_path, story)
