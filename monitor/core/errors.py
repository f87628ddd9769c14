"""The small tree of errors. An expected failure of a target is a value (`Result`), never one of these."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

DECODE_ERRORS = (ValueError, RecursionError)
"""What decoding raises for bytes that are not what was expected; msgspec's own errors are among them."""


class WatchkeeperError(Exception):
    """Anything that Watchkeeper itself reports to its user."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error in what a person wrote.

    `where` names the place as a person finds it again ("shop.yml:12" or "--interval"),
    `key` the setting, `seen` the value as it was written, `why` the rule it breaks and
    `hint` what to write instead.
    """

    where: str
    key: str
    seen: str
    why: str
    hint: str

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.where, self.key) if part)
        seen = f" (got {self.seen})" if self.seen and self.seen not in self.why else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{head}: {self.why}{seen}{hint}" if head else f"{self.why}{seen}{hint}"


class ConfigError(WatchkeeperError):
    """What a person wrote cannot be used; nothing of it was applied."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))  # What an alias brought to several places is wrong once.
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StoreError(WatchkeeperError):
    """The store did not answer, or answered with an error; nothing may be assumed of the write."""


class NoDataSetError(StoreError):
    """The store answers and holds no data set yet."""


class StoreRefusal(StoreError):  # noqa: N818 - it says which of the errors it is
    """The store is there and will not do this, now or later: what it was given is wrong."""


class Stale(WatchkeeperError):  # noqa: N818 - the loser of a race has made no error
    """Somebody else wrote first; read again and decide again."""


class DeliveryError(WatchkeeperError):
    """A message was not accepted by its service.

    `permanent` is true when trying again cannot help (a wrong password, an unknown channel);
    `retry_after_ms` is what the service asked for, or None; `unheard` is true when no answer came, so that it may have accepted
    the message after all; `asked` is false when the message never had its turn, so that nothing is known of the service.
    """

    def __init__(
        self, text: str, *, permanent: bool = False, retry_after_ms: int | None = None, unheard: bool = False, asked: bool = True
    ) -> None:
        super().__init__(text)
        self.permanent = permanent
        self.retry_after_ms = retry_after_ms
        self.unheard = unheard
        self.asked = asked


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the hint for a word that is not among `known`: the nearest of them, or `otherwise`."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else otherwise
