# SPDX-License-Identifier: BSD-3-Clause
"""Nights made of formulas, and what the bundled encoder gave for them.

``python -m tests.golden`` writes the file anew, after the bundled encoder was replaced on purpose.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecTransformer

FILE = Path(__file__).parent / "data" / "golden" / "sleep2vec-mini.npz"
N_EPOCHS = 250
_NATIVE_RATES = {
    "eeg": 100, "eog": 128, "emg": 200, "ecg": 125, "airflow": 10, "effort": 16, "spo2": 1,
    "ibi": 4, "resp": 4, "ppg": 50, "actigraphy": 1 / 30,
}  # fmt: skip


def golden_night(*modalities: str) -> Recording:
    """A night longer than one window, from sines and a frozen noise."""
    signals = {name: (_signal(name, rate), rate) for name, rate in _NATIVE_RATES.items()}
    return Recording({name: signals[name] for name in modalities or _NATIVE_RATES})


def golden_rows() -> dict[str, np.ndarray]:
    """Rows of four montages."""
    transformer = Sleep2VecTransformer(cache=None)
    montages = {
        "all": golden_night(),
        "eeg": golden_night("eeg"),
        "watch": golden_night("ibi", "actigraphy"),
        "breathing": golden_night("airflow", "effort", "spo2", "resp"),
    }
    rows = {}
    for name, night in montages.items():
        epochs = EpochSequence([night])[::13]
        rows[f"{name}/epochs"] = transformer.fit(epochs).transform(epochs)
        rows[f"{name}/night"] = transformer.fit([night]).transform([night])
    return rows


def _signal(name: str, rate: float) -> np.ndarray:
    n = round(N_EPOCHS * 30 * rate)
    time = np.arange(n) / rate
    noise = np.random.RandomState(len(name)).standard_normal(n)
    slow = np.sin(2 * np.pi * time / 1800)
    breath = np.sin(2 * np.pi * 0.25 * time)
    return {
        "eeg": lambda: 20 * noise + 30 * np.sin(2 * np.pi * 1.1 * time) * (1 + slow),
        "eog": lambda: 15 * noise + 60 * np.sin(2 * np.pi * 0.4 * time) * (slow > 0.5),
        "emg": lambda: 5 * noise * (1.5 + slow),
        "ecg": lambda: 20 * noise + 900 * np.exp(-200 * ((time * (1.05 + 0.05 * slow)) % 1) ** 2),
        "airflow": lambda: breath * (1.2 + slow) + 0.1 * noise,
        "effort": lambda: breath * (1.5 - slow) + 0.1 * noise,
        "spo2": lambda: 95 + np.round(2 * slow + 0.5 * noise),
        "ibi": lambda: 0.95 + 0.08 * slow + 0.03 * breath + 0.01 * noise,
        "resp": lambda: breath + 0.2 * noise,
        "ppg": lambda: np.sin(2 * np.pi * 1.1 * time) + 0.3 * noise,
        "actigraphy": lambda: 20 * np.clip(noise - 1, 0, None),
    }[name]()


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    np.savez(FILE, **golden_rows())
