"""Each command and example of the README works as it stands."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from nndiag.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = ["--steps", "12", "--dpi", "40"]
SMALL_NETWORK = ["--set", "depth=1", "--set", "width=8"]
RUN_ELSEWHERE = {
    ("gradcheck",),  # tests/cli/test_gradcheck.py
    ("run", "examples/raw_pixels.py"),  # tests/test_examples.py
    ("autopsy", "examples/raw_pixels.py"),  # below
}
MY_MODEL = """
import jax.numpy as jnp
import nndiag
import optax

target = nndiag.target(
    init=lambda key: jnp.ones(3),
    loss=lambda w, batch: jnp.square(batch @ w).mean(),
    optimizer=optax.sgd(0.1),
    data=jnp.eye(30, 3),
    batch_size=2,
)
"""


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every command: the lines of the shell blocks, taken apart at ``&&``."""
    lines = "".join(blocks("sh")).splitlines()
    return [part.strip() for line in lines for part in line.split("&&")]


def of_nndiag() -> list[list[str]]:
    """The words after ``nndiag`` of each command that is ours."""
    found = [shlex.split(command) for command in commands()]
    return [words[1:] for words in found if Path(words[0]).name == "nndiag"]


def in_words(text: str) -> str:
    """A text without frames and line ends, nor how far rounding went."""
    text = re.sub(r"\b\de-1[5-7]\b", "rounding", text)
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a target of one's own."""
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "my_model.py").write_text(MY_MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_every_command_is_known_to_these_tests() -> None:
    others = [c for c in commands() if Path(c.split()[0]).name != "nndiag"]
    assert others == [
        "python3 -m venv .venv",
        ".venv/bin/pip install -q .",
        "python3 -m venv .venv",
        '.venv/bin/pip install -q -e ".[test]"',
        ".venv/bin/python -m pytest -q -n auto",
    ]
    assert {words[0] for words in of_nndiag()} == {
        "autopsy",
        "explain",
        "export",
        "gradcheck",
        "list",
        "report",
        "run",
    }


def test_ci_runs_the_test_command_of_the_readme_itself() -> None:
    (line,) = [line for line in README.splitlines() if "-m pytest" in line]
    (command,) = [command for command in commands() if "-m pytest" in command]
    assert line.endswith(command)
    assert "grep -m 1 -e '-m pytest' README.md" in (ROOT / ".ci" / "run").read_text()


def test_the_commands_of_nndiag_work_one_after_another(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "examples").symlink_to(ROOT / "examples")
    for words in of_nndiag():
        if tuple(words) in RUN_ELSEWHERE:
            continue
        if "--" in words:
            words[1:1] = ["--dpi", "40"]
            words[-1] = "12"
        elif words[0] == "run":
            bundled = words[1].startswith("--")
            words += SMALL + (SMALL_NETWORK if bundled else [])
        code = main(words)
        captured = capsys.readouterr()
        assert code == (words[0] in ("autopsy", "gradcheck")), (words, captured.err)
        assert captured.out
        if words[0] == "gradcheck":
            assert in_words(blocks("text")[1]) in in_words(captured.out)
    assert (workplace / "reports" / "relu" / "report.html").is_file()


def test_the_example_finds_what_is_wrong_with_its_network(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = workplace / "example.py"
    program.write_text("\n".join(blocks("python")), encoding="utf-8")
    after = runpy.run_path(str(program))
    told = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ND101 ") for line in told)
    assert after["run"].publish(dpi=50).page.is_file()
    assert after["end"].good
    assert after["checked"].ok


def test_the_breakdown_is_told_as_the_readme_tells_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["autopsy", "examples/raw_pixels.py"]) == 1
    told = in_words(capsys.readouterr().out)
    for line in blocks("text")[0].splitlines():
        assert in_words(re.sub("^[-+]", " ", line)) in told, line


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "tests/README.md"])
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    missing = [
        link
        for link in links
        if "://" not in link and not ((ROOT / page).parent / link).exists()
    ]
    assert missing == []


def test_pictures_have_alternative_text() -> None:
    alternatives = re.findall(r"!\[(.*?)\]", README)
    assert alternatives
    assert all(len(text) > 20 for text in alternatives)
