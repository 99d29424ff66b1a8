# SPDX-License-Identifier: BSD-3-Clause
"""Hand-crafted features find what is in a signal, and nothing where there is none."""

import numpy as np
import pytest

from benchmarks.evaluation.psg_nights import (
    BRAIN_BANDS,
    BREATH_BANDS,
    WIDTHS,
    epoch_features,
)
from sleep2vec_sklearn.recordings import Signal

N_EPOCHS = 6


def wave(frequency, rate, n_epochs=N_EPOCHS, size=30.0):
    times = np.arange(round(30 * rate * n_epochs)) / rate
    noise = np.random.default_rng(0).standard_normal(len(times))
    return size * (np.sin(2 * np.pi * frequency * times) + 0.05 * noise)


@pytest.mark.parametrize("name", WIDTHS)
def test_every_sensor_has_its_features(name, noise):
    values, rate = noise(name, N_EPOCHS)
    values[: round(30 * rate)] = np.nan
    features = epoch_features(Signal(values, rate, {"spo2": "%", "ibi": "s"}.get(name, "uV")),
                              name, N_EPOCHS)  # fmt: skip
    assert features.shape == (N_EPOCHS, WIDTHS[name])
    assert np.isnan(features[0]).all()
    assert np.isfinite(features[1:]).mean() > (0.3 if name == "ecg" else 0.999)


@pytest.mark.parametrize(("frequency", "band"), [(1, 0), (6, 2), (10, 3), (20, 5)])
def test_rhythm_is_in_its_band(frequency, band):
    features = epoch_features(Signal(wave(frequency, 128), 128.0, "uV"), "eeg", N_EPOCHS)
    assert (features[:, : len(BRAIN_BANDS)].argmax(axis=1) == band).all()


def test_breathing_rate_is_found():
    features = epoch_features(Signal(wave(0.2, 8), 8.0, "a.u."), "airflow", N_EPOCHS)
    assert (features[:, : len(BREATH_BANDS)].argmax(axis=1) == 1).all()
    np.testing.assert_allclose(features[:, len(BREATH_BANDS)], 0.2, atol=0.02)


def test_heart_rate_from_ecg():
    rate, bpm = 200, 75
    values = 0.02 * np.random.default_rng(0).standard_normal(30 * rate * N_EPOCHS)
    for beat in np.arange(0.3, 30 * N_EPOCHS - 1, 60 / bpm):
        first = round(beat * rate)
        values[first : first + 8] += np.hanning(8)
    features = epoch_features(Signal(values, float(rate), "mV"), "ecg", N_EPOCHS)
    np.testing.assert_allclose(features[:, 0], bpm, atol=1.5)
