# SPDX-License-Identifier: BSD-3-Clause
"""Tokenizers, which turn the samples of one 30-s epoch of one modality into one vector.

A night has about a thousand epochs, too few to learn band-pass filters from raw samples. So the
spectral front end computes what sleep scorers and cardiologists read off the trace: band power and
its variation within the epoch, breathing and pulse rate, bursts, drifts, levels. It has no learned
parts, so training can compute the features of a night once. Expert columns go further: they are
relative to the night, and reach over minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, silu

from ..recordings._expert_catalogue import find_relative
from ..recordings.modality import EPOCH_SECONDS

if TYPE_CHECKING:
    from .config import ModalityConfig, TokenizerConfig

FAST_RATE = 32
_FLOOR = 1e-4
# conditioned signals stay within +-20; this only keeps the squares of foreign input finite
_LARGEST = 1e4
_FEATURE_CLIP = 8.0
_FRAME_SECONDS = 2
_SLOW_LIMIT = 4.0
_ENVELOPE_RATE = 8
_LAGS = (1, 2, 4, 8)
_SAMPLES_AT_ONCE = 1 << 18
_FAST_STATISTICS = ("mean", "std", "skewness", "kurtosis", "min", "max", "line", "crossings")
_SLOW_STATISTICS = ("mean", "std", "min", "max", "median", "slope", "change", "bend")


def build_tokenizer(modality: ModalityConfig) -> nn.Module:
    """The tokenizer that a modality's configuration describes."""
    if modality.tokenizer.name == "spectral":
        return SpectralTokenizer(modality.conditioning.rate, modality.tokenizer)
    if modality.tokenizer.name == "expert":
        return ExpertTokenizer(modality.conditioning.columns, modality.tokenizer)
    kinds = {"linear": LinearTokenizer, "sundial": SundialTokenizer, "sundial2": Sundial2Tokenizer}
    return kinds[modality.tokenizer.name](modality.conditioning.width, modality.tokenizer)


class LinearTokenizer(nn.Module):
    """``LayerNorm(W x + b)``."""

    def __init__(self, width: int, config: TokenizerConfig):
        super().__init__()
        self.linear = nn.Linear(width, config.out_dim)
        self.norm = _output_norm(config)

    def forward(self, samples: Tensor) -> Tensor:
        return self.norm(self.linear(samples))


class SundialTokenizer(nn.Module):
    """``LayerNorm(Dropout(W2 SiLU(W1 x)) + Wr x)``, the paper's two-layer tokenizer."""

    def __init__(self, width: int, config: TokenizerConfig):
        super().__init__()
        dim = config.out_dim
        self.hidden = nn.Linear(width, 2 * dim)
        self.output = nn.Linear(2 * dim, dim)
        self.residual = nn.Linear(width, dim)
        self.norm = _output_norm(config)
        self.dropout = nn.Dropout(config.option("dropout"))

    def forward(self, samples: Tensor) -> Tensor:
        inner = silu(self.hidden(samples))
        return self.norm(self.dropout(self.output(inner)) + self.residual(samples))


class Sundial2Tokenizer(nn.Module):
    """Sundial with a normalised input, scaled branches and a learned gain per modality."""

    def __init__(self, width: int, config: TokenizerConfig):
        super().__init__()
        dim = config.out_dim
        self.pre_norm = nn.LayerNorm(width) if config.option("pre_norm") else nn.Identity()
        self.hidden = nn.Linear(width, 2 * dim)
        self.output = nn.Linear(2 * dim, dim)
        self.extra = nn.ModuleList(
            nn.Linear(dim, dim) for _ in range(config.option("num_mlp_layers") - 2)
        )
        self.residual = nn.Linear(width, dim)
        self.norm = _output_norm(config)
        self.dropout = nn.Dropout(config.option("dropout"))
        self.gain = nn.Parameter(torch.tensor(float(config.option("modality_scale"))))
        self.residual_scale = config.option("residual_scale")
        self.ff_scale = config.option("ff_scale")
        self.clamp_value = config.option("clamp_value")

    def forward(self, samples: Tensor) -> Tensor:
        samples = self.pre_norm(samples)
        inner = self.output(silu(self.hidden(samples)))
        for layer in self.extra:
            inner = layer(silu(inner))
        if self.clamp_value is not None:
            inner = self.clamp_value * torch.tanh(inner / self.clamp_value)
        inner = self.dropout(inner) * self.ff_scale
        return self.norm(self.residual_scale * self.residual(samples) + inner) * self.gain


def _output_norm(config: TokenizerConfig) -> nn.Module:
    return nn.LayerNorm(config.out_dim) if config.option("norm_layer") else nn.Identity()


