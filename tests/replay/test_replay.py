"""One equation at a time: what is born where, and whether it matters."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import io_callback

from nndiag.errors import ProgramError
from nndiag.replay import autopsy


def line_of(marker: str) -> int:
    """The line of this file that ends with the comment `marker`."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    (found,) = [n for n, line in enumerate(lines, 1) if line.endswith(f"# {marker}")]
    return found


def examine(fn, *args, **options):
    found = autopsy(fn, *args, **options)
    assert found is not None
    assert found.file == "" or found.file.endswith("test_replay.py")
    return found


def norm(x):
    return jnp.sqrt(jnp.sum(x**2))  # norm


def roots(x):
    return jnp.where(x > 0, jnp.sqrt(x), 0.0).sum()  # roots


def shrink(x):
    square = x**2  # square
    return x * jax.lax.rsqrt(square.mean())


@jax.custom_jvp
def rough(x):
    return jnp.log(x)  # rough


@rough.defjvp
def _(primals, tangents):
    (x,), (t,) = primals, tangents
    return rough(x), t / (x - 1)  # rough tangent


@jax.custom_vjp
def clipped(x):
    return jnp.minimum(x, 1.0)


clipped.defvjp(
    lambda x: (clipped(x), x),
    lambda x, ct: (ct * jnp.log(x),),
)


def test_forward_line_column_and_element():
    def fn(x):
        with jax.named_scope("head"):
            return 2 * jnp.log(x)  # log

    found = examine(jax.jit(fn), jnp.array([[1.0, 2.0], [-1.0, 3.0]]))
    source = "return 2 * jnp.log(x)  # log"
    assert (found.kind, found.primitive, found.direction) == ("nan", "log", "forward")
    assert (found.line, found.source) == (line_of("log"), source)
    # 12 blanks stand before the statement; columns count from 1.
    assert found.column == 12 + source.index("jnp") + 1
    assert found.elements == ((1, 0),) and found.count == 1
    assert (found.scope, found.path, found.origin) == ("head", (), None)
    (operand,) = found.operands
    assert (operand.dtype, operand.shape) == ("float32", (2, 2))
    assert (operand.low, operand.high, operand.values) == (-1.0, 3.0, (-1.0,))
    assert found.result.nans == 1 and found.reaches_output
    np.testing.assert_array_equal(found.values["operand_0"][1], [-1.0, 3.0])
    assert found.cause


def test_norm_at_zero_is_traced_to_its_derivative():
    found = examine(jax.jit(jax.grad(norm)), jnp.zeros(3))
    assert (found.kind, found.primitive, found.direction) == ("nan", "mul", "backward")
    assert found.line == line_of("norm")
    assert found.elements == ((0,), (1,), (2,))
    origin = found.origin
    assert origin is not None
    assert (origin.kind, origin.primitive) == ("inf", "div")
    assert origin.line == line_of("norm")
    assert found.chain[0].kind == "inf"
    assert found.chain[-1].kind == "nan"
    assert examine(jax.grad(norm), jnp.zeros(3), look_for="inf").primitive == "div"


def test_the_where_trap_is_silent_forward_and_found_backward():
    x = jnp.array([-1.0, 4.0])
    assert autopsy(roots, x) is None
    seen = examine(roots, x, ignore_masked=False)
    assert (seen.primitive, seen.reaches_output) == ("sqrt", False)
    found = examine(jax.grad(roots), x)
    assert (found.line, found.elements) == (line_of("roots"), ((0,),))
    assert found.reaches_output


