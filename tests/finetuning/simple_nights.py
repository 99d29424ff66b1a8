# SPDX-License-Identifier: BSD-3-Clause
"""Nights whose epochs can be told apart by the level of two sensors, and settings for tiny fits."""

import numpy as np

from sleep2vec_sklearn import Recording

N_EPOCHS = 20
QUICK = {"max_epochs": 3, "head_size": 8, "random_state": 0, "patience": None}


def make_night(number, **changes):
    """Two states of an hour-glass night: saturation and heart rate fall together in the second."""
    random = np.random.default_rng(number)
    stages = np.repeat((np.arange(N_EPOCHS) // (2 + number % 3)) % 2, 1)
    state = np.repeat(stages, 120)
    signals = {
        "spo2": 96 - 6 * state - 3 * (number % 2) + random.standard_normal(len(state)).clip(-2, 2),
        "ibi": 0.8 + 0.2 * state + 0.02 * random.standard_normal(len(state)),
    }
    known = {
        "subject": f"s{number // 2}",
        "metadata": {"age": 30.0 + 5 * number, "sex": "FM"[number % 2]},
        "stages": stages,
        "id": f"night-{number}",
    }
    return Recording({name: (values, 4) for name, values in signals.items()}, **(known | changes))


def make_nights(n):
    """So many of them, two for each subject."""
    return [make_night(number) for number in range(n)]
