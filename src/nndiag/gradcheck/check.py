"""Are these gradients right, and if not, where."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from nndiag.errors import ProgramError
from nndiag.gradcheck.asking import (
    MODES,
    generator,
    require_known,
    selected_arguments,
)
from nndiag.gradcheck.attribution import attribute
from nndiag.gradcheck.complexstep import complex_step
from nndiag.gradcheck.curvature import Curvature, check_hessian
from nndiag.gradcheck.digits import with_lost_digits
from nndiag.gradcheck.duality import compare_modes
from nndiag.gradcheck.examining import Examiner
from nndiag.gradcheck.findings import describe
from nndiag.gradcheck.given import CallersGiven, Given
from nndiag.gradcheck.gradients import Gradient
from nndiag.gradcheck.judging import Judge
from nndiag.gradcheck.kinks import cuts
from nndiag.gradcheck.point import Leaf, Point, Vector, silent
from nndiag.gradcheck.program import RULES, Program
from nndiag.gradcheck.reaching import reached
from nndiag.gradcheck.rules import Place, examine_rules, place_of
from nndiag.gradcheck.taylor import fit_remainders
from nndiag.jaxprs import compat
from nndiag.jaxprs.compat.rules import rule_source
from nndiag.records import Duality, GradCheck, GuiltyRule, LeafCheck, Taylor


def check_grads(
    fn: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    gradient: Callable[..., Any] | None = None,
    order: int = 1,
    modes: Sequence[str] = MODES,
    has_aux: bool = False,
    key: Any = None,
    **kwargs: Any,
) -> GradCheck:
    """Holds a gradient against differences, leaf by leaf, down to the wrong element.

    The function is traced in its own dtypes and evaluated in float64, so its random
    numbers, casts and tolerances are those that run. Derivatives are central
    differences with steps chosen, and errors bounded, by measurement; where the
    function is analytic a complex step gives their last digits. A gradient is called
    wrong only where it differs from them by more than that bound and the rounding of
    its own arithmetic, measured as well, at this point and at points near it; what a
    kink, a jump or a `stop_gradient` explains is *undecided*.

    For complex arguments the gradient is JAX's: of a real f by z = x + iy,
    ∂f/∂x − i·∂f/∂y.

    Args:
        fn: returns one real number; jitted or not.
        *args: its arguments: any pytrees. Leaves that are no floating-point arrays are
            skipped.
        argnums: the arguments to take gradients by; by default all, or for a
            `gradient` of the structure of the first argument that one.
        gradient: a function of the same arguments that returns the gradient to test
            (NumPy or JAX, a method): in the structure of the arguments, as a dictionary
            by name, as arrays in order, or as one flat vector. By default `jax.grad`
            of `fn`.
        order: 2 to check the Hessian as well.
        modes: `"reverse"`, `"forward"` or both: with both, each is held against the
            other.
        has_aux: whether `fn` returns a pair of which the first is the number.
        key: of the random directions, a JAX key or an integer.
        **kwargs: keyword arguments of `fn`, checked like the others.

    Returns:
        The check; `ok` is `True`, `False`, or `None` for undecided.

    Raises:
        ProgramError: `fn` or its gradient cannot be traced, is not finite here, is not
            a real number, answers differently each time; no argument is a float; or
            the gradient has another structure than the arguments.
        SettingError: an unknown mode, order or argument number.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(w):
        ...     return (w**2).sum()
        >>> check_grads(loss, jnp.arange(3.0)).ok
        True
        >>> found = check_grads(loss, jnp.arange(3.0), gradient=lambda w: w)
        >>> found.ok, found.leaves[0].verdict, found.findings[0].code
        (False, 'wrong', 'ND501')
    """
    require_known(args, order, modes)
    with compat.plain_evaluation():
        numbers = selected_arguments(argnums, args, kwargs, gradient)
        point = Point(fn, args, kwargs, numbers)
        program = Program(fn, point, has_aux=has_aux)
        return _Check(program, gradient, order, tuple(modes), generator(key)).run()


class _Check:
    """One run of the check."""

    def __init__(
        self,
        program: Program,
        gradient: Callable[..., Any] | None,
        order: int,
        modes: tuple[str, ...],
        random: np.random.Generator,
    ) -> None:
        self.program, self.point = program, program.point
        self.order, self.modes, self.random = order, modes, random
        self.callers = gradient
        self.notes: list[str] = []
        if gradient is None:
            self.given = Given(program)
            self.autodiff = self.given.gradient
        else:
            self.given = CallersGiven(program, gradient)
            self.autodiff = self._by_autodiff()
        program.require_deterministic()

    def _by_autodiff(self) -> Gradient | None:
        numbers = tuple(range(len(self.point.checked)))
        try:
            traced = self.program.trace(
                jax.grad(self.program.scalar, argnums=numbers), *self.point.arrays
            )
        except ProgramError as error:
            self.notes.append(f"the function itself has no reverse mode: {error}")
            return None
        return Gradient(self.point, silent(traced))

    def run(self) -> GradCheck:
        """All evidence, gathered."""
        program, point = self.program, self.point
        examiner = Examiner(
            program, self.given, self.autodiff, point.vector, complex_step(program)
        )
        judge = Judge(
            examiner,
            functools.partial(self._hint, examiner),
            cuts(program),
            self.random,
            at_once=self.given.is_callers or self._has_own_rules(),
        )
        judged = (
            judge.judge(number, leaf) for number, leaf in enumerate(point.checked)
        )
        checked = {
            leaf.path: with_lost_digits(leaf, program, self.given) for leaf in judged
        }
        rule, checked = self._blamed(checked)
        expected = judge.expected() if _has_wrong(checked) else None
        checked, cause = attribute(checked, expected, self.given, program, self.callers)
        leaves = tuple(
            checked.get(leaf.path) or _skipped(leaf) for leaf in point.leaves
        )
        duality, taylor = self._duality(), self._taylor(examiner)
        curvature = self._curvature()
        skipped = sum(leaf.verdict == "skipped" for leaf in leaves)
        if skipped:
            leaves_were = "1 leaf was" if skipped == 1 else f"{skipped} leaves were"
            self.notes.append(f"{leaves_were} skipped; each says why")
        return GradCheck(
            ok=_ok(leaves, duality, curvature),
            function=program.name,
            leaves=leaves,
            forward_reverse=duality,
            taylor=taylor,
            hessian=None if curvature is None else curvature.error,
            rule=rule,
            cause=cause,
            findings=describe(leaves, duality, rule, cause),
            evaluations=program.evaluations,
            notes=tuple(self.notes),
        )

    def _hint(self, examiner: Examiner) -> Vector | None:
        """Autodiff's derivative in float64, where custom rules do not change it."""
        if self.program.has_rules or self.autodiff is None:
            slopes = self.program.slopes
            return None if slopes is None else slopes(self.point.vector)
        if self.given.is_callers:
            return self.autodiff(self.point.vector)
        return examiner.gradient

    def _has_own_rules(self) -> bool:
        """Whether the program has custom rules that no library wrote."""
        return any(
            equation.primitive.name in RULES and not rule_source(equation).of_library
            for equation in self.program.equations
        )

    def _blamed(
        self, checked: dict[str, LeafCheck]
    ) -> tuple[GuiltyRule | None, dict[str, LeafCheck]]:
        """The custom rule behind wrong leaves; they are not, if it is so on purpose."""
        ours = not self.given.is_callers and self.program.has_rules
        if not ours or not _has_wrong(checked):
            return None, checked
        found = examine_rules(self.program.scalar, *self.point.arrays)
        self.notes.extend(found.notes)
        pardoned = dict(checked)
        if found.deliberate and not found.notes:
            flows = reached(self.program, _place_of_rule)
            for leaf, places in zip(checked.values(), flows, strict=True):
                texts = [found.deliberate[p] for p in places & found.deliberate.keys()]
                if leaf.verdict == "wrong" and texts and not places & found.places:
                    pardoned[leaf.path] = dataclasses.replace(
                        leaf,
                        verdict="undecided",
                        explanation="; ".join(sorted(texts)),
                        wrong=(),
                    )
        rule = next(iter(found.guilty), None) if _has_wrong(pardoned) else None
        return rule, pardoned

    def _duality(self) -> Duality | None:
        if set(self.modes) != set(MODES):
            return None
        return compare_modes(self.program, self.autodiff, self.direction)

    def _curvature(self) -> Curvature | None:
        if self.order == 1:
            return None
        directions = [self.direction for _ in range(6)]
        found = check_hessian(self.program, self.autodiff, directions)
        if found.note:
            self.notes.append(found.note)
        elif found.is_wrong:
            self.notes.append(
                f"the Hessian is wrong: off by {found.error:.2g} relative, where "
                f"{found.bound:.2g} can be rounding"
            )
        return found

    @property
    def direction(self) -> Vector:
        """Random signs over all leaves, each of its own scale."""
        parts = [
            self.point.scale(leaf) * self.random.choice([-1.0, 1.0], leaf.size)
            for leaf in self.point.checked
        ]
        return np.concatenate(parts)

    def _taylor(self, examiner: Examiner) -> Taylor:
        direction = self.direction
        noise = max(examiner.noise(leaf) for leaf in self.point.checked)
        slope = float(examiner.gradient @ direction)
        return fit_remainders(
            self.program.along, self.program.value, direction, slope, 1.0, noise
        )


def _place_of_rule(equation: Any) -> Place | None:
    return place_of(equation) if equation.primitive.name in RULES else None


def _has_wrong(checked: Mapping[str, LeafCheck]) -> bool:
    return any(leaf.verdict == "wrong" for leaf in checked.values())


def _skipped(leaf: Leaf) -> LeafCheck:
    return LeafCheck(
        path=leaf.path,
        shape=leaf.shape,
        dtype=leaf.dtype,
        verdict="skipped",
        norm=0.0,
        largest_error=0.0,
        error_bound=0.0,
        explanation=leaf.reason,
    )


def _ok(
    leaves: Sequence[LeafCheck], duality: Duality | None, curvature: Curvature | None
) -> bool | None:
    verdicts = {leaf.verdict for leaf in leaves}
    modes = duality is not None and duality.agree is False
    bent = curvature is not None and curvature.is_wrong
    if "wrong" in verdicts or modes or bent:
        return False
    return None if "undecided" in verdicts else True
