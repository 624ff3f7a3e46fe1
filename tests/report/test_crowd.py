import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nndiag.report import build
from nndiag.report.crowd import MANY, crowd, ends_of_bins, fold_rows
from nndiag.report.picture import Distribution

shares = st.one_of(st.floats(0, 1), st.just(np.nan))


def tables(rows):
    return st.tuples(rows, st.integers(1, 30)).flatmap(
        lambda shape: arrays(np.float64, shape, elements=shares)
    )


@settings(deadline=None, max_examples=30)
@given(values=tables(st.integers(MANY + 1, 400)))
def test_a_fold_shows_the_largest_value_of_its_rows(values):
    names = [f"layer_{i}" for i in range(len(values))]
    kept, folded, last, size = fold_rows(names, values, values[:, -1])
    assert len(kept) == len(folded) == len(last) <= MANY
    for place, name in enumerate(kept):
        rows = values[place * size : (place + 1) * size]
        assert name == names[place * size]
        for column in range(values.shape[1]):
            known = [x for x in rows[:, column] if x == x]
            np.testing.assert_equal(folded[place, column], max(known, default=np.nan))


@settings(max_examples=30)
@given(values=arrays(np.float64, st.integers(MANY + 1, 2_000), elements=shares))
def test_no_lowest_or_highest_layer_is_left_out_of_the_depth(values):
    values[0] = 0.5
    places, size = ends_of_bins(values)
    assert len(places) <= MANY
    assert places.tolist() == sorted(set(places.tolist()))
    assert {0, len(values) - 1} <= set(places.tolist())
    shown = values[places]
    assert np.nanmin(shown) == np.nanmin(values)
    assert np.nanmax(shown) == np.nanmax(values)
    for start in range(0, len(values), size):
        stretch = values[start : start + size]
        if not np.isnan(stretch).all():
            inside = shown[(places >= start) & (places < start + size)]
            assert np.nanmin(inside) == np.nanmin(stretch)


@settings(deadline=None, max_examples=30)
@given(values=tables(st.integers(5, 60)))
def test_the_area_holds_every_value_and_the_lines_the_extremes(values):
    values[:, 0] = np.where(np.isnan(values[:, 0]), 0.5, values[:, 0])
    steps = np.arange(values.shape[1]) * 7
    names = [f"layer_{i}" for i in range(len(values))]
    (*extremes, median), (everything, middle) = crowd(names, values, steps)
    for column, step in enumerate(steps):
        known = values[:, column][~np.isnan(values[:, column])]
        if not len(known):
            assert step not in everything.steps
            continue
        (at,) = np.flatnonzero(everything.steps == step)
        assert everything.low[at] == known.min()
        assert everything.high[at] == known.max()
        assert middle.low[at] == pytest.approx(np.quantile(known, 0.1))
        assert median.values[median.steps == step] == pytest.approx([np.median(known)])
    last = {n: row[~np.isnan(row)][-1] for n, row in zip(names, values, strict=True)}
    drawn = [last[line.label] for line in extremes]
    assert min(drawn) == min(last.values())
    assert max(drawn) == max(last.values())
    assert len(extremes) <= 4


def test_a_spike_between_the_drawn_steps_stays_in_the_area():
    values = np.full((30, 5_000), 0.5)
    values[11, 3_333] = 9.0
    _, (everything, _) = crowd([str(i) for i in range(30)], values, np.arange(5_000))
    assert len(everything.steps) <= 200
    assert everything.high.max() == 9.0


def test_captions_say_what_is_drawn_of_many_layers(blocks):
    report = build(blocks.blocks_run(96), ())
    pictures = {picture.name: picture for picture in report.pictures()}
    assert "all 193 layers" in pictures["gradient"].hint
    assert "all 194 main parameters" in pictures["update"].hint
    assert "most saturated of 4 layers" in pictures["saturation"].hint
    assert "Of each 9 layers in a row" in pictures["profile"].hint
    assert "12 of 192 layers, evenly spaced" in pictures["distribution"].hint
    assert isinstance(pictures["distribution"], Distribution)
    labels = [row.label for row in pictures["distribution"].rows]
    assert (labels[0], labels[-1], len(labels)) == (
        "blocks[0]/attn",
        "blocks[95]/mlp",
        12,
    )
    assert len(pictures["gradient"].lines) <= 5
    assert len(pictures["saturation"].rows) <= MANY
    assert len(pictures["profile"].rows) <= MANY


def test_pictures_of_few_layers_are_drawn_in_full(blocks):
    report = build(blocks.blocks_run(11), ())
    pictures = {picture.name: picture for picture in report.pictures()}
    assert [line.label for line in pictures["gradient"].lines][1] == "blocks[0]/mlp"
    assert len(pictures["gradient"].lines) == 23
    assert pictures["gradient"].areas == () == pictures["update"].areas
    assert len(pictures["update"].lines) == 2 + 11 * 4  # biases, too
