"""Autopsies made by hand: each kind of card that there is."""

from __future__ import annotations

from dataclasses import replace as replace
from math import inf, nan
from typing import Any

from nndiag.records import Autopsy, Link, Operand

SOURCE = "p = jnp.exp(z) / jnp.exp(z).sum(axis=1, keepdims=True)"


def operand(**changes: Any) -> Operand:
    """An array of 128 rows of 10, with a number each at two elements."""
    common = {"dtype": "float32", "shape": (128, 10), "low": -3.5, "high": 103.279}
    return Operand(**{**common, **changes})


def softmax() -> Autopsy:
    """A softmax by hand whose exponential overflows, inside a scan."""
    infinite = operand(low=0.03, high=3.1e38, infs=16, values=(inf, inf))
    exponential = Autopsy(
        kind="inf",
        primitive="exp",
        file="train.py",
        line=38,
        column=9,
        source=SOURCE,
        indent=4,
        direction="forward",
        scope="loss",
        path=("scan[7]", "cond.branch1"),
        elements=((3, 7), (5, 1)),
        count=16,
        operands=(operand(values=(103.279, 91.2)),),
        result=infinite,
    )
    links = (("inf", "exp", 38), ("inf", "reduce_sum", 38), ("nan", "div", 38))
    return replace(
        exponential,
        kind="nan",
        primitive="div",
        column=5,
        operands=(infinite, replace(infinite, low=12.0)),
        result=operand(low=0.0, high=1.0, nans=16, values=(nan, nan)),
        origin=exponential,
        chain=tuple(
            Link(
                kind=kind,
                primitive=primitive,
                direction="forward",
                file="train.py",
                line=line,
                path=exponential.path,
            )
            for kind, primitive, line in links
        ),
        output="['loss']",
        cause="exp(103.279) overflows float32, whose largest argument is 88.7228, and "
        "Inf / Inf is NaN.",
        rewrite="p = jax.nn.softmax(z, axis=1)",
        notes=("One pallas_call was evaluated whole.",),
    )


def backward() -> Autopsy:
    """The `where` trap: no rewrite as code, no caret, origin on another line."""
    slope = operand(dtype="float16", shape=(4,), low=0.5, high=0.5, infs=1)
    sqrt = replace(
        softmax().origin,  # type: ignore[type-var]
        primitive="div",
        line=11,
        column=0,
        indent=None,
        source="r = jnp.sqrt(x)",
        direction="backward",
        scope="",
        path=(),
        elements=((2,),),
        count=1,
        operands=(replace(slope, values=(0.5,)), replace(slope, values=(0.0,))),
        result=replace(slope, values=(inf,)),
    )
    return replace(
        sqrt,
        kind="nan",
        primitive="mul",
        line=12,
        source="y = jnp.where(x > 0, r, 0.0)",
        operands=(replace(slope, values=(0.0,)), replace(slope, values=(inf,))),
        result=replace(slope, nans=1, infs=0, values=(nan,)),
        origin=sqrt,
        output="['x']",
        cause="the slope of sqrt at 0 is Inf, and 0·Inf is NaN",
        rewrite="# line 11 of train.py\nr = jnp.sqrt(jnp.where(x > 0, x, 1.0))",
    )


def argument() -> Autopsy:
    """A parameter that was bad when it came in: no line, no operands."""
    return Autopsy(
        kind="nan",
        primitive="input",
        file="",
        line=0,
        column=0,
        source="",
        direction="forward",
        scope="",
        path=(),
        elements=((0, 3),),
        count=1,
        operands=(),
        result=operand(shape=(2, 5), nans=1, values=(nan,)),
        output="[0]",
        argument="params['w']",
        cause="params['w'] came in bad: 1 of its 10 elements is NaN",
        rewrite="look at what made this value: data, a loaded file or an earlier step",
    )


def hidden() -> Autopsy:
    """A square that overflows float16 and leaves a finite output; no source."""
    cell = operand(dtype="float16", shape=(), low=300.0, high=300.0)
    return Autopsy(
        kind="inf",
        primitive="square",
        file="lib/norm.py",
        line=5,
        column=0,
        source="",
        direction="forward",
        scope="",
        path=("shard[2]", "while[1234]"),
        elements=((),),
        count=1,
        operands=(cell,),
        result=replace(cell, low=nan, high=nan, infs=1, values=(inf,)),
        reaches_output=False,
        compiler=True,
    )


def crowded() -> Autopsy:
    """Twenty operands, thirty links, a line without end."""
    many = tuple(operand(infs=n % 2, values=(float(n),)) for n in range(20))
    link = Link(kind="inf", primitive="add", direction="forward", file="a.py", line=1)
    source = "x = " + "a + " * 500 + "b + " * 500
    return replace(
        softmax(),
        origin=replace(softmax().origin, column=2_009, source=source),  # type: ignore[type-var]
        operands=many,
        column=5,
        indent=4,
        source=source,
        chain=tuple(replace(link, line=line) for line in range(1, 31)),
        rewrite="x = jnp.sum(" + ", ".join("abcdefgh" * 12) + ")",
    )


ALL = {one.__name__: one for one in (softmax, backward, argument, hidden, crowded)}
"""Every example by name."""
