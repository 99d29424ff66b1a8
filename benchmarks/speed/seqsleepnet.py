# SPDX-License-Identifier: BSD-3-Clause
"""SeqSleepNet on eight hours of EEG, batched, against a plain loop over the same windows.

``python -m benchmarks.speed.seqsleepnet [--checkpoint seqsleepnet] [--rounds 5] [--data DIR]``: in
turns, both from samples. With ``DIR/SC4001E0-PSG.edf`` of Sleep-EDF also kappa on its night.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from timeit import timeit

import numpy as np
import torch
from sklearn.metrics import cohen_kappa_score

from sleep2vec_sklearn import Recording, load_checkpoint, read_recording
from sleep2vec_sklearn.model.external.seqsleepnet import RATE, SEQUENCE, log_power, normalise

N_EPOCHS, AROUND_SLEEP = 960, 60


def main() -> None:
    """Print seconds of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="seqsleepnet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    stager = load_checkpoint(options.checkpoint)
    epochs = 20 * np.random.default_rng(0).standard_normal((N_EPOCHS, 30 * RATE), dtype=np.float32)

    def plain_loop() -> None:
        spectrogram = normalise(log_power(epochs), np.full(N_EPOCHS, True))
        for start in range(N_EPOCHS - SEQUENCE + 1):
            stager.logits(spectrogram[None, start : start + SEQUENCE])

    night = Recording({"eeg": (epochs.ravel(), RATE)})
    calls = (lambda: stager.predict_proba(night), plain_loop)
    times = [[timeit(call, number=1) for call in calls] for _ in range(options.rounds)]
    batched, plain = np.median(times, axis=0)
    print(f"batched {batched:.2f} s, plain loop {plain:.2f} s, ratio {plain / batched:.1f}")
    for channel in ("EEG Pz-Oz", "EEG Fpz-Cz") if options.data else ():
        path = options.data / "SC4001E0-PSG.edf"
        day = read_recording(path, channels={"eeg": channel}, modalities=["eeg"])
        first, *_, last = np.flatnonzero(day.stages > 0)
        used = slice(first - AROUND_SLEEP, last + AROUND_SLEEP + 1)
        night = Recording({"eeg": (day["eeg"].reshape(day.n_epochs, -1)[used].ravel(), RATE)})
        found, scored = stager.predict_proba(night), day.stages[used]
        kappa = cohen_kappa_score(scored[scored >= 0], found[scored >= 0].argmax(axis=1))
        print(f"{channel}: kappa {kappa:.2f}, {(scored >= 0).sum()} epochs")


if __name__ == "__main__":
    main()
