import html
import importlib.util
import json
import sqlite3
from pathlib import Path
from types import ModuleType

import pytest

from nndiag import report, rules, store
from nndiag.records import Finding

ROOT = Path(__file__).resolve().parents[1]
GALLERY = ROOT / "reports" / "gallery"

NAMES = ["deep-sigmoid", "raw-pixels", "relu"]

MODEL = """
import jax, jax.numpy as jnp, nndiag, optax

target = nndiag.target(
    init=lambda key: jnp.ones((4, 4)),
    loss=lambda w, batch: jnp.square(jax.nn.sigmoid(batch @ w)).mean(),
    optimizer=optax.sgd(0.1),
    data=jnp.eye(24, 4),
    batch_size=2,
)
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """``reports/make_gallery.py`` as a module."""
    specification = importlib.util.spec_from_file_location(
        "make_gallery", ROOT / "reports" / "make_gallery.py"
    )
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def diagnose(name: str) -> tuple[Finding, ...]:
    return rules.diagnose(store.read(GALLERY / name))


def test_the_gallery_holds_what_the_script_makes(script: ModuleType) -> None:
    names = {*script.CASES, *script.CHECKS}
    assert {path.name for path in GALLERY.iterdir()} == names


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_nndiag_says_of_its_run_today(name: str) -> None:
    run, findings = store.read(GALLERY / name), diagnose(name)
    page = (GALLERY / name / "report.html").read_text(encoding="utf-8")
    today = report.build(run, findings)
    assert html.escape(today.verdict.sentence) in page.replace("&#39;", "&#x27;")
    for card in today.cards():
        assert card.code in page
        assert html.escape(card.title) in page.replace("&#39;", "&#x27;")
    pictures = {path.stem for path in (GALLERY / name / "figures").glob("*.png")}
    trained = {"gradient", "profile", "update"} if name != "raw-pixels" else set()
    assert {"loss", "saturation"} | trained <= pictures


def test_the_sick_example_is_sick_of_the_vanishing_gradient() -> None:
    first = diagnose("deep-sigmoid")[0]
    assert (first.code, first.severity) == ("ND201", "error")


def test_the_broken_example_holds_its_autopsy() -> None:
    first = diagnose("raw-pixels")[0]
    assert first.code == "ND401" and first.autopsy is not None
    assert first.autopsy.file == "examples/raw_pixels.py"


def test_the_gradient_in_the_gallery_is_bent_by_its_clip() -> None:
    folder = GALLERY / "blog-network"
    document = json.loads((folder / "gradcheck.json").read_text(encoding="utf-8"))
    (check,) = document["checks"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told = check["cause"]["text"]
    assert told[1:] in readme
    page = (folder / "gradcheck.html").read_text(encoding="utf-8")
    assert html.escape(told[1:]) in page
    pictures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert pictures == {"taylor", *(f"errors-{n}" for n in range(1, 5))}
    assert str(ROOT) not in page and not Path(check["cause"]["file"]).is_absolute()


def test_the_healthy_example_is_healthy() -> None:
    assert {finding.severity for finding in diagnose("relu")} <= {"info"}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_small(name: str) -> None:
    assert (GALLERY / name / "run.sqlite").stat().st_size < 300_000
    files = [path for path in (GALLERY / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_500_000


def assert_nothing_tells_of_the_machine(path: Path) -> None:
    connection = sqlite3.connect(path / "run.sqlite")
    files = connection.execute("SELECT DISTINCT file FROM site").fetchall()
    status = connection.execute("SELECT process, host FROM status").fetchone()
    connection.close()
    assert files and not any(Path(file).is_absolute() for (file,) in files)
    assert status == (None, None)
    header = json.loads((path / "run.json").read_text(encoding="utf-8"))
    assert header["command"].startswith("nndiag run ")
    assert str(ROOT) not in header["command"]
    assert not header["git"]
    page = (path / "report.html").read_text(encoding="utf-8")
    assert str(ROOT) not in page and str(path) not in page


@pytest.mark.parametrize("name", NAMES)
def test_an_example_tells_nothing_of_the_machine_it_was_made_on(name: str) -> None:
    assert_nothing_tells_of_the_machine(GALLERY / name)


def test_the_script_makes_such_an_example(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "small_model.py"
    model.write_text(MODEL)
    small = script.session.RunOptions(target=f"{model}:target", every=2, dpi=40)
    monkeypatch.setitem(script.CASES, "relu", small)
    outcome = script.make("relu", tmp_path)
    assert outcome.page.is_file() and outcome.pictures
    assert_nothing_tells_of_the_machine(tmp_path / "relu")
    assert {path.name for path in (tmp_path / "relu").iterdir()} == {
        path.name for path in (GALLERY / "relu").iterdir()
    }
