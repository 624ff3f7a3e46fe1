"""The programs under examples/ show what they say they show."""

import re
from pathlib import Path

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
    assert main(["run", "examples/raw_pixels.py", "--out", str(run)]) == 0
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
