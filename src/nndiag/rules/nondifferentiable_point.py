"""# ND502 nondifferentiable_point

## What it measures

Whether the function has a derivative at the tested point, from differences to either
side and from the operations in the program.

## Why it matters

At a kink (relu at 0, equal arguments of max, the edge of a clip) there is no derivative
to hold a gradient against: any value between the two one-sided ones may be meant.
Through a `stop_gradient` or a rounding the gradient differs from the derivative on
purpose.

## When it fires

When the derivatives to the two sides differ at an element, or when the program cuts or
jumps on the way to it. It is information: the check cannot decide at these elements.

## What to do

Nothing, if the point is exceptional: check at another one. For a kink that training
meets often, use a smooth function in its place.

## Known limits

A kink much nearer to the point than the smallest step is taken for one at the point.

## References

- J. Bolte, E. Pauwels, "A mathematical model for automatic differentiation in machine
  learning", 2020.
"""  # noqa: D415 (the first line is a heading)
