"""The point at which gradients are checked: leaves as one vector of float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from nndiag.errors import ProgramError
from nndiag.jaxprs import compat
from nndiag.jaxprs.arguments import named_leaves

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Leaf:
    """One leaf of the arguments.

    Attributes:
        path: by parameter name.
        position: among all leaves of the arguments.
        shape: of the array.
        dtype: name of the dtype.
        start: where its elements begin in the vector.
        stop: where they end; a complex leaf has two entries per element, the real
            parts before the imaginary ones.
        reason: why it is not checked, `""` if it is.
    """

    path: str
    position: int
    shape: tuple[int, ...]
    dtype: str
    start: int = 0
    stop: int = 0
    reason: str = ""

    @property
    def is_complex(self) -> bool:
        """Whether its elements are complex."""
        return self.dtype.startswith("complex")

    @property
    def size(self) -> int:
        """Number of entries in the vector."""
        return self.stop - self.start

    def index(self, entry: int) -> tuple[int, ...]:
        """The index of the element that holds an entry, counted from `start`."""
        count = max(1, int(np.prod(self.shape)))
        return tuple(int(i) for i in np.unravel_index(entry % count, self.shape))


def _as_jax_sees(value: Any) -> Any:
    """A NumPy array with the numbers that JAX takes from it, in its own dtype.

    Without x64, JAX rounds float64 to float32; a gradient by NumPy must be asked at the
    same point.
    """
    if not isinstance(value, np.ndarray | np.generic):
        return value
    seen = jnp.asarray(value)
    if seen.dtype == value.dtype or not jnp.issubdtype(seen.dtype, jnp.inexact):
        return value
    return np.asarray(seen).astype(value.dtype)


class Point:
    """The arguments of a function, and the vector of those that are checked.

    Attributes:
        leaves: all leaves.
        checked: those that are checked.
        vector: float64, their elements one after the other.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        argnums: Sequence[int] | None,
    ) -> None:
        self.args, self.kwargs = tuple(args), dict(kwargs)
        values, self._tree = jax.tree.flatten((self.args, self.kwargs))
        self._values: list[Any] = [_as_jax_sees(value) for value in values]
        named = named_leaves(fn, args, kwargs)
        owner = _owners(args, kwargs)
        start, leaves = 0, list[Leaf]()
        for position, (path, value) in enumerate(named):
            chosen = argnums is None or owner[position] in argnums
            reason = _reason(path, value) if chosen else "not asked for"
            width = 0 if reason else np.size(value) * (1 + np.iscomplexobj(value))
            leaves.append(
                Leaf(
                    path,
                    position,
                    tuple(np.shape(value)) if _is_array(value) else (),
                    _dtype_name(value),
                    start,
                    start + width,
                    reason,
                )
            )
            start += width
        self.leaves = leaves
        self.checked = [leaf for leaf in leaves if not leaf.reason]
        if not self.checked:
            kinds = ", ".join(f"{x.path}: {x.dtype or x.reason}" for x in leaves)
            raise ProgramError(
                "there is no floating-point argument to take a gradient by"
                + (f" ({kinds})" if kinds else "")
                + _hint([value for value in values if not _is_array(value)])
            )
        parts = [self.flat(leaf, self._values[leaf.position]) for leaf in self.checked]
        self.vector: Vector = np.concatenate(parts)

    @property
    def arrays(self) -> list[Any]:
        """The checked leaves, as the user gave them, as JAX arrays."""
        return [jnp.asarray(self._values[leaf.position]) for leaf in self.checked]

    def rebuilt(self, arrays: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with other values of the checked leaves."""
        values = list(self._values)
        for leaf, array in zip(self.checked, arrays, strict=True):
            values[leaf.position] = array
        return jax.tree.unflatten(self._tree, values)

    def in_dtypes(self, vector: Vector, *, wide: bool = False) -> list[Any]:
        """The checked leaves at `vector`, as the user would have given them.

        Args:
            vector: elements that the dtypes of the leaves can hold.
            wide: NumPy arrays of float64 (complex128) instead.
        """
        arrays = [np.asarray(part) for part in self.unflattened(vector, np)]
        if wide:
            return arrays
        pairs = zip(self.checked, arrays, strict=True)
        return [_like(self._values[leaf.position], array) for leaf, array in pairs]

    def rounded(self, vector: Vector) -> Vector:
        """The nearest vector whose elements the dtypes of the leaves can hold."""
        return self.flat_all(self.in_dtypes(vector))

    def unflattened(self, vector: Any, xp: Any = jnp) -> list[Any]:
        """The checked leaves in `vector`, in float64 or complex128; traceable."""
        return [self._leaf(leaf, vector, xp) for leaf in self.checked]

    def _leaf(self, leaf: Leaf, vector: Any, xp: Any) -> Any:
        part = vector[leaf.start : leaf.stop]
        if leaf.is_complex:
            half = leaf.size // 2
            part = part[:half] + 1j * part[half:]
        return xp.reshape(part, leaf.shape)

    @staticmethod
    def flat(leaf: Leaf, value: Any, *, gradient: bool = False) -> Vector:
        """The entries of a leaf, or of a gradient by it.

        JAX's gradient of a real function by z = x + iy is ∂f/∂x − i·∂f/∂y.
        """
        array = np.asarray(value)
        if not leaf.is_complex:
            real = np.real(array) if np.iscomplexobj(array) else array
            return real.astype(np.float64).reshape(-1)
        flat = array.astype(np.complex128).reshape(-1)
        return np.concatenate([flat.real, -flat.imag if gradient else flat.imag])

    def flat_all(self, values: Sequence[Any], *, gradient: bool = False) -> Vector:
        """The vector of one value per checked leaf."""
        pairs = zip(self.checked, values, strict=True)
        return np.concatenate([self.flat(x, v, gradient=gradient) for x, v in pairs])

    def gradients(self, vector: Vector) -> list[Any]:
        """A gradient, leaf by leaf, in float64 or in JAX's convention complex128."""
        pairs = zip(self.checked, self.unflattened(vector, np), strict=True)
        return [np.conj(part) if leaf.is_complex else part for leaf, part in pairs]

    def scale(self, leaf: Leaf) -> float:
        """A power of two near the root mean square of a leaf's elements; 1 for 0."""
        part = self.vector[leaf.start : leaf.stop]
        largest = float(np.abs(part).max())
        if largest == 0:
            return 1.0
        rms = largest * float(np.sqrt(np.mean((part / largest) ** 2)))
        return float(2.0 ** np.round(np.log2(rms)))

    def eps(self, leaf: Leaf) -> float:
        """Distance from 1 to the next number in the leaf's dtype."""
        return float(jnp.finfo(leaf.dtype).eps)


def _hint(strange: Sequence[Any]) -> str:
    if not any(hasattr(value, "__dict__") for value in strange):
        return ""
    return (
        "; JAX sees nothing in an object of one's own unless its class is a pytree, "
        "such as by jax.tree_util.register_dataclass"
    )


def _like(original: Any, array: Any) -> Any:
    """`array` in the type and dtype of `original`."""
    if isinstance(original, jax.Array | np.ndarray | np.generic):
        array = array.astype(original.dtype)
        return jnp.asarray(array) if isinstance(original, jax.Array) else array
    narrow = array.astype(jnp.result_type(original))
    return type(original)(narrow)


def _owners(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
    """For each leaf, the number of the positional argument it is in; −1 for others."""
    owners = [n for n, arg in enumerate(args) for _ in jax.tree.leaves(arg)]
    return owners + [-1] * len(jax.tree.leaves(dict(kwargs)))


def _is_array(value: Any) -> bool:
    return isinstance(
        value, jax.Array | np.ndarray | np.generic | complex | float | int
    )


def _dtype_name(value: Any) -> str:
    if not _is_array(value):
        return type(value).__name__
    return str(jnp.result_type(value))


def _reason(path: str, value: Any) -> str:
    """Why a leaf is not checked."""
    if isinstance(value, jax.Array) and value.is_deleted():
        raise ProgramError(
            f"argument {path} was donated to an earlier call and deleted; "
            "pass a copy that was made before that call"
        )
    if not _is_array(value):
        return f"a {type(value).__name__}, no array"
    dtype = jnp.result_type(value)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return f"{dtype}: it has no derivative"
    if np.size(value) == 0:
        return "it has no elements"
    data = np.asarray(value)
    if not np.isfinite(data if data.dtype.kind in "fc" else data.astype(float)).all():
        raise ProgramError(
            f"argument {path} holds a NaN or Inf, so there is no gradient to check; "
            "nndiag.autopsy finds where such a value comes from"
        )
    return ""


def silent(jaxpr: Any) -> Any:
    """`jaxpr` without prints; as it is where it reads an `io_callback`."""
    try:
        return compat.silence(jaxpr)
    except LookupError:
        raise ProgramError(
            "the function uses what an io_callback returns, and a check must not "
            "repeat such a side effect; pass that value in as an argument"
        ) from None
