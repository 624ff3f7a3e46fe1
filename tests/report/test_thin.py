import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nndiag.report.thin import thin, thin_columns

series = arrays(
    np.float64,
    st.integers(0, 2_000),
    elements=st.one_of(
        st.floats(-1e6, 1e6), st.sampled_from([np.nan, np.inf, -np.inf])
    ),
)


@given(values=series, points=st.integers(4, 600))
def test_extremes_and_ends_are_kept_and_nothing_is_invented(values, points):
    steps = np.arange(len(values)) * 3
    kept_steps, kept = thin(steps, values, points)
    finite = np.isfinite(values)
    known = dict(zip(steps[finite].tolist(), values[finite].tolist(), strict=True))

    assert len(kept) <= points
    assert sorted(kept_steps.tolist()) == kept_steps.tolist()
    assert all(known[s] == v for s, v in zip(kept_steps.tolist(), kept, strict=True))
    if known:
        assert kept.min() == min(known.values())
        assert kept.max() == max(known.values())
        assert kept_steps[0] == min(known) and kept_steps[-1] == max(known)


def test_a_single_spike_in_ten_thousand_steps_survives():
    values = np.zeros(10_000)
    values[7_777] = 5.0
    steps, kept = thin(np.arange(10_000), values)
    assert len(kept) <= 600
    assert kept[steps == 7_777].tolist() == [5.0]


def test_columns_keep_the_largest_share_of_each_span():
    values = np.random.default_rng(0).random((3, 1_000))
    values[1, 400:500] = np.nan
    steps, kept = thin_columns(np.arange(1_000), values, columns=10)
    for column, step in enumerate(steps):
        span = values[:, step : step + 100]
        for row in range(3):
            known = [share for share in span[row] if share == share]
            expected = max(known) if known else np.nan
            np.testing.assert_equal(kept[row, column], expected)
