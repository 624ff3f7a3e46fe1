"""Rewrites of the expression that fails: kept in range, masked, or more precise.

Each is a `Change` of `nndiag.replay.rewriting`, or makes one. They keep the user's
names and give the same values wherever the old expression was finite, up to the small
numbers that they write out.
"""

from __future__ import annotations

import ast

from nndiag.replay.causes.syntax import (
    called,
    operand,
    split,
    text,
    without,
)
from nndiag.replay.rewriting import Change, Code


def bounded(names: tuple[str, ...], low: str | None, high: str | None = None) -> Change:
    """Keeps the argument of a call of `names`, or the base of ``**``, in range."""

    def change(node: ast.expr, code: Code) -> str | None:
        return around_argument(node, code, names, lambda inner: limit(inner, code))

    def limit(inner: str, code: Code) -> str:
        if low is not None and high is not None:
            return f"{code.jnp}.clip({inner}, {low}, {high})"
        return (
            f"{code.jnp}.minimum({inner}, {high})"
            if low is None
            else f"{code.jnp}.maximum({inner}, {low})"
        )

    return change


def around_argument(node: ast.expr, code: Code, names, wrap) -> str | None:
    """Wraps the argument of a call, the base of a ``**`` or the divisor of a ``/``."""
    if isinstance(node, ast.BinOp):
        if "**" in names and isinstance(node.op, ast.Pow):
            return f"{wrap(text(node.left))} ** {operand(node.right)}"
        if "/" in names and isinstance(node.op, ast.Div):
            return f"{operand(node.left)} / {wrap(text(node.right))}"
        return None
    if not called(node, *names) or not isinstance(node, ast.Call):
        return None
    found = split(node, code)
    if found is None:
        return None
    if node.args and found[0] is node.args[0]:
        return f"{text(node.func)}({wrap(text(found[0]))}{without(found[1])})"
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    return f"{wrap(text(found[0]))}.{name}({', '.join(found[1])})"


def safe_root(tiny: str) -> Change:
    """`sqrt`, `norm`, `std` or a power, kept off 0, where the slope is infinite."""

    def change(node: ast.expr, code: Code) -> str | None:
        found = split(node, code)
        if found and called(node, "norm") and "ord" not in "".join(found[1]):
            if found[1] and not found[1][0].startswith(("axis=", "keepdims=")):
                return None
            squares = f"{code.jnp}.sum({operand(found[0])} ** 2{without(found[1])})"
            return f"{code.jnp}.sqrt({code.jnp}.maximum({squares}, {tiny}))"
        if found and called(node, "std"):
            variance = f"{code.jnp}.var({text(found[0])}{without(found[1])})"
            return f"{code.jnp}.sqrt({variance} + 1e-06)"
        return bounded(("sqrt", "power", "pow", "**"), tiny)(node, code)

    return change


def safe_divisor(node: ast.expr, code: Code) -> str | None:
    """``a / b``, with a divisor of 0 replaced by 1."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
        return None
    below = text(node.right)
    if called(node.right, "std") or called(node.right, "norm"):
        return f"{operand(node.left)} / ({below} + 1e-06)"
    equal = f"{operand(node.right)} == 0"
    return f"{operand(node.left)} / {code.jnp}.where({equal}, 1.0, {below})"


def double_where(names: tuple[str, ...], value: str) -> Change:
    """Gives a function under `where` an argument that is harmless where masked."""

    def change(node: ast.expr, code: Code) -> str | None:
        mask = _mask(node, code)
        if mask is None:
            return None
        condition, kept = mask

        def wrap(inner: str) -> str:
            sides = (inner, value) if kept else (value, inner)
            return f"{code.jnp}.where({condition}, {', '.join(sides)})"

        return around_argument(node, code, names, wrap)

    return change


def finite_mask(dtype: str) -> Change:
    """``-inf`` as the value of masked scores, as the lowest finite number instead."""

    def change(node: ast.expr, code: Code) -> str | None:
        written = text(node)
        for infinity in (f"-{code.jnp}.inf", "-np.inf", "float('-inf')"):
            if called(node, "softmax", "log_softmax") and written.count(infinity) == 1:
                lowest = f"{code.jnp}.finfo({code.jnp}.{dtype}).min"
                return written.replace(infinity, lowest)
        return None

    return change


def replaced(names: tuple[str, ...], template: str) -> Change:
    """A call or operation of `names`, as `template` of its ``{x}`` and ``{y}``."""

    def change(node: ast.expr, code: Code) -> str | None:
        jnp = code.jnp
        if isinstance(node, ast.BinOp):
            signs = {ast.Pow: "**", ast.MatMult: "@", ast.Mult: "*"}
            if signs.get(type(node.op)) not in names:  # type: ignore[call-overload]
                return None
            x, y = operand(node.left), operand(node.right)
            return template.format(x=x, y=y, rest=f", {y}", jnp=jnp)
        found = split(node, code) if called(node, *names) else None
        if found is None:
            return None
        y = found[1][0] if found[1] else ""
        return template.format(
            x=operand(found[0]), y=y, rest=without(found[1]), jnp=jnp
        )

    return change


def _mask(node: ast.expr, code: Code) -> tuple[str, bool] | None:
    """The condition of the `where` around `node`, and whether it keeps where true."""
    inner: ast.AST = node
    for parent in code.parents(node):
        if called(parent, "where") and isinstance(parent, ast.Call):
            return _side(parent, lambda branch, inner=inner: branch is inner)
        inner = parent
    statement = code.statement
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None
    name = text(statement.targets[0])
    for other in ast.walk(code.function):
        if called(other, "where") and isinstance(other, ast.Call):
            found = _side(
                other,
                lambda branch: any(
                    isinstance(part, ast.Name) and part.id == name
                    for part in ast.walk(branch)
                ),
            )
            if found:
                return found
    return None


def _side(call: ast.Call, holds) -> tuple[str, bool] | None:
    if len(call.args) != 3:
        return None
    condition, kept, other = call.args
    if holds(kept):
        return text(condition), True
    return (text(condition), False) if holds(other) else None


def half_as_bfloat16(node: ast.expr, code: Code) -> str | None:
    """A cast to float16, as a cast to bfloat16."""
    old = text(node)
    if not (called(node, "astype", "asarray", "array") and "float16" in old):
        return None
    return None if "bfloat16" in old else old.replace("float16", "bfloat16")


IN_FLOAT32: tuple[Change, ...] = (
    replaced(("**", "power"), "{x}.astype({jnp}.float32) ** {y}"),
    replaced(("square",), "{jnp}.square({x}.astype({jnp}.float32))"),
    replaced(("sum",), "{jnp}.sum({x}{rest}, dtype={jnp}.float32)"),
    replaced(("mean",), "{jnp}.mean({x}{rest}, dtype={jnp}.float32)"),
    replaced(
        ("@", "dot", "matmul"),
        "{jnp}.matmul({x}, {y}, preferred_element_type={jnp}.float32)",
    ),
    replaced(("*",), "{x}.astype({jnp}.float32) * {y}"),
)
"""Half-precision operations, done in float32 instead."""
