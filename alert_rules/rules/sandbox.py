"""The sandbox of templates: the filters, tests and methods that they may use, each led through the counters of its rendering.

What could run without end or name more than it is given is refused when it is read (template_tree.py); what can grow or repeat is counted
(template_work.py). So a rendering ends within its bounds, whatever its template says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import BuiltinMethodType, MethodType
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import _PassArg

from alert_rules.rules.template_tree import CONCAT, EACH, LOOK, MADE, Counting, refuse
from alert_rules.rules.template_work import OPERATORS, VALUE_LENGTH_MAX, WORK, Own, TooMuch, Work, formatted
from monitor.core.durations import format_duration


def _replaced(work: Work, text: str, old: Any = "", new: Any = "", *_: Any) -> None:
    """Refuse a replacement that would make too long a text."""
    old, new = work.text(old), work.text(new)
    times = text.count(old) if old else len(text) + 1
    work.fits(len(text) + times * len(new))


def _indented(work: Work, text: str, width: Any = 4, *_: Any) -> None:
    work.fits(len(text) + (text.count("\n") + 1) * (width if isinstance(width, int) else len(work.text(width))))


_FILTERS = (
    "abs", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "filesizeformat", "first", "float", "groupby", "indent",
    "int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "select",
    "selectattr", "slice", "sort", "string", "striptags", "sum", "title", "tojson", "trim", "truncate", "unique", "upper", "urlencode",
    "wordcount", "wordwrap",
)  # fmt: skip
_TEXT_METHODS = (
    "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdecimal", "isdigit", "islower",
    "isnumeric", "isspace", "isupper", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex",
    "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
)  # fmt: skip
_GROWING: dict[str, Callable[..., None]] = {"replace": _replaced, "indent": _indented}
_POSITIONAL_MAX = {"batch": 1, "slice": 1, "sum": 1, "wordwrap": 2}
_AT_ONCE = frozenset({"count", "d", "default", "first", "length"})
"""Take as long for a long list as for a short one."""
_KEYWORDS_REFUSED = frozenset({"fill_with", "start", "wrapstring"})
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    LoopContext: frozenset({"changed", "cycle"}),
}


def _first(function: Any, context: Context) -> tuple[Any, ...]:
    """What Jinja hands one of its own filters before the value."""
    wanted = _PassArg.from_obj(function)
    if wanted is _PassArg.context:
        return (context,)
    if wanted is _PassArg.eval_context:
        return (context.eval_ctx,)
    return (context.environment,) if wanted is _PassArg.environment else ()


def _check(work: Work, name: str, value: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    for one in (value, *args, *kwargs.values()) if name not in _AT_ONCE else ():
        work.look(one)
    work.spend(len(value) // 4 if isinstance(value, str) else 0)  # Some go through a text slowly.
    if any(isinstance(one, int) and abs(one) > VALUE_LENGTH_MAX for one in (*args, *kwargs.values())):
        raise TooMuch(f"{name} takes no number above {VALUE_LENGTH_MAX}")
    if name in _GROWING:
        _GROWING[name](work, work.text(value), *args, *kwargs.values())


def _bounded_filter(name: str, function: Any) -> Any:
    positional_max = _POSITIONAL_MAX.get(name, 8)

    @pass_context
    def run(context: Context, value: Any = "", *args: Any, **kwargs: Any) -> Any:
        work: Work = context[WORK]
        _check(work, name, value, args, kwargs)
        if len(args) > positional_max or kwargs.keys() & _KEYWORDS_REFUSED:
            raise TypeError(f"{name} takes {positional_max} arguments here")
        if name in {"string", "tojson"}:
            work.text(value)
        made = function(*_first(function, context), value, *args, **kwargs)
        if made is value or any(made is one for one in args):
            return made
        return work.made(str(made) if isinstance(made, str) and type(made) is not str else made)

    return run


def _bounded_test(function: Any) -> Any:
    @pass_context
    def run(context: Context, value: Any = None, *args: Any) -> Any:
        for one in (value, *args):
            context[WORK].look(one)
        return function(*_first(function, context), value, *args)

    return run


@pass_context
def _join(context: Context, value: Any, d: Any = "", attribute: Any = None) -> Any:
    if attribute is not None:
        value = context.environment.call_filter("map", value, (), {"attribute": attribute}, context=context)
    return context[WORK].joined(d, value)


@pass_context
def _format_filter(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
    return formatted(context[WORK], context[WORK].text(value), kwargs or args)


@pass_context
def _finalize(context: Context, value: Any) -> str:
    work: Work = context[WORK]
    text = work.shown(work.text(value))
    work.spend(len(text))
    return text


def _own(value: Any) -> Any:
    return Own(value) if isinstance(value, str) else value


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with all that can grow or repeat counted."""

    intercepted_binops = frozenset(OPERATORS)

    def __init__(self) -> None:
        super().__init__(finalize=_finalize, autoescape=False, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False)
        self.globals.clear()
        self.filters = {
            **{name: _bounded_filter(name, FILTERS[name]) for name in _FILTERS},
            "join": _join,
            "format": _format_filter,
            "duration": lambda ms: format_duration(int(ms)),
            "safe": _own,
            "e": lambda value: value,  # Whatever is printed is escaped, for the service that it goes to.
            "escape": lambda value: value,
            CONCAT: pass_context(lambda context, items: context[WORK].joined("", items)),
            MADE: pass_context(lambda context, value: context[WORK].made(value)),
            LOOK: pass_context(lambda context, value: context[WORK].look(value)),
            EACH: pass_context(lambda context, values, cost: context[WORK].each(values, cost)),
        }
        self.tests = {name: _bounded_test(function) for name, function in TESTS.items()}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        refuse(tree, self.filters)
        rewritten: nodes.Template = Counting().visit(tree)
        return rewritten

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """What an operator that can grow makes of two values."""
        return OPERATORS[operator](context[WORK], left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as Jinja has it
        """What a method gives, where templates may call it."""
        if isinstance(__obj, Undefined):
            return __obj()
        work: Work = __context[WORK]
        owner = getattr(__obj, "__self__", None)
        name = getattr(__obj, "__name__", "")
        methods = next((names for kind, names in _METHODS.items() if isinstance(owner, kind)), ())
        if not isinstance(__obj, BuiltinMethodType | MethodType) or name not in methods:
            raise TypeError(f"{name or 'this'} cannot be called here")
        for hidden in ("_loop_vars", "_block_vars"):  # Jinja's own, for functions that ask for its context.
            kwargs.pop(hidden, None)
        work.spend(1 + len(args))
        if isinstance(owner, LoopContext):
            return __obj(*args, **kwargs)
        if name == "join":
            return work.joined(owner, *args)
        _check(work, name, owner, args, kwargs)
        return work.made(__obj(*args, **kwargs))
