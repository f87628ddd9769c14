"""Templates of annotations, titles and bodies: Jinja2 in a sandbox, from configuration only.

What a target or an alert says is data: it is put into a template's places, with its control characters blanked and escaped for whoever
reads the text, and is never itself read as a template.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from traceback import walk_tb
from typing import Any

from jinja2 import Template, TemplateSyntaxError, meta

from alert_rules.rules.sandbox import Sandbox
from alert_rules.rules.template_work import WORK, WORK_MAX, Escape, Work
from monitor.core.texts import cut

SOURCE_LENGTH_MAX = 16_384
RENDERED_LENGTH_MAX = 16_384
ERROR_LENGTH_MAX = 200
TRIAL_STEPS_MAX = 4 * WORK_MAX
"""Steps in which a template is tried on samples; one that has failed until then is taken to fail always."""
_BLANKED = dict.fromkeys(
    (*range(32), *range(127, 160), 0x61C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF), " "
) | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
"""Characters that move a cursor, turn the direction of writing, or cannot be sent."""

_SANDBOX = Sandbox()


class TemplateError(ValueError):
    """A template that cannot be read; the text says why."""


def plain(text: str) -> str:
    """What others say, without the characters that are no text."""
    return text.translate(_BLANKED)


def compile_template(source: str, names: Collection[str]) -> Template:
    """Return the template. Raises TemplateError for bad syntax, for variables that are not in `names`, and for what no template may say."""
    if len(source) > SOURCE_LENGTH_MAX:
        raise TemplateError(f"the template is longer than {SOURCE_LENGTH_MAX} characters")
    if "{{ $" in source or "{{$" in source or "{{ ." in source or "{{." in source:
        raise TemplateError("this is a Go template; write Jinja2, for example {{ labels.endpoint }}")
    try:
        unknown = meta.find_undeclared_variables(_SANDBOX.parse(source)) - set(names)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # Python's words on the code that Jinja makes.
            template = _SANDBOX.from_string(source)
    except TemplateSyntaxError as error:
        line = f"line {error.lineno}: " if "\n" in source.strip() else ""
        raise TemplateError(f"this is no Jinja2 template: {line}{cut(error.message or '', ERROR_LENGTH_MAX)}") from None
    except (RecursionError, MemoryError, SyntaxError):
        raise TemplateError("this is no Jinja2 template: it is nested too deeply") from None
    except Exception as error:  # The reader meets, for example, numbers that Python does not read.
        raise TemplateError(f"this is no Jinja2 template: {cut(str(error), ERROR_LENGTH_MAX)}") from None
    if unknown:
        raise TemplateError(f"unknown variable {sorted(unknown)[0]!r}; there are {', '.join(sorted(names))}")
    return template


def names_of(source: str) -> frozenset[str]:
    """The variables that a template names."""
    return frozenset(meta.find_undeclared_variables(_SANDBOX.parse(source)))


def render(template: Template, values: Mapping[str, Any], length_max: int = RENDERED_LENGTH_MAX, escape: Escape = plain) -> str:
    """Return the text, cut at `length_max`; a template that fails gives what it wrote until then, and the reason with its line.

    What is put into its places is passed through `escape`.
    """
    text, error = _run(template, values, length_max, Work(escape))
    if error is not None:
        text += f"<template failed: {_place(error)}{escape(cut(str(error), ERROR_LENGTH_MAX))}>"
    return cut(text.strip(), length_max)


def failure(template: Template, samples: Iterable[Mapping[str, Any]]) -> str:
    """Why a template fails on each of these samples of what it may name; "" where it succeeds on one."""
    why, left = "", TRIAL_STEPS_MAX
    for values in samples:
        work = Work(plain)
        _, error = _run(template, values, RENDERED_LENGTH_MAX, work)
        if error is None:
            return ""
        left -= WORK_MAX - work.left
        why = why or f"the template always fails: {_place(error)}{cut(str(error), ERROR_LENGTH_MAX)}"
        if left <= 0:
            break
    return why


class AnyText(dict[str, str]):
    """Labels or annotations of a sample: whatever a template looks up is there."""

    def __missing__(self, name: str) -> str:
        return name


def _run(template: Template, values: Mapping[str, Any], length_max: int, work: Work) -> tuple[str, Exception | None]:
    text = ""
    try:
        for piece in template.generate({**values, WORK: work}):
            text += piece
            if len(text) > length_max:
                break
    except Exception as error:  # A template can fail in any way that Python can; the message must still go out.
        return text, error
    return text, None


def _place(error: Exception) -> str:
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == "<template>"]
    return f"line {lines[-1]}: " if lines else ""
