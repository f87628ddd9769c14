"""The command `watchkeeper`. Commands are imported when they run, so that help and completion answer at once."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from io import StringIO
from typing import Any

import click

from monitor.core.errors import ConfigError, NoDataSetError, Problem, StoreError, WatchkeeperError, did_you_mean
from monitor.core.parts import PartName
from monitor.core.secret import hide_password
from monitor.core.texts import SEEN_LENGTH_MAX, shorten

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_NO_STORE = 3
LINE_LENGTH_MAX = 1_000
"""Characters of one line of an error."""
WRITTEN_LENGTH_MAX = 160
"""Characters of an argument, and of any word, that an error repeats whole; of a longer one its two ends, SEEN_LENGTH_MAX in all."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_LONG_WORD = re.compile(rf"\S{{{WRITTEN_LENGTH_MAX + 1},}}")

# Section -> command -> (where it lives, what help says of it). A new command is a line here.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Register": {
        "endpoint": ("monitor.cli.endpoint:endpoint", "Add, list, show, check, edit, rename, remove, pause and resume endpoints."),
        "apply": ("monitor.cli.manifest:apply", "Make the registry as manifests say."),
        "export": ("monitor.cli.manifest:export", "Write the registry as a manifest."),
        "probe": ("monitor.cli.probe:probe", "Probe a URL once, without registering it."),
    },
    "Look": {
        "status": ("monitor.cli.look:status", "Show pools and endpoints as they stand."),
        "explain": ("monitor.cli.look:explain", "Show why an endpoint stands as it does."),
        "history": ("monitor.cli.history:history", "Show uptime and latency over minutes, hours and days."),
        "events": ("monitor.cli.events:events", "Show transitions with their reasons."),
        "alerts": ("monitor.cli.alerts:alerts", "List alerts, and notifications that were sent."),
        "rules": ("monitor.cli.alerts:rules", "Check alert rules."),
        "receivers": ("monitor.cli.alerts:receivers", "List receivers and send test messages."),
        "quarantine": ("monitor.cli.quarantine:quarantine", "List and delete records that could not be read."),
    },
    "Act": {
        "pool": ("monitor.cli.pool:pool", "List pools; drain members and take them back."),
        "breaker": ("monitor.cli.breaker:breaker", "Open or close a breaker by hand; replay a policy."),
    },
    "Run": {
        "init": ("monitor.cli.system:init", "Make the data set in a Redis, once."),
        "up": ("monitor.cli.system:up", "Run the whole system on this machine."),
        PartName.WORKER: ("monitor.cli.system:worker", "Run one probe worker."),
        PartName.ALERT_WORKER: ("monitor.cli.system:alert_worker", "Run the worker that routes alerts and sends notifications."),
        PartName.BEAT: ("monitor.cli.system:beat", "Run beat, which claims what falls due; several at once are harmless."),
        PartName.WEB: ("monitor.cli.system:web", "Run the web listener."),
        "settings": ("monitor.cli.system:settings", "Show every setting, its source and its purpose."),
        "redis-url": ("monitor.cli.system:redis_url", "Print the URL of the Redis in use."),
    },
}


class ReaderGone(Exception):  # noqa: N818 - it is no error
    """Nobody reads our output any more. Click would make a failure of it."""


@contextlib.contextmanager
def _readers_noticed() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone from error


