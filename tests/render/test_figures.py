import struct

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from nndiag.render import save_figures
from nndiag.render.figures import draw
from nndiag.render.figures.heatmap import paint
from nndiag.render.figures.lines import spread
from nndiag.render.theme import DARK, LIGHT
from nndiag.report import build


def header(path):
    """Width, height and dots per metre, from the chunks of a PNG."""
    data = path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    place = data.index(b"pHYs") + 4
    return width, height, struct.unpack(">I", data[place : place + 4])[0]


@pytest.mark.parametrize("dpi", [100, 300])
def test_files_have_the_asked_resolution(example, tmp_path, dpi):
    run = example.sick_run(steps=50, depth=3)
    report = build(run if dpi == 100 else example.replace(run, readings={}), ())
    paths = save_figures(report, tmp_path / "figures", dpi=dpi)
    assert [path.stem for path in paths] == [p.name for p in report.pictures()]
    for path in paths:
        width, height, density = header(path)
        assert width == pytest.approx(5.4 * dpi, abs=1)
        assert height > 1.2 * dpi
        assert density == pytest.approx(dpi / 0.0254, abs=1)


def test_alternative_text_travels_in_the_file(example, tmp_path):
    report = build(example.healthy_run(), ())
    for path, picture in zip(
        save_figures(report, tmp_path), report.pictures(), strict=True
    ):
        assert (
            picture.alternative.encode("latin-1", "replace")[:40] in path.read_bytes()
        )


def test_no_global_state_is_left(example):
    before = dict(matplotlib.rcParams)
    for picture in build(example.healthy_run(), ()).pictures():
        draw(picture)
    assert dict(matplotlib.rcParams) == before


def texts_of(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = figure.findobj(Text)
    return [
        (text, text.get_window_extent(renderer))
        for text in found
        if text.get_text().strip() and text.get_visible()
    ]


@pytest.mark.parametrize("depth", [2, 7, 30])
def test_no_text_leaves_the_picture_and_none_overlap(example, depth):
    report = build(example.sick_run(steps=300, depth=depth), ())
    for picture in report.pictures():
        figure = draw(picture)
        frame = figure.bbox
        boxes = texts_of(figure)
        # ticks beyond the limits of an axis are not drawn
        boxes = [(t, b) for t, b in boxes if b.width and _shown(t, figure)]
        for text, box in boxes:
            where = (picture.name, text.get_text())
            assert box.x0 >= frame.x0 - 1 and box.x1 <= frame.x1 + 1, where
            assert box.y0 >= frame.y0 - 1 and box.y1 <= frame.y1 + 1, where
        for place, (one, box) in enumerate(boxes):
            for other, second in boxes[place + 1 :]:
                across = min(box.x1, second.x1) - max(box.x0, second.x0)
                along = min(box.y1, second.y1) - max(box.y0, second.y0)
                # a font's box is taller than its letters
                assert across <= 1 or along <= 0.35 * box.height, (
                    picture.name,
                    one.get_text(),
                    other.get_text(),
                )


def _shown(text, figure):
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = axis.get_major_ticks()
            labels = [tick.label1 for tick in ticks] + [tick.label2 for tick in ticks]
            if text in labels:
                low, high = sorted(axis.get_view_interval())
                at = axis.get_majorticklocs()[labels.index(text) % len(ticks)]
                return low <= at <= high
    return True


def test_names_are_not_formulas(example):
    run = example.sick_run(steps=20, depth=3)
    rename = {
        s: example.Site(s, **{**vars(s), "scope": "$\\frac{$"}) for s in run.sites
    }
    odd = example.replace(
        run,
        sites=tuple(rename.values()),
        readings={(r, q, rename[s]): x for (r, q, s), x in run.readings.items()},
    )
    for picture in build(odd, ()).pictures():
        FigureCanvasAgg(draw(picture)).draw()


def test_missing_shares_are_transparent_and_larger_ones_stronger():
    colours = paint(np.array([np.nan, 0.0, 0.5, 1.0]))
    assert colours[0, 3] == 0
    assert list(colours[1:, 3]) == sorted(colours[1:, 3]) and colours[-1, 3] == 1


def test_labels_keep_their_distance_and_order():
    placed = spread([0.1, 0.11, 0.12, 0.9, 1.0, 1.0], 0.1)
    gaps = np.diff(placed)
    assert (gaps >= 0.1 - 1e-6).all() and max(placed) <= 1


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_the_contrast_that_readers_need(palette):
    paper = luminance(palette["paper"])
    for name in ("ink", "soft", "error", "warning", "info", "healthy"):
        pair = sorted((luminance(palette[name]), paper))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, name


def test_every_colour_can_be_told_from_its_value():
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert LIGHT.keys() == DARK.keys()


def test_leaders_to_labels_are_grey_not_of_the_line(example):
    report = build(example.sick_run(steps=50, depth=4), ())
    picture = next(p for p in report.pictures() if p.name == "headroom")
    (axes,) = draw(picture).axes
    leaders = [line for line in axes.lines if line.get_transform() == axes.transAxes]
    assert leaders
    assert {line.get_color() for line in leaders} == {LIGHT["before"]}
