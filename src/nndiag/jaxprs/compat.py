"""The only file that knows JAX's versions and private names.

Tested on JAX 0.10 (the last for Python 3.11) and 0.12. Every name of `jax._src` and
`jax.interpreters` that nndiag needs is used here and nowhere else.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax._src import api as _api
from jax._src import config as _config
from jax._src import source_info_util as _source_info
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Equation = Any
Jaxpr = Any
"""An open or closed jaxpr: JAX 0.12 has one class for both."""


def open_jaxpr(jaxpr: Jaxpr) -> Jaxpr:
    """The jaxpr without its constants; a jaxpr that has none is returned as it is."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def constants(jaxpr: Jaxpr) -> Sequence[Any]:
    """The constants of a closed jaxpr, empty for an open one."""
    return getattr(jaxpr, "consts", ())


def is_jaxpr(value: object) -> bool:
    """Whether a parameter of an equation is a (closed or open) jaxpr."""
    return hasattr(value, "eqns") and hasattr(value, "outvars")


def jaxprs_in(equation: Equation) -> Iterator[Jaxpr]:
    """The open jaxprs among the parameters of an equation."""
    for value in equation.params.values():
        for held in value if isinstance(value, tuple | list) else (value,):
            if is_jaxpr(held):
                yield open_jaxpr(held)


def like(jaxpr: Jaxpr, closed: Jaxpr) -> Jaxpr:
    """`closed`, in the form (open or closed) that `jaxpr` had in its equation."""
    if hasattr(jaxpr, "jaxpr"):
        return closed
    if constants(closed):
        raise ValueError("an open jaxpr cannot hold constants")
    return open_jaxpr(closed)


def is_literal(atom: Any) -> bool:
    """Whether an operand of an equation is a literal and not a variable."""
    return hasattr(atom, "val")


def bind(equation: Equation, operands: Sequence[Any], **changes: Any) -> list[Any]:
    """Evaluates one equation on `operands`, keeping its scope and source line.

    Args:
        equation: the equation.
        operands: one value per input of the equation.
        **changes: parameters to bind with other values.

    Returns:
        The outputs, always as a list.
    """
    parameters = equation.primitive.get_bind_params({**equation.params, **changes})
    with source(equation), equation.ctx.manager:
        outputs = equation.primitive.bind(*operands, **parameters)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def source(equation: Equation) -> contextlib.AbstractContextManager[None]:
    """Under it, new equations carry the scope and source line of `equation`."""
    info = equation.source_info
    stack = _source_info.current_name_stack() + info.name_stack
    return _source_info.user_context(info.traceback, name_stack=stack)


def user_frames(equation: Equation) -> Iterator[tuple[str, int]]:
    """File and line of the calls outside JAX behind `equation`, innermost first."""
    for frame in _source_info.user_frames(equation.source_info.traceback):
        yield frame.file_name, frame.start_line


def scan_split(equation: Equation) -> tuple[int, int]:
    """Number of constants and of carried values among the inputs of a scan."""
    if "ft_in" in equation.params:
        constants, carry, _ = equation.params["ft_in"].unpack()
        return len(constants), len(carry)
    return equation.params["num_consts"], equation.params["num_carry"]


def define_identity(
    primitive: Primitive,
    *,
    jvp: Callable[..., Any],
    transpose: Callable[..., Any],
    batch: Callable[..., Any],
) -> None:
    """Gives `primitive` the meaning "return the first operand".

    Args:
        primitive: a primitive with one result.
        jvp: `(primals, tangents, **params) -> (primal out, tangent out)`.
        transpose: `(cotangent, *operands, **params) -> cotangents`.
        batch: `(operands, axes, **params) -> (out, out axis)`.
    """

    def identity(first: Any, *riders: Any, **params: Any) -> Any:
        return first

    primitive.def_impl(identity)
    primitive.def_abstract_eval(identity)
    mlir.register_lowering(primitive, lambda ctx, first, *riders, **params: [first])
    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose
    batching.primitive_batchers[primitive] = batch


def is_zero(tangent: Any) -> bool:
    """Whether a tangent or cotangent is a symbolic zero."""
    return type(tangent) is ad.Zero


# Part of the key of JAX's trace caches: what was traced under watch is never handed
# to the unwatched program, nor the other way round.
_watching = _config.bool_state(
    "nndiag_watching",
    False,
    "Set while nndiag traces a function that it watches.",
    include_in_trace_context=True,
)
_lock = threading.Lock()
_depth = 0
_bare_vjp = _api.vjp


def is_watching() -> bool:
    """Whether this thread is tracing a watched function."""
    return bool(_watching.value)


@contextlib.contextmanager
def intercepted_gradients(vjp: Callable[..., Any]) -> Iterator[None]:
    """Within it, `jax.grad` and `jax.value_and_grad` differentiate by `vjp`.

    Both look `vjp` up in their own module at each call, so functions made earlier
    (`grad_loss = jax.grad(loss)` at the top of a module) and other libraries' uses
    are seen as well. Other threads keep the plain one.

    Args:
        vjp: takes the plain `jax.vjp`, then the arguments of `jax.vjp`.
    """

    def dispatch(fun: Callable[..., Any], *primals: Any, **options: Any) -> Any:
        if not is_watching():
            return _bare_vjp(fun, *primals, **options)
        return vjp(_bare_vjp, fun, *primals, **options)

    global _depth
    with _lock:
        _depth += 1
        _api.vjp = dispatch
    try:
        with _watching(True):
            yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _api.vjp = _bare_vjp


def trace(fun: Callable[..., Any], *arguments: Any) -> Jaxpr:
    """The closed jaxpr of `fun` at the shapes of `arguments`.

    Unlike a call of a cached `jax.jit`, this always runs `fun`.
    """
    return jax.make_jaxpr(lambda *values: fun(*values))(*arguments)


def retrace(jaxpr: Jaxpr, fun: Callable[..., list[Any]]) -> Jaxpr:
    """The jaxpr of `fun` at the input types of `jaxpr`, in the form `jaxpr` has."""
    inputs = [
        jax.ShapeDtypeStruct(
            variable.aval.shape,
            variable.aval.dtype,
            weak_type=getattr(variable.aval, "weak_type", False),
        )
        for variable in open_jaxpr(jaxpr).invars
    ]
    return like(jaxpr, trace(fun, *inputs))


def debug_nans_is_on() -> bool:
    """Whether `jax_debug_nans` is set."""
    return bool(_config.debug_nans.value)


def debug_nans_is_dead() -> bool:
    """Whether `jax_debug_nans` is on but no longer checks what is compiled.

    Since JAX 0.8, leaving any `jax.debug_nans(...)` context, which JAX itself does
    while tracing `jnp.var`, a `relu` or the gradient of a scan, overwrites this
    thread's check with "none".
    """
    if not debug_nans_is_on():
        return False
    hook = _api._post_hook_state
    return hook.get_local() is None and hook.get_global() is not None


def revive_debug_nans() -> None:
    """Undoes what `debug_nans_is_dead` describes, for this thread."""
    _api._post_hook_state.set_local(_config.config_ext.unset)
