"""The pages, and parts of pages, that are made from code: `make docs`, or `python -m docs.generate`.

Every page is written where it differs; then the exit code is 1, so that a check sees what was not committed.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import click
import msgspec

from alert_rules.rules.facts import render_reference
from docs.cusum_plot import svg
from monitor.cli.main import COMMANDS, cli
from monitor.config.fields import ENDPOINT_FIELDS, POOL_FIELDS, Field
from monitor.config.kinds import kinds
from monitor.config.settings import CONFIG_BYTES_MAX, PREFIX, Settings
from monitor.core.breaker import TRANSITIONS, Event
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.overlay import OVERLAYS
from monitor.core.policies import POLICIES
from monitor.core.policies.options import table as settings_of
from monitor.core.policies.resilience4j_state import MOVES
from monitor.core.record import Breaker
from monitor.probes.base import Option
from monitor.store.redis_url import CONNECTIONS_MIN, OPTIONS, SECONDS_MAX, URL_LENGTH_MAX
from monitor.store.scripts import source

DOCS = Path(__file__).parent
HELP_WIDTH = 100


def pages() -> Iterator[tuple[Path, str]]:
    """Each page that has something of ours, as it should be."""
    yield DOCS / "reference/commands.md", commands_page()
    yield DOCS / "reference/settings.md", settings_page()
    yield DOCS / "reference/rule-variables.md", render_reference()
    manifests = DOCS / "reference/manifests.md"
    tables = {"pool": pool_table, "endpoint": endpoint_table, "policies": policy_tables, "kinds": kinds_table}
    yield manifests, filled(manifests.read_text(), tables)
    keys = DOCS / "reference/keys.md"
    yield keys, filled(keys.read_text(), {name: functools.partial(script, name) for name in ("grant_trial", "end_trial")})
    yield DOCS / "explanation/cusum.svg", svg()
    replay = DOCS / "reference/breaker-replay.md"
    yield replay, filled(replay.read_text(), {"policies": policy_tables})
    breakers = DOCS / "explanation/breakers-and-weights.md"
    yield breakers, filled(breakers.read_text(), {"transitions": transition_table, "overlay": overlay_table})
    resilience4j = DOCS / "how-to/come-from-resilience4j.md"
    yield resilience4j, filled(resilience4j.read_text(), {"moves": moves_table})


def filled(page: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """The page with each of its marked parts made anew. Raises ValueError where a mark is missing."""
    for name, make in parts.items():
        begin = f"<!-- made from code: {name} -->\n"
        before, mark, rest = page.partition(begin)
        _, end, after = rest.partition("<!-- end -->")
        if not (mark and end):
            raise ValueError(f"the mark {name!r} is not there")
        page = before + begin + make() + end + after
    return page


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def script(name: str) -> str:
    return f"```lua\n{source(name).decode()}```\n"


# Commands and settings --------------------------------------------------------------------------------------------


def commands_page() -> str:
    parts = ["# Commands\n\nWhat `--help` says of each command. Made from the code by `make docs`.\n"]
    root = click.Context(cli, info_name="watchkeeper", terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH)
    parts.append(f"\n```text\n{cli.get_help(root)}\n```\n")
    for section, names in COMMANDS.items():
        parts.append(f"\n## {section}\n")
        for name in names:
            command = cli.get_command(root, name)
            assert command is not None  # noqa: S101 - the table names it.
            parts += _command(command, root, name)
    return "".join(parts)


def _command(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, parent=parent, info_name=name, terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH)
    yield f"\n### {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None  # noqa: S101 - the group lists it.
            yield from _command(found, context, child)


def settings_page() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        made = field.default_factory
        default = field.default
        shown = (made.__doc__ or "").strip() if made else f"`{default}`" if default not in (None, "", ()) else ""
        rows.append((f"`{name}`", f"`{PREFIX}{name.upper()}`", shown, field.description or ""))
    return SETTINGS_PAGE + table(("setting", "variable", "built in", "meaning"), rows) + _redis_urls()


def _redis_urls() -> str:
    common = set.intersection(*(set(names) for names in OPTIONS.values()))
    rows = [("redis://, rediss://, unix://", ", ".join(f"`{name}`" for name in OPTIONS["unix"]))]
    for schemes, of in (("redis://, rediss://", "redis"), ("rediss://", "rediss")):
        more = [name for name in OPTIONS[of] if name not in common and (of == "redis" or name not in OPTIONS["redis"])]
        rows.append((schemes, ", ".join(f"`{name}`" for name in more)))
    return REDIS_URLS + table(("URL", "options"), rows) + REDIS_URLS_END


SETTINGS_PAGE = f"""\
# Settings

