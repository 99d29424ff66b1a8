# SPDX-License-Identifier: BSD-3-Clause
"""Random weights in the form of SeqSleepNet's, and recordings whose derivations are named."""

from __future__ import annotations

import numpy as np
import torch

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.recordings import Signal, SignalLayout

SHAPES = {
    "epoch_encoder.F2_filtbank.W": (1, 129, 32),
    "epoch_encoder.F2_filtbank.S": (1, 129, 32),
    "epoch_encoder.F2_attention.W_omega": (128, 32),
    "epoch_encoder.F2_attention.b_omega": (32,),
    "epoch_encoder.F2_attention.u_omega": (32,),
    **{
        f"{layer}.{name}_l0{way}": shape
        for layer, n_gates, size in (
            ("epoch_encoder.F2_birnn", 4, 32), ("sequence_encoder.LSTM", 3, 128),
        )
        for way in ("", "_reverse")
        for name, shape in {
            "weight_ih": (64 * n_gates, size), "weight_hh": (64 * n_gates, 64),
            "bias_ih": (64 * n_gates,), "bias_hh": (64 * n_gates,),
        }.items()
    },
    "sequence_encoder.clf.weight": (5, 128),
    "sequence_encoder.clf.bias": (5,),
}  # fmt: skip


def random_state(seed=0):
    """Tensors by their names in the original's files, without ``nn.``."""
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


class NamedDerivations:
    """A source of EEG derivations by label, of which the first is read by default."""

    def __init__(self, signals, mode="all"):
        self.signals = {label: Signal(values, 100.0, "uV") for label, values in signals.items()}
        self.derivations = {"eeg": tuple(signals)}
        self.derivation_mode = mode
        n_samples = len(next(iter(signals.values())))
        self.layout = {"eeg": SignalLayout(100.0, "uV", n_samples)}

    def read(self, names):
        return {"eeg": self.read_derivation("eeg", 0)}

    def read_derivation(self, name, index):
        return list(self.signals.values())[index]

    def fingerprint(self):
        return "a"


def noise(n_epochs, seed=0):
    """EEG of noise at 100 Hz, in uV."""
    return 20 * np.random.default_rng(seed).standard_normal(n_epochs * 3000).astype(np.float32)


def named_night(signals, mode="all"):
    """A recording of derivations by label."""
    return Recording.from_source(NamedDerivations(signals, mode), id="n1")
