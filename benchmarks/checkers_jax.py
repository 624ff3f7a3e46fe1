"""Runs the zoo of gradients through one checker of JAX: one line of JSON for each.

python benchmarks/checkers_jax.py TOOL | million
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

SIDE = 1000
"""Of the square matrix with one million parameters."""


def cases() -> list[Any]:
    from gradcheck.zoo import CASES

    return [case for case in CASES if case.often]


def scalar(case: Any, double: bool) -> tuple[Callable[..., Any], list[Any]]:
    """A case as a function of arrays only, all of which have a derivative."""
    import jax

    options = dict(case.options)
    argnums = options.pop("argnums", 0)
    auxiliary = options.pop("has_aux", False)
    chosen = (argnums,) if isinstance(argnums, int) else argnums
    trees = [case.args[number] for number in chosen]
    leaves, structure = jax.tree.flatten(trees)
    moving = [
        i for i, leaf in enumerate(leaves) if leaf.dtype.kind in "fcV" and leaf.size
    ]

    def completed(arrays: Iterable[Any]) -> list[Any]:
        full = list(leaves)
        for index, array in zip(moving, arrays, strict=True):
            full[index] = array
        args = list(case.args)
        for number, tree in zip(
            chosen, jax.tree.unflatten(structure, full), strict=True
        ):
            args[number] = tree
        return args

    def fn(*arrays: Any) -> Any:
        found = case.fn(*completed(arrays), **options)
        return found[0] if auxiliary else found

    def widened(array: Any) -> Any:
        wide = np.complex128 if array.dtype.kind == "c" else np.float64
        return array.astype(wide) if double else array

    point = [widened(np.asarray(leaves[index])) for index in moving]
    if case.gradient is None:
        return fn, point

    def backward(arrays: Any, cotangent: Any) -> Any:
        given = case.gradient(*completed(map(np.asarray, arrays)))
        grads = [np.asarray(g) for g in jax.tree.leaves(given)]
        return tuple(
            cotangent * g.astype(a.dtype) for g, a in zip(grads, arrays, strict=True)
        )

    ruled = jax.custom_vjp(fn)
    ruled.defvjp(lambda *arrays: (fn(*arrays), arrays), backward)
    return ruled, point


def by_assertion(tool: str, case: Any) -> str:
    """Runs a checker that raises an AssertionError for a wrong gradient."""
    import chex
    import jax
    from jax.test_util import check_grads

    double = tool.endswith("_64")
    check = check_grads if tool.startswith("check") else chex.assert_numerical_grads
    reverse_only = case.gradient is not None or "custom_vjp" in case_kind(case)
    modes = ("rev",) if reverse_only else ("fwd", "rev")
    with jax.enable_x64(double or case.double):
        try:
            fn, point = scalar(case, double)
            check(fn, tuple(point), order=1, modes=modes)
        except AssertionError:
            return "found" if case.kind else "false alarm"
        except Exception:
            return "could not run"
    return "missed" if case.kind else "right"


def case_kind(case: Any) -> str:
    """The program in words, to see whether it has a rule without forward mode."""
    import jax

    try:
        with jax.enable_x64(case.double):
            return str(jax.make_jaxpr(case.fn)(*case.args))
    except Exception:  # options that the program needs
        return ""


def by_nndiag(case: Any) -> str:
    import jax

    import nndiag

    with jax.enable_x64(case.double):
        try:
            found = nndiag.check_grads(
                case.fn, *case.args, gradient=case.gradient, **case.options
            )
        except Exception as error:
            print(case.name, error, file=sys.stderr)
            return "could not run"
    if found.ok is None:
        return "undecided"
    if case.kind:
        return "missed" if found.ok else "found"
    return "right" if found.ok else "false alarm"


def child(tool: str) -> None:
    """One line of JSON for each case."""
    warnings.simplefilter("ignore")
    if tool == "million":
        print(json.dumps(million()))
        return
    import jax

    jax.config.update("jax_disable_most_optimizations", True)  # compiles faster
    for case in cases():
        answer = by_nndiag(case) if tool == "nndiag" else by_assertion(tool, case)
        print(json.dumps([case.name, answer]), flush=True)


def million() -> list[str]:
    """Seconds and evaluations for one million parameters, right and with one wrong."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    import nndiag

    draw = np.random.default_rng(0)
    matrix = (draw.normal(size=(SIDE, SIDE)) / np.sqrt(SIDE)).astype(np.float32)
    inputs = draw.normal(size=(16, SIDE)).astype(np.float32)
    target = (617, 42)

    def loss(matrix: Any) -> Any:
        return jnp.mean(jnp.tanh(jnp.asarray(inputs, matrix.dtype) @ matrix) ** 2)

    def backward(factor: float) -> Callable[..., Any]:
        def gradient(matrix: Any) -> Any:
            grads = np.array(jax.grad(loss)(matrix))
            grads[target] *= factor
            return grads

        return gradient

    lines = []
    for factor, words in (
        (1.0, "right"),
        (1.5, "one wrong by 50 %"),
        (0.0, "one zero"),
    ):
        began = time.perf_counter()
        found = nndiag.check_grads(loss, matrix, gradient=backward(factor))
        seconds = time.perf_counter() - began
        said = {True: "right", False: "wrong", None: "undecided"}[found.ok]
        at = found.leaves[0].worst_index if found.ok is False else None
        where = "" if at is None else f", at {list(at)}"
        ruled = jax.custom_vjp(loss)
        ruled.defvjp(
            lambda m: (loss(m), m),
            lambda m, c, factor=factor: (c * backward(factor)(m),),
        )
        began = time.perf_counter()
        try:
            check_grads(ruled, (matrix,), order=1, modes=("rev",))
            other = "right"
        except AssertionError:
            other = "wrong"
        other_seconds = time.perf_counter() - began
        lines.append(
            f"| {words} | {said}{where} | {seconds:.1f} s | {found.evaluations} | "
            f"{other} | {other_seconds:.1f} s |"
        )
    return lines


if __name__ == "__main__":
    child(sys.argv[1])
