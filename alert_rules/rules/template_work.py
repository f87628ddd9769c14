"""What one rendering of a template may cost: steps, lengths, and what of its texts is the configuration's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import GeneratorType
from typing import Any

from jinja2.runtime import Undefined

WORK_MAX = 250_000
"""Steps of one rendering: each part of a loop's body in each of its rounds, each item that is looked at, each character that is made."""
VALUE_LENGTH_MAX = 16_384
"""The longest text that a template may make, and the largest number that it may give a filter."""
ITEMS_MAX = 65_536
"""The largest list that a template may make, with all that the lists in it hold."""
NUMBER_BITS_MAX = 1_024
WORK = "work "
"""The name of the counters in a rendering's context: no template can write it."""

Escape = Callable[[str], str]


class TooMuch(ValueError):  # noqa: N818 - says what was too much
    """A template asks for more than a template may."""


class Own(str):
    """A text of the configuration itself: it is printed as it stands. Whatever is made of it, except by joining, is data again."""

    __slots__ = ()


class _List(list[Any]):
    """A list that a template made; `weight` is the number of all that it holds, at any depth."""

    __slots__ = ("weight",)

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(items)
        self.weight = 1 + sum(map(_weight, self))


class _Dict(dict[Any, Any]):
    """A mapping that a template made."""

    __slots__ = ("weight",)

    def __init__(self, items: Mapping[Any, Any]) -> None:
        super().__init__(items)
        self.weight = 1 + sum(map(_weight, self.values()))


def _weight(value: Any) -> int:
    return value.weight if isinstance(value, _List | _Dict) else 1


class Work:
    """The counters of one rendering, and the escaping of what others say in it."""

    __slots__ = ("escape", "left")

    def __init__(self, escape: Escape) -> None:
        self.escape = escape
        self.left = WORK_MAX

    def spend(self, steps: int) -> None:
        """Take steps from what is left."""
        self.left -= steps
        if self.left < 0:
            raise TooMuch(f"it takes more than {WORK_MAX} steps")

    def look(self, value: Any) -> Any:
        """The value, which somebody is about to go through."""
        if isinstance(value, _List | _Dict):
            self.spend(value.weight)
        elif isinstance(value, str):
            self.spend(len(value) // 64)
        elif isinstance(value, list | tuple | dict):
            self.spend(len(value))
        elif isinstance(value, int) and value.bit_length() > NUMBER_BITS_MAX:
            raise TooMuch(f"a number of more than {NUMBER_BITS_MAX} bits")
        return value

    def made(self, value: Any) -> Any:
        """The value, which was just made."""
        if isinstance(value, str):
            self.fits(len(value))
        elif isinstance(value, GeneratorType):
            value = _List(self.each(value))
        elif type(value) in {list, tuple}:
            value = _List(value)
        elif type(value) is dict:
            value = _Dict(value)
        if _weight(value) > ITEMS_MAX:
            raise TooMuch(f"a list of more than {ITEMS_MAX} items")
        return self.look(value)

    def each(self, values: Iterable[Any], cost: int = 1) -> Iterator[Any]:
        """The values one by one, where each costs so much."""
        for count, value in enumerate(values):
            if count > ITEMS_MAX:
                raise TooMuch(f"a list of more than {ITEMS_MAX} items")
            self.spend(cost)
            yield value

    def fits(self, length: int) -> None:
        """Refuse a text of that length, before it is made."""
        if length > VALUE_LENGTH_MAX:
            raise TooMuch(f"a text of more than {VALUE_LENGTH_MAX} characters")
        self.spend(length // 64)

    def text(self, value: Any) -> str:
        """What is written for a value."""
        if isinstance(value, str):
            return value
        left, waiting = VALUE_LENGTH_MAX, [value]
        while waiting and left >= 0:
            one = waiting.pop()
            left -= len(one) if isinstance(one, str) else 1
            if isinstance(one, Mapping):
                left -= len(one)
                waiting += one.values() if left >= 0 else ()
            elif isinstance(one, list | tuple):
                left -= len(one)
                waiting += one if left >= 0 else ()
        self.spend(VALUE_LENGTH_MAX - left)
        if left < 0:
            raise TooMuch(f"a text of more than {VALUE_LENGTH_MAX} characters")
        return str(value)

    def joined(self, separator: Any, items: Iterable[Any]) -> str:
        """One text of several. The configuration's own stays its own; what others say is escaped beside it."""
        texts: list[str] = []
        length = 0
        between = self.text(separator)
        for item in self.each(items):
            texts.append(self.text(item))
            length += len(texts[-1]) + len(between)
            self.fits(length)
        if not isinstance(between, Own) and not any(isinstance(text, Own) for text in texts):
            return between.join(texts)
        whole = self.shown(between).join(map(self.shown, texts))
        self.fits(len(whole))
        return Own(whole)

    def shown(self, text: str) -> str:
        """What is written for a text."""
        return text if not text or isinstance(text, Own) else self.escape(text)


# Operators ----------------------------------------------------------------------------------------------------------


def _add(work: Work, left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return work.joined("", (left, right))
    return work.made(left + right)


def _multiply(work: Work, left: Any, right: Any) -> Any:
    for text, count in ((left, right), (right, left)):
        if isinstance(text, str):
            work.fits(len(text) * max(0, int(count)))
        elif not isinstance(text, int | float | Undefined):
            raise TypeError("only numbers and texts can be multiplied")
    return work.look(left * right)


def _power(work: Work, base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > NUMBER_BITS_MAX:
        raise TooMuch(f"a number of more than {NUMBER_BITS_MAX} bits")
    return work.look(base**exponent)


_WIDE = re.compile(r"%[^%a-zA-Z]*(?:\*|\d{4})")


def formatted(work: Work, template: Any, values: Any) -> Any:
    """`template % values`, within bounds."""
    if not isinstance(template, str):
        return template % values
    if _WIDE.search(template):
        raise TooMuch("a field of a thousand characters or more, or of a width that is computed")
    items = values.values() if isinstance(values, Mapping) else values if isinstance(values, list | tuple) else (values,)
    longest = max((len(work.text(item)) for item in work.each(items)), default=0)
    if len(template) + template.count("%") * (longest + 999) > WORK_MAX:
        raise TooMuch(f"a text of more than {VALUE_LENGTH_MAX} characters")
    return work.made(template % (tuple(values) if isinstance(values, list) else values))


OPERATORS: dict[str, Callable[[Work, Any, Any], Any]] = {"+": _add, "*": _multiply, "**": _power, "%": formatted}
"""Those that can grow."""
