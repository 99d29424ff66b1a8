# SPDX-License-Identifier: BSD-3-Clause
"""Band limits, scales and clips: what the numbers that reach a network mean."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.errors import InvalidSignalError
from sleep2vec_sklearn.recordings import MODALITIES, Signal
from sleep2vec_sklearn.recordings._conditioning import condition

N_EPOCHS = 4
ROBUST = [name for name, m in MODALITIES.items() if m.conditioning.scaling == "robust"]
RATE_OF_NOISE = {name: MODALITIES[name].conditioning.rate for name in ROBUST}


def conditioned(name, values, rate=None, n_epochs=N_EPOCHS, **changes):
    modality = MODALITIES[name]
    rate = modality.conditioning.rate if rate is None else rate
    conditioning = dataclasses.replace(modality.conditioning, **changes)
    signal = Signal(np.asarray(values), rate, modality.unit)
    return condition(signal, modality, conditioning, n_epochs)


def white(name, seed=0, n_epochs=N_EPOCHS):
    n = n_epochs * MODALITIES[name].conditioning.width
    return 30 * np.random.default_rng(seed).standard_normal(n)


def tone(frequency, rate, n_epochs=N_EPOCHS, amplitude=30.0):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(n_epochs * 30 * rate)) / rate)


def gain(name, frequency):
    """How much of a tone conditioning leaves, against one in the middle of the band."""
    rate = MODALITIES[name].conditioning.rate
    low, high = MODALITIES[name].conditioning.band
    middle = np.sqrt(low * high)
    # half of the night carries the middle tone, which sets the scale of the night
    night = np.concatenate([tone(frequency, rate), tone(middle, rate, 12)])
    epochs = conditioned(name, night, n_epochs=16).epochs
    return np.ptp(epochs[2]) / np.ptp(epochs[10])


@pytest.mark.parametrize("name", ROBUST)
def test_the_corners_of_a_band_let_half_of_an_amplitude_through(name):
    # 3 dB at each corner, passed forwards and backwards: 6 dB
    low, high = MODALITIES[name].conditioning.band
    if high < 0.4 * MODALITIES[name].conditioning.rate:
        assert gain(name, high) == pytest.approx(0.5, abs=0.06)
    assert gain(name, low) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("name", ROBUST)
def test_far_below_the_band_nothing_is_left(name):
    low, _ = MODALITIES[name].conditioning.band
    assert gain(name, low / 8) < 0.03


@pytest.mark.parametrize(("low", "high"), [(None, 2.0), (8.0, None)])
def test_a_band_can_be_open_on_one_side(low, high):
    slow, fast = tone(1, 128), tone(16, 128)
    epochs = conditioned("eeg", slow + fast, band=(low, high)).epochs
    spectrum = np.abs(np.fft.rfft(epochs[1]))
    kept, cut = (30, 480) if low is None else (480, 30)
    assert spectrum[cut] < spectrum[kept] / 20


def test_no_band_leaves_a_waveform_as_it_is():
    values = white("eeg")
    epochs = conditioned("eeg", values, band=(None, None)).epochs.reshape(-1)
    assert np.corrcoef(epochs, values)[0, 1] > 1 - 1e-6


def test_filters_shift_nothing_in_time():
    values = white("eeg") / 10
    values[5000:5100] += np.hanning(100) * 500
    epochs = conditioned("eeg", values, clip=1e9).epochs.reshape(-1)
    assert abs(int(np.argmax(epochs)) - 5050) <= 2


@pytest.mark.parametrize("offset", [-5e4, 5e4])
def test_a_large_offset_costs_no_precision(offset):
    plain = conditioned("ecg", white("ecg")).epochs
    moved = conditioned("ecg", (white("ecg") + offset).astype(np.float64)).epochs
    np.testing.assert_allclose(moved[1:-1], plain[1:-1], atol=0.02)


@pytest.mark.parametrize("name", ROBUST)
def test_a_robust_scale_makes_quartiles_those_of_a_normal(name):
    epochs = conditioned(name, white(name, n_epochs=20), n_epochs=20).epochs
    low, middle, high = np.percentile(epochs, [25, 50, 75])
    assert middle == pytest.approx(0, abs=1e-4)
    assert high - low == pytest.approx(1.349, rel=1e-3)


@settings(max_examples=20)
@given(
    name=st.sampled_from(["effort", "airflow", "ppg", "resp"]),
    exponent=st.floats(-6, 6),
    sign=st.sampled_from([-1, 1]),
)
def test_gain_never_matters_where_units_are_arbitrary(name, exponent, sign):
    plain = conditioned(name, white(name)).epochs
    changed = conditioned(name, sign * 10**exponent * white(name)).epochs
    np.testing.assert_allclose(changed, sign * plain, atol=2e-3)


@settings(max_examples=20)
@given(factor=st.floats(0.98, 1.02).filter(lambda f: abs(f - 1) > 1e-3))
@pytest.mark.parametrize(("name", "center", "scale"), [("spo2", 95, 5), ("ibi", 0.9, 0.2)])
def test_gain_always_matters_where_the_level_is_the_information(name, center, scale, factor):
    values = center * np.linspace(0.95, 1.03, 480)
    plain, changed = (conditioned(name, v).epochs.reshape(-1) for v in (values, values * factor))
    np.testing.assert_allclose(plain, (values - center) / scale, atol=1e-4)
    np.testing.assert_allclose(changed, (values * factor - center) / scale, atol=1e-4)


def test_only_valid_epochs_set_the_scale():
    values = white("eeg", n_epochs=8)
    alone = conditioned("eeg", values[: 5 * 3840], n_epochs=5, band=(None, None)).epochs
    values[5 * 3840 :] = 0
    values[5 * 3840 : 5 * 3840 + 1900] = 1e4
    values[5 * 3840 + 1900 : 6 * 3840] = np.nan
    beside = conditioned("eeg", values, n_epochs=8, band=(None, None))
    assert beside.valid.tolist() == [True] * 5 + [False] * 3
    np.testing.assert_allclose(beside.epochs[:5], alone, atol=1e-5)


@pytest.mark.parametrize("clip", [20.0, 5.0])
def test_what_is_out_of_size_is_clipped_on_both_sides(clip):
    values = white("eeg")
    values[4000:4010], values[6000:6010] = 1e5, -1e5
    epochs = conditioned("eeg", values, clip=clip).epochs
    assert (epochs.max(), epochs.min()) == (clip, -clip)


def test_counts_are_log1p_of_ten_times_the_share_of_the_nights_mean():
    counts = np.random.default_rng(0).poisson(4, 120).astype(np.float32)
    epochs = conditioned("actigraphy", counts).epochs.reshape(-1)
    np.testing.assert_allclose(epochs, np.log1p(10 * counts / counts.mean()), rtol=1e-5)


def test_the_mean_of_counts_is_that_of_the_epochs_worn():
    counts = np.random.default_rng(0).poisson(4, 120).astype(np.float32)
    off = counts.copy()
    off[60:] = np.nan
    worn = counts[:60].mean()
    epochs = conditioned("actigraphy", off).epochs.reshape(-1)
    np.testing.assert_allclose(epochs[:60], np.log1p(10 * counts[:60] / worn), rtol=1e-5)


def test_a_wrist_that_never_moved_while_worn_is_calm_not_broken():
    counts = np.zeros(120, dtype=np.float32)
    counts[70] = 5.0
    counts[60:90][np.arange(30) % 5 != 0] = np.nan
    night = conditioned("actigraphy", counts)
    assert night.valid.tolist() == [True, True, False, True]
    assert not night.epochs[0].any()


@pytest.mark.parametrize(("iqr", "fine"), [(0.4, False), (0.6, True), (1900, True), (2200, False)])
def test_an_eeg_has_the_size_of_an_eeg(iqr, fine):
    values = white("eeg") * iqr / (30 * 1.349)
    if fine:
        assert conditioned("eeg", values).valid.all()
    else:
        with pytest.raises(InvalidSignalError, match=r"accepted is 0\.5 to 2000 uV"):
            conditioned("eeg", values)


@pytest.mark.parametrize("name", ["eeg", "eog", "emg", "ecg", "airflow", "effort", "ppg", "spo2"])
def test_the_slowest_rate_is_the_checkpoints(name):
    needed = MODALITIES[name].conditioning.min_rate
    values = 95 + np.sin(np.arange(round(120 * needed)) * 1.3) * (3 if name == "spo2" else 30)
    assert conditioned(name, values, needed).valid.all()
    with pytest.raises(InvalidSignalError, match=f"this checkpoint needs at least {needed:g} Hz"):
        conditioned(name, values, needed * 0.99)


@pytest.mark.parametrize("name", ["ibi", "resp", "actigraphy"])
def test_series_are_judged_by_their_gaps_not_their_rate(name):
    values = 0.9 + 0.1 * np.sin(np.arange(12))
    assert conditioned(name, values, 0.1).valid.all()
