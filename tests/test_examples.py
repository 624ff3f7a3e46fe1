"""The programs under examples/ show what they say they show."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from nndiag.cli import main
from nndiag.store import read

ROOT = Path(__file__).resolve().parents[1]


def line_of(file: Path, text: str) -> int:
    lines = file.read_text("utf-8").splitlines()
    return next(i for i, line in enumerate(lines, 1) if text in line)


def test_the_first_network_breaks_and_one_card_says_where_why_and_what_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(ROOT)
    run = tmp_path / "run"
    assert (
        main(["run", "examples/raw_pixels.py", "--dpi", "40", "--out", str(run)]) == 0
    )
    out = capsys.readouterr().out
    card = out[out.index("ERROR ND401") : out.index("ND701")]
    file = ROOT / "examples" / "raw_pixels.py"
    born = line_of(file, "powers = jnp.exp(z)")
    assert f"raw_pixels.py:{born}" in card
    assert "overflows float32" in " ".join(re.sub("[│╭╮╰╯─]", " ", card).split())
    assert "88.72" in card
    assert "jax.nn.softmax(z, axis=1)" in card
    (found,) = read(run).autopsies.values()
    assert found.origin is not None
    assert (found.origin.primitive, found.origin.line) == ("exp", born)
    assert (found.primitive, found.line) == ("div", line_of(file, "return powers /"))


LIBRARIES = {
    "plain_jax": None,
    "flax_nnx": "flax",
    "flax_linen": "flax",
    "equinox_mlp": "equinox",
    "haiku_mlp": "haiku",
    "scanned_transformer": None,
    "recurrent": None,
    "convolutional": None,
}
"""The scripts that know nothing of nndiag, and what they need."""


@pytest.mark.optimised
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_script_is_watched_as_it_is_and_keeps_every_bit(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    library = LIBRARIES[name]
    if library is not None:
        pytest.importorskip(library)
    script = str(ROOT / "examples" / f"{name}.py")
    words = ["--steps", "200", "--save"]
    monkeypatch.setattr(sys, "argv", [script, *words, str(tmp_path / "bare.npz")])
    runpy.run_path(script, run_name="__main__")
    plain = capsys.readouterr().out
    options = ["--dpi", "30", "--out", str(tmp_path / "run")]
    arguments = [*options, script, "--", *words, str(tmp_path / "watched.npz")]
    assert main(["run", *arguments]) == 0
    answer = capsys.readouterr()
    assert answer.out == plain
    bare, watched = np.load(tmp_path / "bare.npz"), np.load(tmp_path / "watched.npz")
    for key in bare.files:
        assert bare[key].tobytes() == watched[key].tobytes()
    run = read(tmp_path / "run")
    assert run.steps.tolist() == list(range(200))
    assert run.recorded.tolist() == list(range(0, 200, 10))
    assert run.loss[-20:].mean() < run.loss[:20].mean()
    assert any(role == "gradient" for role, _, _ in run.readings)
    assert "HEALTHY" in answer.err