def test_overflow_that_comes_out_finite():
    found = examine(shrink, jnp.array([300.0, 1.0], jnp.float16))
    assert (found.kind, found.primitive) == ("inf", "integer_pow")
    assert (found.line, found.elements) == (line_of("square"), ((0,),))
    assert not found.reaches_output and found.output == ""


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: jnp.argmax(jnp.log(x)),
        lambda x: jnp.where(jnp.log(x) > 0, 1.0, 0.0),
        lambda x: jnp.log(x) ** 0.0,
    ],
    ids=["argmax", "comparison", "power"],
)
def test_a_swallowed_nan_is_reported(fn):
    found = examine(fn, jnp.array([-1.0, 1.0]))
    assert (found.primitive, found.reaches_output) == ("log", False)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: jnp.nansum(jnp.log(x)),
        lambda x: jnp.log(x)[1:],
        lambda x: jnp.where(jnp.isfinite(jnp.log(x)), jnp.log(x), 0.0),
        lambda x: (jnp.sqrt(x), x)[1],
        lambda x: 1.0 / (1.0 / (x + 1)),
        lambda x: jnp.exp(jnp.log(x + 1)),
        lambda x: jnp.exp(jnp.where(x > 0, x, -jnp.inf)),
        lambda x: jax.nn.softmax(jnp.where(x > 0, x, -jnp.inf)),
        lambda x: jnp.minimum(jnp.exp(100 * x), 5.0),
        lambda x: jnp.where(x > 0, x, jnp.nan)[1],
    ],
    ids=[
        "nansum",
        "slice",
        "isfinite",
        "unused",
        "reciprocal",
        "pole",
        "mask",
        "softmax",
        "min",
        "literal",
    ],
)
def test_what_only_a_selection_or_pole_hides_is_none(fn):
    x = jnp.array([-1.0, 1.0])
    assert jnp.isfinite(fn(x)).all()
    assert autopsy(fn, x) is None


def test_given_infinities_are_nobodys_fault():
    assert autopsy(lambda x: jnp.where(x > 0, x, -jnp.inf), jnp.array([-1.0])) is None
    found = examine(lambda x: jax.nn.softmax(x - jnp.inf), jnp.ones((2, 3)))
    assert (found.primitive, found.count) == ("sub", 6)
    assert found.origin is None


def test_a_literal_nan_is_made_where_it_is_used():
    found = examine(lambda x: jnp.where(x > 0, x, jnp.nan) + 1, jnp.array([1.0, -1.0]))
    assert found.elements == ((1,),)


def test_out_of_bounds_fill_is_found():
    found = examine(lambda x, i: jnp.take(x, i, axis=0), jnp.ones(3), jnp.array([1, 7]))
    assert (found.primitive, found.elements) == ("gather", ((1,),))


def test_two_births_in_one_array_are_told_apart():
    def fn(x):
        both = jnp.concatenate([jnp.sqrt(x), jnp.log(x)])  # both
        return both.reshape(2, 2)[1]

    found = examine(fn, jnp.array([-1.0, -2.0]))
    assert (found.primitive, found.line) == ("log", line_of("both"))


def test_custom_derivatives_are_entered():
    found = examine(rough, -1.0)
    assert (found.primitive, found.line) == ("log", line_of("rough"))
    found = examine(jax.grad(rough), 1.0)
    assert (found.kind, found.primitive) == ("inf", "div")
    assert found.line == line_of("rough tangent")
    found = examine(jax.grad(lambda x: clipped(x).sum()), jnp.array([1.0, -1.0]))
    assert (found.primitive, found.direction) == ("log", "backward")
    assert found.elements == ((1,),)


def test_remat_is_entered_in_both_directions():
    layer = jax.checkpoint(lambda x: jnp.sin(jnp.sqrt(x)))  # layer
    found = examine(jax.grad(lambda x: layer(x).sum()), jnp.array([1.0, 0.0]))
    assert (found.kind, found.line) == ("inf", line_of("layer"))
    assert (found.direction, found.elements) == ("backward", ((1,),))


def test_branches_are_named():
    def fn(i, x):
        cases = [jnp.sin, jnp.cos, lambda x: jnp.log(x)]  # case
        return jax.lax.switch(i, cases, x)

    found = examine(fn, 2, -1.0)
    assert (found.path, found.line) == (("cond.branch2",), line_of("case"))
    assert autopsy(fn, 1, -1.0) is None


def test_the_lane_of_a_mapped_function_is_the_leading_index():
    x = np.ones((5, 3), np.float32)
    x[3, 1] = -1
    found = examine(jax.vmap(lambda row: jnp.sqrt(row).sum()), x)
    assert found.elements == ((3, 1),)


