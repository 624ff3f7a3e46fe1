"""`nndiag.testing`: gradients in people's own test suites."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from nndiag.testing import assert_grads_correct

X = np.linspace(-1.0, 2.0, 6)


def cubic(x):
    return (x**3).sum()


def test_a_right_gradient_passes_in_silence():
    assert_grads_correct(cubic, X)
    assert_grads_correct(cubic, X, gradient=lambda x: 3 * x**2)


def test_a_wrong_gradient_fails_with_the_table():
    def wrong(x):
        g = 3 * x**2
        g[4] *= 1.01
        return g

    with pytest.raises(AssertionError) as failure:
        assert_grads_correct(cubic, X, gradient=wrong)
    text = str(failure.value)
    assert "The gradient of cubic is wrong" in text
    assert "[4]" in text
    assert "Leaf" in text and "Verdict" in text
    assert "\x1b" not in text


def test_a_kink_passes():
    assert_grads_correct(lambda x: jnp.abs(x).sum(), np.asarray([0.0, 1.0]))


def test_other_options_are_arguments_of_the_function():
    def scaled(x, *, scale):
        return scale * (x**2).sum()

    assert_grads_correct(scaled, X, scale=3.0, gradient=lambda x, scale: 2 * scale * x)
    with pytest.raises(AssertionError):
        assert_grads_correct(scaled, X, scale=3.0, gradient=lambda x, scale: 2 * x)


def test_pytest_shows_the_table_and_none_of_the_inside(tmp_path):
    file = tmp_path / "test_mine.py"
    file.write_text(
        "import numpy as np\n"
        "from nndiag.testing import assert_grads_correct\n"
        "def test_mine():\n"
        "    fn = lambda x: (x**2).sum()\n"
        "    assert_grads_correct(fn, np.ones(3), gradient=lambda x: x)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout
    assert "is wrong in its only leaf: x." in done.stdout
    assert "def assert_grads_correct" not in done.stdout