class FrontEndTokenizer(nn.Module):
    """``embed(features(samples))``: a fixed front end, then sundial's learned layers.

    Attributes
    ----------
    n_features : int
        Known from the configuration alone.
    feature_mean, feature_std : Tensor of shape [n_features]
        Standardisation inside :meth:`embed`; 0 and 1 until :meth:`set_statistics`.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, n_features: int, config: TokenizerConfig):
        super().__init__()
        self.n_features = n_features
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_std", torch.ones(n_features))
        dim = config.out_dim
        inner = config.option("inner_dim") or 2 * dim
        self.hidden = nn.Linear(n_features, inner)
        self.output = nn.Linear(inner, dim)
        self.residual = nn.Linear(n_features, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.option("dropout"))

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and std [n_features] of :meth:`features`; constant ones stay unscaled."""
        mean, std = (torch.as_tensor(v, dtype=torch.float32) for v in (mean, std))
        if mean.shape != (self.n_features,) or std.shape != mean.shape:
            shapes = f"{tuple(mean.shape)} and {tuple(std.shape)}"
            raise ValueError(f"statistics must have shape ({self.n_features},), got {shapes}.")
        if not (mean.isfinite().all() and std.isfinite().all() and (std >= 0).all()):
            raise ValueError("feature statistics must be finite, and std not negative.")
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(torch.where(std < 1e-4, 1.0, std))

    def features(self, samples: Tensor) -> Tensor:
        """[..., width] finite samples to [..., n_features] float32, not standardised."""
        raise NotImplementedError

    def embed(self, features: Tensor) -> Tensor:
        """[..., n_features] to [..., out_dim]."""
        scaled = (features - self.feature_mean) / self.feature_std
        scaled = scaled.clamp(-_FEATURE_CLIP, _FEATURE_CLIP)
        inner = self.dropout(self.output(silu(self.hidden(scaled))))
        return self.norm(inner + self.residual(scaled))

    def forward(self, samples: Tensor) -> Tensor:
        return self.embed(self.features(samples))


class SpectralTokenizer(FrontEndTokenizer):
    """Spectral features of the samples as the front end.

    Parameters
    ----------
    rate : float
        Samples per second; from 32 Hz on the features of a fast signal are taken.
    config : TokenizerConfig

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.model import SpectralTokenizer, TokenizerConfig
    >>> tokenizer = SpectralTokenizer(4.0, TokenizerConfig("spectral", 32))
    >>> tokenizer(torch.randn(1, 6, 120)).shape, tokenizer.n_features
    (torch.Size([1, 6, 32]), 42)
    """

    def __init__(self, rate: float, config: TokenizerConfig):
        super().__init__(len(feature_names(rate)), config)
        self.rate = rate
        for kind, (edges, _) in _band_plan(rate).items():
            self.register_buffer(f"{kind}_bands", _pooling(edges), persistent=False)

    def features(self, samples: Tensor) -> Tensor:
        """[..., width] finite samples to [..., n_features] float32, not standardised."""
        # autocast would take the pooling of power spectra to half precision
        with torch.autocast(samples.device.type, enabled=False):
            rows = samples.reshape(-1, samples.shape[-1])
            # a few epochs at a time, so that the passes over them stay in a processor's cache
            at_once = _SAMPLES_AT_ONCE // rows.shape[1] if rows.device.type == "cpu" else len(rows)
            chunks = [self._features_of(chunk) for chunk in rows.split(max(1, at_once))]
            return torch.cat(chunks).view(*samples.shape[:-1], self.n_features)

    def _features_of(self, rows: Tensor) -> Tensor:
        rows = rows.float().clamp(-_LARGEST, _LARGEST)
        parts = self._fast(rows) if self.rate >= FAST_RATE else self._slow(rows)
        return torch.cat(parts, dim=-1)

    def _fast(self, rows: Tensor) -> list[Tensor]:
        frames = rows.unfold(-1, round(_FRAME_SECONDS * self.rate), round(self.rate))
        frames = self._log_bands(frames, "frame")
        mean = frames.mean(dim=1, keepdim=True)
        variance = (frames - mean).square().sum(dim=1) / (frames.shape[1] - 1)
        pooled = [mean[:, 0], variance.sqrt(), frames.amax(dim=1)]
        centred = rows - rows.mean(dim=-1, keepdim=True)
        envelope = adaptive_avg_pool1d(rows.abs(), EPOCH_SECONDS * _ENVELOPE_RATE)
        envelope = envelope - envelope.mean(dim=-1, keepdim=True)
        spectra = [self._log_bands(centred, "window"), self._log_bands(envelope, "envelope")]
        loudness = (adaptive_avg_pool1d(rows.square(), 6) + _FLOOR).log() / 2
        return [*pooled, *spectra, torch.stack(_shape_of(rows, centred), dim=-1), loudness]

    def _slow(self, rows: Tensor) -> list[Tensor]:
        mean = rows.mean(dim=-1, keepdim=True)
        centred, step = rows - mean, rows.diff(dim=-1)
        time = torch.linspace(-1, 1, rows.shape[-1], dtype=rows.dtype, device=rows.device)
        statistics = [
            mean[:, 0],
            centred.std(dim=-1, correction=0),
            rows.amin(dim=-1),
            rows.amax(dim=-1),
            rows.median(dim=-1).values,
            centred @ time / time.square().sum(),
            step.abs().mean(dim=-1),
            step.diff(dim=-1).abs().mean(dim=-1),
        ]
        lagged = [(rows[:, lag:] - rows[:, :-lag]).std(dim=-1, correction=0) for lag in _LAGS]
        segments = adaptive_avg_pool1d(rows, 10) - mean
        spectrum = self._log_bands(centred, "window")
        return [torch.stack([*statistics, *lagged], dim=-1), segments, spectrum]

    def _log_bands(self, values: Tensor, kind: str) -> Tensor:
        """Log of the Hann-windowed power in each band; white noise of variance 1 gives 0."""
        bands = self.get_buffer(f"{kind}_bands")
        window = torch.hann_window(values.shape[-1], dtype=values.dtype, device=values.device)
        spectrum = torch.fft.rfft(values * window)[..., : bands.shape[0]]
        power = (spectrum.real.square() + spectrum.imag.square()) / window.square().sum()
        return (power @ bands + _FLOOR).log()