class _Lazy(click.Group):
    """A group that knows its commands by name and summary, and imports one when it is called."""

    def make_context(self, *args: Any, **named: Any) -> click.Context:
        with _readers_noticed():
            return super().make_context(*args, **named)

    def invoke(self, ctx: click.Context) -> Any:
        with _readers_noticed():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name in section] + super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in COMMANDS.values():
            if cmd_name in section:
                module, _, attribute = section[cmd_name][0].partition(":")
                command: click.Command = getattr(import_module(module), attribute)
                return command
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            hint = did_you_mean(args[0], known, "`watchkeeper --help` lists the commands")
            raise click.UsageError(f"there is no command {shorten(args[0])}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for title, section in COMMANDS.items():
            if section:
                with formatter.section(title):
                    formatter.write_dl([(name, summary) for name, (_, summary) in section.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="watchkeeper", prog_name="watchkeeper")
def cli() -> None:
    """Watch endpoints, decide which of them may take traffic, and tell people what they need to know.

    \b
    Begin with:
      watchkeeper up
      watchkeeper endpoint add http://127.0.0.1:8080/health
      watchkeeper status

    \b
    Exit codes:
      0  done
      1  it failed (for example, a probe found the target unhealthy)
      2  refused: wrong options, or something written that cannot be used
      3  the store does not answer
    """


def report(error: WatchkeeperError, args: Sequence[str] = ()) -> int:
    """Print the error for a person on stderr and return its exit code. `args` are what was written on the command line."""
    from monitor.cli.output import say  # noqa: PLC0415 - help needs none of it

    if isinstance(error, ConfigError):
        for problem in error.problems:
            say(_cut(hide_password(f"error: {problem}"), args))
        return EXIT_REFUSED
    if isinstance(error, NoDataSetError):
        say(f"error: {error}")
        return EXIT_NO_STORE
    if isinstance(error, StoreError):
        say(f"error: {str(error).rstrip('.')}; is it running? `watchkeeper up` starts it")
        return EXIT_NO_STORE
    say(f"error: {error}")
    return EXIT_FAILED


def _show(error: click.ClickException, args: Sequence[str]) -> None:
    """As click shows it; what it repeats of an argument shows no password and cannot move the cursor."""
    from monitor.cli.output import say  # noqa: PLC0415 - help needs none of it

    text = StringIO()
    error.show(text)
    say("\n".join(_cut(line, args) for line in hide_password(text.getvalue().rstrip("\n")).split("\n")))


def _cut(line: str, args: Sequence[str]) -> str:
    """A line of an error that does not repeat all of what was written where that is long."""
    for written in sorted({part for arg in args for part in (arg, arg.partition("=")[2])}, key=len, reverse=True):
        if len(written) > WRITTEN_LENGTH_MAX:
            line = line.replace(written, _middle_cut(written))
    line = _LONG_WORD.sub(lambda word: _middle_cut(word[0]), line)
    return line if len(line) <= LINE_LENGTH_MAX else f"{line[: LINE_LENGTH_MAX // 2]} … {line[-LINE_LENGTH_MAX // 2 :]}"


def _middle_cut(written: str) -> str:
    """What is too long, with its end: of a path that tells the most."""
    return f"{written[: SEEN_LENGTH_MAX // 2]}…{written[-SEEN_LENGTH_MAX // 2 :]}"


def _check_text(args: Sequence[str]) -> None:
    """Refuse arguments that are no text: the system passes bytes that are no UTF-8 on as lone surrogates, which nothing can store."""
    for number, argument in enumerate(args, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            seen = argument.encode(errors="backslashreplace").decode()[:80]
            raise ConfigError([Problem(f"argument {number}", "", seen, "this is no UTF-8 text", "write it in UTF-8")]) from None


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code. That the reader of its output has gone, as `head` does, is no failure."""
    code: Any = 0
    if sys.stdout is None:  # It was closed before we began.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - until the end
    try:
        code = _run(list(sys.argv[1:] if args is None else args))
        sys.stdout.flush()
    except (ReaderGone, BrokenPipeError):
        _give_up_output()
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _give_up_output()
        click.echo(f"error: the output cannot be written: {error.strerror}", err=True)
        code = EXIT_FAILED
    sys.exit(code if isinstance(code, int) else 0)


def _give_up_output() -> None:
    """What is left in the buffer has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(args: list[str]) -> Any:
    """Do what was asked for; its exit code, where it is not 0. Raises ReaderGone."""
    try:
        _check_text(args)
        return cli.main(args=args, prog_name="watchkeeper", standalone_mode=False)
    except click.ClickException as error:
        _show(error, args)
        return error.exit_code
    except click.Abort:
        click.echo("stopped", err=True)
        return 130
    except WatchkeeperError as error:
        return report(error, args)


if __name__ == "__main__":
    main()