def test_bad_arguments_are_named():
    params = {"w": jnp.array([[1.0, jnp.nan], [0.0, 2.0]]), "b": jnp.zeros(2)}

    def loss(params, x):
        return (x @ params["w"] + params["b"]).sum()

    found = examine(jax.jit(loss), params, jnp.ones((3, 2)))
    assert (found.primitive, found.argument) == ("input", "params['w']")
    assert (found.elements, found.line, found.file) == (((0, 1),), 0, "")
    assert autopsy(lambda x: 1 / x, jnp.array([jnp.inf])) is None
    found = examine(lambda *xs, scale: xs[1] * scale, 1.0, 0.0, scale=jnp.inf)
    assert (found.kind, found.argument, found.output) == ("inf", "scale", "")


def test_a_closed_over_array_is_named():
    table = jnp.array([1.0, jnp.nan])
    found = examine(lambda x: (table * x).sum(), 2.0)
    assert (found.primitive, found.elements) == ("input", ((1,),))
    assert "closed-over float32[2]" in found.argument


def test_the_output_is_named():
    found = examine(lambda x: {"a": x, "b": (x, jnp.log(x))}, -1.0)
    assert found.output == "['b'][1]"


def test_only_what_is_looked_for():
    def fn(x):
        return jnp.exp(x), jnp.log(x)

    x = jnp.array([100.0, -1.0])
    assert examine(fn, x).primitive == "log"
    assert examine(fn, x, look_for="nan").primitive == "log"
    assert examine(fn, x, look_for="inf").primitive == "exp"
    assert autopsy(jnp.exp, x, look_for="nan") is None


def test_prints_and_callbacks_are_not_repeated(capsys):
    heard = []

    def fn(x):
        jax.debug.print("x = {}", x)
        io_callback(heard.append, None, x)

        def step(c, t):
            jax.debug.callback(heard.append, c)
            return c * t, None

        return jnp.log(jax.lax.scan(step, x, jnp.ones(3))[0])

    assert examine(jax.jit(fn), -1.0).primitive == "log"
    jax.effects_barrier()
    assert heard == [] and capsys.readouterr().out == ""


def test_a_pure_callback_is_evaluated_and_noted():
    shape = jax.ShapeDtypeStruct((), jnp.float32)

    def fn(x):
        return jnp.sqrt(jax.pure_callback(lambda v: -v, shape, x))

    found = examine(fn, 1.0)
    assert found.primitive == "sqrt"
    assert any("pure_callback" in note for note in found.notes)


def test_random_keys_pass_through():
    def fn(key, x):
        noise = jax.random.normal(key, x.shape)
        return jnp.log(x + 0.0 * noise)  # noisy

    found = examine(fn, jax.random.key(0), jnp.array([1.0, -1.0]))
    assert (found.line, found.elements) == (line_of("noisy"), ((1,),))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float8_e5m2"])
def test_every_float_is_watched(dtype):
    largest = float(jnp.finfo(dtype).max)
    found = examine(lambda x: x + x, jnp.full(2, largest, dtype))
    assert (found.kind, found.primitive, found.count) == ("inf", "add", 2)
    assert found.result.dtype == dtype


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.floats(-10, 10, width=32, allow_subnormal=False), min_size=6, max_size=6
    )
)
def test_elements_are_exactly_those_that_numpy_finds(numbers):
    x = np.array(numbers, np.float32).reshape(2, 3)
    with np.errstate(all="ignore"):
        expected = np.argwhere(np.isnan(np.sqrt(x)))
    found = autopsy(lambda x: jnp.sqrt(x), x)
    if len(expected) == 0:
        assert found is None
    else:
        assert found is not None
        assert found.elements == tuple(map(tuple, expected.tolist()))


def test_healthy_programs_give_none():
    def loss(w, x):
        return jnp.mean(jnp.logaddexp(0.0, jax.nn.relu(x @ w)))

    assert autopsy(jax.value_and_grad(loss), jnp.ones((3, 2)), jnp.ones((4, 3))) is None


