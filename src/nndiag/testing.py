"""Gradients in people's own tests.

::

    from nndiag.testing import assert_grads_correct


    def test_the_gradient_of_my_loss():
        assert_grads_correct(loss, params, batch)


    def test_my_backprop():
        assert_grads_correct(loss, params, batch, gradient=backprop)

The message of a failure is the table that ``nndiag gradcheck`` prints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nndiag.gradcheck import check_grads
from nndiag.render import gradcheck_text


def assert_grads_correct(fn: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Passes if no part of the gradient is wrong, and says which part if one is.

    What could not be decided, at the kink of a relu for instance, passes: move the
    point, or look at `nndiag.check_grads`, if that is not what you want.

    Args:
        fn: the function, which returns a scalar.
        args: the point at which to check.
        options: as for `nndiag.check_grads`: `gradient`, a gradient written by hand,
            `argnums`, `order`, `modes`, `key`; any other is an argument of `fn`.

    Raises:
        AssertionError: a gradient is wrong; the message names the leaves, the elements
            and the custom rule.
        ProgramError: the check cannot be made.

    Example:
        >>> import numpy as np
        >>> def energy(x):
        ...     return (x**2).sum() / 2
        >>> assert_grads_correct(energy, np.arange(3.0), gradient=lambda x: x)
        >>> assert_grads_correct(energy, np.arange(3.0), gradient=lambda x: 2 * x)
        Traceback (most recent call last):
            ...
        AssertionError: ...
    """
    __tracebackhide__ = True
    check = check_grads(fn, *args, **options)
    if check.ok is False:
        raise AssertionError(gradcheck_text([check]).strip())
