"""The filters that listings share: by pool, label and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from monitor.core.texts import shorten

if TYPE_CHECKING:
    from alert_rules.routes.matcher import Matcher

F = TypeVar("F", bound=Callable[..., Any])

SINCE_HINT = "write how long ago, for example 90m, or a time, for example 2026-01-31T14:00 or 2026-01-31T14:00+01:00"


class Since(NamedTuple):
    """A time that a person wrote: so long ago, or an instant."""

    ago_ms: int | None
    at_ms: int = 0

    def start_ms(self, now_ms: int) -> int:
        """The instant, where it is `now_ms`."""
        return self.at_ms if self.ago_ms is None else now_ms - self.ago_ms


class _SinceType(click.ParamType[Since]):
    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Since:
        from datetime import datetime  # noqa: PLC0415 - after the help

        from monitor.core.durations import parse_duration  # noqa: PLC0415

        if isinstance(value, Since):
            return value
        try:
            return Since(parse_duration(value))
        except ValueError:
            pass
        try:
            return Since(None, int(datetime.fromisoformat(value).timestamp() * 1000))  # Without an offset it is the reader's own time.
        except (ValueError, OverflowError, OSError):
            self.fail(f"{shorten(value)} is no time; {SINCE_HINT}", param, ctx)


class _LabelType(click.ParamType[Any]):
    name = "matcher"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from alert_rules.routes.matcher import MatcherError  # noqa: PLC0415 - after the help
        from alert_rules.routes.matcher_text import parse_matchers  # noqa: PLC0415

        if not isinstance(value, str):
            return value
        try:
            return parse_matchers(value).matchers
        except MatcherError as error:
            self.fail(f'{shorten(value)} is no matcher ({error}); write for example team=shop or team=~"shop|pay"', param, ctx)


def matches(given: Sequence[Sequence[Matcher]], labels: Mapping[str, str]) -> bool:
    """Whether the labels satisfy every matcher of every `--label`."""
    from alert_rules.routes.matcher import matches_all  # noqa: PLC0415 - after the help

    return all(matches_all(matchers, labels) for matchers in given)


def pool_option(command: F) -> F:
    """Add `--pool`, which may be repeated, passed on as `pool` (names)."""
    return click.option("--pool", multiple=True, metavar="POOL", help="Only of this pool. May be repeated: of any of them.")(command)


def label_option(whose: str) -> Callable[[F], F]:
    """Add `--label`, which may be repeated, passed on as `label`; `whose` says what has the labels."""
    return click.option(
        "--label",
        multiple=True,
        type=_LabelType(),
        metavar="MATCHER",
        help=f"Only where the {whose} match: team=shop, team!=shop, 'team=~\"s.*\"'. May be repeated: all must match.",
    )


def since_option(what: str) -> Callable[[F], F]:
    """Add `--since`, passed on as `since` (None: from the beginning)."""
    return click.option(
        "--since", type=_SinceType(), metavar="TIME", help=f"Only {what}: so long ago (90m, 2d), or from a time on (2026-01-31T14:00)."
    )
