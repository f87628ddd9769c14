"""Reading located YAML into values: every refusal names file, line, key, what was seen and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from monitor.config.located import Node, load_yaml
from monitor.config.text_files import read_text, yaml_files
from monitor.core.durations import parse_duration
from monitor.core.errors import ConfigError, Problem, did_you_mean

FILE_BYTES_MAX = 4 * 1024 * 1024


class Reader:
    """Collects problems, so that a person sees all of them at once; the readers return a harmless value after one."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def refuse(self, where: str, key: str, why: str, hint: str = "", seen: str = "") -> None:
        """Remember one problem; `done` tells all of them at once."""
        self.problems.append(Problem(where, key, seen, why, hint))

    def done(self) -> None:
        """Raise ConfigError if anything was refused."""
        if self.problems:
            raise ConfigError(self.problems)

    def mapping(self, node: Node, key: str) -> dict[str, Node]:
        """The entries of a mapping; none of what is null, and a problem where it is anything else."""
        if isinstance(node.value, dict):
            return node.value
        if node.value is not None:
            self.refuse(node.where, key, "this must be a mapping", "write `name: value` lines", node.seen)
        return {}

    def sequence(self, node: Node | None, key: str) -> list[Node]:
        """The entries of a list; none where it is absent or null, and a problem where it is anything else."""
        if node is None or node.value is None:
            return []
        if isinstance(node.value, list):
            return node.value
        self.refuse(node.where, key, "this must be a list", "write `- ` before each entry", node.seen)
        return []

    def text(self, node: Node | None, key: str, default: str = "") -> str:
        """The text of a scalar; `default` where it is absent or null, and a problem where it is anything else."""
        if node is None or node.value is None:
            return default
        if isinstance(node.value, str):
            return node.value
        self.refuse(node.where, key, "this must be a text", "", node.seen)
        return default

    def texts(self, node: Node | None, key: str) -> dict[str, str]:
        """A mapping of texts."""
        entries = self.mapping(node, key) if node else {}
        return {name: self.text(entry, f"{key}.{name}") for name, entry in entries.items()}

    def duration(self, node: Node | None, key: str, default: int) -> int:
        """Milliseconds."""
        text = self.text(node, key)
        if node is None or not text:
            return default
        try:
            return parse_duration(text)
        except ValueError as error:
            self.refuse(node.where, key, str(error))
            return default

    def boolean(self, node: Node | None, key: str, default: bool) -> bool:
        """Whether `true` is written; `default` where it is absent or null, and a problem where it is anything else."""
        text = self.text(node, key)
        if node is None or not text:
            return default
        if text not in ("true", "false"):
            self.refuse(node.where, key, "this must be true or false", "", node.seen)
        return text == "true"


def nearest(word: str, words: Iterable[str]) -> str:
    """A hint for a word that does not exist: the nearest one that does, else all there are."""
    known = sorted(set(words))
    return did_you_mean(word, known, f"there are {', '.join(known)}")


def read_yaml_files(paths: Sequence[Path]) -> list[Node]:
    """Read YAML files, and the `*.yml` and `*.yaml` of folders in the order of their names. Raises ConfigError."""
    return [read_yaml(file) for path in paths for file in yaml_files(path)]


def read_yaml(path: Path) -> Node:
    """Return the document of a YAML file. ConfigError where it is too large, cannot be read or is not valid."""
    return load_yaml(read_text(path, FILE_BYTES_MAX), str(path))
