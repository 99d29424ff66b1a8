# SPDX-License-Identifier: BSD-3-Clause
"""Hypothesis strategies: nights of any montage, rate and missingness."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from sleep2vec_sklearn import Recording

NATIVE_RATES = {
    "eeg": (50, 64, 99.9, 128),
    "ecg": (64, 100, 125.0),
    "effort": (4, 10, 32),
    "spo2": (0.5, 1, 3, 4),
    "ibi": (0.5, 4),
    "actigraphy": (0.5, 1, 2),
}


def make_signal(name: str, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Samples that could be a sensor's; no physiology."""
    noise = rng.standard_normal(n_samples)
    if name == "spo2":
        return 95 + np.clip(noise, -4, 4)
    if name == "ibi":
        return 0.9 + 0.05 * np.clip(noise, -4, 4)
    return np.abs(noise) * 30 if name == "actigraphy" else noise * 30


@st.composite
def signals(draw, name: str, n_epochs: int):
    """A pair (samples, rate) with up to two gaps, too short to leave nothing."""
    rate = draw(st.sampled_from(NATIVE_RATES[name]))
    n_samples = max(1, round(n_epochs * 30 * rate))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = make_signal(name, n_samples, rng).astype(np.float32)
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.floats(0, 1))
        length = draw(st.sampled_from((0.0, 0.02, 0.2)))
        values[int(start * n_samples) : int((start + length) * n_samples)] = np.nan
    return values, rate


@st.composite
def montages(draw, min_epochs: int = 2, max_epochs: int = 12) -> dict:
    """A dict of any non-empty subset of modalities."""
    n_epochs = draw(st.integers(min_epochs, max_epochs))
    names = draw(st.sets(st.sampled_from(sorted(NATIVE_RATES)), min_size=1, max_size=3))
    montage = {name: draw(signals(name, n_epochs)) for name in sorted(names)}
    for name in draw(st.sets(st.sampled_from(sorted(NATIVE_RATES)), max_size=2)):
        montage.setdefault(name, None)
    return montage


def recordings(**sizes) -> st.SearchStrategy[Recording]:
    """Recordings of such montages."""
    return montages(**sizes).map(Recording)
