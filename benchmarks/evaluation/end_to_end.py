# SPDX-License-Identifier: BSD-3-Clause
"""Networks trained for the task itself with :class:`Sleep2VecClassifier`, people held out.

The sensors' tokens stand side by side with the time of night. How long to train is fixed
beforehand, so no person is held out to stop by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sleep2vec_sklearn import EpochSequence, Sleep2VecClassifier
from sleep2vec_sklearn.finetuning import FullFineTuning
from sleep2vec_sklearn.recordings import Recording

from .probes import as_rows, folds_by_subject, score_subjects
from .questions import Question, random_twin

FOLDS = 5
SHARED = {
    "aggregation": "concat", "time_of_night": True, "class_weight": "balanced", "patience": None,
    "random_state": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Training:
    """How a network is trained, the same for every fold."""

    name: str
    parameters: Mapping[str, Any] = field(hash=False)
    from_checkpoint: bool = True

    def estimator(
        self, checkpoint, modalities: Sequence[str], times_passes: int = 1
    ) -> Sleep2VecClassifier:
        """Unfitted; with so many times the passes, for fewer nights."""
        start = checkpoint if self.from_checkpoint else random_twin(checkpoint, 0)
        parameters = {**SHARED, **self.parameters}
        parameters["max_epochs"] *= times_passes
        return Sleep2VecClassifier(start, modalities=tuple(modalities), **parameters)


_ENCODER = {"finetune": "full", "head": "linear", "batch_size": 8}
TRAININGS = (
    Training(
        "a temporal convolution",
        {"head": "temporal_conv", "max_epochs": 10, "dropout": 0.3},
    ),
    Training("low-rank adapters", {**_ENCODER, "finetune": "lora", "max_epochs": 8}),
    Training("fine-tuned", {**_ENCODER, "max_epochs": 8}),
    Training(
        "from scratch",
        {**_ENCODER, "finetune": FullFineTuning(lr=5e-4), "max_epochs": 20},
        False,
    ),
)


def evaluate_training(
    training: Training, checkpoint, recordings: Sequence[Recording], modalities: Sequence[str],
    question: Question,
) -> pd.DataFrame:  # fmt: skip
    """Scores by subject, as of :func:`~benchmarks.evaluation.probes.evaluate_features`.

    Five folds of subjects, as a training is slow; each trains on the other subjects alone.
    """
    subjects = np.array([str(recording.subject) for recording in recordings])
    fold = folds_by_subject(subjects, FOLDS)
    found: dict[int, np.ndarray] = {}
    for number in range(fold.max() + 1):
        others = [recordings[i] for i in np.flatnonzero(fold != number)]
        y = np.concatenate([labels_by_epoch(recording, question) for recording in others])
        model = training.estimator(checkpoint, modalities).fit(EpochSequence(others), y)
        for i in np.flatnonzero(fold == number):
            found[i] = np.zeros((recordings[i].n_epochs, question.n_classes))
            found[i][:, model.classes_] = model.predict_proba(EpochSequence([recordings[i]]))
    probability, y, groups = as_rows([found[i] for i in range(len(found))], recordings, question)
    return score_subjects(y, probability, groups, question)


def labels_by_epoch(recording: Recording, question: Question) -> np.ndarray:
    """Each label for all epochs that share it; -1 where none is asked for."""
    y = np.full(recording.n_epochs, -1)
    shared = np.repeat(question.labels(recording), question.epochs_per_label)
    y[: len(shared)] = shared
    return y
