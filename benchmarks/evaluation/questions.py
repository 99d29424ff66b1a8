# SPDX-License-Identifier: BSD-3-Clause
"""What is asked of an epoch or a minute: the classes, and how an answer is scored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from sleep2vec_sklearn.recordings import EPOCH_SECONDS, Recording, SleepStage

if TYPE_CHECKING:
    from sleep2vec_sklearn.model.checkpoint import Checkpoint


_W, _N1, _N2, _N3, _R = (
    int(stage)
    for stage in (SleepStage.W, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.R)
)
_BREATHING = (
    "hypopnea",
    "hypopnea_with_arousal",
    "obstructive_apnea",
    "obstructive_apnea_with_arousal",
    "central_apnea",
    "central_apnea_with_arousal",
)


@dataclass(frozen=True)
class Question:
    """Classes of epochs, by their sleep stage or by what happens in them."""

    name: str
    metrics: tuple[str, ...]
    stages: tuple[tuple[int, ...], ...] = ()
    events: tuple[str, ...] = ()
    epochs_per_label: int = 1

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return 2 if self.events else len(self.stages)

    def labels(self, recording: Recording) -> np.ndarray:
        """Class of each label, int of shape (n_epochs // epochs_per_label,); -1: not asked for."""
        if self.events:
            return self._labels_of_events(recording)
        labels = np.full(recording.n_epochs, -1)
        for number, members in enumerate(self.stages):
            labels[np.isin(recording.stages, members)] = number
        return labels

    def _labels_of_events(self, recording: Recording) -> np.ndarray:
        seconds = EPOCH_SECONDS * self.epochs_per_label
        starts = np.arange(recording.n_epochs // self.epochs_per_label) * float(seconds)
        labels = np.zeros(len(starts), dtype=int)
        events = recording.events[recording.events["type"].isin(self.events)]
        for onset, duration in zip(events["onset"], events["duration"], strict=True):
            shared = np.minimum(starts + seconds, onset + duration) - np.maximum(starts, onset)
            labels[shared >= seconds / 2] = 1
        if recording.stages is not None:
            labels[recording.stages < 0] = -1
        return labels

    def score(self, y: np.ndarray, probability: np.ndarray) -> dict[str, float]:
        """Each metric; NaN where too few classes are there."""
        scores = {}
        for metric in self.metrics:
            if metric == "kappa":
                scores[metric] = _kappa(y, probability.argmax(axis=1))
            else:
                scores[metric] = _auc(y, probability, 0 if metric == "wake_auc" else 1)
        return scores

    def rows(self, features: np.ndarray) -> np.ndarray:
        """Rows of epochs to rows of labels: the mean over the epochs that share one."""
        if self.epochs_per_label == 1:
            return features
        n_labels = len(features) // self.epochs_per_label
        whole = features[: n_labels * self.epochs_per_label]
        return whole.reshape(n_labels, self.epochs_per_label, -1).mean(axis=1)


def _kappa(y: np.ndarray, answers: np.ndarray) -> float:
    # of one class in both, agreement by chance is complete and kappa has no value
    single = len(np.union1d(y, answers)) < 2
    return np.nan if single else cohen_kappa_score(y, answers)


def _auc(y: np.ndarray, probability: np.ndarray, number: int) -> float:
    there = y == number
    return roc_auc_score(there, probability[:, number]) if 0 < there.sum() < len(y) else np.nan


def _staging(name: str, stages: Sequence[tuple[int, ...]]) -> Question:
    return Question(name, ("wake_auc", "kappa"), stages=tuple(stages))


THREE_STAGES = _staging("W/NREM/REM", [(_W,), (_N1, _N2, _N3), (_R,)])
FIVE_STAGES = Question("five stages", ("kappa",), stages=((_W,), (_N1,), (_N2,), (_N3,), (_R,)))
APNEA_EPOCH = Question("apnea per 30 s", ("auroc",), events=_BREATHING)
APNEA_MINUTE = Question(
    "apnea per minute", ("auroc",), events=("apnea_minute",), epochs_per_label=60 // EPOCH_SECONDS
)


def random_twin(checkpoint: Checkpoint, seed: int = 0) -> Checkpoint:
    """The same network with untrained parameters; input statistics (buffers) stay."""
    from sleep2vec_sklearn.model.network import Sleep2Vec

    model = Sleep2Vec.from_seed(checkpoint.config, seed)
    buffers = {name for name, _ in model.named_buffers()} & set(checkpoint.state)
    state = {**model.state_dict(), **{name: checkpoint.state[name] for name in buffers}}
    sha256 = hashlib.sha256(f"{checkpoint.sha256} random {seed}".encode()).hexdigest()
    return replace(checkpoint, state=state, sha256=sha256, name=f"{checkpoint.name}, random")
