"""Larger expressions that JAX has a stable function for: softmax, sigmoid and others.

Each is a `Change` of `nndiag.replay.rewriting`. They keep the user's names.
"""

from __future__ import annotations

import ast

from nndiag.replay.causes.syntax import (
    array,
    called,
    is_number,
    operand,
    same,
    split,
    text,
    without,
)
from nndiag.replay.rewriting import Code


def softmax(node: ast.expr, code: Code) -> str | None:
    """``exp(z) / exp(z).sum(axis=…)`` is a softmax."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
        return None
    top, below = code.meaning(node.left), code.meaning(node.right)
    found = split(below, code) if called(below, "sum") else None
    logits = array(top, code) if called(top, "exp") else None
    if found is None or logits is None or not same(code.meaning(found[0]), top):
        return None
    arguments = without(found[1], "keepdims") or ", axis=None"
    if not arguments.startswith((", axis", ", where")):
        arguments = f", axis={arguments[2:]}"
    return f"{code.nn}.softmax({text(logits)}{arguments})"


def log_softmax(node: ast.expr, code: Code) -> str | None:
    """``log(softmax(z))`` is `log_softmax`; so is ``log(exp(z) / exp(z).sum())``."""
    inside = array(node, code) if called(node, "log") else None
    if inside is None:
        return None
    inside = code.meaning(inside)
    if called(inside, "softmax"):
        found = split(inside, code)
        if found:
            return f"{code.nn}.log_softmax({text(found[0])}{without(found[1])})"
    written = softmax(inside, code)
    return written and written.replace(".softmax(", ".log_softmax(", 1)


def logsumexp(node: ast.expr, code: Code) -> str | None:
    """``log(exp(z).sum(axis=…))`` is a `logsumexp`."""
    inside = array(node, code) if called(node, "log") else None
    inside = inside and code.meaning(inside)
    found = split(inside, code) if inside and called(inside, "sum") else None
    power = found and code.meaning(found[0])
    logits = array(power, code) if power and called(power, "exp") else None
    if found is None or logits is None:
        return None
    return f"{code.nn}.logsumexp({text(logits)}{without(found[1])})"


def softplus(node: ast.expr, code: Code) -> str | None:
    """``log(1 + exp(x))`` and ``log1p(exp(x))`` are `softplus`."""
    inside = array(node, code) if called(node, "log", "log1p") else None
    if inside is not None and called(node, "log"):
        inside = _besides_one(inside)
    if inside is None or not called(inside, "exp"):
        return None
    argument = array(inside, code)
    return argument and f"{code.nn}.softplus({text(argument)})"


def sigmoid(node: ast.expr, code: Code) -> str | None:
    """``1 / (1 + exp(-x))`` is a sigmoid, and so is ``exp(x) / (1 + exp(x))``."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
        return None
    below = _besides_one(code.meaning(node.right))
    below = below and code.meaning(below)
    argument = array(below, code) if below and called(below, "exp") else None
    if argument is None or below is None:
        return None
    if same(code.meaning(node.left), below):
        return f"{code.nn}.sigmoid({text(argument)})"
    if not is_number(node.left, 1):
        return None
    if isinstance(argument, ast.UnaryOp) and isinstance(argument.op, ast.USub):
        return f"{code.nn}.sigmoid({text(argument.operand)})"
    return f"{code.nn}.sigmoid(-{operand(argument)})"


def tanh(node: ast.expr, code: Code) -> str | None:
    """``(exp(x) - exp(-x)) / (exp(x) + exp(-x))`` is `tanh`."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
        return None
    left, right = code.meaning(node.left), code.meaning(node.right)
    if not isinstance(left, ast.BinOp) or not isinstance(left.op, ast.Sub):
        return None
    if not isinstance(right, ast.BinOp) or not isinstance(right.op, ast.Add):
        return None
    parts = (left.left, left.right)
    if not (same(parts[0], right.left) and same(parts[1], right.right)):
        return None
    argument = array(parts[0], code) if called(parts[0], "exp") else None
    negative = array(parts[1], code) if called(parts[1], "exp") else None
    if argument is None or not isinstance(negative, ast.UnaryOp):
        return None
    if not isinstance(negative.op, ast.USub) or not same(negative.operand, argument):
        return None
    return f"{code.jnp}.tanh({text(argument)})"


def xlogy(node: ast.expr, code: Code) -> str | None:
    """``y * log(p)`` is `xlogy`, which is 0 at ``y = p = 0``."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
        return None
    for factor, logarithm in ((node.left, node.right), (node.right, node.left)):
        inside = code.meaning(logarithm)
        argument = array(inside, code) if called(inside, "log") else None
        if argument is not None:
            name = code.alias("jax", "jax") + ".scipy.special.xlogy"
            return f"{name}({text(factor)}, {text(argument)})"
    return None


def _besides_one(node: ast.expr) -> ast.expr | None:
    """What is added to 1."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add):
        return None
    if is_number(node.left, 1):
        return node.right
    return node.left if is_number(node.right, 1) else None


EXPONENTIALS = (log_softmax, logsumexp, softplus, softmax, sigmoid, tanh)
"""What an overflowing or vanishing exp is usually part of."""
