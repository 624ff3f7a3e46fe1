"""What a replay knows of a fault, in the words of a finding."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import replace
from pathlib import PurePath

from nndiag.records import Autopsy, Evidence, Kind, Run, Site
from nndiag.rules.words import precise

KINDS: dict[Kind, str] = {"nan": "NaN", "inf": "Inf"}

_ELSEWHERE = re.compile(r"# line (\d{1,9}) of ([^/]+)")

_LONGEST = 2_000
"""Characters of a rewrite that are read as code at most."""


def place(autopsy: Autopsy) -> str:
    """``"train.py:12"``, ``""`` where the file is unknown.

    Example:
        "train.py:12"
    """
    return f"{autopsy.file}:{autopsy.line}" if autopsy.file else ""


def element(autopsy: Autopsy) -> str:
    """The first offending element, ``""`` for a scalar or where none is known."""
    first = autopsy.elements[0] if autopsy.elements else ()
    return f"[{', '.join(map(str, first))}]" if first else ""


def numbers(autopsy: Autopsy) -> tuple[float, ...]:
    """What went in at the first offending element, operand by operand."""
    return tuple(value for _, value in _numbered(autopsy))


def made(autopsy: Autopsy) -> str:
    """The equation, where it stands, and the number that it fell over.

    Example:
        "exp at train.py:12 made Inf of 103.279"
    """
    kind = KINDS[autopsy.kind]
    if autopsy.primitive == "input":
        at = f" at {element(autopsy)}" if element(autopsy) else ""
        return f"{autopsy.argument or 'an argument'} already held {kind}{at}"
    return f"{_where(autopsy)} made {kind}{given(autopsy)}"


def given(autopsy: Autopsy) -> str:
    """What an equation made its result of, as the end of a sentence.

    Example:
        " of 103.279", " of 0 and Inf in float16", " of values from -3 to 65504"
    """
    dtype = autopsy.result.dtype
    foreign = "" if dtype == "float32" else f" in {dtype}"
    values = [precise(value) for value in numbers(autopsy)][:3]
    if values:
        return f" of {' and '.join(values)}{foreign}"
    # The numbers of an integer operand are indices.
    floats = [o for o in autopsy.operands if "float" in o.dtype or "complex" in o.dtype]
    ranges = [o for o in floats if o.low == o.low]
    if not ranges:
        return foreign
    low = precise(min(operand.low for operand in ranges))
    high = precise(max(operand.high for operand in ranges))
    between = f"values of {low}" if low == high else f"values from {low} to {high}"
    return f" of {between}{foreign}"


def story(autopsy: Autopsy) -> str:
    """From the extreme value to the fault, as one clause.

    Example:
        "exp at train.py:12 made Inf of 103.279, and div at train.py:13 made
        NaN of that"
    """
    origin = autopsy.origin
    if origin is None:
        return made(autopsy)
    same = origin.file == autopsy.file and origin.line == autopsy.line
    turn = autopsy.direction == "backward" and origin.direction == "forward"
    where = autopsy.primitive if same and not turn else _where(autopsy)
    return f"{made(origin)}, and {where} made {KINDS[autopsy.kind]} of that"


def sites(run: Run, autopsy: Autopsy) -> tuple[Site, ...]:
    """The watched places in the scope of the equation, in forward order."""
    scope = (autopsy.origin or autopsy).scope
    return tuple(site for site in run.sites if scope and site.scope == scope)


def evidence(autopsy: Autopsy) -> tuple[Evidence, ...]:
    """The numbers that the first equation fell over, and how many elements did."""
    root = autopsy.origin or autopsy
    at = f" at {element(root)}" if element(root) else ""
    went_in = tuple(
        Evidence(
            quantity=f"operand {index + 1} of {root.primitive}{at}, "
            f"{root.operands[index].dtype}",
            value=value,
        )
        for index, value in _numbered(root)[:3]
    )
    spoilt = Evidence(
        quantity=f"elements that became {KINDS[root.kind]} there",
        value=root.count,
        threshold=0.0,
        source="one is enough",
    )
    return (*went_in, spoilt)


def cause(autopsy: Autopsy) -> str:
    """Why, and whether the compiler has a part in it."""
    told = _sentence(autopsy.cause) if autopsy.cause else f"{story(autopsy)}."
    if autopsy.compiler:
        told += (
            " Equation by equation the values are finite: only the compiled program "
            "fails, so a rewrite or fusion of the compiler is involved."
        )
    return told


def remedies(autopsy: Autopsy) -> tuple[str, ...]:
    """What to write instead; nothing where no rewrite is known."""
    rewrite = autopsy.rewrite.strip()
    if not rewrite:
        return ()
    place_of, code = instead(autopsy)
    if not code:
        return (_sentence(rewrite),)
    lines = "` and `".join(line.strip() for line in code)
    where = place(place_of)
    return (f"Write `{lines}`{f' at {where}' if where else ''} instead.",)


def instead(autopsy: Autopsy) -> tuple[Autopsy, tuple[str, ...]]:
    """The equation whose line is to be rewritten, and the lines to write.

    It is the origin where the rewrite says so in a comment, ``# line 38 of train.py``;
    where that is neither's line, the autopsy is given back with it, its source unknown.
    There are no lines where the rewrite is a sentence.
    """
    if not is_code(autopsy.rewrite):
        return autopsy, ()
    first, *rest = lines = autopsy.rewrite.strip().splitlines()
    comment, origin = _ELSEWHERE.fullmatch(first), autopsy.origin
    if not comment or not rest:
        return autopsy, tuple(lines)
    line = int(comment[1])
    if origin is not None and line == origin.line:
        return origin, tuple(rest)
    other = replace(
        autopsy,
        file=autopsy.file if PurePath(autopsy.file).name == comment[2] else comment[2],
        line=line,
        column=0,
        source="",
    )
    return other, tuple(rest)


def is_code(rewrite: str) -> bool:
    """Whether a rewrite is lines of Python, not a sentence.

    Example:
        >>> is_code("loss = -jax.nn.log_softmax(logits)[label]")
        True
        >>> is_code("Keep the argument away from 0.")
        False
    """
    if not rewrite.strip() or len(rewrite) > _LONGEST:
        return False
    body = f"{rewrite.strip()} pass" if rewrite.rstrip().endswith(":") else rewrite
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in a string, say
        try:
            tree = ast.parse(body.strip())
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return False
    # a lone word parses, too
    return not all(
        isinstance(line, ast.Expr) and isinstance(line.value, ast.Name | ast.Constant)
        for line in tree.body
    )


def _where(autopsy: Autopsy) -> str:
    at = place(autopsy)
    backward = autopsy.direction == "backward"
    if not at:
        return f"{autopsy.primitive}{' in the backward pass' if backward else ''}"
    between = "in the gradient of" if backward else "at"
    return f"{autopsy.primitive} {between} {at}"


def _numbered(autopsy: Autopsy) -> list[tuple[int, float]]:
    """Position and value of each operand that has one at the first bad element."""
    return [
        (index, operand.values[0] if operand.values else operand.low)
        for index, operand in enumerate(autopsy.operands)
        # a scalar has its only value everywhere
        if operand.values or (not operand.shape and operand.low == operand.high)
    ]


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a name, and a full stop."""
    first = text.split(maxsplit=1)[0]
    text = text if not first.isalpha() else f"{text[0].upper()}{text[1:]}"
    return text if text.endswith((".", "!", "?")) else f"{text}."
