"""YAML whose every value knows the line it was written on, so that a refusal can name it.

Scalars stay text exactly as written (`17:00`, `on` and `0123` keep their spelling): what they mean is the reader's business.
A plain `null`, `~` or nothing at all is None. Aliases are followed, but only as far as a person would write them, and `<<` merges
mappings into the one that it stands in; tags and more than one document are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from monitor.core.errors import ConfigError, Problem
from monitor.core.texts import shorten

BYTES_MAX = 32 * 1024 * 1024
NESTING_MAX = 32
ALIASED_NODES_MAX = 100_000
"""Values that aliases may add to those written out; a bomb adds billions."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "<<"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class Node:
    """A value with the place it was written at: the anchor's where an alias brought it; line 0 where there are no lines (an option)."""

    __slots__ = ("key_lines", "line", "source", "value")

    def __init__(self, value: str | list[Node] | dict[str, Node] | None, source: str, line: int) -> None:
        self.value = value
        self.source = source
        self.line = line
        self.key_lines: dict[str, int] | None = None

    @property
    def where(self) -> str:
        """The place as a person finds it again: `shop.yml:12`."""
        return f"{self.source}:{self.line}" if self.line else self.source

    def key_where(self, key: str) -> str:
        """The place of a mapping's key; the mapping's own where it has no such key."""
        line = (self.key_lines or {}).get(key, self.line)
        return f"{self.source}:{line}" if line else self.source

    @property
    def seen(self) -> str:
        """The value as a message shows it: short, on one line."""
        if self.value is None:
            return "nothing"
        if isinstance(self.value, str):
            return shorten(self.value)
        return "a mapping" if isinstance(self.value, dict) else "a list"

    def plain(self) -> Any:
        """The value as plain str, list, dict and None."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def __repr__(self) -> str:
        return f"Node({self.plain()!r} at {self.where})"


def load_yaml(text: str, source: str, *, bytes_max: int = BYTES_MAX) -> Node:
    """Return the one document in `text`, which was read from `source` (a file's name, used in messages only).

    Raises ConfigError naming line and column for a syntax error, and the line for duplicate keys (all of them), keys that are no text,
    tags, a second document, unknown anchors, aliases that contain themselves or multiply beyond ALIASED_NODES_MAX, a `<<` that brings no
    mapping, nesting deeper than NESTING_MAX, and a text larger than `bytes_max`.
    """
    data = text.encode(errors="surrogatepass")
    if len(data) > bytes_max:
        hint = "split it into several files; a folder can be given as one"
        raise ConfigError([Problem(source, "", f"{len(data)} bytes", f"the file is larger than {bytes_max} bytes", hint)])
    builder = _Builder(source)
    try:
        for event in yaml.parse(data, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError([Problem(where, "", "", f"this is not YAML: {error.problem or error.context}", "")]) from None
    except yaml.reader.ReaderError as error:
        line = data.count(b"\n", 0, error.position) + 1
        raise ConfigError([Problem(f"{source}:{line}", "", "", f"this is not YAML: {error.reason}", "write text as UTF-8")]) from None
    if builder.problems:
        raise ConfigError(builder.problems)
    return builder.root or Node(None, source, 1)


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is being read; `size` and `height` count its values and levels, aliases followed.

    `merges` while the value of `<<` comes next; `merged` is that value.
    """

    node: Node
    anchor: str | None = None
    key: str | None = None
    merges: bool = False
    merged: Node | None = None
    size: int = 1
    height: int = 1


@dataclass(slots=True)
class _Builder:
    """Turns the parser's events into nodes, on a stack of its own: nesting cannot exhaust the interpreter's."""

    source: str
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)
    stack: list[_Frame] = field(default_factory=list)
    anchors: dict[str, _Frame | None] = field(default_factory=dict)
    aliased: int = 0

    def take(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._start(event, {} if kind is yaml.MappingStartEvent else [])
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            frame = self.stack.pop()
            if frame.merged is not None:
                self._merge(frame.node, frame.merged)
            if frame.anchor is not None:
                self.anchors[frame.anchor] = frame
            self._place(frame.node, frame.size, frame.height)
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent and self.root is not None:
            self._refuse(event, "", "a second document begins here", "write one document in each file")

    def _scalar(self, event: Any) -> None:
        text, line = event.value, event.start_mark.line + 1
        value = None if event.implicit[0] and text in _NULLS else text
        if event.tag is not None:
            self._refuse(event, event.tag, "tags are not used here", "write the value without its tag")
        node = Node(value, self.source, line)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Frame(node)
        merges = text == _MERGE and event.implicit[0]  # In quotes it is a key as any other.
        if self.stack and isinstance(self.stack[-1].node.value, dict) and self.stack[-1].key is None:
            self.stack[-1].merges = merges
        self._place(node, 1, 1)

    def _start(self, event: Any, value: list[Node] | dict[str, Node]) -> None:
        if event.tag is not None:
            self._refuse(event, event.tag, "tags are not used here", "write the value without its tag")
        self._limit_nesting(event, 1)
        self._no_complex_key(event)
        node = Node(value, self.source, event.start_mark.line + 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = None  # Open: an alias to it from inside would be endless.
        self.stack.append(_Frame(node, event.anchor))

    def _alias(self, event: Any) -> None:
        name = event.anchor
        frame = self.anchors.get(name)
        if frame is None:
            why = "the alias contains itself" if name in self.anchors else "no anchor of this name was written before"
            self._refuse(event, f"*{name}", why, "write the value out")
        if not isinstance(frame.node.value, str):
            self._no_complex_key(event)
        self.aliased += frame.size
        if self.aliased > ALIASED_NODES_MAX:
            self._refuse(event, f"*{name}", f"aliases multiply to more than {ALIASED_NODES_MAX} values", "write the values out")
        self._limit_nesting(event, frame.height)
        self._place(frame.node, frame.size, frame.height)

    def _place(self, node: Node, size: int, height: int) -> None:
        """Put a finished value where the innermost open list or mapping wants it."""
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        frame.size += size
        frame.height = max(frame.height, height + 1)
        container = frame.node.value
        if isinstance(container, list):
            container.append(node)
        elif frame.key is None:
            self._key(frame, node)
        else:
            if frame.merges:
                frame.merged, frame.merges = node, False
            else:
                container[frame.key] = node  # type: ignore[index]
            frame.key = None

    def _key(self, frame: _Frame, node: Node) -> None:
        key, lines = node.value, frame.node.key_lines or {}
        if not isinstance(key, str):
            raise ConfigError([Problem(node.where, "", node.seen, "a key must be text", "write a name before the colon")])
        if key in lines:
            first = f"{self.source}:{lines[key]}"
            self.problems.append(Problem(node.where, key, "", f"the key is written twice, first at {first}", "keep one of them"))
        else:
            frame.node.key_lines = lines
            lines[key] = node.line
        frame.key = key

    def _merge(self, into: Node, merged: Node) -> None:
        """Take in what `<<` brings: a key of the mapping's own beats it, and an earlier mapping of a list beats a later one."""
        lines = into.key_lines or {}
        where = f"{self.source}:{lines.pop(_MERGE)}"
        for node in merged.value if isinstance(merged.value, list) else [merged]:
            if not isinstance(node.value, dict):
                why, hint = "`<<` takes a mapping, or a list of mappings", "write for example `<<: *defaults`"
                self.problems.append(Problem(where, _MERGE, node.seen, why, hint))
                return
            for key, value in node.value.items():
                if key not in lines:
                    lines[key] = (node.key_lines or {})[key]
                    into.value[key] = value  # type: ignore[call-overload, index]

    def _no_complex_key(self, event: Any) -> None:
        if self.stack and isinstance(self.stack[-1].node.value, dict) and self.stack[-1].key is None:
            self._refuse(event, "a list or mapping", "a key must be text", "write a name before the colon")

    def _limit_nesting(self, event: Any, height: int) -> None:
        if len(self.stack) + height > NESTING_MAX:
            self._refuse(event, "", f"lists and mappings are nested deeper than {NESTING_MAX} levels", "write it flatter")

    def _refuse(self, event: Any, seen: str, why: str, hint: str) -> NoReturn:
        raise ConfigError([*self.problems, Problem(f"{self.source}:{event.start_mark.line + 1}", "", seen, why, hint)])
