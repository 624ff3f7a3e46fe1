import numpy as np
import pytest

from nndiag import store
from nndiag.records import Header, Readings, Site, StepRecord, TensorStats
from nndiag.store import samples, series

COUNT = 40


def recorded(step, stats):
    return StepRecord(
        step=step,
        seconds=float(step),
        loss=float(step),
        metrics={},
        readings=Readings(
            loss=np.float32(step),
            finite=np.float32(step != 7),
            value=stats,
            cotangent={},
            parameter={},
            gradient={},
            update={},
        ),
    )


@pytest.fixture
def path(tmp_path):
    """Forty places over 20 steps; every third has a norm, too, and one a NaN."""
    writer = store.create(tmp_path / "run", Header())
    for step in range(20):
        stats = {
            Site(f"blocks[{i}]/gelu", kind="activation", order=i): TensorStats(
                mean=np.float32(100 * step + i),
                norm=np.float32(np.nan if i == 3 else i) if i % 3 == 0 else None,
                sample=np.full(4, i, np.float32),
            )
            for i in range(COUNT)
        }
        writer.add(recorded(step, stats))
    writer.close("finished")
    return tmp_path / "run"


def test_series_read_together_are_those_that_were_written(path):
    run = store.read(path)
    assert len(run.readings) == COUNT + 14 == len([*run.readings])
    for i, site in enumerate(run.sites):
        np.testing.assert_equal(
            run.series("value", "mean", site), 100.0 * run.recorded + i
        )
        has = ("value", "norm", site) in run.readings
        assert has == (i % 3 == 0)
    # measured, though it is NaN throughout; not measured
    assert ("value", "norm", "blocks[3]/gelu") in run.readings
    assert run.readings.get(("value", "norm", "blocks[4]/gelu")) is None
    assert run.readings.get(("value", "cosine", "blocks[3]/gelu")) is None
    with pytest.raises(KeyError):
        run.readings["value", "norm", Site("nowhere")]


def test_stacked_series_are_the_single_ones_in_the_order_asked_for(path):
    run = store.read(path)
    asked = [*run.sites[::-2], Site("nowhere")]
    for quantity in ("mean", "norm", "cosine"):
        stacked = run.stacked("value", quantity, asked)
        assert stacked.shape == (21, 20)
        for row, site in zip(stacked, asked, strict=True):
            np.testing.assert_equal(row, run.series("value", quantity, site))
    assert run.stacked("value", "mean", []).shape == (0, 20)
    stacked = run.stacked("value", "mean", run.sites)
    stacked[:] = 0
    assert run.series("value", "mean", run.sites[1]).any()  # a copy was given


def test_more_than_memory_holds_is_read_at_fewer_steps(path, monkeypatch):
    monkeypatch.setattr(series, "_FITTING", 54 * 5)
    run = store.read(path)
    # the first that was not finite, and the one before it, besides five
    assert run.recorded.tolist() == [0, 5, 6, 7, 10, 14, 19]
    assert "Read 7 of 20 recorded steps." in run.notes
    for i in (1, 39):
        expected = 100.0 * run.recorded + i
        np.testing.assert_equal(run.series("value", "mean", run.sites[i]), expected)


def test_a_step_that_memory_does_not_hold_is_left_out_in_part(path, monkeypatch):
    monkeypatch.setattr(series, "_FITTING", 1)
    monkeypatch.setattr(series, "_MOST_NUMBERS", 4 * COUNT + 20)
    run = store.read(path)
    assert run.recorded.tolist() == [0, 6, 7, 19]
    assert run.notes == (
        "Did not read the norm of each value: 160 rows do not fit into memory.",
        "Read 4 of 20 recorded steps.",
    )
    assert run.series("value", "mean", run.sites[5]).tolist() == [5, 605, 705, 1905]
    assert run.loss.tolist() == [float(step) for step in range(20)]


def test_of_too_many_samples_some_are_read(path, monkeypatch):
    assert len(store.read(path).samples) == 7 * COUNT
    monkeypatch.setattr(samples, "_MOST", COUNT)
    run = store.read(path)
    assert {step for _, step in run.samples} == {0, 19}
    assert [site for site, step in run.samples if step == 0] == [*run.sites[::2]]
    for (site, _), elements in run.samples.items():
        assert elements.tolist() == [run.sites.index(site)] * 4
    (note,) = run.notes
    assert note == (
        f"Read {COUNT} of {7 * COUNT} samples of activations: those of the first and "
        "the last step of one place in 2."
    )
