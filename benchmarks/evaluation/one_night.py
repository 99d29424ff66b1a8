# SPDX-License-Identifier: BSD-3-Clause
"""Nights of one person each: examples, no evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sleep2vec_sklearn import read_recording
from sleep2vec_sklearn.datasets import load_dreams
from sleep2vec_sklearn.recordings import Recording

EPOCHS_AROUND_SLEEP = 60


@dataclass(frozen=True)
class OneNight:
    """One person's night, and which of its epochs are used."""

    recording: Recording
    used: np.ndarray


def _sleep_edf(data: Path) -> OneNight:
    folder = data / "sleep-edfx" / "sleep-cassette"
    night = read_recording(next(folder.glob("SC4001*-PSG.edf")), modalities=("eeg", "eog"))
    sleep = np.flatnonzero(night.stages > 0)
    first, last = sleep[0] - EPOCHS_AROUND_SLEEP, sleep[-1] + EPOCHS_AROUND_SLEEP
    epochs = np.arange(night.n_epochs)
    return OneNight(night, (epochs >= first) & (epochs <= last) & (night.stages >= 0))


def _dreams(excerpt: int, modalities: Sequence[str], data: Path) -> OneNight:
    night = load_dreams(data / "dreams")[excerpt]
    night = night.without(*(set(night) - set(modalities)))
    return OneNight(night, night.stages >= 0)


NIGHTS: Mapping[str, Callable[[Path], OneNight]] = {
    "SC4001": _sleep_edf,
    "DREAMS excerpt 1": partial(_dreams, 0, ("eeg",)),
    "DREAMS excerpt 3": partial(_dreams, 1, ("eeg", "eog", "emg")),
}
