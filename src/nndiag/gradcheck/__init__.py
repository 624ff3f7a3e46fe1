"""Are these gradients right, and if not, where."""

from nndiag.gradcheck.check import check_grads as check_grads
