# SPDX-License-Identifier: BSD-3-Clause
"""Tokenizers; spectral features of signals whose spectra and statistics are known on paper."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import layer_norm, silu

from sleep2vec_sklearn.model import ModalityConfig, SpectralTokenizer, TokenizerConfig
from sleep2vec_sklearn.model.tokenizers import (
    _band_edges,
    _band_plan,
    _pooling,
    build_tokenizer,
    feature_names,
)
from sleep2vec_sklearn.recordings import MODALITIES

few = settings(max_examples=30)
RATES = (128, 100, 64, 32, 25, 4, 1)
FLOOR = np.log(1e-4)
SAMPLES = torch.randn(3, 120, generator=torch.Generator().manual_seed(0))


def tokenizer_for(kind, **options):
    config = TokenizerConfig(kind, 8, options)
    return build_tokenizer(ModalityConfig("ibi", MODALITIES["ibi"].conditioning, config)).eval()


@pytest.mark.parametrize("kind", ["linear", "sundial", "sundial2", "spectral"])
def test_tokens_have_out_dim(kind):
    assert tokenizer_for(kind)(SAMPLES).shape == (3, 8)


@pytest.mark.parametrize("kind", ["linear", "sundial", "sundial2"])
def test_output_norm_is_optional(kind):
    tokenizer = tokenizer_for(kind, norm_layer=False)
    plain = tokenizer(SAMPLES)
    tokenizer.norm = torch.nn.LayerNorm(8)
    torch.testing.assert_close(tokenizer(SAMPLES), layer_norm(plain, (8,)), rtol=0, atol=1e-5)


def test_sundial2_gain_and_layers():
    normed, raw = tokenizer_for("sundial2"), tokenizer_for("sundial2", pre_norm=False)
    torch.testing.assert_close(normed(SAMPLES), normed(9 * SAMPLES), rtol=0, atol=1e-4)
    assert not torch.allclose(raw(SAMPLES), raw(9 * SAMPLES), atol=1e-2)
    tokenizer = tokenizer_for("sundial2", num_mlp_layers=3, residual_scale=0.0, norm_layer=False)
    inner = tokenizer.output(silu(tokenizer.hidden(tokenizer.pre_norm(SAMPLES))))
    torch.testing.assert_close(tokenizer(SAMPLES), tokenizer.extra[0](silu(inner)))


def test_sundial2_clamps_feed_forward():
    tokenizer = tokenizer_for(
        "sundial2", clamp_value=0.5, residual_scale=0.0, norm_layer=False, modality_scale=3.0
    )
    with torch.no_grad():
        tokenizer.output.weight.mul_(1e3)
    assert tokenizer(SAMPLES).abs().max().item() == pytest.approx(1.5, rel=1e-4)


@pytest.mark.parametrize("kind", ["sundial", "sundial2", "spectral"])
def test_dropout_acts_in_training(kind):
    tokenizer = tokenizer_for(kind, dropout=0.5)
    assert torch.equal(tokenizer(SAMPLES), tokenizer(SAMPLES))
    with torch.random.fork_rng(devices=[]):
        tokenizer.train()
        assert not torch.equal(tokenizer(SAMPLES), tokenizer(SAMPLES))


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


def loudest(features, prefix):
    limits = max((k for k in features if k.startswith(prefix)), key=lambda k: features[k])
    return tuple(float(v) for v in limits.removeprefix(prefix).removesuffix("Hz").split("-"))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("value", [0.0, 20.0, 1e-30, -1e38])
def test_flat_signal_gives_finite_features(rate, value):
    tokenizer = tokenizer_of(rate)
    flat = torch.full((1, 2, rate * 30), value)
    assert tokenizer.features(flat).isfinite().all()
    assert tokenizer(flat).isfinite().all()


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(RATES), st.floats(-38, 38), st.integers(0, 99))
def test_any_signal_gives_finite_features(rate, exponent, seed):
    samples = noise(2, rate * 30, seed=seed) * np.float32(10.0**exponent)
    samples = samples.nan_to_num(posinf=3e38, neginf=-3e38)
    assert tokenizer_of(rate)(samples).isfinite().all()


@pytest.mark.parametrize(
    ("rate", "hz", "prefix"),
    [*((rate, hz, "frame_mean_") for rate in (128, 100) for hz in (2.2, 12.0, 30.0)),
     *((rate, 0.24, "window_") for rate in (4, 1))],
)  # fmt: skip
def test_sine_peaks_in_band(rate, hz, prefix):
    low, high = loudest(features_of(rate, sine(rate, hz)), prefix)
    assert low <= hz < high


@pytest.mark.parametrize("beats", [50, 75, 110])
def test_pulse_shows_in_envelope(beats):
    pulse = beats / 60
    spikes = ((seconds(128) * pulse) % 1 < 0.05) * noise(3840).sign()
    low, high = loudest(features_of(128, spikes), "envelope_")
    assert low - 1 / 30 <= pulse < high + 1 / 30


def test_burst_raises_frame_statistics():
    samples = 0.1 * torch.sin(2 * torch.pi * 14 * seconds(128))
    burst = samples.clone()
    burst[1280:1400] *= 30
    band = "13-15Hz"
    steady, changing = features_of(128, samples), features_of(128, burst)
    assert changing[f"frame_std_{band}"] > steady[f"frame_std_{band}"] + 0.5
    assert changing[f"frame_max_{band}"] > steady[f"frame_max_{band}"] + 2


def test_gain_shifts_log_power():
    quiet, loud = (features_of(128, gain * noise(3840)) for gain in (1.0, 4.0))
    for name in ("skewness", "kurtosis", "crossings", "frame_std_9-11Hz"):
        assert loud[name] == pytest.approx(quiet[name], abs=2e-3)
    assert loud["frame_mean_9-11Hz"] - quiet["frame_mean_9-11Hz"] == pytest.approx(
        np.log(16), abs=1e-2
    )
    assert loud["log_rms_3"] - quiet["log_rms_3"] == pytest.approx(np.log(4), abs=1e-2)


def test_slow_features_keep_level():
    features = features_of(4, torch.linspace(-3, -1, 120))
    assert features["mean"] == pytest.approx(-2, abs=1e-5)
    assert features["median"] == pytest.approx(-2, abs=0.02)
    assert features["slope"] == pytest.approx(1, abs=1e-4)
    assert features["segment_0"] < 0 < features["segment_9"]


@pytest.mark.parametrize("rate", [128, 4])
def test_epochs_are_independent(rate):
    tokenizer, samples = tokenizer_of(rate), noise(3, 3, rate * 30)
    features = tokenizer.features(samples)
    assert torch.equal(tokenizer(samples), tokenizer.embed(features))
    alone = tokenizer.features(samples[1, 1])
    torch.testing.assert_close(features[1, 1], alone, rtol=1e-5, atol=1e-5)


def test_statistics_standardise_features():
    plain, standard = tokenizer_of(4), tokenizer_of(4)
    standard.load_state_dict(plain.state_dict())
    features = tokenizer_of(4).features(noise(50, 120))
    standard.set_statistics(features.mean(dim=0), features.std(dim=0))
    scaled = (features - features.mean(dim=0)) / features.std(dim=0)
    torch.testing.assert_close(standard.embed(features), plain.embed(scaled))


def test_unfit_statistics_are_refused():
    tokenizer = tokenizer_of(4)
    tokenizer.set_statistics(torch.zeros(42), torch.zeros(42))
    assert torch.equal(tokenizer.feature_std, torch.ones(42))
    with pytest.raises(ValueError, match="42"):
        tokenizer_of(4).set_statistics(torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match="finite"):
        tokenizer_of(4).set_statistics(torch.full((42,), torch.nan), torch.ones(42))


def test_outlying_feature_is_clipped():
    tokenizer = tokenizer_of(4)
    features = torch.zeros(2, tokenizer.n_features)
    features[0, 0], features[1, 0] = 8.0, 1e6
    first, second = tokenizer.embed(features)
    assert torch.equal(first, second)


@few
@given(lowest=st.integers(1, 5), width=st.integers(0, 300), n_bands=st.integers(1, 40))
def test_no_band_is_empty(lowest, width, n_bands):
    edges = _band_edges(lowest, lowest + width, n_bands)
    assert (edges[0], edges[-1]) == (lowest, lowest + width + 1)
    assert (np.diff(edges) > 0).all()
    assert len(edges) - 1 >= min(n_bands, width + 1)


@pytest.mark.parametrize("rate", RATES)
def test_bins_are_pooled_once(rate):
    for edges, _ in _band_plan(rate).values():
        matrix = _pooling(edges)
        assert not matrix[0].any()
        assert (matrix[1:] > 0).sum(dim=1).tolist() == [1] * (len(matrix) - 1)
        torch.testing.assert_close(matrix.sum(dim=0), torch.ones(matrix.shape[1]))


@pytest.mark.parametrize("rate", RATES)
def test_names_fit_the_rate(rate):
    tokenizer = tokenizer_of(rate)
    assert len(set(feature_names(rate))) == tokenizer.n_features
    assert tokenizer.features(noise(2, 3, rate * 30)).shape == (2, 3, tokenizer.n_features)
    bands = [name.split("_")[-1] for name in feature_names(rate) if name.endswith("Hz")]
    tops = [float(band.removesuffix("Hz").split("-")[1]) for band in bands]
    assert max(tops) <= min(rate / 2, 64) + 0.5 + 1e-6


@pytest.mark.parametrize("rate", [128, 32, 4])
def test_white_noise_has_unit_power(rate):
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
def test_sine_stays_in_band(bin_, amplitude):
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


def test_silence_gives_floor():
    features = features_of(128, torch.zeros(3840))
    for kind in ("frame_mean_", "frame_max_", "window_", "envelope_"):
        found = [v for k, v in features.items() if k.startswith(kind)]
        np.testing.assert_allclose(found, FLOOR, atol=1e-4)
    assert features["log_rms_0"] == pytest.approx(FLOOR / 2, abs=1e-4)


@pytest.mark.parametrize("hz", [1.03, 2.47, 6.1])
def test_sine_zero_crossings(hz):
    crossings = features_of(64, sine(64, hz) + 5)["crossings"]
    assert np.sinh(crossings) == pytest.approx(2 * hz / 64, rel=0.03)


def test_sine_moments():
    features = {k: np.sinh(v) for k, v in features_of(128, 2 + sine(128, 5, 3.0)).items()}
    assert features["mean"] == pytest.approx(2, abs=1e-3)
    assert features["std"] == pytest.approx(3 / 2**0.5, rel=1e-3)
    assert features["skewness"] == pytest.approx(0, abs=1e-3)
    assert features["kurtosis"] == pytest.approx(1.5, rel=1e-3)
    assert (features["min"], features["max"]) == pytest.approx((-1, 5), abs=0.02)
    assert features["line"] == pytest.approx(4 * 3 * 5 / 128, rel=0.01)


def test_inverted_signal():
    samples = noise(3840).exp()
    plain, turned = features_of(128, samples), features_of(128, -samples)
    for name in ("mean", "skewness"):
        assert turned[name] == pytest.approx(-plain[name], abs=1e-4)
    assert turned["min"] == pytest.approx(-plain["max"], abs=1e-4)
    same = [k for k in plain if k.endswith("Hz") or k.startswith("log_rms") or k == "kurtosis"]
    for name in same:
        assert turned[name] == pytest.approx(plain[name], abs=1e-3)


@pytest.mark.parametrize("sixth", range(6))
def test_loudness_keeps_time_order(sixth):
    samples = 0.1 * noise(3840)
    samples[640 * sixth : 640 * (sixth + 1)] *= 50
    features = features_of(128, samples)
    loudness = [features[f"log_rms_{i}"] for i in range(6)]
    assert int(np.argmax(loudness)) == sixth
    assert loudness[sixth] == pytest.approx(np.log(5), abs=0.1)


@pytest.mark.parametrize("tenth", [0, 4, 9])
def test_segments_keep_time_order(tenth):
    samples = torch.zeros(120)
    samples[12 * tenth : 12 * (tenth + 1)] = 10.0
    features = features_of(4, samples)
    segments = [features[f"segment_{i}"] for i in range(10)]
    np.testing.assert_allclose(segments, [9.0 if i == tenth else -1.0 for i in range(10)])


def test_lines_and_changes():
    features = features_of(4, torch.arange(120) % 2 * 2.0 - 1)
    assert features["lag_1"] == pytest.approx(2, rel=0.01)
    assert [features[f"lag_{lag}"] for lag in (2, 4, 8)] == pytest.approx([0, 0, 0], abs=1e-6)
    assert features["change"] == pytest.approx(2)
    assert features["bend"] == pytest.approx(4)
    features = features_of(4, torch.linspace(0, 119, 120))
    assert features["change"] == pytest.approx(1, rel=1e-5)
    assert features["bend"] == pytest.approx(0, abs=1e-4)
    assert (features["min"], features["max"]) == (0, 119)
    assert features["slope"] == pytest.approx(59.5, rel=1e-4)


def test_level_and_amplitude():
    low, high = (features_of(4, 0.3 * noise(120) + level) for level in (0.0, 7.0))
    assert high["mean"] - low["mean"] == pytest.approx(7, abs=1e-4)
    for name in (k for k in low if k.startswith(("window_", "segment_", "lag_"))):
        assert high[name] == pytest.approx(low[name], abs=5e-3)
    quiet, loud = (features_of(4, sine(4, 0.5, a)) for a in (1.0, 2.0))
    band = max((k for k in quiet if k.startswith("window_")), key=quiet.get)
    assert loud[band] - quiet[band] == pytest.approx(np.log(4), abs=1e-3)


def test_inner_width_is_optional():
    assert tokenizer_of(4).hidden.out_features == 32
    assert tokenizer_of(4, inner_dim=7).hidden.out_features == 7


def test_features_ignore_autocast():
    samples = noise(2, 3840)
    tokenizer = tokenizer_of(128)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = tokenizer.features(samples)
    assert torch.equal(found, tokenizer.features(samples))
