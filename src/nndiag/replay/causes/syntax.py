"""Recognises calls in the user's source."""

from __future__ import annotations

import ast

from nndiag.replay.rewriting import Code

_USUAL = {"jax", "jnp", "lax", "nn", "np"}
"""Names of modules that a star import may bring."""


def called(node: ast.AST, *names: str) -> bool:
    """Whether `node` calls a function or method of one of these names."""
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr in names
    return isinstance(function, ast.Name) and function.id in names


def split(node: ast.AST, code: Code) -> tuple[ast.expr, list[str]] | None:
    """The array of a call and the text of each of its other arguments.

    ``jnp.sum(x, axis=1)`` and ``x.sum(axis=1)`` both give ``x`` and ``["axis=1"]``.
    """
    if not isinstance(node, ast.Call):
        return None
    others = [*map(ast.unparse, node.args), *map(ast.unparse, node.keywords)]
    function = node.func
    if isinstance(function, ast.Attribute) and not _is_module(function.value, code):
        return function.value, others
    if not node.args or isinstance(node.args[0], ast.Starred):
        return None
    return node.args[0], others[1:]


def array(node: ast.AST, code: Code) -> ast.expr | None:
    """The array of a call that takes nothing else."""
    found = split(node, code)
    return found[0] if found and not found[1] else None


def without(arguments: list[str], *names: str) -> str:
    """Arguments, without the named ones, each with a leading comma."""
    dropped = tuple(f"{name}=" for name in names)
    return "".join(f", {part}" for part in arguments if not part.startswith(dropped))


def same(one: ast.AST, other: ast.AST) -> bool:
    """Whether two pieces of source say the same."""
    return ast.dump(one) == ast.dump(other)


def text(node: ast.AST) -> str:
    """The source of a node, on one line."""
    return ast.unparse(node)


def operand(node: ast.AST) -> str:
    """The source of a node, in parentheses where an operator may follow."""
    plain = ast.Name | ast.Call | ast.Attribute | ast.Subscript | ast.Constant
    return text(node) if isinstance(node, plain) else f"({text(node)})"


def is_number(node: ast.AST, value: float) -> bool:
    """Whether `node` is this number, written out."""
    return isinstance(node, ast.Constant) and node.value == value


def _is_module(node: ast.AST, code: Code) -> bool:
    """Whether `node` is a module, or a name that may be one.

    What the file imports is one; so is a name that the file binds nowhere, as it came
    in by ``from … import *``.
    """
    while isinstance(node, ast.Attribute):
        node = node.value
    if not isinstance(node, ast.Name):
        return False
    imported: set[str] = set()
    bound: set[str] = set()
    for other in ast.walk(code.module):
        if isinstance(other, ast.Import | ast.ImportFrom):
            names = (name.asname or name.name.partition(".")[0] for name in other.names)
            imported.update(names)
        elif isinstance(other, ast.arg):
            bound.add(other.arg)
        elif isinstance(other, ast.Name) and isinstance(other.ctx, ast.Store):
            bound.add(other.id)
    if "*" in imported:
        imported |= _USUAL
    return node.id in imported or node.id not in bound
