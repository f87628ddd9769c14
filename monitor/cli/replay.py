"""`watchkeeper breaker replay`: what a policy would have done."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.common import System, needs_system
from monitor.cli.filters import Since, since_option
from monitor.cli.look import stamp
from monitor.cli.output import emit, emit_one, json_text, output_option, say, tell

if TYPE_CHECKING:
    from monitor.core.replaying.player import Replay, ReplayStep
    from monitor.core.replaying.recorded import Recorded
    from monitor.store.port import Store

PROBES, TRAFFIC = "probes", "traffic"
MARKED = "➤"
"""Stands in a table before what is a change."""
COLUMNS = ("at", "endpoint", "state", "permitted", "failure_rate", "calls", "failures", "what_happened")


@click.command()
@click.argument("file", metavar="[FILE|-]", required=False)
@click.option("--record", metavar="ENDPOINT", help="Write what is kept of this endpoint's probes, to be replayed; plays nothing.")
@click.option(
    "--source",
    type=click.Choice([PROBES, TRAFFIC]),
    default=PROBES,
    show_default=True,
    help="With --record: its probes, or the calls that consumers reported.",
)
@since_option("of that, what happened since")
@output_option
@needs_system
def replay(  # noqa: PLR0917 - click passes what people may write.
    system: System, file: str | None, record: str | None, source: str, since: Since | None, output: str
) -> None:
    """Play a history through a breaker policy, in virtual time, and show the state after each event.

    The same functions judge that run in production. The history is JSON: a policy with its settings, endpoints, and events in order of
    time. An event that cannot be played is a step with its error, and changes nothing. A table shows every step, with its transitions
    marked; JSON has two keys, `steps` and `final`. It needs no running system.

    With --record the history of a real endpoint is written instead, with the policy that judges its probes (or, with --source traffic, the
    calls of its consumers): change `kind` in it, and replay it, to see what another policy would have done.

    \b
    A history:
      {"policy": {"kind": "consecutive", "failure_threshold": 3},
       "endpoints": ["a"],
       "events": [{"at_ms": 0, "outcome": "failure", "count": 3},
                  {"at_ms": 5000, "acquire": true},
                  {"at_ms": 5020, "outcome": "success", "duration_ms": 20}]}

    \b
    Examples:
      watchkeeper breaker replay history.json
      watchkeeper breaker replay - -o json < history.json
      watchkeeper breaker replay --record shop-1 --since 12h > night.json

    \b
    Exit codes: 0 played (also where single events could not be), 2 the text holds no usable policy, endpoints or events.
    """
    if record is not None and file is None:
        _record(system, record, source, since, output)
    elif record is not None or file is None:
        raise click.UsageError("give a FILE (or - for stdin) to be played, or --record ENDPOINT, and not both")
    elif since is not None:
        raise click.UsageError("--since goes with --record: a file is played from its beginning")
    else:
        _play(file, output)


def _play(file: str, output: str) -> None:
    from monitor.core.replaying.player import play  # noqa: PLC0415 - after the help
    from monitor.core.replaying.recording import KEYS, read_recording  # noqa: PLC0415

    recording = read_recording(_read(file), "stdin" if file == "-" else file)
    for key in recording.ignored:
        say(f"the key {key} is not read; a recording has {', '.join(KEYS)}")
    played = play(recording)
    if output == "table":
        _print_table(played)
    else:
        emit_one({"steps": played.steps, "final": played.final}, output)


def _record(system: System, endpoint_id: str, source: str, since: Since | None, output: str) -> None:
    from monitor.query.recorded import read_recorded, read_recorded_traffic  # noqa: PLC0415 - after the help

    async def read(store: Store) -> Recorded:
        now_ms = await store.now_ms()
        read_past = read_recorded_traffic if source == TRAFFIC else read_recorded
        return await read_past(store, endpoint_id, since.start_ms(now_ms) if since else 0, now_ms)

    found = system.run(read)
    if output == "yaml":
        emit_one(found.recording, output)
    else:
        tell(_text(found.recording))
    for line in _about(found, source):
        say(line)


def _text(recording: Mapping[str, Any]) -> str:
    """JSON to be read and changed by hand: an event a line."""
    head = [f"{json_text(key)}: {json_text(value)}" for key, value in recording.items() if key != "events"]
    events = ",\n  ".join(map(json_text, recording["events"]))
    return "{" + ",\n ".join([*head, f'"events": [\n  {events}]']) + "}"


def _about(found: Recorded, source: str) -> Iterator[str]:
    """How far back it reaches, and what of it is a guess."""
    if not found.recording["events"]:
        yield "nothing conclusive is kept of that time"
        return
    if source == TRAFFIC:
        yield f"at_ms 0 is {stamp(found.base_ms)}; calls that speak neither for it nor against it are left out"
        yield "the calls of a minute are laid evenly into its seconds, with the median latency: more than their counts is not kept"
    else:
        yield f"at_ms 0 is {stamp(found.base_ms)}; inconclusive results are left out"
    if source == PROBES and found.approximated:
        until = "all of it" if found.exact_ms is None else f"what is before {stamp(found.exact_ms)}"
        yield (
            f"{until} is known by counts of minutes and hours alone: {found.approximated} results are laid evenly into that time, "
            "failures behind each other, with the median latency"
        )
    yield "before successes a permit is asked for, as a trial would; before failures it is not, for no policy closes on one"


def _read(file: str) -> bytes:
    """ConfigError where there is nothing to read, or too much."""
    from monitor.core.errors import ConfigError, Problem  # noqa: PLC0415 - after the help
    from monitor.core.replaying.recording import RECORDING_BYTES_MAX  # noqa: PLC0415

    try:
        if file == "-":
            data = sys.stdin.buffer.read(RECORDING_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(RECORDING_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError([Problem(file, "", "", f"it cannot be read: {error.strerror}", "write a file of JSON, or - for stdin")]) from None
    if len(data) > RECORDING_BYTES_MAX:
        raise ConfigError([Problem(file, "", "", f"it is longer than {RECORDING_BYTES_MAX:,} bytes", "replay a part of it")])
    return data


def _print_table(played: Replay) -> None:
    emit([_row(step) for step in played.steps], COLUMNS, "table")
    changes = sum(len(step.transitions) for step in played.steps)
    errors = sum(step.error is not None for step in played.steps)
    ends = ", ".join(f"{name} {standing.state}" for name, standing in played.final.items())
    failed = f", {errors} of them could not be played" if errors else ""
    say(f"{len(played.steps)} events{failed}; {changes} transitions; at the end: {ends}")


def _row(step: ReplayStep) -> dict[str, Any]:
    return {
        "at": f"{step.at_ms}ms",
        "endpoint": step.endpoint,
        "state": step.state.upper(),
        "permitted": step.permitted,
        "failure_rate": None if step.failure_rate < 0 else f"{step.failure_rate:.4g}%",
        "calls": step.calls,
        "failures": step.failures,
        "what_happened": "; ".join(_happened(step)),
    }


def _happened(step: ReplayStep) -> Iterator[str]:
    if step.error is not None:
        yield f"error: {step.error}"
    for change in step.transitions:
        of = "" if change.endpoint == step.endpoint else f"{change.endpoint}: "
        at = "" if change.at_ms == step.at_ms else f" at {change.at_ms}ms"
        yield f"{MARKED} {of}{change.old} to {change.new}{at}: {change.reason}"
    yield from step.events
