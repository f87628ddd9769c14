"""How commands speak: data on stdout, words on stderr; tables for people, JSON and YAML for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click
import msgspec

from monitor.core.said import escaped, escaped_lines

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, Any]

FAILED = "×"
"""Stands in a sparkline for a failure."""
_BARS = "▁▂▃▄▅▆▇█"
_PARTS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")

_STYLES = {
    "HEALTHY": "green",
    "CLOSED": "green",
    "SUCCESS": "green",
    "DEGRADED": "yellow",
    "HALF_OPEN": "yellow",
    "UNHEALTHY": "red",
    "OPEN": "red",
    "FAILURE": "red",
}


def output_option(command: F) -> F:
    """Add `-o table|json|yaml`, passed on as `output`."""
    option = click.option(
        "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="How to print."
    )
    return option(command)


def emit(rows: Iterable[Row], columns: Sequence[str], output: str) -> None:
    """Print rows. A table shows `columns`; JSON and YAML hold every key, as a list."""
    if output == "table":
        _table(rows, columns)
    else:
        _dump([dict(row) for row in rows], output)


def emit_one(row: Row, output: str) -> None:
    """Print one thing: a table of its keys and values, or a JSON or YAML mapping."""
    if output == "table":
        _table([{"key": key, "value": value} for key, value in row.items()], ("key", "value"), header=False)
    else:
        _dump(dict(row), output)


def say(text: str) -> None:
    """Print words for a person on stderr; what others said in them cannot move the cursor."""
    click.echo(escaped_lines(text), err=True)


def tell(text: str) -> None:
    """Print words that are what the command was asked for, on stdout; as `say`."""
    click.echo(escaped_lines(text))


def json_text(value: Any, *, indent: int = -1) -> str:
    """JSON in which also those characters are escaped that a terminal obeys or does not show."""
    text = msgspec.json.encode(value)
    return "\n".join(map(_json_line, msgspec.json.format(text, indent=indent).decode().split("\n")))


def _json_line(line: str) -> str:
    return line if line.isprintable() else "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def cell(value: Any) -> str:
    """One value as a table shows it; what a target sent cannot move the cursor."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={cell(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value) or "-"
    return escaped(str(value))


def bar(part: float, mark: float, whole: float, width: int) -> str:
    """Draw `part` of `whole` as a bar of `width` places, in eighths of one, with a line at `mark` where the bar does not reach it."""
    eighths = round(min(max(part / whole if whole else 0.0, 0.0), 1.0) * width * 8)
    drawn = "█" * (eighths // 8) + _PARTS[eighths % 8]
    place = min(int(min(max(mark / whole if whole else 0.0, 0.0), 1.0) * width), width - 1)
    return (drawn.ljust(place) + "│" if place >= len(drawn) else drawn).ljust(width)


def sparkline(values: Sequence[float | str | None]) -> str:
    """Draw numbers as bars from the smallest to the largest; None is a gap, and a mark stands for itself."""
    known = [value for value in values if isinstance(value, int | float)]
    low, span = (min(known), max(known) - min(known)) if known else (0, 0)
    top = len(_BARS) - 1

    def drawn(value: float | str | None) -> str:
        if value is None or isinstance(value, str):
            return value or " "
        return _BARS[round((value - low) / span * top) if span else 0]

    return "".join(map(drawn, values)).rstrip()


def _table(rows: Iterable[Row], columns: Sequence[str], *, header: bool = True) -> None:
    """Columns as wide as their widest cell, coloured on a terminal. A terminal folds what is too long; a file keeps it."""
    from rich.cells import cell_len  # noqa: PLC0415 - JSON needs none of it

    lines = [[cell(row.get(column)) for column in columns] for row in rows]
    titles = [[column.replace("_", " ").upper() for column in columns]] if header else []
    widths = [max(map(cell_len, texts)) for texts in zip(*titles, *lines, strict=True)]
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    written: list[str] = []
    for number, texts in enumerate((*titles, *lines)):
        padded = [text + " " * (width - cell_len(text)) for text, width in zip(texts, widths, strict=True)]
        if colours:
            bold = header and number == 0
            padded = [click.style(wide, fg=_STYLES.get(text), bold=bold) for text, wide in zip(texts, padded, strict=True)]
        written.append("  ".join(padded).rstrip())
    if written:
        click.echo("\n".join(written))  # At once: who reads only the first lines of it has not broken it off.


def _dump(value: Any, output: str) -> None:
    if output == "json":
        click.echo(json_text(value, indent=2))
        return
    import yaml  # noqa: PLC0415 - only this form needs it

    plain = msgspec.to_builtins(value)
    fast = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # In a fifth of the time.
    text = yaml.dump(plain, Dumper=fast, sort_keys=False, allow_unicode=True)
    if "\\U" in text:  # But it escapes what has more than 16 bits, though a terminal may well show it.
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    if not text.replace("\n", "").isprintable():  # What a terminal obeys or does not show is escaped, and with it all that is not ASCII.
        text = yaml.dump(plain, Dumper=fast, sort_keys=False)
    click.echo(text, nl=False)
