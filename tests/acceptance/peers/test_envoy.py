"""The same ejections: a real Envoy and the policy `envoy` see the same answers of the same hosts, and the same hosts are out afterwards.

Each story is a cluster of its own in one Envoy, whose requests name the host and the answer; so nothing is balanced and nothing is chance.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from monitor.core.replaying.player import play
from monitor.core.replaying.recording import read_recording
from tests.acceptance.peers.peer import free_port, installed, running
from tests.acceptance.system import eventually

LONG_MS = 3_600_000
SHORT_MS = 400
NOBODY = 0
"""The status of a host that does not listen."""
NOWHERE = "127.0.0.99"
NAMES = {"interval_ms": "interval", "base_ejection_time_ms": "base_ejection_time", "max_ejection_time_ms": "max_ejection_time"}


class Story(NamedTuple):
    """Rows of (host, status, how often), in this order. `intervals`: an interval's end is waited for before who is out is compared."""

    name: str
    hosts: int
    settings: dict[str, Any]
    rows: Sequence[tuple[int, int, int]]
    intervals: bool = False


ANY = {"max_ejection_percent": 100}
SPLIT = ANY | {"split_external_local_origin_errors": True}
RATES = ANY | {
    "consecutive_5xx": 1_000,
    "success_rate_request_volume": 10,
    "failure_percentage_request_volume": 10,
    "success_rate_minimum_hosts": 3,
}
STORIES = [
    Story("five in a row", 3, ANY, [(0, 500, 5)]),
    Story("four in a row", 3, ANY, [(0, 500, 4)]),
    Story("a success between", 3, ANY, [(0, 500, 4), (0, 200, 1), (0, 500, 4)]),
    Story("not a 5xx between", 3, ANY, [(0, 500, 4), (0, 404, 1), (0, 500, 4)]),
    Story("any 5xx", 3, ANY, [(0, 500, 1), (0, 501, 1), (0, 502, 1), (0, 507, 1), (0, 599, 1)]),
    Story("gateway failures do not eject by themselves", 3, ANY | {"consecutive_5xx": 100}, [(0, 503, 50)]),
    Story("unless enforced", 3, ANY | {"consecutive_5xx": 100, "enforcing_consecutive_gateway_failure": 100}, [(0, 503, 5), (1, 500, 5)]),
    Story(
        "a 500 ends the gateway's run",
        3,
        ANY | {"consecutive_5xx": 100, "enforcing_consecutive_gateway_failure": 100},
        [(0, 502, 4), (0, 500, 1), (0, 504, 4), (1, 502, 2), (1, 504, 2), (1, 503, 1)],
    ),
    Story("nobody listens", 3, ANY, [(0, NOBODY, 5), (1, NOBODY, 4)]),
    Story("which is a gateway failure", 3, ANY | {"consecutive_5xx": 100, "enforcing_consecutive_gateway_failure": 100}, [(0, NOBODY, 5)]),
    Story("and none where origins are split", 3, SPLIT | {"enforcing_consecutive_local_origin_failure": 0}, [(0, NOBODY, 20)]),
    Story("but a local failure", 3, SPLIT | {"consecutive_local_origin_failure": 3}, [(0, NOBODY, 3), (1, NOBODY, 2)]),
    Story("none in a row", 3, ANY | {"consecutive_5xx": 0}, [(0, 500, 20)]),
    Story("not enforced", 3, ANY | {"enforcing_consecutive_5xx": 0}, [(0, 500, 20)]),
    Story("9 hosts under the default cap", 9, {}, [(0, 500, 20)]),
    Story("10 hosts under the default cap", 10, {}, [(0, 500, 20), (1, 500, 20)]),
    Story("33 % of three", 3, {"max_ejection_percent": 33}, [(0, 500, 20)]),
    Story("34 % of three", 3, {"max_ejection_percent": 34}, [(0, 500, 20), (1, 500, 20)]),
    Story("one always", 3, {"max_ejection_percent": 0, "always_eject_one_host": True}, [(2, 500, 20), (1, 500, 20)]),
    Story("a run begins anew over the cap", 3, {"max_ejection_percent": 34}, [(0, 500, 5), (1, 500, 7), (1, 200, 1)]),
    Story("success rate", 5, RATES, [(host, 200, 30) for host in range(4)] + [(4, 500, 30)], True),
    Story("success rate of four", 4, RATES, [(host, 200, 30) for host in range(3)] + [(3, 500, 30)], True),
    Story(
        "success rate of four with a smaller factor",
        4,
        RATES | {"success_rate_stdev_factor": 1_700},
        [(host, 200, 30) for host in range(3)] + [(3, 500, 30)],
        True,
    ),
    Story("two hide each other", 5, RATES, [(host, 200, 30) for host in range(3)] + [(host, 500, 30) for host in (3, 4)], True),
    Story(
        "failure percentage",
        5,
        RATES | {"enforcing_success_rate": 0, "enforcing_failure_percentage": 100},
        [(host, 200, 30) for host in range(3)] + [(host, 500, 30) for host in (3, 4)],
        True,
    ),
    Story(
        "failure percentage of four",
        4,
        RATES | {"enforcing_success_rate": 0, "enforcing_failure_percentage": 100},
        [(host, 200, 30) for host in range(2)] + [(host, 500, 30) for host in (2, 3)],
        True,
    ),
]