Of one installation. Where a setting is given in several places the first of these counts:

1. the option of a command (`--data-dir`, for the settings that have one);
2. a variable, `{PREFIX}` and the setting's name; for `redis_url` also `REDIS_URL`;
3. the same variable in the file `.env` of the working folder;
4. the configuration file, YAML with one `setting: value` per line, named by `--config` or `{PREFIX}CONFIG`;
   paths in it are relative to it;
5. what is built in.

Lists are written with commas in variables, and as YAML lists in the file. `watchkeeper settings` shows each value and where it came
from, without passwords. An unknown key in the file, or a value that does not fit, ends every command with its place and what to write.
The file and `.env` are UTF-8 text of at most {CONFIG_BYTES_MAX:,} bytes; a pipe, a device or a folder is refused.
A variable that is empty says nothing.

"""


REDIS_URLS = """
## Redis URLs

`redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://` for TLS (a certificate that does not hold is refused), or
`unix://[USER:PASSWORD@]/PATH`. After a question mark options may follow, as redis-py names them; store, broker and `HealthView` obey them
alike. Any other name, and a value that does not fit, is refused by name by every command (exit code 2) and by `HealthView`.

"""
REDIS_URLS_END = f"""
Timeouts are seconds, {SECONDS_MAX} at most; yes and no are also true, false, 1, 0; `max_connections` is {CONNECTIONS_MIN} at least;
`ssl_cert_reqs` is `none`, `optional` or `required`; `ssl_min_version` is 771 (TLS 1.2) or 772 (TLS 1.3). `retry_on_timeout` can only be
no and `protocol` only 2: that is how every part works. A URL has at most {URL_LENGTH_MAX} characters.
"""


# Manifests --------------------------------------------------------------------------------------------------------


def pool_table() -> str:
    return table(("key", "example", "built in", "meaning"), (_field(field, Pool) for field in POOL_FIELDS.values()))


def endpoint_table() -> str:
    return table(("key", "example", "built in", "meaning"), (_field(field, Endpoint) for field in ENDPOINT_FIELDS.values()))


def kinds_table() -> str:
    options: dict[str, tuple[Option, list[str]]] = {}
    for kind in kinds().values():
        for option in kind.options.values():
            options.setdefault(option.name, (option, []))[1].append(kind.name)
    rows = ((f"`{option.name}`", ", ".join(names), _shown(option.default), option.help) for option, names in options.values())
    return table(("key", "kinds", "built in", "meaning"), rows)


def _field(field: Field, struct: type[msgspec.Struct]) -> tuple[str, ...]:
    (default,) = (known.default for known in msgspec.structs.fields(struct) if known.name == field.attribute)
    formatted = field.format(default) if isinstance(default, int) and default else default
    return f"`{field.key}`", f"`{field.example}`", _shown(formatted), field.help


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`" if default else ""
    return f"`{default}`" if isinstance(default, int | str) and default else ""


# The breaker ------------------------------------------------------------------------------------------------------


def transition_table() -> str:
    """A row for each state, a column for each event; an empty cell is a pair that raises."""
    rows = ([f"**{state}**", *(TRANSITIONS.get((state, event), "") for event in Event)] for state in Breaker)
    return table(("state", *Event), rows)


def policy_tables() -> str:
    """A table of settings for each policy."""
    parts = []
    for name, policy in POLICIES.items():
        rows = (
            (f"`{row.name}`", _default(row.default), row.allowed, f"{row.limits.help} ({row.limits.source})")
            for row in settings_of(policy.settings).values()
        )
        parts.append(f"### {name}\n\n" + table(("setting", "default", "allowed", "meaning"), rows))
    return "\n".join(parts)


def _default(value: object) -> str:
    return (
        "follows from others"
        if value is None
        else str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def overlay_table() -> str:
    """A row for each mode that lies over the machine."""
    rows = (
        (f"`{mode}`", *("yes" if one else "no" for one in (over.permits, over.records, over.opens)), over.meaning)
        for mode, over in OVERLAYS.items()
    )
    return table(("mode", "permits calls", "counts results", "may open underneath", "meaning"), rows)


def moves_table() -> str:
    """Where an operator's word leads in resilience4j: a row for each state, a column for each state that it may come to."""
    rows = (
        [f"**{old}**", *("itself" if new == old else "yes" if new in allowed else "" for new in MOVES)] for old, allowed in MOVES.items()
    )
    return table(("from", *MOVES), rows)


def main() -> int:
    changed = [(page, text) for page, text in pages() if not page.exists() or page.read_text() != text]
    for page, text in changed:
        page.write_text(text)
        print(f"written anew: {page.relative_to(DOCS.parent)}")  # noqa: T201 - this is a command
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
