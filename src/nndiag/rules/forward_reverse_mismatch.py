"""# ND503 forward_reverse_mismatch

## What it measures

u·(Jv) by forward mode (`jax.jvp`) against (Jᵀu)·v by reverse mode (`jax.vjp`), for
random u and v: the same number, up to rounding.

## Why it matters

JAX makes reverse mode by transposing forward mode. Where the two disagree, a transpose
rule or one of two custom rules is wrong, and one of the modes gives wrong gradients.

## When it fires

When the two differ by more than rounding can make them. It is an error, found by
`nndiag gradcheck` or `nndiag.check_grads`, not by a run.

## What to do

Give the function one `custom_jvp` rule, from which JAX derives the other mode, or
correct the transpose rule.

## Known limits

Two modes may agree and both be wrong; ND501 holds them against differences. A function
with a `custom_vjp` has no forward mode to compare.

## References

- JAX documentation, "The Autodiff Cookbook": Jacobian-vector and vector-Jacobian
  products.
"""  # noqa: D415 (the first line is a heading)
