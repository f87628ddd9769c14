"""A minute with Watchkeeper: a service fails and recovers. Run by `make demo`, or `python -m examples.demo`.

It starts a whole system on a temporary folder, three services as the pool `demo`, a consumer that balances real requests
over them, and a receiver of messages. What is told is checked: a step that does not happen ends the demo with exit code 1
and the last lines of the logs. Nothing is left running or written, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import msgspec
from rich.console import Console
from rich.text import Text

from examples.targets import Mode, Target
from monitor.client import EndpointView, HealthView, NoEndpoint
from monitor.config.settings import read_running

POOL = "demo"
FAILING = "demo-2"
IDS = ("demo-1", "demo-2", "demo-3")
DEADLINE_S = 30.0
STOP_LIMIT_S = 15.0
LOOK_S = 3.0
"""How long the consumer's requests are counted for a picture."""
REQUEST_PAUSE_S = 0.025
BAR_WIDTH = 40
LOG_LINES = 8
EQUAL_WEIGHT = 333
FAIR_WEIGHT = 150
"""An equal share, less what the uneven latencies of a busy machine may cost: whoever is slower than the others gets less."""
WARM_UP_S = 13.0
"""The pool's warm-up, and a little."""
STEP_WEIGHT = 25
COLOURS = {"CLOSED": "green", "HALF_OPEN": "yellow", "OPEN": "red"}

MANIFEST = """\
pools:
  demo: {open: 2s, warm_up: 10s}
defaults: {interval: 1s, timeout: 800ms, retries: 0, failure_threshold: 3, success_threshold: 3}
endpoints:
"""
ROUTING = """\
route: {{receiver: on-call, group_by: [pool], group_wait: 1s, group_interval: 3s}}
receivers:
  - name: on-call
    apprise_configs: [{{url: "json://127.0.0.1:{port}/"}}]
"""


class DemoError(Exception):
    """A step did not happen; the text says what was seen instead."""


class Message(msgspec.Struct):
    """What apprise sends to a json:// receiver."""

    title: str
    message: str


class Receiver:
    """A web service that keeps the messages that it is sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        messages = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                messages.append(msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])), type=Message))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class System:
    """One `watchkeeper up`, and the commands that speak to it."""

    def __init__(self, folder: Path, routing: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self._said = folder / "up.log"
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("WATCHKEEPER_") and name != "REDIS_URL"}
        self._env |= {"COLUMNS": "140", "PYTHONUNBUFFERED": "1"}
        options = ("--alerting", str(routing), "--listen", "127.0.0.1:0", "--workers", "1")
        with self._said.open("wb") as said:
            # A session of its own: Ctrl-C reaches the demo, which then stops the system in its own order.
            self.process = subprocess.Popen(
                self._argv("up", *options), cwd=folder, env=self._env, stdout=said, stderr=said, start_new_session=True
            )

    def run(self, *command: str) -> str:
        """Run one `watchkeeper` command and return what it printed. Raises DemoError when it fails."""
        done = subprocess.run(self._argv(*command), cwd=self.folder, env=self._env, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise DemoError(f"`watchkeeper {' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
        return done.stdout or done.stderr

    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise DemoError(f"`watchkeeper up` ended with {self.process.returncode}: {self._said.read_text()}")
        return "watchkeeper is ready" in self._said.read_text()

    @property
    def redis_url(self) -> str:
        running = read_running(self.data_dir)
        if running is None:
            raise DemoError("`watchkeeper up` does not run any more")
        return running.redis_url

    def stop(self) -> None:
        """Ask it to stop; whatever is left after the limit is ended by force."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()  # Its parts notice that it is gone, and end.
            self.process.wait()

    def last_lines(self) -> str:
        files = [self._said, *sorted((self.data_dir / "logs").glob("*"))]
        parts = [(file.name, file.read_text(errors="replace").splitlines()[-LOG_LINES:]) for file in files if file.is_file()]
        return "\n".join(f"{name}:\n  " + "\n  ".join(lines) for name, lines in parts if lines)

    def _argv(self, command: str, *rest: str) -> list[str]:
        return [sys.executable, "-m", "monitor.cli.main", *command.split(), *rest, "--data-dir", str(self.data_dir)]


class Consumer:
    """A service that sends each request to the endpoint that its HealthView picks, and counts where they went."""

    def __init__(self, view: HealthView) -> None:
        self._view = view
        self._ended = threading.Event()
        self.total: Counter[str] = Counter()
        self.window: Counter[str] = Counter()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def count(self, seconds: float) -> Counter[str]:
        """Requests that are sent during so many seconds from now, by endpoint; those that failed under "failed"."""
        window: Counter[str] = Counter()
        self.window = window
        time.sleep(seconds)
        self.window = Counter()
        return window

    def _work(self) -> None:
        with httpx.Client(timeout=5.0) as http:
            while not self._ended.wait(REQUEST_PAUSE_S):
                window = self.window  # Before the pick: a window counts only what was decided in its time.
                try:
                    endpoint = self._view.pick(POOL)
                    failed = http.get(endpoint.base_url).is_error
                    window[endpoint.id] += 1
                except (NoEndpoint, httpx.HTTPError):
                    failed = True
                window["failed"] += failed
                self.total["failed"] += failed
                self.total["sent"] += 1


