# SPDX-License-Identifier: BSD-3-Clause
"""The tasks with several people: data set, sensors, questions, and the features to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sleep2vec_sklearn.datasets import load_apnea_ecg, load_sleep_accel, load_slpdb, load_ucddb
from sleep2vec_sklearn.datasets._files import read_annotations
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, Recording

from .hand_crafted import (
    hand_crafted_heart,
    hand_crafted_long,
    hand_crafted_neural,
    hand_crafted_short,
)
from .probes import C_GRID, evaluate_features
from .questions import (
    APNEA_EPOCH,
    APNEA_MINUTE,
    FOUR_STAGES,
    THREE_STAGES,
    WAKE_OR_N3,
    Question,
    encoder_features,
    random_twin,
    with_time,
)
from .scores import average_tables

Maker = Callable[[Sequence[Recording]], list[np.ndarray]]
BOTH = ("ibi", "actigraphy")


@dataclass(frozen=True)
class Task:
    """Nights of some sensors, and what is asked of them."""

    folder: str
    load: Callable[[Path], Sequence[Recording]]
    modalities: tuple[str, ...]
    questions: tuple[Question, ...]
    hand_crafted: Mapping[str, Maker]

    def recordings(self, data: Path) -> list[Recording]:
        """Those that have all of the task's sensors, and no other sensor."""
        nights = [r for r in self.load(data / self.folder) if set(self.modalities) <= {*r}]
        return [night.without(*(set(night) - set(self.modalities))) for night in nights]


def load_annotated_minutes(folder: Path) -> list[Recording]:
    """Apnea-ECG cut to the minutes that have a label: the last ones of some records have none."""
    nights = []
    for night in load_apnea_ecg(folder):
        n_labels = len(read_annotations(folder / f"{night.id}.apn").samples)
        seconds = min(n_labels * 60, night.n_epochs * EPOCH_SECONDS)
        signal = night.signal("ibi")
        values = signal.values[: round(seconds * signal.rate)]
        cut = {"events": night.events, "duration": float(seconds)}
        signals = {"ibi": (values, signal.rate)}
        nights.append(Recording(signals, subject=night.subject, id=night.id, **cut))
    return nights


_WATCH = {
    "hand-crafted, short context": hand_crafted_short,
    "hand-crafted, long context": hand_crafted_long,
}
_HEART = {"hand-crafted": hand_crafted_heart}
_NEURAL = {"hand-crafted": hand_crafted_neural}
TASKS: dict[str, Task] = {
    "sleep-accel": Task("sleep-accel", load_sleep_accel, BOTH, (THREE_STAGES, FOUR_STAGES), _WATCH),
    "sleep-accel-ibi": Task(
        "sleep-accel", load_sleep_accel, ("ibi",), (THREE_STAGES, FOUR_STAGES), _HEART
    ),
    "sleep-accel-actigraphy": Task(
        "sleep-accel", load_sleep_accel, ("actigraphy",), (THREE_STAGES, FOUR_STAGES), _WATCH
    ),
    "slpdb": Task("slpdb", load_slpdb, ("ibi",), (THREE_STAGES, APNEA_EPOCH), _HEART),
    "apnea-ecg": Task("apnea-ecg", load_annotated_minutes, ("ibi",), (APNEA_MINUTE,), _HEART),
    "ucddb": Task("ucddb_partial", load_ucddb, ("eeg",), (WAKE_OR_N3,), _NEURAL),
}


@dataclass(frozen=True)
class FeatureSet:
    """How rows are made, several ways where chance is in it, and the head on them."""

    name: str
    makers: tuple[Maker, ...]
    head: str = "logistic"


def hand_crafted_sets(task: Task, with_boosting: bool) -> list[FeatureSet]:
    """The features to beat with logistic regression, and the last ones with boosted trees."""
    sets = [FeatureSet(name, (make,)) for name, make in task.hand_crafted.items()]
    if with_boosting:
        strongest = sets[-1]
        sets.append(FeatureSet(f"{strongest.name}, boosting", strongest.makers, "boosting"))
    return sets


def encoder_sets(checkpoint, modalities: Sequence[str], n_twins: int, **options):
    """An encoder's rows and the time of night, which all hand-crafted features have.

    Unless ``n_twins`` is 0 its untrained twins, its tokenizers, and its rows alone follow.
    """
    options = {"fusion": "concat", **options, "modalities": tuple(modalities)}
    alone = encoder_features(checkpoint, **options)
    sets = [FeatureSet(checkpoint.name, (with_time(alone),))]
    if n_twins:
        twins = [random_twin(checkpoint, seed) for seed in range(n_twins)]
        makers = tuple(with_time(encoder_features(twin, **options)) for twin in twins)
        sets.append(FeatureSet(f"{checkpoint.name}, random weights", makers))
        tokens = encoder_features(checkpoint, **{**options, "layer": 0})
        sets.append(FeatureSet(f"{checkpoint.name}, tokenizers only", (with_time(tokens),)))
        sets.append(FeatureSet(f"{checkpoint.name}, without the time", (alone,)))
    return sets


def evaluate_sets(
    sets: Sequence[FeatureSet], recordings: Sequence[Recording], questions: Sequence[Question], *,
    n_splits: int | None = None, n_jobs: int = 1, memory=None,
) -> Iterator[tuple[str, str, pd.DataFrame]]:  # fmt: skip
    """Yield question, feature set and scores by subject; those of several makers are averaged."""
    made: dict[Maker, list[np.ndarray]] = {}
    for features in sets:
        found: dict[Question, list[pd.DataFrame]] = {question: [] for question in questions}
        for make in features.makers:
            if make not in made:
                # rows of an earlier set are needed again only by the one that follows it
                made = {make: make(recordings)}
            for question in questions:
                found[question].append(
                    evaluate_features(
                        made[make],
                        recordings,
                        question,
                        n_splits=n_splits,
                        C=C_GRID,
                        head=features.head,
                        n_jobs=n_jobs,
                        memory=memory,
                    )
                )
        for question in questions:
            yield question.name, features.name, average_tables(found[question])
