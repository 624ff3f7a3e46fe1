"""# ND501 gradient_mismatch

## What it measures

The gradient of each leaf of the arguments against the derivative of the function, taken
by central differences in float64 with Richardson extrapolation and, where the function
is analytic, to its last digits by a complex step. Each derivative comes with an error
that was measured, not assumed.

## Why it matters

A wrong gradient rarely stops training; it makes it slow, or makes it stop at the wrong
place, and looks like a bad learning rate.

## When it fires

When gradient and derivative differ, in a leaf, by more than the measured error of the
derivative and the rounding of the gradient's own type. It is an error, found by
`nndiag gradcheck` or `nndiag.check_grads`, not by a run.

## What to do

Look at the leaf and the elements that are named, and at the custom rule or the line if
one is. A gradient that is a factor, the negative, or the transpose of the derivative
says so. Or drop the hand-written gradient: `jax.grad` differentiates the function.

## Known limits

A custom rule in a long loop is looked at in a few iterations only. Of a long program,
not every slip is tried that could explain a wrong gradient. In float16 and
bfloat16 an error below the rounding of the type cannot be told from rounding.

## References

- C. Ridders, "Accurate computation of F′(x) and F′(x)F″(x)", 1982.
- W. Squire, G. Trapp, "Using complex variables to estimate derivatives of real
  functions", SIAM Review 40, 1998.
- P. Gill, W. Murray, M. Saunders, M. Wright, "Computing forward-difference intervals
  for numerical optimization", 1983.
"""  # noqa: D415 (the first line is a heading)
