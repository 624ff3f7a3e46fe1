"""Rewrites one expression of the user's own line, and leaves the rest as it is.

The line comes from a traceback, so only a position in a file is known. The statement
around it is read from the file, the expression at the position is handed to a *change*,
and what the change returns takes its place in the text. Nothing is returned that does
not parse.
"""

from __future__ import annotations

import ast
import functools
import linecache
import textwrap
from collections.abc import Callable, Iterator
from typing import NamedTuple

_COMPOUND = (
    ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If | ast.For
    | ast.While | ast.With | ast.Try | ast.Match
)  # fmt: skip


class Code(NamedTuple):
    """A statement of the user's program and what is around it.

    Attributes:
        lines: the file, line by line.
        module: the whole file, parsed.
        statement: the innermost statement around the line.
    """

    lines: list[str]
    module: ast.Module
    statement: ast.stmt

    def parents(self, node: ast.AST) -> Iterator[ast.AST]:
        """What is around `node` within the statement, innermost first."""
        held = {
            child: parent
            for parent in ast.walk(self.statement)
            for child in ast.iter_child_nodes(parent)
        }
        while node in held:
            node = held[node]
            yield node

    def meaning(self, node: ast.expr) -> ast.expr:
        """What a name was last assigned before the statement, else `node` itself."""
        if not isinstance(node, ast.Name):
            return node
        values = [
            other.value
            for other in ast.walk(self.function)
            if isinstance(other, ast.Assign)
            and other.lineno < self.statement.lineno
            and [ast.unparse(target) for target in other.targets] == [node.id]
        ]
        return values[-1] if len(values) == 1 else node

    @property
    def function(self) -> ast.AST:
        """The innermost function around the statement, else the module."""
        line = self.statement.lineno
        around = [
            node
            for node in ast.walk(self.module)
            if isinstance(node, ast.FunctionDef)
            and node.lineno < line <= (node.end_lineno or 0)
        ]
        return max(around, key=lambda node: node.lineno, default=self.module)

    def alias(self, module: str, default: str) -> str:
        """How the file calls a module: ``jnp`` for ``jax.numpy``."""
        package, _, leaf = module.rpartition(".")
        for node in ast.walk(self.module):
            if isinstance(node, ast.Import):
                for name in node.names:
                    if name.name == module and name.asname:
                        return name.asname
            if isinstance(node, ast.ImportFrom) and node.module == package:
                for name in node.names:
                    if name.name == leaf:
                        return name.asname or leaf
        return default

    @property
    def jnp(self) -> str:
        """What `jax.numpy` is called."""
        return self.alias("jax.numpy", "jnp")

    @property
    def nn(self) -> str:
        """What `jax.nn` is called."""
        return self.alias("jax.nn", "jax.nn")


Change = Callable[[ast.expr, Code], str | None]
"""The new text for an expression, `None` where the change does not apply to it."""


def rewrite(
    file: str, line: int, column: int, change: Change, *, around: bool = False
) -> str:
    """The user's statement with one expression changed.

    Args:
        file: the source file, as in `Location`.
        line: the line, from 1.
        column: the column where the expression starts, from 1; 0 if unknown, then the
            line must hold exactly one expression that the change applies to.
        change: is offered the expressions that start there.
        around: whether it is offered those around the position as well.

    Returns:
        The statement, dedented, without a trailing comment; `""` if the file cannot be
        read or parsed, or where no expression or more than one is meant.
    """
    code = read(file, line, column)
    if code is None:
        return ""
    nodes = [node for node in ast.walk(code.statement) if isinstance(node, ast.expr)]
    here = (line, column - 1)
    if column == 0:
        chosen = [n for n in nodes if n.lineno <= line <= (n.end_lineno or 0)]
    else:
        chosen = [n for n in nodes if (n.lineno, n.col_offset) == here]
    texts = [(node, text) for node in chosen if (text := change(node, code))]
    if not texts and around:
        # why: `ast.walk` goes from the outside in, so the widest pattern comes first
        wider = [n for n in nodes if _start(n) <= here < _end(n)]
        texts = [(node, text) for node in wider if (text := change(node, code))][:1]
    return _replace(code, *texts[0]) if len(texts) == 1 else ""


def read(file: str, line: int, column: int = 0) -> Code | None:
    """The statement around a place, `None` if it cannot be read or parsed."""
    lines = linecache.getlines(file)
    module, statements = _parse("".join(lines))
    around = [
        node
        for node in statements
        if node.lineno <= line <= (node.end_lineno or 0)
        if column == 0 or _start(node) < (line, column) <= _end(node)
    ]
    if not around:
        return None
    statement = max(around, key=lambda node: (node.lineno, node.col_offset))
    return None if isinstance(statement, _COMPOUND) else Code(lines, module, statement)


@functools.lru_cache(maxsize=8)
def _parse(text: str) -> tuple[ast.Module, list[ast.stmt]]:
    """A file and all of its statements, none where it cannot be parsed."""
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module([], []), []
    return module, [node for node in ast.walk(module) if isinstance(node, ast.stmt)]


def _start(node: ast.AST) -> tuple[int, int]:
    return node.lineno, node.col_offset  # type: ignore[attr-defined]


def _end(node: ast.AST) -> tuple[int, int]:
    return node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]


def _replace(code: Code, node: ast.expr, text: str) -> str:
    """The statement's text with `text` where `node` stood."""
    before = _between(code.lines, _start(code.statement), _start(node))
    after = _between(code.lines, _end(node), _end(code.statement))
    margin = " " * code.statement.col_offset
    whole = textwrap.dedent(margin + before + text + after)
    try:
        ast.parse(whole)
    except SyntaxError:
        return ""
    return whole


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text from one place to another; columns count bytes, as `ast` does."""
    encoded = [line.encode() for line in lines[start[0] - 1 : end[0]]]
    encoded[-1] = encoded[-1][: end[1]]
    encoded[0] = encoded[0][start[1] :]
    return b"".join(encoded).decode()
