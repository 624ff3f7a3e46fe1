"""What nndiag needs of JAX's insides, on whichever version this is."""

import threading

import jax
import jax.numpy as jnp
import pytest

from nndiag.jaxprs import compat


def test_what_is_traced_under_watch_is_not_reused_outside_nor_inside():
    traced = []

    @jax.jit
    def double(x):
        traced.append(compat.is_watching())
        return 2 * x

    double(1.0)
    with compat.intercepted_gradients(lambda vjp, *a, **k: vjp(*a, **k)):
        jax.make_jaxpr(double)(1.0)
    double(1.0)
    assert traced == [False, True]


def test_gradients_are_intercepted_in_this_thread_only_and_only_within():
    seen = []

    def spy(vjp, fun, *primals, **options):
        seen.append(threading.current_thread().name)
        return vjp(fun, *primals, **options)

    early = jax.grad(jnp.sin)

    def elsewhere():
        assert early(0.0) == 1.0

    with compat.intercepted_gradients(spy):
        assert early(0.0) == 1.0
        thread = threading.Thread(target=elsewhere, name="another")
        thread.start()
        thread.join()
    assert early(0.0) == 1.0
    assert seen == ["MainThread"]


def test_interception_ends_when_the_body_raises():
    with (
        pytest.raises(ZeroDivisionError),
        compat.intercepted_gradients(lambda vjp, *a, **k: 1 / 0),
    ):
        jax.grad(jnp.sin)(0.0)
    assert jax.grad(jnp.sin)(0.0) == 1.0


def test_bind_keeps_scope_and_line():
    def scoped(x):
        with jax.named_scope("here"):
            return jnp.sin(x)

    jaxpr = compat.trace(scoped, 1.0)
    (sine,) = compat.open_jaxpr(jaxpr).eqns
    again = compat.trace(lambda x: compat.bind(sine, [x])[0], 1.0)
    (copied,) = compat.open_jaxpr(again).eqns
    assert str(copied.source_info.name_stack) == "here"
    assert next(compat.user_frames(copied)) == next(compat.user_frames(sine))


def test_the_parts_of_a_scan_are_counted():
    def scanned(constant, carry, xs):
        return jax.lax.scan(lambda c, x: (c * constant + x, c), carry, xs)

    jaxpr = compat.trace(scanned, 2.0, 0.0, jnp.ones(3))
    scan = next(e for e in compat.open_jaxpr(jaxpr).eqns if e.primitive.name == "scan")
    assert compat.scan_split(scan) == (1, 1)


def test_a_dead_nan_check_is_seen_and_revived():
    with jax.debug_nans(True):
        pass  # leaving this is what kills the check
    before = jax.config.jax_debug_nans
    try:
        jax.config.update("jax_debug_nans", True)
        root = jax.jit(jnp.sqrt)
        root(1.0)
        assert compat.debug_nans_is_dead()
        root(-1.0)  # compiled already: JAX does not notice
        compat.revive_debug_nans()
        assert not compat.debug_nans_is_dead()
        with pytest.raises(FloatingPointError):
            root(-1.0)
    finally:
        jax.config.update("jax_debug_nans", before)
