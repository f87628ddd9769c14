"""Templates of annotations, titles and bodies: Jinja2 in a sandbox, from configuration only.

What a target or an alert says is data: it is put into a template's places, with its control characters blanked, and is never
itself read as a template.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from jinja2 import Template, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from monitor.core.durations import format_duration

SOURCE_LENGTH_MAX = 16_384
RENDERED_LENGTH_MAX = 16_384
_BLANKED = dict.fromkeys((*range(32), *range(127, 160), 8232, 8233, *range(8234, 8239), *range(8294, 8298)), " ")


class TemplateError(ValueError):
    """A template that cannot be read; the text says why."""


def _as_data(value: Any) -> Any:
    return value.translate(_BLANKED) if isinstance(value, str) else value


_ENVIRONMENT = ImmutableSandboxedEnvironment(
    finalize=_as_data,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=False,
)
_ENVIRONMENT.globals.clear()
_ENVIRONMENT.filters["duration"] = lambda ms: format_duration(int(ms))


def compile_template(source: str, names: Collection[str]) -> Template:
    """Return the template. Raises TemplateError for bad syntax and for variables that are not in `names`."""
    if len(source) > SOURCE_LENGTH_MAX:
        raise TemplateError(f"the template is longer than {SOURCE_LENGTH_MAX} characters")
    if "{{ $" in source or "{{$" in source or "{{ ." in source or "{{." in source:
        raise TemplateError("this is a Go template; write Jinja2, for example {{ labels.endpoint }}")
    try:
        unknown = meta.find_undeclared_variables(_ENVIRONMENT.parse(source)) - set(names)
        if unknown:
            raise TemplateError(f"unknown variable {sorted(unknown)[0]!r}; there are {', '.join(sorted(names))}")
        return _ENVIRONMENT.from_string(source)
    except TemplateSyntaxError as error:
        raise TemplateError(f"this is no Jinja2 template: {error.message}") from None


def render(template: Template, values: Mapping[str, Any], length_max: int = RENDERED_LENGTH_MAX) -> str:
    """Return the text, cut at `length_max`; a template that fails gives what it wrote until then, and the reason."""
    text = ""
    try:
        for piece in template.generate(values):
            text += piece
            if len(text) > length_max:
                break
    except Exception as error:  # A template can fail in any way that Python can; the message must still go out.
        text += f"<template failed: {error}>"
    return cut(text.strip(), length_max)


def cut(text: str, length_max: int) -> str:
    """The text, shortened to `length_max` characters with an ellipsis as the last."""
    return text if len(text) <= length_max else text[: length_max - 1] + "…"
