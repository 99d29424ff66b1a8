# SPDX-License-Identifier: BSD-3-Clause
"""Activity counts from epochs and from acceleration."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import InvalidSignalError
from sleep2vec_sklearn.recordings.derivation import counts_from_acceleration, counts_from_epochs


def swing(amplitude, frequency=1.0, seconds=60, rate=50):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(seconds * rate) / rate)


def level(*args, **kwargs):
    """Counts per second away from the ends."""
    rate = kwargs.get("rate", 50)
    return float(counts_from_acceleration(swing(*args, **kwargs), rate)[0][10:-10].mean())


@given(
    counts=st.lists(st.integers(0, 500), min_size=1, max_size=20),
    epoch=st.sampled_from([10, 15, 30, 60]),
    missing=st.sets(st.integers(0, 19)),
)
def test_sum_is_preserved(counts, epoch, missing):
    starts = np.arange(len(counts)) * float(epoch)
    worn = [i for i in range(len(counts)) if i not in missing] or [0]
    series, rate = counts_from_epochs(
        starts[worn], np.array(counts)[worn], epoch, duration=epoch * len(counts)
    )
    assert (len(series), rate, series.dtype) == (epoch * len(counts), 1.0, np.float32)
    assert np.nansum(series) == pytest.approx(sum(counts[i] for i in worn), rel=1e-4)
    assert np.isfinite(series).sum() == epoch * len(worn)


def test_second_follows_its_middle():
    series, _ = counts_from_epochs([0.4, 30.4], [30, 60], duration=62)
    assert series[0] == 1.0
    assert (series[29], series[30], series[59]) == (1.0, 2.0, 2.0)
    assert np.isnan(series[[60, 61]]).all()
    series, _ = counts_from_epochs([0, 15], [15.0, 30.0], epoch_seconds=15)
    np.testing.assert_allclose(series, np.repeat([1.0, 2.0], 15))


def test_epochs_outside_are_cut():
    series, _ = counts_from_epochs([-45, -15, 15], [30, 60, 90], duration=45)
    np.testing.assert_allclose(series, np.repeat([2, 3], [15, 30]))
    series, _ = counts_from_epochs([0, 30, 60], [30, 60, 90], duration=45)
    np.testing.assert_allclose(series, np.repeat([1, 2], [30, 15]))


def test_missing_count_is_gap():
    series, _ = counts_from_epochs([0, 30, 60], [30, np.nan, 90])
    assert np.isnan(series).tolist() == [30 <= second < 60 for second in range(90)]
    assert np.isnan(counts_from_epochs([], [], duration=60)[0]).tolist() == [True] * 60
    with pytest.raises(InvalidSignalError, match=r"0 epochs.*Leave the modality out, or pass dur"):
        counts_from_epochs([], [])


def test_touching_epochs_do_not_overlap():
    assert len(counts_from_epochs([0, 30], [1, 1])[0]) == 60
    with pytest.raises(
        InvalidSignalError, match="epochs of 30 s start 29 s apart, so they overlap"
    ):
        counts_from_epochs([0, 29], [1, 1])


@pytest.mark.parametrize(("frequency", "passes"), [(0.05, False), (0.8, True), (6.0, False)])
def test_only_wrist_movement_counts(frequency, passes):
    assert (level(0.3, frequency) > 20) == passes


def test_count_size_matches_source():
    # the mean size of a rectified sine is 2 / pi of its amplitude; floor takes half a step
    steps = 0.6 * 128 / 2.13 * 2 / np.pi
    assert level(0.6, 0.8) == pytest.approx(10 * (steps - 0.5), rel=0.05)
    assert level(50.0, 0.8) == pytest.approx(1280, rel=0.05)


@given(amplitude=st.floats(0, 0.06))
@settings(max_examples=20)
def test_rest_is_not_counted(amplitude):
    assert level(amplitude, 0.8) == 0


@settings(max_examples=20)
@given(gravity=st.floats(-2, 2), sign=st.sampled_from([-1, 1]))
def test_gravity_and_sign_cancel(gravity, sign):
    values = swing(0.5) * np.linspace(0.5, 1, 3000)
    plain, _ = counts_from_acceleration(values, 50)
    other, _ = counts_from_acceleration(gravity + sign * values, 50)
    np.testing.assert_allclose(other[5:-5], plain[5:-5], rtol=0.03)


@pytest.mark.parametrize("rate", [20, 25, 32, 50, 100, 33.3])
def test_counts_barely_depend_on_rate(rate):
    time = np.arange(round(60 * rate)) / rate
    series, series_rate = counts_from_acceleration(0.6 * np.sin(2 * np.pi * 0.8 * time), rate)
    assert (len(series), series_rate) == (60, 1.0)
    assert series[10:-10].mean() == pytest.approx(level(0.6, 0.8), rel=0.03)


@pytest.mark.parametrize(("missing", "is_gap"), [(25, False), (26, True)])
def test_half_a_second_suffices(missing, is_gap):
    values = swing(0.6, 0.8)
    values[1000 : 1000 + missing] = np.nan
    series, _ = counts_from_acceleration(values, 50)
    assert np.flatnonzero(np.isnan(series)).tolist() == [20] * is_gap


def test_partial_seconds():
    values = swing(0.6, 2.0 / 3, seconds=60)
    whole, _ = counts_from_acceleration(values, 50)
    values[1000:1500:4] = np.nan
    holes, _ = counts_from_acceleration(values, 50)
    np.testing.assert_allclose(holes, whole, rtol=0.1, atol=1)
    assert len(counts_from_acceleration(swing(0.5)[:-1], 50)[0]) == 59
    assert len(counts_from_acceleration(swing(0.5), 50)[0]) == 60


@pytest.mark.parametrize("n", [0, 1, 30, 120])
def test_no_sample_gives_gaps(n):
    series, _ = counts_from_acceleration(np.full(n * 10, np.nan), 10)
    assert series.shape == (n,)
    assert np.isnan(series).all()


@pytest.mark.parametrize("rate", [0, 4.99, -50, np.nan])
def test_low_rate_raises_error(rate):
    with pytest.raises(InvalidSignalError, match=r"accepted is at least 5 Hz.*unit 'counts'"):
        counts_from_acceleration(np.ones(600), rate)
    assert len(counts_from_acceleration(np.ones(600), 5)[0]) == 120


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: counts_from_acceleration(np.ones((9, 3)), 50), "magnitude of the axes"),
     (lambda: counts_from_epochs([0, 30], [1, -1]), "counts hold -1"),
     (lambda: counts_from_epochs([0], [1], epoch_seconds=0), "above 0")],
)  # fmt: skip
def test_errors_name_the_value(call, message):
    with pytest.raises(InvalidSignalError, match=message):
        call()
