# SPDX-License-Identifier: BSD-3-Clause
"""Five stages within one night of one subject, in contiguous blocks: examples, no evidence.

Neighbouring epochs are alike, so blocks are contiguous; still, training and test are one night of
one subject. Intervals are by bootstrap over stretches of five minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import accuracy_score, cohen_kappa_score

from sleep2vec_sklearn import EpochSequence, config_context, read_recording
from sleep2vec_sklearn.datasets import load_dreams
from sleep2vec_sklearn.recordings import Recording

from .end_to_end import TRAININGS
from .hand_crafted import hand_crafted_neural
from .probes import C_GRID, predict_held_out
from .questions import FIVE_STAGES
from .scores import write_results
from .tasks import encoder_sets

PASSES_OF_ONE_NIGHT = 5
EPOCHS_AROUND_SLEEP = 60
N_BLOCKS = 5
STRETCH = 10
N_RESAMPLES = 2000


@dataclass(frozen=True)
class OneNight:
    """One person's night, and which of its epochs are used."""

    recording: Recording
    used: np.ndarray

    @property
    def y(self) -> np.ndarray:
        """Stage of each used epoch."""
        return self.recording.stages[self.used].astype(int)

    def answers(self, rows: np.ndarray, head: str = "logistic") -> np.ndarray:
        """Stage of each used epoch by heads that were trained on the other four blocks."""
        X = np.asarray(rows, dtype=np.float64)[self.used]
        probability = predict_held_out(
            X, self.y, self.block, FIVE_STAGES, n_splits=N_BLOCKS, C=C_GRID, head=head
        )
        return probability.argmax(axis=1)

    def answers_of(self, estimator) -> np.ndarray:
        """Stage of each used epoch by clones of an estimator of epochs, trained likewise."""
        X = EpochSequence([self.recording])[np.flatnonzero(self.used)]
        answers = np.empty_like(self.y)
        # the same person is in training: that is what is asked here
        with config_context(leakage="ignore"):
            for number in range(N_BLOCKS):
                held = self.block == number
                fitted = clone(estimator).fit(X[~held], self.y[~held])
                answers[held] = fitted.predict(X[held])
        return answers

    @property
    def block(self) -> np.ndarray:
        """Number of the contiguous block of each used epoch."""
        n = int(self.used.sum())
        return np.arange(n) * N_BLOCKS // n


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


def _interval(resampled: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def _kappas(y, answers) -> np.ndarray:
    """Kappa of every resample, from the confusion matrices of the stretches."""
    n, n_stretches = FIVE_STAGES.n_classes, -(-len(y) // STRETCH)
    stretch = np.arange(len(y)) // STRETCH
    drawn = np.random.default_rng(0).integers(n_stretches, size=(N_RESAMPLES, n_stretches))
    weights = np.zeros((N_RESAMPLES, n_stretches))
    np.add.at(weights, (np.arange(N_RESAMPLES)[:, None], drawn), 1)
    tables = np.zeros((weights.shape[1], n, n))
    np.add.at(tables, (stretch, y, answers), 1)
    counts = np.einsum("rs,sij->rij", weights, tables)
    total = counts.sum(axis=(1, 2))
    agreed = np.trace(counts, axis1=1, axis2=2) / total
    chance = (counts.sum(axis=1) * counts.sum(axis=2)).sum(axis=1) / total**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (agreed - chance) / (1 - chance)


def summarise_answers(y: np.ndarray, answers: Mapping[str, Sequence[np.ndarray]]) -> pd.DataFrame:
    """Kappa with its interval and accuracy per feature set, means where there are several draws."""
    rows = {}
    for name, several in answers.items():
        low, high = _interval(np.mean([_kappas(y, a) for a in several], axis=0))
        rows[name] = {
            "kappa": float(np.mean([cohen_kappa_score(y, a) for a in several])), "low": low,
            "high": high, "accuracy": float(np.mean([accuracy_score(y, a) for a in several])),
            "epochs": len(y),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("features")


def study_one_person(checkpoints: Sequence, options: argparse.Namespace) -> None:
    """Five stages within one night in contiguous blocks."""
    for name, load in NIGHTS.items():
        night = load(options.data)
        recording = [night.recording]
        rows = hand_crafted_neural(recording)[0]
        answers = {
            "hand-crafted": [night.answers(rows)],
            "hand-crafted, boosting": [night.answers(rows, "boosting")],
        }
        for checkpoint in checkpoints:
            sets = encoder_sets(
                checkpoint, recording[0].modalities, options.random_seeds, **options.encoder_options
            )
            for features in sets:
                answers[features.name] = [night.answers(m(recording)[0]) for m in features.makers]
            if options.end_to_end:
                for training in TRAININGS:
                    estimator = training.estimator(
                        checkpoint, recording[0].modalities, PASSES_OF_ONE_NIGHT
                    )
                    answers[f"{checkpoint.name}, {training.name}"] = [night.answers_of(estimator)]
        results = {"five_stages": summarise_answers(night.y, answers)}
        print(f"## {name}, one person, five contiguous blocks: descriptive\n")
        firsts = {key: several[0] for key, several in answers.items()}
        epochs = pd.DataFrame({"stage": night.y, **firsts}).rename_axis("epoch")
        write_results(results, epochs, options.out / name.replace(" ", "-"))
