"""A template as Jinja reads it: what none may say is refused, and what can grow or repeat is led through the counters of its rendering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import TemplateSyntaxError, nodes
from jinja2.visitor import NodeTransformer

DEPTH_MAX = 50
"""How deep a template's parts may be nested."""
LOOPS_MAX = 6
"""How many loops may be nested."""
CONCAT, MADE, LOOK, EACH = "concat ", "made ", "look ", "each "
"""Filters that only this file can name: no template can write the space."""

_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter,
    nodes.Test, nodes.Compare, nodes.Operand, nodes.BinExpr, nodes.UnaryExpr, nodes.Concat, nodes.CondExpr, nodes.For, nodes.If,
    nodes.Assign, nodes.AssignBlock, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair, nodes.Call, nodes.Keyword, nodes.With,
)  # fmt: skip


def refuse(tree: nodes.Template, filters: Mapping[str, Any]) -> None:
    """Raise for what no template may say, and for what is nested too deeply."""
    waiting: list[tuple[nodes.Node, int, int]] = [(tree, 1, 0)]
    while waiting:
        node, depth, loops = waiting.pop()
        loops += isinstance(node, nodes.For)
        if depth > DEPTH_MAX or loops > LOOPS_MAX:
            raise TemplateSyntaxError("it is nested too deeply", node.lineno)
        if not isinstance(node, _ALLOWED):
            raise TemplateSyntaxError(f"there is no {type(node).__name__.lower()} here", node.lineno)
        if isinstance(node, nodes.For) and node.recursive:
            raise TemplateSyntaxError("there is no recursive loop here", node.lineno)
        if isinstance(node, nodes.Name) and node.name == "self":
            raise TemplateSyntaxError("there is no variable 'self'", node.lineno)
        if isinstance(node, nodes.Filter) and node.name not in filters:
            raise TemplateSyntaxError(f"there is no filter {node.name!r}", node.lineno)
        waiting += ((child, depth + 1, loops) for child in node.iter_child_nodes())


class Counting(NodeTransformer):
    """Leads whatever can grow or repeat through the counters."""

    def visit(self, node: nodes.Node, *_: Any, **__: Any) -> Any:
        """Rewrite the parts of a node, then itself."""
        self.generic_visit(node)
        rewrite = _REWRITES.get(type(node))
        return rewrite(node) if rewrite else node


def _filtered(node: nodes.Expr | None, name: str, *args: nodes.Expr, line: int) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=line)


def _own(node: Any) -> Any:
    """A text that the template itself writes is its own."""
    return _filtered(node, "safe", line=node.lineno) if isinstance(node, nodes.Const) and isinstance(node.value, str) else node


def _made(node: Any) -> Any:
    return _filtered(node, MADE, line=node.lineno)


def _output(node: Any) -> Any:
    node.nodes = [_own(child) for child in node.nodes]
    return node


def _pair(first: str, second: str) -> Callable[[Any], Any]:
    def rewrite(node: Any) -> Any:
        setattr(node, first, _own(getattr(node, first)))
        setattr(node, second, _own(getattr(node, second)))
        return node

    return rewrite


def _assign(node: Any) -> Any:
    node.node = _own(node.node)
    return node


def _assign_block(node: Any) -> Any:
    """What it holds was escaped where it was written; what a filter makes of that is data again."""
    node.filter = node.filter or _filtered(None, "safe", line=node.lineno)
    return node


def _filter(node: Any) -> Any:
    if node.name in {"default", "d", "join"}:
        node.args = [_own(one) for one in node.args]
    return node


def _concat(node: Any) -> Any:
    return _filtered(nodes.List([_own(one) for one in node.nodes], lineno=node.lineno), CONCAT, line=node.lineno)


def _list(node: Any) -> Any:
    if isinstance(node, nodes.Tuple) and node.ctx != "load":
        return node
    node.items = [_own(one) for one in node.items]
    return _made(node)


def _dict(node: Any) -> Any:
    for pair in node.items:
        pair.value = _own(pair.value)
    return _made(node)


def _getitem(node: Any) -> Any:
    return _made(node) if isinstance(node.arg, nodes.Slice) else node


def _compare(node: Any) -> Any:
    for one in (node, *node.ops):
        one.expr = one.expr if isinstance(one.expr, nodes.Const) else _filtered(one.expr, LOOK, line=node.lineno)
    return node


def _for(node: Any) -> Any:
    node.iter = _filtered(node.iter, EACH, nodes.Const(_cost(node), lineno=node.lineno), line=node.lineno)
    return node


def _cost(loop: nodes.For) -> int:
    """What one round of a loop costs: its parts, and the characters that it writes."""
    parts = [*loop.body, *([loop.test] if loop.test else [])]
    within = [node for part in parts for node in (part, *part.find_all(nodes.Node)) if not isinstance(node, nodes.Const | nodes.Name)]
    return 1 + len(within) + sum(len(node.data) for node in within if isinstance(node, nodes.TemplateData))


_REWRITES: dict[type[nodes.Node], Callable[[Any], Any]] = {
    nodes.Output: _output,
    nodes.CondExpr: _pair("expr1", "expr2"),
    nodes.And: _pair("left", "right"),
    nodes.Or: _pair("left", "right"),
    nodes.Add: _pair("left", "right"),
    nodes.Assign: _assign,
    nodes.AssignBlock: _assign_block,
    nodes.Filter: _filter,
    nodes.Concat: _concat,
    nodes.List: _list,
    nodes.Tuple: _list,
    nodes.Dict: _dict,
    nodes.Getitem: _getitem,
    nodes.Compare: _compare,
    nodes.For: _for,
}
