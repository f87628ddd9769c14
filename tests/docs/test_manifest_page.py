"""docs/reference/manifests.md says what the tables of settings say, and its example can be read."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from monitor.core.endpoint import Endpoint, Pool
from monitor.fields import ENDPOINT_FIELDS, POOL_FIELDS, Field
from monitor.kinds import kinds
from monitor.manifest import load_sources, read_manifest
from monitor.probes.base import Option

PAGE = Path(__file__).parents[2] / "docs/reference/manifests.md"


def field_row(field: Field, struct: type[msgspec.Struct]) -> str:
    (default,) = (known.default for known in msgspec.structs.fields(struct) if known.name == field.attribute)
    shown = {True: "true", False: "false"}.get(default, field.format(default)) if isinstance(default, bool | int) else default
    shown = "" if default in (0, msgspec.NODEFAULT) or not isinstance(default, bool | int | str) else f"`{shown}`"
    return f"| `{field.key}` | `{field.example}` | {shown} | {field.help} |"


def built_in(option: Option) -> str:
    if option.default in (None, {}, ""):
        return ""
    return f"`{str(option.default).lower() if isinstance(option.default, bool) else option.default}`"


def rows() -> list[str]:
    own = [field_row(field, Pool) for field in POOL_FIELDS.values()]
    common = [field_row(field, Endpoint) for field in ENDPOINT_FIELDS.values()]
    options: dict[str, tuple[Option, list[str]]] = {}
    for kind in kinds().values():
        for option in kind.options.values():
            options.setdefault(option.name, (option, []))[1].append(kind.name)
    specific = [f"| `{option.name}` | {', '.join(names)} | {built_in(option)} | {option.help} |" for option, names in options.values()]
    return own + common + specific


def test_every_setting_is_on_the_page():
    page = PAGE.read_text()
    assert [row for row in rows() if row not in page] == []


def test_the_examples_are_read():
    examples = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert examples
    for example in examples:
        assert read_manifest(load_sources([("page", example)])).endpoints
