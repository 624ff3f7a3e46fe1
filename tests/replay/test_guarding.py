"""The guard: good steps unchanged, the first bad one kept."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nndiag.errors import ProgramError
from nndiag.replay.guarding import Guarded, guard

KEY = jax.random.key(3)


def mlp_step(optimizer):
    def loss(params, batch):
        x, y = batch
        hidden = jax.nn.relu(x @ params["a"])
        return optax.softmax_cross_entropy_with_integer_labels(
            hidden @ params["b"], y
        ).mean()

    def step(state, batch):
        params, held = state
        value, gradients = jax.value_and_grad(loss)(params, batch)
        updates, held = optimizer.update(gradients, held, params)
        return (optax.apply_updates(params, updates), held), {"loss": value}

    return step


def mlp_state(optimizer, dtype=jnp.float32):
    a, b = jax.random.split(KEY)
    params = {
        "a": jax.random.normal(a, (20, 32), dtype) / 4,
        "b": jax.random.normal(b, (32, 5), dtype) / 5,
    }
    return params, optimizer.init(params)


def mlp_batches(steps, dtype=jnp.float32):
    x = jax.random.normal(KEY, (steps, 16, 20), dtype)
    return x, jax.random.randint(KEY, (steps, 16), 0, 5)


def same_bits(a, b):
    return all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.optimised
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_good_steps_give_the_bits_of_the_bare_step(name):
    optimizer = getattr(optax, name)(0.05)
    step, batches = mlp_step(optimizer), mlp_batches(200)
    guarded = guard(step)
    state = mlp_state(optimizer)
    bare, losses = jax.jit(lambda s, b: jax.lax.scan(step, s, b))(state, batches)
    start = guarded.start(state, jax.tree.map(lambda x: x[0], batches))
    end, watched = jax.jit(lambda s, b: jax.lax.scan(guarded, s, b))(start, batches)
    assert end.good
    assert int(end.step) == 200
    assert same_bits(end.state, bare)
    assert same_bits(watched, losses)


@pytest.mark.parametrize("looped", [False, True], ids=["scan", "donating loop"])
def test_the_first_bad_step_is_kept_to_be_replayed(looped):
    optimizer = optax.adam(0.05)
    step = mlp_step(optimizer)
    x, y = mlp_batches(9)
    x = x.at[6].set(jnp.inf)
    guarded, state = guard(step), mlp_state(optimizer)
    carry = guarded.start(state, (x[0], y[0]))
    if looped:
        advance = jax.jit(guarded, donate_argnums=0)
        for batch in zip(x, y, strict=True):
            carry, _ = advance(carry, batch)
    else:
        carry, _ = jax.jit(lambda c, b: jax.lax.scan(guarded, c, b))(carry, (x, y))
    before = mlp_state(optimizer)  # the first was perhaps donated
    for batch in zip(x[:6], y[:6], strict=True):
        before, _ = jax.jit(step)(before, batch)
    assert not carry.good
    assert int(carry.step) == 6
    assert same_bits(carry.batch, (x[6], y[6]))
    for kept, expected in zip(
        jax.tree.leaves(carry.state), jax.tree.leaves(before), strict=True
    ):
        np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-7)
    _, metrics = step(carry.state, carry.batch)
    assert not np.isfinite(metrics["loss"])


def test_an_overflow_of_the_update_is_a_bad_step():
    guarded = guard(lambda w, rate: (w - rate * w, {"loss": w.sum()}))
    carry = guarded.start(jnp.full(3, 1e30), jnp.float32(0))
    for rate in (0.5, 1e9, 0.5):
        carry, _ = guarded(carry, jnp.float32(rate))
    assert (bool(carry.good), int(carry.step), float(carry.batch)) == (False, 1, 1e9)
    assert float(carry.state[0]) == pytest.approx(5e29)


def test_one_bad_element_in_a_large_narrow_array_is_seen_and_its_sum_may_be_large():
    def step(w, index):
        return w.at[index].set(jnp.nan), {"loss": jnp.float32(0)}

    guarded = guard(step)
    w = jnp.full(10_000, 60_000, jnp.float16)  # the float16 sum would overflow
    carry, _ = guarded(guarded.start(w, 0), 10_001)  # out of bounds: dropped
    assert carry.good
    carry, _ = guarded(carry, 9_999)
    assert not carry.good


def test_what_was_not_finite_to_begin_with_is_not_watched():
    def step(state, x):
        return {"best": state["best"], "w": state["w"] * x}, {"loss": x}

    guarded = guard(step)
    start = {"best": jnp.asarray(jnp.inf), "w": jnp.asarray(1.0)}
    carry, _ = guarded(guarded.start(start, 1.0), jnp.float32(2))
    assert carry.good
    carry, _ = guarded(carry, jnp.float32(jnp.nan))
    assert not carry.good


def test_gradients_that_the_optimizer_leaves_out_are_no_reason_to_stop():
    optimizer = optax.apply_if_finite(optax.sgd(0.1), max_consecutive_errors=5)

    def step(state, x):
        params, held = state
        gradient = jax.grad(lambda w: jnp.sqrt(w * x))(params)
        updates, held = optimizer.update(gradient, held)
        return (optax.apply_updates(params, updates), held), {}

    guarded, w = guard(step), jnp.asarray(1.0)
    carry = guarded.start((w, optimizer.init(w)), 1.0)
    for x in (1.0, 0.0, 1.0):
        carry, _ = guarded(carry, jnp.float32(x))
    assert carry.good


def test_keys_integers_and_complex_leaves_are_carried():
    def step(state, x):
        key, count, z = state
        return (jax.random.split(key)[0], count + 1, z * x), {"loss": abs(z)}

    guarded = guard(step)
    start = (jax.random.key(0), jnp.asarray(0), jnp.asarray(1 + 1j))
    carry, _ = jax.jit(guarded)(guarded.start(start, 1.0), jnp.float32(2))
    assert carry.good
    assert complex(carry.state[2]) == 2 + 2j
    carry, _ = jax.jit(guarded)(carry, jnp.float32(jnp.inf))
    assert not carry.good
    assert int(carry.state[1]) == 1


def test_under_vmap_each_lane_has_its_own():
    guarded = guard(lambda w, x: (w / x, {"loss": w}))
    starts = jax.vmap(guarded.start)(jnp.ones(3), jnp.ones(3))
    carry, _ = jax.vmap(guarded)(starts, jnp.asarray([1.0, 0.0, 2.0]))
    assert carry.good.tolist() == [True, False, True]
    assert carry.state.tolist() == [1, 1, 0.5]


def test_a_plain_state_and_a_state_that_changes_type_are_refused():
    guarded = guard(lambda w, x: (w.astype(jnp.float16), {}))
    with pytest.raises(ProgramError, match=r"guard\(step\)\.start\(state, batch\)"):
        guarded(jnp.ones(3), 1.0)
    with pytest.raises(ProgramError, match="could not be kept"):
        guarded(guarded.start(jnp.ones(3), 1.0), 1.0)


def test_a_ragged_batch_and_a_third_value_are_refused_in_words():
    guarded = guard(lambda w, x: (w, {"loss": x.sum()}))
    with pytest.raises(ProgramError, match="last batch of another size"):
        guarded(guarded.start(jnp.ones(2), jnp.ones(4)), jnp.ones(3))
    three = guard(lambda w, x: (w, x, {}))
    with pytest.raises(ProgramError, match="returns 3 values: put what it carries"):
        three(three.start(jnp.ones(2), jnp.ones(4)), jnp.ones(4))


def test_the_guarded_state_is_a_pytree():
    assert len(jax.tree.leaves(Guarded(1, 2, 3, 4, 5))) == 5


@pytest.mark.parametrize("donated", [False, True])
def test_memory_holds_no_second_state_unless_it_is_donated(donated):
    state = {"a": jnp.ones((300, 300)), "b": jnp.ones((200, 100))}
    batch = jnp.ones((16, 20))

    def halve(state, batch):
        return jax.tree.map(lambda x: x * batch.mean(), state), {}

    def peak(step, carry):
        options = {"donate_argnums": 0} if donated else {}
        compiled = jax.jit(step, **options).lower(carry, batch).compile()
        memory = compiled.memory_analysis()
        return (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )

    guarded = guard(halve)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    extra = peak(guarded, guarded.start(state, batch)) - peak(halve, state)
    kept_batches = 2 * batch.nbytes  # one goes in, one comes out
    assert extra - kept_batches <= (1.02 if donated else 0.02) * size
