"""What a pass over the program knows of each value."""

from __future__ import annotations

from typing import Any, NamedTuple

from nndiag.jaxprs import compat

PARAMETRISED = {"dot_general", "conv_general_dilated", "ragged_dot", "gather"}
"""Operations that, with a weight and data as operands, make a layer."""

_AFFINE = {
    "add", "add_any", "sub", "mul", "reshape", "transpose", "broadcast_in_dim",
    "convert_element_type", "copy", "pvary", "squeeze", "expand_dims", "neg",
    "psum", "psum_invariant",
}  # fmt: skip


_MOVING = {"rev", "gather", "sort", "concatenate", "transpose", "scatter"}


class Fact(NamedTuple):
    """What is known of one value of the differentiated function.

    Attributes:
        trained: the gradient flows through it.
        weight: it depends on parameters and constants only, not on data.
        leaves: the parameters it was made from, while it is a weight.
        moved: its elements stand in another order than those of the parameters.
        affine: it is the output of a layer before any nonlinearity.
        fresh: no layer has seen it yet: it comes from the input.
        reduced: it is a statistic of a signal (a variance), not a signal.
        reached: candidate sites it depends on, with no layer in between.
        unit_axis: axis of the units (channels), counted from the end.
    """

    trained: bool = False
    weight: bool = False
    leaves: frozenset[int] = frozenset()
    moved: bool = False
    affine: bool = False
    fresh: bool = True
    reduced: bool = False
    reached: frozenset[int] = frozenset()
    unit_axis: int = -1


CONSTANT = Fact(weight=True)


def is_layer(equation: Any, operands: list[Fact]) -> bool:
    """Whether `equation` applies trained weights to data."""
    return equation.primitive.name in PARAMETRISED and bool(
        [f for f in operands if f.weight and f.trained]
        and [f for f in operands if not f.weight]
    )


def has_layers(equation: Any) -> bool:
    """Whether the bodies of `equation` hold operations that could make a layer."""
    return any(
        inner.primitive.name in PARAMETRISED - {"gather"} or has_layers(inner)
        for body in compat.jaxprs_in(equation)
        for inner in body.eqns
    )


def combine(equation: Any, operands: list[Fact]) -> Fact:
    """The fact about the outputs of `equation`, from those about its operands."""
    trained = any(f.trained for f in operands)
    if equation.primitive.name == "stop_gradient":
        trained = False
    if all(f.weight for f in operands):
        leaves = frozenset[int]().union(*(f.leaves for f in operands))
        moved = any(f.moved for f in operands) or equation.primitive.name in _MOVING
        return Fact(trained=trained, weight=True, leaves=leaves, moved=moved)
    if is_layer(equation, operands):
        return Fact(
            trained=trained, affine=True, fresh=False, unit_axis=_unit_axis(equation)
        )
    data = [f for f in operands if not f.weight]
    return Fact(
        trained=trained,
        affine=equation.primitive.name in _AFFINE and len(data) == 1 and data[0].affine,
        fresh=all(f.fresh for f in data),
        reduced=equation.primitive.name.startswith("reduce_")
        or all(f.reduced for f in data),
        reached=frozenset[int]().union(*(f.reached for f in data)),
        unit_axis=_kept_axis(equation, data),
    )


def _unit_axis(equation: Any) -> int:
    if equation.primitive.name == "conv_general_dilated":
        specification = equation.params["dimension_numbers"].out_spec
        return specification[1] - len(specification)
    return -1


def _kept_axis(equation: Any, data: list[Fact]) -> int:
    """The unit axis where shapes are kept; the last axis after anything else."""
    rank = len(equation.outvars[0].aval.shape) if equation.outvars else 0
    same_rank = all(
        len(atom.aval.shape) == rank
        for atom in equation.invars
        if not compat.is_literal(atom) and atom.aval.shape
    )
    axes = {fact.unit_axis for fact in data}
    moves = equation.primitive.name in {"transpose", "reshape", "dot_general"}
    return axes.pop() if same_rank and not moves and len(axes) == 1 else -1
