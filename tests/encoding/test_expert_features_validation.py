# SPDX-License-Identifier: BSD-3-Clause
"""Expert features against YASA 0.8.1, antropy, NeuroKit2 0.3.0, and signals with a known answer.

Values of those packages are frozen here for inputs that the tests make again from a seed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.encoding import ExpertFeatures
from sleep2vec_sklearn.recordings.derivation import ibi_from_beats

RATE = 100
N_EPOCHS = 20
BANDS = ("so", "delta", "theta", "alpha", "sigma", "beta")
# yasa.bandpower(..., win_sec=4, kwargs_welch={"average": "mean", "window": "hann"})
YASA_EPOCHS = (3, 12)
YASA_SHARES = (
    (0.7017, 0.2591, 0.0147, 0.0056, 0.0151, 0.0038),
    (0.4144, 0.4114, 0.0568, 0.0186, 0.0854, 0.0133),
)
YASA_POWERS = (
    (188.5767, 69.6194, 3.9532, 1.5098, 4.0515, 1.0292),
    (30.8833, 30.6625, 4.2298, 1.3899, 6.3649, 0.9940),
)
# yasa.spindles_detect, middles, and yasa.sw_detect, troughs
YASA_SPINDLES = (
    21.9, 47.0, 72.0, 97.1, 121.9, 147.2, 172.0, 222.0, 246.8, 272.0, 297.1, 322.0, 347.1, 372.0,
    397.0, 421.9, 447.0, 472.1, 497.1, 522.0, 547.0, 571.9, 597.0,
)  # fmt: skip
YASA_SLOW_WAVES = (
    9.8, 26.8, 43.7, 60.7, 77.7, 94.7, 111.7, 128.8, 145.7, 179.7, 213.8, 247.7, 264.7, 281.7,
)  # fmt: skip
# of beat_times: neurokit2.hrv_time of 5.5 min: SDNN, RMSSD, pNN50; hrv_frequency by Welch's method,
# normalize=False, of 5 min: VLF, LF, HF
NEUROKIT = {
    (1.0, 0.03, 0.04, 0.01, 0): (42.275, 44.961, 0.325, 420.829, 406.188, 799.301),
    (0.7, 0.03, 0.015, 0.005, 1): (32.202, 16.289, 0.000, 432.779, 446.205, 116.911),
    (0.85, 0.02, 0.03, 0.03, 2): (44.042, 50.717, 0.332, 321.020, 332.622, 762.750),
    (1.1, 0.02, 0.08, 0.01, 3): (62.961, 88.086, 0.716, 384.113, 227.221, 2926.377),
}


def columns(signals, **options):
    """Rows of all epochs of one recording by name of column."""
    features = ExpertFeatures(list(signals), time=False, **options).set_output(transform="pandas")
    return features.fit_transform(EpochSequence([Recording(signals)])).reset_index(drop=True)


def synthetic_eeg():
    """Pink noise with spindles of 13 Hz and slow waves, uV."""
    rng = np.random.default_rng(7)
    n = N_EPOCHS * 30 * RATE
    frequency = np.fft.rfftfreq(n, 1 / RATE)
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.maximum(frequency, 0.5)
    pink = np.fft.irfft(spectrum, n)
    values, time = 12 * pink / pink.std(), np.arange(n) / RATE
    for centre in range(22, N_EPOCHS * 30, 25):
        near = np.exp(-0.5 * ((time - centre) / 0.3) ** 2)
        values += 22 * near * np.sin(2 * np.pi * 13 * time)
    for centre in range(10, N_EPOCHS * 15, 17):
        near = np.abs(time - centre) < 0.6
        values -= 70 * near * np.sin(2 * np.pi * (time - centre + 0.6) / 1.2)
    return values.astype(np.float32)


def beat_times(mean, lf, hf, noise, seed):
    rng = np.random.default_rng(seed)
    times = [0.0]
    while times[-1] < 1800:
        phase = 2 * np.pi * times[-1]
        step = mean + 0.03 * np.sin(0.02 * phase) + lf * np.sin(0.1 * phase + 1)
        times.append(times[-1] + step + hf * np.sin(0.25 * phase) + noise * rng.standard_normal())
    return np.array(times)


@pytest.fixture(scope="module")
def eeg():
    return columns({"eeg": (synthetic_eeg(), RATE)})


def per_epoch(times):
    return np.bincount((np.array(times) / 30).astype(int), minlength=N_EPOCHS)


def test_band_powers_equal_yasa(eeg):
    rows = eeg.loc[list(YASA_EPOCHS)]
    assert rows[[f"eeg_{band}" for band in BANDS]].to_numpy() == pytest.approx(
        np.array(YASA_SHARES), abs=0.025
    )
    in_db = rows[[f"eeg_{band}_db" for band in BANDS]].to_numpy()
    assert in_db == pytest.approx(10 * np.log10(YASA_POWERS), abs=0.35)


def test_spindles_equal_yasa(eeg):
    assert np.array_equal(eeg["eeg_spindles"], 2 * per_epoch(YASA_SPINDLES))


def test_slow_waves_equal_yasa(eeg):
    assert np.array_equal(eeg["eeg_slow_waves"], 2 * per_epoch(YASA_SLOW_WAVES))


def test_permutation_entropy_equals_antropy():
    # perm_entropy(order=3, delay=1, normalize=True) of a signal below 30 Hz at 64 Hz
    values = np.random.default_rng(1).standard_normal(64 * 60)
    spectrum = np.fft.rfft(values)
    spectrum[np.fft.rfftfreq(len(values), 1 / 64) > 12] = 0
    values = 30 * np.fft.irfft(spectrum)
    order = np.argsort(np.lib.stride_tricks.sliding_window_view(values[:1920], 3), axis=1)
    share = pd.Series(map(tuple, order.tolist())).value_counts(normalize=True)
    expected = -(share * np.log2(share)).sum() / np.log2(6)
    found = columns({"eeg": (values.astype(np.float32), 64)})["eeg_permutation"]
    assert found[0] == pytest.approx(expected, abs=0.01)


def test_sine_has_known_features():
    time = np.arange(256 * 120) / 256
    rows = columns({"eeg": (20 * np.sin(2 * np.pi * 10 * time), 256)})
    assert rows["eeg_alpha_db"].to_numpy() == pytest.approx(10 * np.log10(200), abs=0.1)
    assert (rows["eeg_alpha"] > 0.98).all()
    assert rows["eeg_mobility"][1] == pytest.approx(2 * np.pi * 10, rel=0.05)
    assert rows["eeg_edge"].between(9.5, 10.75).all()


@pytest.mark.parametrize("exponent", [1.0, 2.5])
def test_slope_is_the_exponent(exponent):
    rng, n = np.random.default_rng(0), 128 * 600
    frequency = np.fft.rfftfreq(n, 1 / 128)
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.maximum(frequency, 0.3) ** (exponent / 2)
    values = np.fft.irfft(spectrum, n)
    rows = columns({"eeg": (30 * values / values.std(), 128)})
    assert rows["eeg_slope"].mean() == pytest.approx(exponent, abs=0.1)


@pytest.mark.parametrize("case", NEUROKIT)
def test_variability_equals_neurokit(case):
    row = columns({"ibi": ibi_from_beats(beat_times(*case), duration=1800.0)}).loc[30]
    sdnn, rmssd, pnn50, vlf, lf, hf = NEUROKIT[case]
    names = ("ibi_sdnn", "ibi_rmssd", "ibi_vlf", "ibi_lf", "ibi_hf")
    found = np.exp(row[list(names)].to_numpy()) - 1
    # 4 Hz cannot hold the tips of single intervals
    assert found[:2] == pytest.approx([sdnn, rmssd], rel=0.15)
    assert row["ibi_pnn50"] == pytest.approx(pnn50, abs=0.08)
    assert found[2:] == pytest.approx([vlf, lf, hf], rel=0.22)


def test_breaths_are_counted():
    time = np.arange(32 * 600) / 32
    depth = np.where((time > 300) & (time < 360), 0.1, 1.0)
    rows = columns({"airflow": (depth * np.sin(2 * np.pi * 0.25 * time), 32)})
    assert rows["airflow_rate"][4] == pytest.approx(15, abs=0.2)
    assert rows["airflow_rate_cv"][4] < 0.02
    assert rows["airflow_reduced"][10] > 0.8 > 0.1 > rows["airflow_reduced"][4]
    assert rows["airflow_depth"][10] < -1.5


def test_desaturations_are_counted():
    time = np.arange(3600)
    # fifteen by 4 % in the second half hour
    values = 96.0 - 4 * ((time >= 1800) & (time % 120 >= 90))
    rows = columns({"spo2": (values, 1)})
    assert rows["spo2_odi3"][90] == pytest.approx(30, abs=3)
    assert rows["spo2_odi4"][90] == pytest.approx(30, abs=3)
    assert rows["spo2_odi3"][30] == 0
    lower = columns({"spo2": (values - 5, 1)})
    assert lower["spo2_below90"].mean() == pytest.approx(0.125, abs=0.01)


def test_eye_movements_are_told():
    time = np.arange(100 * 90) / 100
    values = np.random.default_rng(0).standard_normal(len(time))
    for onset in np.arange(31, 59, 2.0):
        after = np.maximum(time - onset, 0)
        values += 180 * (np.exp(-after / 0.25) - np.exp(-after / 0.04)) * (time > onset)
    slow = (time >= 60) * 90 * np.sin(2 * np.pi * 0.35 * time)
    rows = columns({"eog": (values + slow, 100)})
    assert rows["eog_rapid"][0] == 0
    assert rows["eog_rapid"][1] >= 20
    assert rows["eog_rolling"][0] == 0
    assert rows["eog_rolling"][2] > 0.7


def test_atonia_and_tone():
    rng = np.random.default_rng(0)
    loud = np.repeat([10.0, 1.0, 10.0], 30 * 128)
    rows = columns({"emg": (loud * rng.standard_normal(len(loud)), 128)})
    assert rows["emg_rms_db"][0] - rows["emg_rms_db"][1] == pytest.approx(20, abs=1)
    assert rows["emg_atonia"][1] == 1
    assert rows["emg_atonia"][0] == 0


def test_movements_have_distances():
    counts = np.zeros(40)
    counts[[10, 30]] = 100.0
    rows = columns({"actigraphy": (counts / 30, 1 / 30)})
    assert np.expm1(rows["actigraphy_since"][20]) == pytest.approx(5)
    assert np.expm1(rows["actigraphy_until"][20]) == pytest.approx(5)
    assert rows["actigraphy_index"].idxmax() in (9, 10, 11, 29, 30, 31)


def test_heart_rate_from_waves(cohort):
    night = next(r for r in cohort if {"ecg", "ibi"} <= set(r.modalities))
    rows = columns({name: (night[name], night.rates[name]) for name in ("ecg", "ibi")})
    assert (rows["ecg_hr"] - rows["ibi_hr"]).abs().median() < 0.5
