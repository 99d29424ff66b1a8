# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.model.config import TokenizerConfig
from sleep2vec_sklearn.model.tokenizers import SpectralTokenizer, feature_names

RATES = (128, 100, 64, 32, 25, 4, 1)


def tokenizer_of(rate):
    return SpectralTokenizer(rate, TokenizerConfig("spectral", 16)).eval()


def named(rate, samples):
    return dict(
        zip(feature_names(rate), tokenizer_of(rate).features(samples).tolist(), strict=True)
    )


def loudest(features, prefix):
    limits = max((k for k in features if k.startswith(prefix)), key=lambda k: features[k])
    return tuple(float(v) for v in limits.removeprefix(prefix).removesuffix("Hz").split("-"))


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seconds(rate):
    return torch.arange(rate * 30, dtype=torch.float64) / rate


@pytest.mark.parametrize("rate", RATES)
def test_the_number_of_features_is_known_from_the_rate(rate):
    tokenizer = tokenizer_of(rate)
    assert len(set(feature_names(rate))) == tokenizer.n_features
    assert tokenizer.features(noise(2, 3, rate * 30)).shape == (2, 3, tokenizer.n_features)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("value", [0.0, 20.0, 1e-30, -1e38])
def test_features_of_a_flat_signal_are_finite(rate, value):
    tokenizer = tokenizer_of(rate)
    flat = torch.full((1, 2, rate * 30), value)
    assert tokenizer.features(flat).isfinite().all()
    assert tokenizer(flat).isfinite().all()


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(RATES), st.floats(-38, 38), st.integers(0, 99))
def test_features_of_any_finite_signal_are_finite(rate, exponent, seed):
    samples = noise(2, rate * 30, seed=seed) * np.float32(10.0**exponent)
    samples = samples.nan_to_num(posinf=3e38, neginf=-3e38)
    assert tokenizer_of(rate)(samples).isfinite().all()


@pytest.mark.parametrize("rate", [128, 100])
@pytest.mark.parametrize("tone", [2.2, 12.0, 30.0])
def test_a_tone_lands_in_its_band(rate, tone):
    features = named(rate, torch.sin(2 * torch.pi * tone * seconds(rate)))
    low, high = loudest(features, "frame_mean_")
    assert low <= tone < high


@pytest.mark.parametrize("beats", [50, 75, 110])
def test_the_pulse_shows_in_the_spectrum_of_the_envelope(beats):
    pulse = beats / 60
    spikes = ((seconds(128) * pulse) % 1 < 0.05) * noise(3840).sign()
    low, high = loudest(named(128, spikes), "envelope_")
    assert low - 1 / 30 <= pulse < high + 1 / 30


@pytest.mark.parametrize("rate", [4, 1])
def test_breathing_shows_in_the_spectrum_of_a_slow_signal(rate):
    breathing = torch.sin(2 * torch.pi * 0.24 * seconds(rate))
    low, high = loudest(named(rate, breathing), "window_")
    assert low <= 0.24 < high


def test_a_burst_raises_the_spread_over_frames():
    samples = 0.1 * torch.sin(2 * torch.pi * 14 * seconds(128))
    burst = samples.clone()
    burst[1280:1400] *= 30
    band = "13-15Hz"
    steady, changing = named(128, samples), named(128, burst)
    assert changing[f"frame_std_{band}"] > steady[f"frame_std_{band}"] + 0.5
    assert changing[f"frame_max_{band}"] > steady[f"frame_max_{band}"] + 2


def test_gain_shifts_log_power_and_leaves_the_shape():
    quiet, loud = (named(128, gain * noise(3840)) for gain in (1.0, 4.0))
    for name in ("skewness", "kurtosis", "crossings", "frame_std_9-11Hz"):
        assert loud[name] == pytest.approx(quiet[name], abs=2e-3)
    assert loud["frame_mean_9-11Hz"] - quiet["frame_mean_9-11Hz"] == pytest.approx(
        np.log(16), abs=1e-2
    )
    assert loud["log_rms_3"] - quiet["log_rms_3"] == pytest.approx(np.log(4), abs=1e-2)


def test_level_and_slope_of_a_slow_signal_are_kept():
    features = named(4, torch.linspace(-3, -1, 120))
    assert features["mean"] == pytest.approx(-2, abs=1e-5)
    assert features["median"] == pytest.approx(-2, abs=0.02)
    assert features["slope"] == pytest.approx(1, abs=1e-4)
    assert features["segment_0"] < 0 < features["segment_9"]


@pytest.mark.parametrize("rate", [128, 4])
def test_forward_is_embed_of_features(rate):
    tokenizer, samples = tokenizer_of(rate), noise(2, 3, rate * 30)
    assert torch.equal(tokenizer(samples), tokenizer.embed(tokenizer.features(samples)))


@pytest.mark.parametrize("rate", [128, 4])
def test_an_epoch_does_not_depend_on_its_neighbours(rate):
    tokenizer, samples = tokenizer_of(rate), noise(9, rate * 30)
    torch.testing.assert_close(
        tokenizer.features(samples)[4], tokenizer.features(samples[4]), rtol=1e-5, atol=1e-5
    )


def test_statistics_standardise_inside_embed():
    plain, standard = tokenizer_of(4), tokenizer_of(4)
    standard.load_state_dict(plain.state_dict())
    features = tokenizer_of(4).features(noise(50, 120))
    standard.set_statistics(features.mean(dim=0), features.std(dim=0))
    scaled = (features - features.mean(dim=0)) / features.std(dim=0)
    torch.testing.assert_close(standard.embed(features), plain.embed(scaled))


def test_a_feature_that_never_varied_is_not_blown_up():
    tokenizer = tokenizer_of(4)
    tokenizer.set_statistics(torch.zeros(42), torch.zeros(42))
    assert torch.equal(tokenizer.feature_std, torch.ones(42))


def test_a_feature_far_out_is_clipped():
    tokenizer = tokenizer_of(4)
    features = torch.zeros(2, tokenizer.n_features)
    features[0, 0], features[1, 0] = 8.0, 1e6
    first, second = tokenizer.embed(features)
    assert torch.equal(first, second)


def test_statistics_of_another_rate_are_refused():
    with pytest.raises(ValueError, match="42"):
        tokenizer_of(4).set_statistics(torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match="finite"):
        tokenizer_of(4).set_statistics(torch.full((42,), torch.nan), torch.ones(42))
