import re

import numpy as np
import pytest

from nndiag.report import build
from nndiag.report.picture import Distribution, Heatmap, Profile, Series


@pytest.fixture(scope="module")
def run(example):
    return example.sick_run()


@pytest.fixture(scope="module")
def report(example, run):
    return build(run, example.findings(run))


def test_verdict_names_the_first_error(report):
    assert report.verdict.level == "error"
    assert report.verdict.sentence.startswith(
        "This run does not learn: the gradient vanishes: it shrinks 10× per layer"
    )


def test_healthy_run_says_so_with_its_recorded_steps(example):
    verdict = build(example.healthy_run(), ()).verdict
    assert verdict.level == "healthy"
    assert verdict.sentence == "Healthy: no problem found in 60 recorded steps."


def test_info_findings_leave_a_run_healthy(example, run):
    (finding, *_) = example.findings(run)
    mild = example.replace(finding, severity="info")
    report = build(example.healthy_run(), (mild,))
    assert report.verdict.level == "healthy"
    assert [card.code for card in report.cards()] == ["ND201"]


def test_warnings_alone_are_a_warning(example, run):
    (*_, warning) = example.findings(run)
    verdict = build(run, (warning,)).verdict
    assert verdict.level == "warning"
    assert "the first loss is 2.80" in verdict.sentence


def test_broken_loss_names_the_step(example, run):
    loss = run.loss.copy()
    loss[123:] = np.nan
    verdict = build(example.replace(run, loss=loss), example.findings(run)).verdict
    assert verdict.sentence.startswith("This run broke down at step 123: ")


def test_empty_run_makes_a_report(example):
    report = build(example.empty_run(), ())
    assert report.verdict.sentence == "Not judged: no step was recorded."
    assert report.sections == ()


def test_each_finding_stands_beside_the_picture_that_proves_it(report):
    first, second = report.cards()
    assert isinstance(first.picture, Profile)
    assert [type(symptom.picture) for symptom in first.symptoms] == [Heatmap, Series]
    assert second.picture is not None and second.picture.name == "loss"


def test_every_picture_is_shown_once(report):
    names = [picture.name for picture in report.pictures()]
    expected = "distribution gradient headroom loss profile saturation update"
    assert sorted(names) == expected.split()


def test_a_picture_that_two_findings_need_is_referred_to(example, run):
    (finding, *_) = example.findings(run)
    again = example.replace(finding, code="ND202", symptoms=())
    first, second = build(run, (finding, again)).cards()
    assert first.picture is not None and first.see == ""
    assert second.picture is None and second.see == "profile"


def test_profile_holds_the_norms_of_the_first_and_last_step(run, report):
    profile = report.cards()[0].picture
    for row, name in enumerate(profile.rows[:-1]):
        norms = run.readings["cotangent", "norm", f"{name}/sigmoid"]
        assert profile.first[row] == norms[0]
        assert profile.last[row] == norms[-1]


def test_histograms_count_the_samples(run, report):
    picture = next(p for p in report.pictures() if isinstance(p, Distribution))
    row = picture.rows[3]
    sample = np.asarray(run.samples["hidden_4/sigmoid", picture.last_step])
    for share, low, high in zip(row.last, row.edges[:-1], row.edges[1:], strict=True):
        upper = sample <= high if high == row.edges[-1] else sample < high
        assert share == pytest.approx(np.mean((sample >= low) & upper), abs=1e-12)


def test_pictures_without_data_are_absent(example, run):
    kept = {
        key: np.full_like(series, np.nan) if key[1] == "saturated" else series
        for key, series in run.readings.items()
        if key[0] != "update"
    }
    report = build(example.replace(run, readings=kept, samples={}), ())
    names = {picture.name for picture in report.pictures()}
    assert names == {"loss", "profile", "gradient", "headroom"}
    headings = report.section("layers").blocks[0].columns
    assert "Saturated" not in headings and "Update / weight" not in headings


def test_alternative_texts_tell_true_numbers(run, report):
    texts = {picture.name: picture.alternative for picture in report.pictures()}
    lowest = int(np.argmin(run.loss))
    assert f"at step {lowest:,}" in texts["loss"]
    assert f"{run.loss[0]:.2f} at first, {run.loss[-1]:.2f} at last" in texts["loss"]
    share = run.readings["value", "saturated", "hidden_5/sigmoid"]
    told = re.search(r"hidden_5 (\d+) % to (\d+) %", texts["saturation"])
    assert [int(x) for x in told.groups()] == [
        round(100 * share[0]),
        round(100 * share[-1]),
    ]
    norms = [
        run.readings["cotangent", "norm", s] for s in ("hidden_1/sigmoid", "logits")
    ]
    ratio = re.search(r"has ([\d.e-]+) times the norm", texts["profile"])
    assert float(ratio[1]) == pytest.approx(norms[0][0] / norms[1][0], rel=0.05)


