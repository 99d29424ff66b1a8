# SPDX-License-Identifier: BSD-3-Clause
"""Spectral features of signals whose spectra and statistics are known on paper."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.model.config import TokenizerConfig
from sleep2vec_sklearn.model.tokenizers import (
    SpectralTokenizer,
    _band_edges,
    _band_plan,
    _pooling,
    feature_names,
)

few = settings(max_examples=30)

RATES = (128, 100, 64, 32, 25, 4, 1)
LIMIT = np.log(1e-4)


def tokenizer_of(rate, **options):
    return SpectralTokenizer(rate, TokenizerConfig("spectral", 16, options)).eval()


def features_of(rate, samples):
    names = feature_names(rate)
    return dict(zip(names, tokenizer_of(rate).features(samples).tolist(), strict=True))


def seconds(rate):
    return torch.arange(rate * 30, dtype=torch.float64) / rate


def sine(rate, hz, amplitude=1.0):
    return amplitude * torch.sin(2 * torch.pi * hz * seconds(rate))


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@few
@given(lowest=st.integers(1, 5), width=st.integers(0, 300), n_bands=st.integers(1, 40))
def test_bands_are_as_many_as_asked_for_and_none_is_empty(lowest, width, n_bands):
    edges = _band_edges(lowest, lowest + width, n_bands)
    assert (edges[0], edges[-1]) == (lowest, lowest + width + 1)
    assert (np.diff(edges) > 0).all()
    assert len(edges) - 1 >= min(n_bands, width + 1)


@pytest.mark.parametrize("rate", RATES)
def test_every_bin_but_the_constant_is_in_one_band(rate):
    for edges, _ in _band_plan(rate).values():
        matrix = _pooling(edges)
        assert not matrix[0].any()
        assert (matrix[1:] > 0).sum(dim=1).tolist() == [1] * (len(matrix) - 1)
        torch.testing.assert_close(matrix.sum(dim=0), torch.ones(matrix.shape[1]))


@pytest.mark.parametrize("rate", RATES)
def test_no_band_lies_above_half_the_rate(rate):
    bands = [name.split("_")[-1] for name in feature_names(rate) if name.endswith("Hz")]
    tops = [float(band.removesuffix("Hz").split("-")[1]) for band in bands]
    assert max(tops) <= min(rate / 2, 64) + 0.5 + 1e-6


@pytest.mark.parametrize("rate", [128, 32, 4])
def test_white_noise_of_variance_one_has_log_power_zero(rate):
    features = tokenizer_of(rate).features(noise(400, rate * 30))
    names = feature_names(rate)
    kind = "window_" if rate < 32 else "frame_mean_"
    power = features.exp().mean(dim=0)
    found = [power[i].item() for i, name in enumerate(names) if name.startswith(kind)]
    if rate < 32:
        np.testing.assert_allclose(found, 1.0, atol=0.35)
    else:
        # the log of a band's power is averaged over frames, so narrow bands lie a little lower
        assert min(found) > 0.4
        assert max(found) < 1.1


@few
@given(bin_=st.integers(3, 57), amplitude=st.floats(0.5, 8))
def test_a_sine_gives_its_power_to_its_own_band_and_little_to_others(bin_, amplitude):
    features = features_of(4, sine(4, bin_ / 30, amplitude))
    bands = {k: v for k, v in features.items() if k.startswith("window_")}
    limits = {
        k: [float(x) for x in k.removeprefix("window_").removesuffix("Hz").split("-")]
        for k in bands
    }
    inside = max(bands, key=bands.get)
    low, high = limits[inside]
    assert low - 0.035 <= bin_ / 30 <= high + 0.035
    far = [v for k, v in bands.items() if limits[k][1] < low - 0.07 or limits[k][0] > high + 0.07]
    assert all(value < bands[inside] - 8 for value in far)


def test_twice_the_amplitude_is_four_times_the_power():
    quiet, loud = (features_of(4, sine(4, 0.5, a)) for a in (1.0, 2.0))
    band = max((k for k in quiet if k.startswith("window_")), key=quiet.get)
    assert loud[band] - quiet[band] == pytest.approx(np.log(4), abs=1e-3)


def test_silence_lies_at_the_floor():
    features = features_of(128, torch.zeros(3840))
    for kind in ("frame_mean_", "frame_max_", "window_", "envelope_"):
        found = [v for k, v in features.items() if k.startswith(kind)]
        np.testing.assert_allclose(found, LIMIT, atol=1e-4)
    assert features["log_rms_0"] == pytest.approx(LIMIT / 2, abs=1e-4)


@pytest.mark.parametrize("hz", [1.03, 2.47, 6.1])
def test_a_sine_crosses_zero_twice_a_period(hz):
    crossings = features_of(64, sine(64, hz) + 5)["crossings"]
    assert np.sinh(crossings) == pytest.approx(2 * hz / 64, rel=0.03)


def test_moments_of_a_sine_are_those_of_the_books():
    features = {k: np.sinh(v) for k, v in features_of(128, 2 + sine(128, 5, 3.0)).items()}
    assert features["mean"] == pytest.approx(2, abs=1e-3)
    assert features["std"] == pytest.approx(3 / 2**0.5, rel=1e-3)
    assert features["skewness"] == pytest.approx(0, abs=1e-3)
    assert features["kurtosis"] == pytest.approx(1.5, rel=1e-3)
    assert (features["min"], features["max"]) == pytest.approx((-1, 5), abs=0.02)
    assert features["line"] == pytest.approx(4 * 3 * 5 / 128, rel=0.01)


def test_turning_a_signal_over_turns_what_has_a_sign_and_nothing_else():
    samples = noise(3840).exp()
    plain, turned = features_of(128, samples), features_of(128, -samples)
    for name in ("mean", "skewness"):
        assert turned[name] == pytest.approx(-plain[name], abs=1e-4)
    assert turned["min"] == pytest.approx(-plain["max"], abs=1e-4)
    same = [k for k in plain if k.endswith("Hz") or k.startswith("log_rms") or k == "kurtosis"]
    for name in same:
        assert turned[name] == pytest.approx(plain[name], abs=1e-3)


@pytest.mark.parametrize("sixth", range(6))
def test_loudness_is_kept_in_the_order_of_time(sixth):
    samples = 0.1 * noise(3840)
    samples[640 * sixth : 640 * (sixth + 1)] *= 50
    features = features_of(128, samples)
    loudness = [features[f"log_rms_{i}"] for i in range(6)]
    assert int(np.argmax(loudness)) == sixth
    assert loudness[sixth] == pytest.approx(np.log(5), abs=0.1)


@pytest.mark.parametrize("tenth", [0, 4, 9])
def test_segments_are_kept_in_the_order_of_time(tenth):
    samples = torch.zeros(120)
    samples[12 * tenth : 12 * (tenth + 1)] = 10.0
    features = features_of(4, samples)
    segments = [features[f"segment_{i}"] for i in range(10)]
    np.testing.assert_allclose(segments, [9.0 if i == tenth else -1.0 for i in range(10)])


def test_lags_measure_change_over_samples():
    features = features_of(4, torch.arange(120) % 2 * 2.0 - 1)
    assert features["lag_1"] == pytest.approx(2, rel=0.01)
    assert [features[f"lag_{lag}"] for lag in (2, 4, 8)] == pytest.approx([0, 0, 0], abs=1e-6)
    assert features["change"] == pytest.approx(2)
    assert features["bend"] == pytest.approx(4)


def test_a_straight_line_changes_steadily_and_does_not_bend():
    features = features_of(4, torch.linspace(0, 119, 120))
    assert features["change"] == pytest.approx(1, rel=1e-5)
    assert features["bend"] == pytest.approx(0, abs=1e-4)
    assert (features["min"], features["max"]) == (0, 119)
    assert features["slope"] == pytest.approx(59.5, rel=1e-4)


def test_slow_signals_keep_their_level_and_fast_ones_lose_it_from_the_spectrum():
    low, high = (features_of(4, 0.3 * noise(120) + level) for level in (0.0, 7.0))
    assert high["mean"] - low["mean"] == pytest.approx(7, abs=1e-4)
    for name in (k for k in low if k.startswith(("window_", "segment_", "lag_"))):
        assert high[name] == pytest.approx(low[name], abs=5e-3)


def test_the_envelope_beats_where_the_carrier_is_modulated():
    carrier = sine(128, 30) * (1 + 0.8 * sine(128, 0.3))
    features = features_of(128, carrier)
    envelope = {k: v for k, v in features.items() if k.startswith("envelope_")}
    low, high = max(envelope, key=envelope.get)[9:-2].split("-")
    assert float(low) <= 0.3 < float(high)


def test_the_inner_width_can_be_chosen():
    assert tokenizer_of(4).hidden.out_features == 32
    assert tokenizer_of(4, inner_dim=7).hidden.out_features == 7


def test_features_of_half_precision_are_computed_in_full():
    samples = noise(2, 3840)
    tokenizer = tokenizer_of(128)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = tokenizer.features(samples)
    assert torch.equal(found, tokenizer.features(samples))
