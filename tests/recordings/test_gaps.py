# SPDX-License-Identifier: BSD-3-Clause
"""When an epoch of a modality is missing, and what stands in a gap that is bridged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import InvalidSignalError
from sleep2vec_sklearn.recordings import MODALITIES, Signal
from sleep2vec_sklearn.recordings._conditioning import condition


def condition_spo2(values, rate=4.0, n_epochs=4):
    modality = MODALITIES["spo2"]
    signal = Signal(np.asarray(values, dtype=np.float32), rate, "%")
    return condition(signal, modality, modality.conditioning, n_epochs)


def percent(night):
    """Undo the scaling of saturation."""
    return night.epochs * 5 + 95


def breathing(n_epochs, rate, seed=0):
    """A slow waveform with a little noise, for effort."""
    time = np.arange(round(n_epochs * 30 * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return np.sin(2 * np.pi * 0.25 * time) + 0.1 * noise


def condition_effort(values, rate, n_epochs):
    modality = MODALITIES["effort"]
    return condition(Signal(values, rate, "a.u."), modality, modality.conditioning, n_epochs)


@settings(max_examples=60)
@given(
    missing=st.lists(st.integers(0, 120), min_size=4, max_size=4).filter(lambda n: min(n) <= 60),
    seed=st.integers(0, 99),
)
def test_half_of_an_epoch_is_enough_wherever_its_gaps_lie(missing, seed):
    rng = np.random.default_rng(seed)
    rows = rng.uniform(90, 99, (4, 120))
    for row, count in zip(rows, missing, strict=True):
        row[rng.choice(120, count, replace=False)] = np.nan
    night = condition_spo2(rows.reshape(-1))
    assert night.valid.tolist() == [count <= 60 for count in missing]


@pytest.mark.parametrize("rate", [0.5, 1, 3, 4, 7.3, 10])
@pytest.mark.parametrize(("seconds", "valid"), [(44, False), (45.5, True)])
def test_the_half_is_one_of_time_at_any_rate(rate, seconds, valid):
    values = np.full(round(120 * rate), 95.0)
    values[::2] = 96
    values[int(np.ceil(seconds * rate)) :] = np.nan
    assert condition_spo2(values, rate).valid.tolist() == [True, valid, False, False]


def test_a_sample_that_spans_epochs_counts_for_each_by_its_time():
    counts = np.array([5.0, np.nan, 7.0])
    modality = MODALITIES["actigraphy"]
    signal = Signal(counts, 1 / 45, "counts")
    night = condition(signal, modality, modality.conditioning, 4)
    # 0-45 s and 90-135 s are there: all of epoch 0, half of 1, nothing of 2, all of 3
    assert night.valid.tolist() == [True, True, False, True]


@pytest.mark.parametrize("n_samples", [1, 59, 60, 119, 120, 121, 179, 180])
def test_a_probe_that_falls_off_early_ends_the_valid_epochs(n_samples):
    values = np.tile([95.0, 97.0], 120)[:n_samples]
    night = condition_spo2(values)
    expected = [n_samples >= 60 + 120 * i for i in range(4)]
    assert ([False] * 4 if night is None else night.valid.tolist()) == expected


@given(start=st.integers(1, 200), length=st.integers(1, 200))
def test_a_bridge_is_a_straight_line_between_its_banks(start, length):
    values = np.random.default_rng(start).uniform(85, 99, 480).astype(np.float32)
    banks = values[start - 1], values[start + length]
    values[start : start + length] = np.nan
    line = np.linspace(*banks, length + 2)[1:-1]
    bridged = percent(condition_spo2(values)).reshape(-1)
    np.testing.assert_allclose(bridged[start : start + length], line, atol=1e-4)
    np.testing.assert_allclose(bridged[:start], values[:start], atol=1e-4)
    np.testing.assert_allclose(bridged[start + length :], values[start + length :], atol=1e-4)


@pytest.mark.parametrize("gap", [np.s_[:50], np.s_[-50:]], ids=["start", "end"])
def test_a_gap_with_one_bank_holds_its_value(gap):
    values = np.random.default_rng(0).uniform(85, 99, 480).astype(np.float32)
    bank = values[50] if gap.start is None else values[-51]
    values[gap] = np.nan
    np.testing.assert_allclose(percent(condition_spo2(values)).reshape(-1)[gap], bank, atol=1e-4)


@pytest.mark.parametrize(
    ("reading", "there"),
    [(40, True), (39.9, False), (0, False), (101, True), (101.1, False), (-1, False)],
)
def test_readings_no_blood_has_are_gaps(reading, there):
    values = np.tile([95.0, 97.0], 240)
    values[120:240] = reading
    assert condition_spo2(values).valid.tolist() == [True, there, True, True]


@pytest.mark.parametrize(
    ("interval", "there"), [(0.25, True), (0.24, False), (3, True), (4, False)]
)
def test_intervals_no_heart_has_are_gaps(interval, there):
    modality = MODALITIES["ibi"]
    values = np.tile(np.float32([0.9, 1.0]), 240)
    values[120:240] = interval
    night = condition(Signal(values, 4, "s"), modality, modality.conditioning, 4)
    assert night.valid.tolist() == [True, there, True, True]


def test_negative_counts_are_gaps():
    modality = MODALITIES["actigraphy"]
    values = np.tile(np.float32([3, 9]), 60)
    values[30:60] = -1
    night = condition(Signal(values, 1, "counts"), modality, modality.conditioning, 4)
    assert night.valid.tolist() == [True, False, True, True]


def test_a_probe_that_was_off_all_night_is_missing_not_an_error():
    assert condition_spo2(np.zeros(480)) is None
    assert condition_spo2(np.full(480, np.nan)) is None


def test_a_constant_level_is_a_stuck_sensor():
    assert condition_spo2(np.full(480, 96.0)) is None


def test_too_little_of_every_epoch_is_a_missing_sensor():
    values = np.full(480, np.nan)
    values[::3] = np.linspace(90, 99, 160)
    assert condition_spo2(values) is None


def test_a_wrong_unit_is_told_by_the_size_of_levels():
    with pytest.raises(InvalidSignalError) as caught:
        condition_spo2(np.tile([0.97, 0.91, 0.95], 160))
    told = str(caught.value)
    assert "'spo2' has a median of 0.95 and no value between 40 and 101 %" in told
    assert "Accepted units: %, fraction; pass units={'spo2': ...}" in told


@given(offset=st.floats(-1e3, 1e3), rate=st.sampled_from([4, 5, 10, 16.67, 32]))
def test_a_belt_that_is_off_for_an_epoch_is_missing_there(offset, rate):
    values = breathing(6, rate) + offset
    values[round(60 * rate) : round(90 * rate)] = offset
    valid = condition_effort(values, rate, 6).valid
    assert valid.tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize(("share", "moves"), [(2e-4, True), (0.5e-4, False)])
def test_a_waveform_moves_if_its_range_is_a_ten_thousandth_of_the_nights_spread(share, moves):
    values = breathing(6, 10)
    iqr = np.subtract(*np.percentile(np.delete(values, np.s_[600:900]), [75, 25]))
    values[600:900] = np.linspace(0, share * iqr, 300)
    assert condition_effort(values, 10, 6).valid[2] == moves


def test_a_faint_but_moving_stretch_does_not_make_the_rest_flat():
    values = breathing(40, 4)
    values[: 4 * 30 * 30] *= 0.01
    assert condition_effort(values, 4, 40).valid.all()


def test_a_moving_signal_beyond_the_night_is_not_looked_at():
    values = np.concatenate([np.zeros(480), breathing(4, 4)])
    assert condition_effort(values, 4, 4) is None
    assert condition_effort(values, 4, 8).valid.tolist() == [False] * 4 + [True] * 4
    later = np.concatenate([breathing(4, 4), np.full(480, np.inf)])
    assert condition_effort(later, 4, 4).valid.all()
