# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn.errors import InvalidSignalError
from sleep2vec_sklearn.recordings.derivation import resp_from_breathing, resp_from_ecg

SECONDS = 240


def breaths(rate, seconds=SECONDS):
    return np.sin(2 * np.pi * 0.25 * np.arange(round(rate * seconds)) / rate)


def main_frequency(series):
    spectrum = np.abs(np.fft.rfft(np.nan_to_num(series)))
    return np.fft.rfftfreq(len(series), 0.25)[spectrum.argmax()]


@pytest.mark.parametrize("rate", [4, 8, 10, 25, 32, 100, 256])
def test_breaths_survive_drift_and_noise(rate):
    rng = np.random.default_rng(0)
    clean = breaths(rate)
    drift = np.linspace(0, 50, len(clean))
    series, series_rate = resp_from_breathing(
        clean + drift + 0.2 * rng.standard_normal(len(clean)), rate
    )
    assert (len(series), series_rate, series.dtype) == (4 * SECONDS, 4.0, np.float32)
    inside = slice(80, -80)
    assert np.corrcoef(series[inside], breaths(4)[inside])[0, 1] > 0.95
    assert np.nanstd(series) == pytest.approx(1, abs=0.01)


def ecg_with_breathing(rate=128):
    """Simulated R waves that a breath makes 15 % larger or smaller."""
    times = np.arange(round(rate * SECONDS)) / rate
    phase = (times + 0.45) % 0.9 - 0.45
    size = 1 + 0.15 * np.sin(2 * np.pi * 0.25 * times)
    return size * np.exp(-0.5 * (phase / 0.011) ** 2) + 0.3 * np.sin(2 * np.pi * 0.02 * times)


@pytest.mark.parametrize("sign", [1, -1])
def test_r_wave_sizes_follow_breaths(sign):
    series, rate = resp_from_ecg(sign * ecg_with_breathing(), 128)
    assert (len(series), rate) == (4 * SECONDS, 4.0)
    assert main_frequency(series) == pytest.approx(0.25, abs=0.005)
    inside = slice(80, -80)
    assert np.corrcoef(series[inside], breaths(4)[inside])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("derive", "values", "rate"),
    [(resp_from_breathing, breaths(16), 16), (resp_from_ecg, ecg_with_breathing(), 128)],
)
def test_gap_stays_gap(derive, values, rate):
    values = values.copy()
    values[60 * rate : 80 * rate] = np.nan
    series, _ = derive(values, rate)
    assert np.isnan(series[4 * 62 : 4 * 78]).all()
    assert np.isfinite(series[8 : 4 * 59]).all()


@pytest.mark.parametrize("derive", [resp_from_breathing, resp_from_ecg])
def test_empty_or_wrong_sensors(derive):
    series, _ = derive(np.full(64 * 60, np.nan), 64)
    assert len(series) == 240
    assert np.isnan(series).all()
    with pytest.raises(InvalidSignalError, match=r"has shape \(2, 900\).*one channel"):
        derive(np.zeros((2, 900)), 128)
    with pytest.raises(InvalidSignalError, match=r"has rate 1 Hz; accepted are at least"):
        derive(np.zeros(900), 1)
