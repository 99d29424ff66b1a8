# SPDX-License-Identifier: BSD-3-Clause
"""Nights and a pretrainer so small that a fit takes a moment; also for processes of their own."""

import numpy as np

from sleep2vec_sklearn import Recording, Sleep2VecPretrainer

TINY = {
    "token_dim": 8, "hidden_size": 8, "n_layers": 1, "n_heads": 2, "projection_size": 4,
    "context_epochs": 6, "batch_size": 4, "max_epochs": 2, "steps_per_epoch": 3,
    "validation": ["s3"], "precision": "float32", "random_state": 0,
}  # fmt: skip


def tiny_pretrainer(modalities=None, **parameters):
    """A pretrainer of a tiny encoder, two epochs of three steps.

    Parameters of nested objects may go without their prefix.
    """
    pretrainer = Sleep2VecPretrainer(modalities)
    if "objective" in parameters:
        pretrainer.objective = parameters.pop("objective")
    prefixes = {name.rpartition("__")[2]: name for name in pretrainer.get_params()}
    chosen = {prefixes.get(name, name): value for name, value in {**TINY, **parameters}.items()}
    if "encoder" in parameters:
        chosen = {name: value for name, value in chosen.items() if "encoder__" not in name}
    return pretrainer.set_params(**chosen)


def make_night(number):
    """Sensors follow one slow rhythm; every third night lacks effort, every fourth has a gap."""
    random = np.random.default_rng(number)
    n = 120 * (24 - number % 3)
    state = np.repeat(random.standard_normal(n // 120), 120)
    signals = {
        "effort": np.sin(np.arange(n) * 0.3) * (1 + 0.5 * state**2),
        "spo2": 95 + state,
        "ibi": 0.9 + 0.05 * state,
    }
    signals = {name: values + 0.01 * random.standard_normal(n) for name, values in signals.items()}
    if number % 3 == 2:
        del signals["effort"]
    if number % 4 == 3:
        signals["ibi"][240:720] = np.nan
    metadata = {"age": 40 + 5 * number, "sex": "FM"[number % 2], "site": "AB"[number // 4]}
    return Recording(
        {name: (values, 4) for name, values in signals.items()},
        id=f"n{number}",
        subject=f"s{number // 2}",
        metadata=metadata,
    )
