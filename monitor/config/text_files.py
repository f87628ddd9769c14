"""The reading of files that people wrote: never more of one than its limit, and every refusal names the file and what to do."""

from __future__ import annotations

from pathlib import Path

from monitor.core.errors import ConfigError, Problem

SUFFIXES = (".yml", ".yaml")


def yaml_files(path: Path) -> list[Path]:
    """The file itself, or a folder's `*.yml` and `*.yaml` in the order of their names. ConfigError where it cannot be looked into."""
    try:
        if not path.is_dir():
            return [path]
        return sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    except OSError as error:
        raise _unreadable(path, error) from None


def read_text(path: Path, bytes_max: int) -> str:
    """The text of a file, or of a pipe, which is what shells make of `<(…)`. ConfigError where it cannot be read, is larger than
    `bytes_max` or is no UTF-8."""
    try:
        with path.open("rb") as file:
            return text_of(str(path), file.read(bytes_max + 1), bytes_max)
    except OSError as error:
        raise _unreadable(path, error) from None


def text_of(source: str, data: bytes, bytes_max: int) -> str:
    """The text of what was read, at most `bytes_max` + 1 bytes. ConfigError, naming the line, where it is too large or no UTF-8."""
    if len(data) > bytes_max:
        raise ConfigError([Problem(source, "", "", f"it is larger than {bytes_max} bytes", "split it")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = Problem(f"{source}:{line}", "", f"byte 0x{data[error.start]:02x}", "the file is no UTF-8 text", "save it as UTF-8")
        raise ConfigError([problem]) from None


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError([Problem(str(path)[:200], "", "", f"the file cannot be read: {error.strerror}", "check its name and rights")])