class Answers:
    """Hosts at 127.0.0.1, .2, .3 … on one port; the path of a request is the status that it wants."""

    def __init__(self, hosts: int) -> None:
        self.addresses = [f"127.0.0.{number + 1}" for number in range(hosts)]
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, self.addresses, self.port))
        self._thread = threading.Thread(target=self._loop.run_forever, name="answers")
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].lstrip(b"/")
                writer.write(b"HTTP/1.1 %b status\r\nContent-Length: 0\r\n\r\n" % status)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def close(self) -> None:
        async def close() -> None:
            self._server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def settings_of(story: Story) -> dict[str, Any]:
    return {
        "interval_ms": SHORT_MS if story.intervals else LONG_MS,
        "base_ejection_time_ms": LONG_MS,
        "max_ejection_time_ms": LONG_MS,
    } | story.settings


def cluster(story: Story, answers: Answers) -> dict[str, Any]:
    detection = {NAMES.get(name, name): f"{value / 1000}s" if name in NAMES else value for name, value in settings_of(story).items()}
    absent = {host for host, status, _ in story.rows if status == NOBODY}
    addresses = [NOWHERE if number in absent else address for number, address in enumerate(answers.addresses[: story.hosts])]
    hosts = [
        {
            "endpoint": {"hostname": str(number), "address": {"socket_address": {"address": address, "port_value": answers.port}}},
            "metadata": {"filter_metadata": {"envoy.lb": {"host": str(number)}}},
        }
        for number, address in enumerate(addresses)
    ]
    return {
        "name": story.name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": story.name, "endpoints": [{"lb_endpoints": hosts}]},
        "lb_subset_config": {"fallback_policy": "NO_FALLBACK", "subset_selectors": [{"keys": ["host"]}]},
        "outlier_detection": detection,
    }


def configuration(answers: Answers, port: int, admin: int) -> dict[str, Any]:
    routes = [
        {
            "match": {"prefix": "/", "headers": [exact("x-story", story.name), exact("x-host", str(host))]},
            "route": {"cluster": story.name, "metadata_match": {"filter_metadata": {"envoy.lb": {"host": str(host)}}}},
        }
        for story in STORIES
        for host in range(story.hosts)
    ]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "stories",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}},
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {"listeners": [listener], "clusters": [cluster(story, answers) for story in STORIES]},
    }


def exact(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"exact": value}}


class Peer(NamedTuple):
    http: httpx.Client
    admin: httpx.Client

    def tell(self, story: Story) -> None:
        for host, status in in_order(story):
            answer = self.http.get(f"/{status}", headers={"x-story": story.name, "x-host": str(host)})
            assert answer.status_code == (status or 503), answer

    def out(self, story: Story) -> list[int]:
        return [place for place, host in enumerate(self.hosts(story)) if host["health_status"].get("failed_outlier_check")]

    def compared(self, story: Story) -> bool:
        """Whether its hosts have been: who had calls in the last interval has a success rate."""
        return any("success_rate" in host for host in self.hosts(story))

    def hosts(self, story: Story) -> list[dict[str, Any]]:
        """What Envoy tells of each host, in their order."""
        clusters = self.admin.get("/clusters?format=json").json()["cluster_statuses"]
        (hosts,) = (cluster["host_statuses"] for cluster in clusters if cluster["name"] == story.name)
        return sorted(hosts, key=lambda host: int(host["hostname"]))


def in_order(story: Story) -> list[tuple[int, int]]:
    """The requests: row by row, or all hosts in turn, so that an interval that ends in between parts them alike."""
    rows = [[(host, status)] * count for host, status, count in story.rows]
    return [request for turn in (zip(*rows, strict=True) if story.intervals else rows) for request in turn]


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    program, folder = installed("envoy"), tmp_path_factory.mktemp("envoy")
    answers = Answers(max(story.hosts for story in STORIES))
    port = free_port()

    def command(admin: int) -> list[str]:
        (folder / "envoy.json").write_bytes(msgspec.json.encode(configuration(answers, port, admin)))
        return [program, "-c", str(folder / "envoy.json"), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warn"]

    def ready(admin: int) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{admin}/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    try:
        with (
            running(command, ready, folder / "envoy.log") as admin,
            httpx.Client(base_url=f"http://127.0.0.1:{port}") as http,
            httpx.Client(base_url=f"http://127.0.0.1:{admin}") as asked,
        ):
            yield Peer(http, asked)
    finally:
        answers.close()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_the_same_hosts_are_ejected(story: Story, envoy: Peer) -> None:
    envoy.tell(story)
    if story.intervals:
        eventually(lambda: envoy.compared(story) and envoy.out(story) == ejected(story), 10)
    assert envoy.out(story) == ejected(story)


def ejected(story: Story) -> list[int]:
    names = [str(host) for host in range(story.hosts)]
    events: list[dict[str, Any]] = []
    for host, status, count in story.rows:
        seen = {"local_origin": True} if status == NOBODY else {"code": status}
        events.append({"at_ms": 1, "endpoint": str(host), "outcome": "failure", "count": count} | seen)
    events.append({"at_ms": SHORT_MS})
    written = msgspec.json.encode({"policy": {"kind": "envoy"} | settings_of(story), "endpoints": names, "events": events})
    return [int(name) for name, standing in play(read_recording(written, story.name)).final.items() if standing.state == "open"]
