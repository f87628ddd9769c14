"""Comparisons of a variable with what it can never be: the library takes them, and the rule is silent for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from alert_rules.rules.cel_cost import Token, tokens_of, unquoted
from alert_rules.rules.facts import Variable
from monitor.core.errors import did_you_mean
from monitor.core.texts import shorten

_EQUAL = frozenset({"==", "!="})
_TIGHTER = frozenset({"+", "-", "*", "/", "%", ".", "[", "("})
"""Beside one of these a name or a literal is a part of what is compared."""
_A = {"text": "a text", "number": "a number"}
_TYPES = {"string": "text", "int": "number", "double": "number", "bool": ""}


def impossible(text: str, variables: Mapping[str, Variable]) -> Iterator[tuple[str, str]]:
    """Why each comparison can never be true, and what to write. `text` is an expression that was read."""
    for name, literal in _compared(list(tokens_of(text))):
        variable = variables.get(name)
        if variable is None or variable.type not in _TYPES:
            continue
        if literal.kind != _TYPES[variable.type]:
            values = "true or false" if variable.type == "bool" else _A[_TYPES[variable.type]]
            yield f"{name} is {values}, and never {shorten(literal.text)}", f"compare it with {values}"
        elif variable.values and (word := unquoted(literal.text)) and word not in variable.values:
            values = "it is one of " + ", ".join(value or '""' for value in variable.values)
            yield f"{name} is never {shorten(word)}", did_you_mean(word.upper(), variable.values, values)


def _compared(tokens: Sequence[Token]) -> Iterator[tuple[str, Token]]:
    """The names that are compared with literals, as a whole."""
    edged = [Token("part", ""), *tokens, Token("end", "")]
    for place, token in enumerate(edged):
        if token.text in _EQUAL and token.kind == "part":
            before, one, other, after = edged[place - 2], edged[place - 1], edged[place + 1], edged[min(place + 2, len(edged) - 1)]
            if before.text in _TIGHTER - {"(", "["} or after.text in _TIGHTER:
                continue
            if one.kind == "name" and other.kind in _A:
                yield one.text, other
            elif other.kind == "name" and one.kind in _A:
                yield other.text, one
        elif token.text == "in" and [edged[place - 1].kind, edged[place + 1].text] == ["name", "["] and edged[place - 2].text != ".":
            yield from ((edged[place - 1].text, item) for item in _items(edged[place + 2 :]))


def _items(tokens: Sequence[Token]) -> Iterator[Token]:
    """The literals of a list that holds nothing else, up to its end."""
    for item, comma in zip(tokens[::2], tokens[1::2], strict=False):
        if item.kind not in _A or comma.text not in {",", "]"}:
            return
        yield item
        if comma.text == "]":
            return