class Demo:
    """The story, step by step. Each step waits until it is true, and raises DemoError when it does not come true."""

    def __init__(self, console: Console, system: System, targets: Sequence[Target], receiver: Receiver) -> None:
        self._console = console
        self._system = system
        self._targets = targets
        self._receiver = receiver
        self._began = time.monotonic()
        self._full, self._empty = ("█", "·") if console.encoding.startswith("utf") else ("#", ".")

    def run(self) -> None:
        self._say("starting watchkeeper: an embedded server, beat, a probe worker, an alert worker, a web listener")
        self._until("watchkeeper is ready", self._system.ready, lambda: "it does not say so")
        self._register()
        with HealthView(self._system.redis_url, pools=[POOL]) as self._view:
            self._until("the pool is published", lambda: len(self._members()) == len(IDS), self._seen)
            self._consumer = Consumer(self._view)
            with self._consumer.running():
                self._healthy()
                self._fails()
                self._alert()
                self._recovers()
                self._resolved()
        self._history()

    # The story --------------------------------------------------------------------------------------------------------

    def _register(self) -> None:
        manifest = self._system.folder / "demo.yml"
        lines = (f"  - {{id: {id_}, pool: {POOL}, url: {target.health_url!r}}}\n" for id_, target in zip(IDS, self._targets, strict=True))
        manifest.write_text(MANIFEST + "".join(lines))
        self._step("Three services, one pool")
        self._shell("apply", "-f", manifest.name)

    def _healthy(self) -> None:
        def healthy(member: EndpointView) -> bool:
            return member.breaker == "CLOSED" and member.verdict == "HEALTHY" and member.weight >= FAIR_WEIGHT

        self._until("all three are healthy and share the traffic", lambda: all(map(healthy, self._members())), self._seen)
        counts = self._consumer.count(LOOK_S)
        self._require(all(counts[id_] for id_ in IDS) and not counts["failed"], f"a consumer's requests went to {dict(counts)}")
        self._picture(counts)

    def _fails(self) -> None:
        self._step(f"{FAILING} starts to answer 500")
        failing_at = time.monotonic()
        self._targets[1].mode = Mode.FAIL
        self._until(
            "its breaker opens and its weight goes to 0",
            lambda: self._failing.breaker == "OPEN" and self._failing.weight == 0,
            self._seen,
        )
        self._say(f"after {time.monotonic() - failing_at:.1f} s: {self._failing.reason}")
        counts = self._consumer.count(LOOK_S)
        self._require(not counts[FAILING] and not counts["failed"], f"a consumer's requests went to {dict(counts)}")
        self._require(sum(member.weight for member in self._members()) == 1000, self._seen())
        self._picture(counts)
        self._failed = self._consumer.total["failed"]
        self._say(f"{self._failed} requests had failed before; none does since")

    def _alert(self) -> None:
        self._step("One alert")
        self._until("the receiver has its message", lambda: self._receiver.messages, lambda: "it received nothing")
        self._letter(self._receiver.messages[0])
        self._require("FIRING" in self._receiver.messages[0].title, "the message does not say that an alert fires")
        alerts = msgspec.json.decode(self._system.run("alerts list", "-o", "json"))
        firing = [(alert["alertname"], alert["subject"]) for alert in alerts if alert["status"] == "FIRING"]
        self._require(firing == [("EndpointDown", FAILING)], f"the firing alerts are {firing}")
        self._shell("alerts list")
        self._shell("explain", FAILING)

    def _recovers(self) -> None:
        self._step(f"{FAILING} recovers")
        self._require(len(self._receiver.messages) == 1, f"{len(self._receiver.messages)} messages came instead of one")
        self._targets[1].mode = Mode.OK
        self._until("trial probes begin: half open", lambda: self._failing.breaker in {"HALF_OPEN", "CLOSED"}, self._seen)
        self._say(f"{self._failing.reason}; no traffic yet, weight {self._failing.weight}")
        self._until("the breaker closes", lambda: self._failing.breaker == "CLOSED", self._seen)
        self._say(f"{self._failing.reason}")
        weights = [self._failing.weight]
        self._bar(self._failing, "")
        end = time.monotonic() + WARM_UP_S
        while weights[-1] < EQUAL_WEIGHT - STEP_WEIGHT and time.monotonic() < end:
            now = self._failing
            if now.weight > weights[-1] + STEP_WEIGHT:
                self._bar(now, "")
                weights.append(now.weight)
            time.sleep(0.02)
        self._require(len(weights) > 3 and weights[-1] >= FAIR_WEIGHT, f"its weight did not rise step by step: {weights}")
        self._say("warmed up: it takes its share again", "bold green")

    def _resolved(self) -> None:
        self._until("the resolved notice has come", lambda: len(self._receiver.messages) > 1, lambda: "only one message came")
        self._letter(self._receiver.messages[1])
        self._require("RESOLVED" in self._receiver.messages[1].title, "the message does not say that the alert is resolved")
        self._require(len(self._receiver.messages) == 2, f"{len(self._receiver.messages)} messages came instead of two")
        counts = self._consumer.count(LOOK_S)
        self._require(all(counts[id_] for id_ in IDS) and not counts["failed"], f"a consumer's requests went to {dict(counts)}")
        self._picture(counts)
        total = self._consumer.total
        self._require(total["failed"] == self._failed, f"{total['failed'] - self._failed} requests failed after the breaker had opened")
        self._say(f"the consumer sent {total['sent']} requests in all; {self._failed} failed, all of them before the breaker opened")

    def _history(self) -> None:
        self._step("What happened, and why")
        self._shell("events")
        events = msgspec.json.decode(self._system.run("events", "-o", "json"))
        breaker = [(event["endpoint"], event["old"], event["new"]) for event in events if event["kind"] == "breaker"]
        wanted = [(FAILING, "CLOSED", "OPEN"), (FAILING, "OPEN", "HALF_OPEN"), (FAILING, "HALF_OPEN", "CLOSED")]
        self._require(breaker == wanted, f"the breaker's transitions were {breaker}")

    # What is seen ------------------------------------------------------------------------------------------------------

    @property
    def _failing(self) -> EndpointView:
        return self._view.state(FAILING)

    def _members(self) -> tuple[EndpointView, ...]:
        return self._view.endpoints(POOL)

    def _seen(self) -> str:
        return "; ".join(f"{one.id} {one.verdict} {one.breaker} weight {one.weight}" for one in self._members()) or "nothing is published"

    def _until(self, what: str, condition: Callable[[], Any], seen: Callable[[], str]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        with self._console.status(f"waiting until {what}"):
            while not condition():
                if time.monotonic() > deadline:
                    raise DemoError(f"within {DEADLINE_S:.0f} s it did not come true that {what}: {seen()}")
                time.sleep(0.02)
        self._say(what, "bold green")

    @staticmethod
    def _require(condition: bool, seen: str) -> None:
        if not condition:
            raise DemoError(seen)

    # Drawing -----------------------------------------------------------------------------------------------------------

    def _step(self, title: str) -> None:
        self._console.print(Text(f"\n{title}", style="bold"))

    def _say(self, line: str, style: str = "") -> None:
        self._console.print(
            Text(f"{time.monotonic() - self._began:5.1f} s  ", style="dim"), Text(line, style=style), sep="", soft_wrap=True
        )

    def _picture(self, counts: Counter[str]) -> None:
        for member in self._members():
            self._bar(member, f"{counts[member.id]:4} requests")

    def _bar(self, member: EndpointView, note: str) -> None:
        full = round(member.weight * BAR_WIDTH / 1000)
        line = Text(f"         {member.id}  ")
        line.append(self._full * full, COLOURS[member.breaker]).append(self._empty * (BAR_WIDTH - full), "dim")
        line.append(f" {member.weight:4} of 1000  {member.breaker:9}  {note}".rstrip())
        self._console.print(line, soft_wrap=True)

    def _letter(self, message: Message) -> None:
        for line in (message.title, *message.message.strip().splitlines()):
            self._console.print(Text(f"         | {line}", style="magenta"), soft_wrap=True)

    def _shell(self, command: str, *rest: str) -> None:
        printed = self._system.run(command, *rest)
        self._console.print(Text(f"       $ watchkeeper {' '.join((command, *rest))}", style="cyan"))
        for line in printed.rstrip().splitlines():
            self._console.print(Text(f"         {line}"), soft_wrap=True)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _hold_signals() -> None:
    """Ending has begun: a second Ctrl-C must not leave something behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def main() -> int:
    """Run the demo; 0 when everything that it told was true."""
    console = Console(highlight=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="watchkeeper-demo-", ignore_cleanup_errors=True)))
            targets = [stack.enter_context(Target(name=id_)) for id_ in IDS]
            receiver = Receiver()
            stack.enter_context(receiver.running())
            routing = folder / "alerting.yml"
            routing.write_text(ROUTING.format(port=receiver.port))
            system = System(folder, routing)
            stack.callback(system.stop)
            stack.callback(_hold_signals)
            try:
                Demo(console, system, targets, receiver).run()
            except Exception:
                console.print(Text(system.last_lines()), soft_wrap=True)
                raise
            console.print(Text("\nstopping"))
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    except (DemoError, NoEndpoint) as error:
        console.print(Text(f"the demo failed: {error}", style="bold red"), soft_wrap=True)
        return 1
    console.print(Text("Everything above was checked. Next: docs/tutorial/first-steps.md"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
