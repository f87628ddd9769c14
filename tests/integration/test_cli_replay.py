"""`watchkeeper breaker replay`: the real command, for people and for programs; it needs no system, except to record one's past."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from monitor.core.endpoint import Endpoint, Pool
from monitor.core.outcome import Outcome
from monitor.core.record import encode_record
from monitor.store.port import Commit, Committed, Write
from monitor.store.redis.store import RedisStore
from tests.integration.commands import WATCHKEEPER, Run
from tests.registering import register
from tests.timeline import Timeline

HISTORY = """{"policy": {"kind": "consecutive", "failure_threshold": 3}, "endpoints": ["a", "b"],
 "events": [{"at_ms": 0, "outcome": "failure", "count": 3}, {"at_ms": 1, "acquire": true}, {"at_ms": 2, "outcome": "what"},
            {"at_ms": 3, "endpoint": "b", "override": "forced_open"}, {"at_ms": 5000, "acquire": true},
            {"at_ms": 5020, "outcome": "success", "duration_ms": NaN}, {"at_ms": 5020, "outcome": "success", "duration_ms": 20}]}"""
STEP = [
    "at_ms", "endpoint", "state", "permitted", "failure_rate", "slow_rate", "calls", "failures", "slow_calls", "not_permitted",
    "open_until_ms", "ejections", "transitions", "events", "error",
]  # fmt: skip


@pytest.fixture
def history(tmp_path: Path) -> str:
    (tmp_path / "history.json").write_text(HISTORY)
    return "history.json"


def test_programs_get_the_steps_and_the_end_and_nothing_else_on_stdout(run: Run, history: str) -> None:
    done = run("breaker", "replay", history, "-o", "json")
    found = json.loads(done.stdout)
    assert done.stderr == ""
    assert list(found) == ["steps", "final"]
    assert [list(step) for step in found["steps"]] == [STEP] * 7
    assert found["steps"][0] == {
        "at_ms": 0,
        "endpoint": "a",
        "state": "open",
        "permitted": None,
        "failure_rate": -1,
        "slow_rate": -1,
        "calls": 0,
        "failures": 0,
        "slow_calls": 0,
        "not_permitted": 0,
        "open_until_ms": 5_000,
        "ejections": 0,
        "transitions": [
            {
                "at_ms": 0,
                "endpoint": "a",
                "from": "closed",
                "to": "open",
                "reason": "3 failures in a row, the last a failure",
                "evidence": {"run_length": 3, "failure_threshold": 3},
            }
        ],
        "events": [],
        "error": None,
    }
    assert [step["state"] for step in found["steps"]] == ["open", "open", "open", "forced_open", "half_open", "half_open", "closed"]
    assert [step["permitted"] for step in found["steps"]] == [None, False, None, None, True, None, None]
    assert {name: standing["state"] for name, standing in found["final"].items()} == {"a": "closed", "b": "forced_open"}
    assert list(found["final"]["a"]) == [name for name in STEP if name in found["final"]["a"]]
    assert yaml.safe_load(run("breaker", "replay", history, "-o", "yaml").stdout) == found
    assert json.loads(run("breaker", "replay", "-", "-o", "json", stdin=HISTORY).stdout) == found


def test_people_get_a_table_with_the_transitions_marked(run: Run, history: str) -> None:
    done = run("breaker", "replay", history)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["AT", "ENDPOINT", "STATE", "PERMITTED", "FAILURE", "RATE", "CALLS", "FAILURES", "WHAT", "HAPPENED"]
    assert len(lines) == 8
    assert ["➤" in line for line in lines] == [False, True, False, False, True, True, False, True]
    assert lines[1].endswith("➤ closed to open: 3 failures in a row, the last a failure")
    assert 'error: outcome is "what"; allowed are success, failure' in lines[3]
    assert done.stderr == "7 events, 2 of them could not be played; 4 transitions; at the end: a closed, b forced_open\n"


def test_it_needs_no_running_system_and_no_settings(run: Run, history: str, tmp_path: Path) -> None:
    (tmp_path / "broken.yml").write_text("no: such: setting")
    for more in ({"WATCHKEEPER_REDIS_URL": "redis://127.0.0.1:1"}, {"WATCHKEEPER_CONFIG": "broken.yml"}, {"REDIS_URL": "what"}):
        assert run("breaker", "replay", history, env=more).stdout.startswith("AT ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "error: stdin: it is not JSON"),
        ("[]", "error: stdin: it is not a JSON object"),
        ('{"policy": {"kind": "consecutive"}}', "error: stdin: events: it is missing"),
        ('{"events": []}', "error: stdin: policy: it is missing"),
        (
            '{"policy": {"kind": "hystrics"}, "events": []}',
            'error: stdin: policy.kind: there is no such policy (got "hystrics"); did you mean',
        ),
        (
            '{"policy": {"kind": "consecutive", "failure_threshold": 0}, "events": []}',
            "error: stdin: policy.failure_threshold: it is out of range (got '0'); write a whole number from 1 to 1000",
        ),
        (
            '{"policy": {"kind": "consecutive", "cooldown_ms": 10, "cooldown_max_ms": 9}, "events": []}',
            "error: stdin: policy.cooldown_max_ms: it is below cooldown_ms, which is 10",
        ),
        ('{"policy": {"kind": "consecutive"}, "endpoints": ["a", "a"], "events": []}', "error: stdin: endpoints: two endpoints have"),
        ('{"policy": {"kind": "consecutive"}, "seed": 1.5, "events": []}', "error: stdin: seed: it is not a whole number (got 1.5)"),
        ('{"policy": {"kind": "consecutive"}, "events": {}}', "error: stdin: events: it is not a list"),
    ],
)
@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_what_cannot_be_used_is_refused_whole_with_its_name_and_no_step(run: Run, text: str, said: str, output: str) -> None:
    done = run("breaker", "replay", "-", "-o", output, stdin=text, code=2)
    assert done.stderr.startswith(said)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "give a FILE"),
        (("history.json", "--record", "a"), "and not both"),
        (("history.json", "--since", "1h"), "--since goes with --record"),
        (("none.json",), "none.json: it cannot be read: No such file or directory"),
        ((".",), ".: it cannot be read: Is a directory"),
        (("history.json", "-o", "text"), "Invalid value for '-o'"),
    ],
)
@pytest.mark.usefixtures("history")
def test_a_command_that_makes_no_sense_is_refused(run: Run, args: tuple[str, ...], said: str) -> None:
    assert said in run("breaker", "replay", *args, code=2).stderr


def test_a_key_that_means_nothing_is_named_and_the_rest_is_played(run: Run) -> None:
    text = '{"policy": {"kind": "consecutive"}, "events": [], "sed\\u001b": 1}'
    done = run("breaker", "replay", "-", "-o", "json", stdin=text)
    assert json.loads(done.stdout) == {"steps": [], "final": {"a": json.loads(done.stdout)["final"]["a"]}}
    assert done.stderr == "the key sed\\x1b is not read; a recording has policy, endpoints, seed, events\n"


def test_what_stands_in_a_recording_cannot_move_the_cursor(run: Run) -> None:
    name = "\x1b[2J\n\u202e"
    text = json.dumps(
        {"policy": {"kind": "consecutive"}, "endpoints": [name], "events": [{"at_ms": 0, "endpoint": "\x1b"}, {"at_ms": 1, "\x1b": 1}]}
    )
    for output in ("table", "json", "yaml"):
        done = run("breaker", "replay", "-", "-o", output, stdin=text)
        assert "\u202e" not in done.stdout + done.stderr
    assert list(json.loads(run("breaker", "replay", "-", "-o", "json", stdin=text).stdout)["final"]) == [name]


def test_a_reader_that_has_gone_is_no_failure(environment: dict[str, str], history: str, tmp_path: Path) -> None:
    pipe = f"{WATCHKEEPER} breaker replay {history} -o json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60, check=True)
    assert done.stdout in {"{0\n", "{141\n"}
    assert "Traceback" not in done.stderr


async def _live(redis_url: str) -> None:
    """An hour of an endpoint, of which half a minute went badly, a minute ago."""
    store = RedisStore(redis_url)
    await store.open(create=True)
    try:
        await register(store, [Endpoint(id="shop-1", url="http://127.0.0.1:1/", pool="shop")], pools=[Pool(name="shop", open_ms=7_000)])
        line = Timeline(Pool(name="shop", open_ms=7_000))
        line.now_ms = await store.now_ms() - 3_600_000
        writes: dict[tuple[str, int], Write] = {}
        for number in range(360):
            line.after(10_000).saw(Outcome.FAILURE if 350 <= number < 353 else Outcome.SUCCESS, duration_ms=12.0)
            assert line.decision is not None
            writes |= {(one.name, one.offset): Write(one.name, one.offset, one.data) for one in line.decision.writes}
        (held,) = await store.load(["shop-1"])
        commit = Commit(
            id="shop-1",
            token_ms=None,
            ver=held.ver,
            next_ver=held.ver + 1,
            record=encode_record(line.record),
            reevaluate_ms=0,
            pool="shop",
            writes=tuple(writes.values()),
        )
        assert await store.commit([commit]) == [Committed.OK]
    finally:
        await store.close()


def test_the_past_of_a_real_endpoint_is_written_and_another_policy_says_what_it_would_have_done(run: Run, redis_url: str) -> None:
    asyncio.run(_live(redis_url))
    done = run("breaker", "replay", "--record", "shop-1", "--since", "1h")
    recording = json.loads(done.stdout)
    assert list(recording) == ["policy", "endpoints", "events"]
    assert recording["policy"]["kind"] == "consecutive"
    assert recording["policy"]["cooldown_ms"] == 7_000
    assert "at_ms 0 is 20" in done.stderr
    assert "results are laid evenly into that time" in done.stderr
    assert len(json.loads(run("breaker", "replay", "--record", "shop-1", "--since", "90s", "-o", "json").stdout)["events"]) < 20
    assert done.stdout.count("\n") > len(recording["events"]), "an event a line"

    own = json.loads(run("breaker", "replay", "-", "-o", "json", stdin=done.stdout).stdout)
    assert [(one["from"], one["to"]) for step in own["steps"] for one in step["transitions"]] == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]
    recording["policy"] = {"kind": "hystrix"}
    other = json.loads(run("breaker", "replay", "-", "-o", "json", stdin=json.dumps(recording)).stdout)
    assert [step["error"] for step in other["steps"] if step["error"]] == []
    assert not [step for step in other["steps"] if step["transitions"]], "20 calls in 10 s never came"


def test_of_an_endpoint_that_is_not_there_or_has_no_past_it_says_so(run: Run) -> None:
    run("endpoint", "add", "tcp://127.0.0.1:1", "--id", "web-1")
    done = run("breaker", "replay", "--record", "web-1")
    assert json.loads(done.stdout)["events"] == []
    assert done.stderr == "nothing conclusive is kept of that time\n"
    assert "did you mean web-1?" in run("breaker", "replay", "--record", "web-2", code=2).stderr


JUDGED = """
pools: {shop: {passive: {kind: resilience4j, sliding_window_size: 7}}, quiet: {passive: {kind: none}}}
endpoints:
  - {id: shop-1, url: "tcp://127.0.0.1:1", pool: shop}
  - {id: quiet-1, url: "tcp://127.0.0.1:1", pool: quiet}
"""


def test_what_consumers_reported_is_recorded_as_well_with_the_policy_that_judges_it(run: Run) -> None:
    run("apply", "-f", "-", stdin=JUDGED)
    done = run("breaker", "replay", "--record", "shop-1", "--source", "traffic")
    recording = json.loads(done.stdout)
    assert (recording["policy"]["kind"], recording["policy"]["sliding_window_size"], recording["events"]) == ("resilience4j", 7, [])
    refused = run("breaker", "replay", "--record", "quiet-1", "--source", "traffic", code=2)
    assert "no policy judges what consumers report" in refused.stderr
    assert refused.stdout == ""
