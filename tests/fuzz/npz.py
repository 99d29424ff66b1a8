# SPDX-License-Identifier: BSD-3-Clause
"""NPZ files of nights."""

from __future__ import annotations

import numpy as np

from sleep2vec_sklearn import describe_channels, read_recording
from tests.fuzz.mutators import BYTES, NUMBERS, damage, damage_member, replace_number
from tests.fuzz.targets import Target

N_EPOCHS = 4


def make_corpus(folder):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    seconds = 30 * N_EPOCHS
    night = {
        "eeg_original": rng.normal(0, 30, 128 * seconds), "spo2": np.full(4 * seconds, 96.0),
        "heartbeat": rng.uniform(0.8, 1.1, 4 * seconds), "stage5": [0, 1, 2, 4], "ahi": 3.2,
        "ah_event": rng.integers(0, 2, seconds), "arousal_event": np.zeros((seconds, 4), int),
    }  # fmt: skip
    rates = {"eeg": rng.normal(0, 30, (N_EPOCHS, 3000)), "rate_eeg": 100.0, "unit_eeg": "uV",
             "site": "here", "actigraphy": rng.integers(0, 50, seconds).astype(float)}  # fmt: skip
    np.savez(folder / "plain.npz", **night)
    np.savez_compressed(folder / "packed.npz", **night)
    np.savez(folder / "rates.npz", **rates)
    return sorted(folder.iterdir())


def mutate(rng, path):
    kind = rng.random()
    if kind < 0.4:
        damage(rng, path, BYTES)
    elif kind < 0.8:
        damage_member(rng, path, (*BYTES, replace_number, replace_number))
    else:
        arrays = dict(np.load(path))
        key = list(arrays)[int(rng.integers(len(arrays)))]
        other = (
            np.array(NUMBERS[int(rng.integers(len(NUMBERS)))].decode("latin-1")),
            np.full(int(rng.integers(4)), np.nan), np.array(np.inf), np.zeros((0, 3)),
            np.zeros((2, 3, 4)), np.array([1 + 2j]), np.array(["W", "N1"]), np.array(-1),
            np.zeros(3, "M8[s]"), np.zeros(2, [("a", "f4"), ("b", "O")]), np.float64(1e300),
            np.full(40, 1e300), np.array(1e-300), np.array(2**63 - 1), np.array(b"\xff" * 9),
        )  # fmt: skip
        name = key if rng.random() < 0.6 else f"{('rate', 'unit')[int(rng.integers(2))]}_{key}"
        arrays[name] = other[int(rng.integers(len(other)))]
        np.savez(path, **arrays)


def check(path):
    describe_channels(path)
    night = read_recording(path)
    signals = night.read()
    with np.load(path, allow_pickle=False) as arrays:
        keys = {"eeg": ("eeg", "eeg_original"), "spo2": ("spo2",), "ibi": ("heartbeat",)}
        return [
            f"{name} differs"
            for name, names in keys.items()
            if name in signals and name not in night.derived
            for key in names
            if key in arrays.files
            and not np.array_equal(
                np.float32(arrays[key]).reshape(-1), signals[name].values, equal_nan=True
            )
        ]


TARGET = Target(make_corpus, mutate, check)