class ExpertTokenizer(FrontEndTokenizer):
    """Expert columns that are relative to the night as the front end.

    Those that are not tell subjects apart more than stages, and are not read.

    Parameters
    ----------
    columns : sequence of str
        What conditioning gives of an epoch.
    config : TokenizerConfig

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.model import ExpertTokenizer, TokenizerConfig
    >>> columns = "hr", "hr_rel", "hr_m11"
    >>> tokenizer = ExpertTokenizer(columns, TokenizerConfig("expert", 32))
    >>> tokenizer(torch.randn(1, 6, 3)).shape, tokenizer.n_features
    (torch.Size([1, 6, 32]), 2)
    """

    relative: Tensor

    def __init__(self, columns: Sequence[str], config: TokenizerConfig):
        relative = find_relative(columns)
        super().__init__(len(relative), config)
        self.register_buffer("relative", torch.tensor(relative), persistent=False)

    def features(self, samples: Tensor) -> Tensor:
        """[..., n_columns] to [..., n_features]."""
        return samples.float()[..., self.relative]


def feature_names(rate: float) -> tuple[str, ...]:
    """What each number of :meth:`SpectralTokenizer.features` is; bands by their limits in Hz."""
    bands = {
        kind: [f"{a * step:.3g}-{b * step:.3g}Hz" for a, b in pairwise(edges)]
        for kind, (edges, step) in _band_plan(rate).items()
    }
    if rate >= FAST_RATE:
        names = [f"frame_{s}_{b}" for s in ("mean", "std", "max") for b in bands["frame"]]
        names += [f"{kind}_{b}" for kind in ("window", "envelope") for b in bands[kind]]
        names += _FAST_STATISTICS
        names += [f"log_rms_{i}" for i in range(6)]
    else:
        names = [*_SLOW_STATISTICS, *(f"lag_{lag}" for lag in _LAGS)]
        names += [f"segment_{i}" for i in range(10)]
        names += [f"window_{b}" for b in bands["window"]]
    return tuple(names)


def _band_plan(rate: float) -> dict[str, tuple[np.ndarray, float]]:
    """Edges, in bins, and Hz per bin of every pooled spectrum at this rate."""
    width = round(rate * EPOCH_SECONDS)
    fine = 1 / EPOCH_SECONDS
    if rate < FAST_RATE:
        return {"window": (_band_edges(1, width // 2, 20), fine)}
    top = int(min(rate / 2, 64) * _FRAME_SECONDS)
    below = int(_SLOW_LIMIT * EPOCH_SECONDS) - 1
    return {
        "frame": (_band_edges(1, top, 24), 1 / _FRAME_SECONDS),
        "window": (_band_edges(1, below, 24), fine),
        "envelope": (_band_edges(1, below, 24), fine),
    }


def _band_edges(lowest: int, highest: int, n_bands: int) -> np.ndarray:
    """Log-spaced edges over spectral bins, no band empty: fewer where there are fewer bins."""
    n_bands = min(n_bands, highest - lowest + 1)
    n_points = n_bands + 1
    while True:
        edges = np.unique(np.round(np.geomspace(lowest, highest + 1, n_points)).astype(int))
        if len(edges) > n_bands:
            return edges
        n_points += 1


def _pooling(edges: np.ndarray) -> Tensor:
    """[n_bins, n_bands] matrix that averages the bins of each band; bin 0 is the constant."""
    matrix = torch.zeros(int(edges[-1]), len(edges) - 1, dtype=torch.float32)
    for band, (start, stop) in enumerate(pairwise(edges)):
        matrix[start:stop, band] = 1.0 / float(stop - start)
    return matrix


def _shape_of(rows: Tensor, centred: Tensor) -> list[Tensor]:
    """Mean, std, skewness, kurtosis, min, max, line length (asinh) and zero crossings."""
    std = centred.square().mean(dim=-1).sqrt()
    scaled = centred / (std[:, None] + 1e-6)
    values = [
        rows.mean(dim=-1),
        std,
        scaled.pow(3).mean(dim=-1),
        scaled.square().square().mean(dim=-1),
        rows.amin(dim=-1),
        rows.amax(dim=-1),
        rows.diff(dim=-1).abs().mean(dim=-1),
        (centred[:, 1:] * centred[:, :-1] < 0).float().mean(dim=-1),
    ]
    return [value.asinh() for value in values]