@pytest.mark.parametrize(
    ("fn", "args", "words"),
    [
        (lambda x, mode: x, (1.0, "fast"), "argument mode is a str"),
        (lambda x, n: x * jnp.ones(n), (1.0, 3), "functools.partial"),
        (lambda x: x if x > 0 else -x, (1.0,), "functools.partial"),
        (lambda x: x + undefined, (1.0,), "raised NameError at test_replay.py"),  # noqa: F821
        (lambda x: x + 1, (1,), "no float anywhere"),
        ("text", (), "autopsy needs a function"),
        (
            lambda x: io_callback(np.sin, jax.ShapeDtypeStruct((), "float32"), x),
            (1.0,),
            "io_callback",
        ),
        (
            jax.jit(lambda x, sizes: x, static_argnames="sizes"),
            (1.0, [1, 2]),
            "functools.partial",
        ),
    ],
    ids=[
        "string",
        "shape",
        "branch",
        "raises",
        "integer",
        "uncallable",
        "io_callback",
        "static",
    ],
)
def test_what_cannot_be_replayed_is_said_in_one_sentence(fn, args, words):
    with pytest.raises(ProgramError) as caught:
        autopsy(fn, *args)
    message = str(caught.value)
    assert words in message and "\n" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_donated_arguments_are_named():
    state = {"w": jnp.ones(3)}
    jax.jit(lambda state: jax.tree.map(jnp.sin, state), donate_argnums=0)(state)
    with pytest.raises(ProgramError, match=r"argument state\['w'\] was donated"):
        autopsy(lambda state: state["w"], state)


def test_settings_are_closed_over():
    assert autopsy(partial(jnp.sum, axis=0), jnp.ones((2, 2))) is None


def test_debug_nans_neither_stops_the_replay_nor_is_switched_off():
    with jax.debug_nans(True):
        assert examine(lambda x: jnp.log(x), -1.0).primitive == "log"
        with pytest.raises(FloatingPointError):
            jnp.log(-1.0).block_until_ready()


def test_a_library_function_is_located_where_it_is_called():
    def fn(x):
        first = jnp.remainder(x, 2.0)
        second = jnp.remainder(first, 0 * x)  # second call
        return second

    # JAX traces `remainder` once; both calls share the equations of the first.
    assert examine(fn, jnp.ones(5)).line == line_of("second call")


def test_arguments_of_any_signature_are_named():
    def extra(*args, **named):
        return args[0] * args[1] * named["k"]

    def rest(a, *others, k=1.0):
        return a * others[0] * others[1] * k

    nan = jnp.nan
    named = [
        (extra, (1.0, nan), {"k": 1.0}, "args[1]"),
        (extra, (1.0, 1.0), {"k": nan}, "k"),
        (rest, (1.0, 2.0, nan), {}, "others[1]"),
        (rest, (nan, 2.0, 3.0), {"k": 1.0}, "a"),
        (rest, (1.0, 2.0, 3.0), {"k": nan}, "k"),
        (jnp.logaddexp, (nan, 1.0), {}, "args[0]"),
    ]
    for fn, args, kwargs, name in named:
        found = autopsy(fn, *args, **kwargs)
        assert found is not None and found.argument == name


def test_what_is_returned_must_be_arrays():
    def generator(x):
        yield x

    async def coroutine(x):
        return x

    for fn, kind in [
        (lambda x: (x, "text"), r"str in output\[1\]"),
        (generator, "generator"),
        (coroutine, "coroutine"),
    ]:
        with pytest.raises(ProgramError, match=f"returns a {kind}, not arrays") as said:
            autopsy(fn, 1.0)
        assert "tracing.py" not in str(said.value)


def test_static_positions_are_said_without_tracers():
    fn = jax.jit(lambda x, n: jnp.log(x) * n, static_argnums=1)
    with pytest.raises(ProgramError, match="static arguments") as said:
        autopsy(fn, -1.0, 2)
    assert "Tracer" not in str(said.value)
