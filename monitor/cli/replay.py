"""`watchkeeper breaker replay`: what a policy would have done."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.output import emit, emit_one, output_option, say

if TYPE_CHECKING:
    from monitor.core.replaying.player import Replay, ReplayStep

MARKED = "➤"
"""Stands in a table before what is a change."""
COLUMNS = ("at", "endpoint", "state", "permitted", "failure_rate", "calls", "failures", "what_happened")


@click.command()
@click.argument("file", metavar="FILE|-")
@output_option
def replay(file: str, output: str) -> None:
    """Play a history through a breaker policy, in virtual time, and show the state after each event.

    The same functions judge that run in production. The history is JSON: a policy with its settings, endpoints, and events in order of
    time. An event that cannot be played is a step with its error, and changes nothing. A table shows every step, with its transitions
    marked; JSON has two keys, `steps` and `final`.

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

    \b
    Exit codes: 0 played (also where single events could not be), 2 the text holds no usable policy, endpoints or events.
    """
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