def test_loss_picture_marks_where_it_broke(example, run):
    loss = run.loss.copy()
    loss[[10, 20]] = np.inf, np.nan
    report = build(example.replace(run, loss=loss), ())
    picture = next(p for p in report.pictures() if p.name == "loss")
    assert picture.broken.tolist() == [10, 20]
    assert "NaN or Inf at 2 steps, first 10." in picture.alternative


def test_numbers_of_the_table_carry_the_verdict_of_their_finding(report):
    table = report.section("layers").blocks[0]
    column = table.columns.index("Update / weight")
    assert [row[column].level for row in table.rows[:4]] == [*["warning"] * 3, None]
    column = table.columns.index("Saturated")
    assert {row[column].level for row in table.rows[:7]} == {"error"}


def test_control_characters_of_names_do_not_get_through(example, run):
    hostile = example.Site(
        "a\x1b[31m/sigmoid", kind="activation", scope="a\x1b[31m", function="x\x00"
    )
    report = build(
        example.replace(
            run,
            sites=(hostile,),
            readings={("value", "saturated", hostile): run.loss[run.recorded]},
            samples={},
            notes=("\x1b]0;title\x07",),
        ),
        (),
    )
    names = [(row.name, row.function) for row in report.layers]
    shown = repr((report.title, report.verdict, report.facts, report.sections, names))
    assert "a�[31m" in shown
    assert "x1b" not in shown and "x00" not in shown


def test_one_recorded_step_is_enough(example):
    report = build(example.sick_run(steps=1, every=1), ())
    assert {p.name for p in report.pictures()} >= {"loss", "profile", "distribution"}


def test_smooth_line_is_the_mean_around_each_step(example, run):
    picture = next(p for p in build(run, ()).pictures() if p.name == "loss")
    every, smooth, _ = picture.lines
    assert every.style == "minor" and smooth.style == "main"
    window = len(run.loss) // 50
    for step, mean in list(zip(smooth.steps, smooth.values, strict=True))[::50]:
        start = step - window // 2
        around = run.loss[start : start + window]
        assert mean == pytest.approx(around.mean(), rel=1e-9)


def test_a_run_without_readings_is_not_judged(example):
    run = example.healthy_run()
    nothing = {
        key: np.full_like(series, np.nan) for key, series in run.readings.items()
    }
    for readings in ({}, nothing):
        verdict = build(example.replace(run, readings=readings), ()).verdict
        assert verdict.level == "info"
        assert verdict.sentence == "Not judged: no step has readings."


def test_a_run_stuck_at_a_guess_does_not_work(example, run):
    (*_, warning) = example.findings(run)
    stuck = example.replace(run, loss=2.31 + 1.3 * np.exp(-run.steps / 20))
    sentence = build(stuck, (warning,)).verdict.sentence
    assert sentence.startswith("This run has not learned and has a warning: ")
    well = example.replace(run, loss=2.31 * np.exp(-run.steps / 200))
    assert build(well, (warning,)).verdict.sentence.startswith("This run works, with")


def test_counts_are_whole(example, run):
    (finding, *_) = example.findings(run)
    proof = example.replace(finding.evidence[0], value=14, threshold=None)
    (card,) = build(run, (example.replace(finding, evidence=(proof,)),)).cards()
    assert card.evidence[0].value == "14"


def test_what_hangs_under_a_finding_does_not_advise_against_it(example, run):
    (finding, *_) = example.findings(run)
    (card,) = build(run, (finding,)).cards()
    assert card.remedies and not any(symptom.remedies for symptom in card.symptoms)
    (card,) = build(run, (example.replace(finding, remedies=()),)).cards()
    assert all(symptom.remedies for symptom in card.symptoms)


def test_only_gradients_that_vanished_are_marked(run, report):
    norms = {
        name: np.median(run.readings["cotangent", "norm", f"{name}/sigmoid"])
        for name in (f"hidden_{i}" for i in range(1, 8))
    }
    for row, marks in zip(report.layers[:7], report.marks[:7], strict=True):
        behind = norms[row.name] / norms["hidden_7"] < 0.03
        assert ("gradient" in marks) == behind
    assert "gradient" in report.marks[0] and "gradient" not in report.marks[6]


def test_the_table_calls_what_a_relu_does_not_pass_zero(example, report):
    healthy = build(example.healthy_run(), ()).section("layers").blocks[0]
    column = healthy.columns.index("Saturated")
    assert all(row[column].text.endswith("zero") for row in healthy.rows[:3])
    sigmoid = report.section("layers").blocks[0]
    assert not any("zero" in row[column].text for row in sigmoid.rows)
