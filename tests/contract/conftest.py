# SPDX-License-Identifier: BSD-3-Clause
"""X of both kinds with labels, groups, and the rows that a tool should have worked on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
from sleep2vec_sklearn.recordings import Recording

MODALITIES = ["ibi", "actigraphy"]


@dataclass
class Task:
    """A pipeline on recordings, and the same one on rows that are embedded already."""

    X: list | EpochSequence
    y: np.ndarray
    groups: np.ndarray
    rows: np.ndarray
    checkpoint: str

    def transformer(self, **parameters):
        return Sleep2VecTransformer(self.checkpoint, **parameters)

    def pipeline(self, head=None, **parameters):
        steps = [("embed", self.transformer(**parameters))]
        return Pipeline([*steps, ("head", self.head() if head is None else head)])

    def head(self):
        return Pipeline([("scale", StandardScaler()), ("classify", LogisticRegression())])


@pytest.fixture(scope="session")
def nights():
    """Twelve simulated half hours of six subjects, with what is known of them."""
    lazy = make_sleep_cohort(
        6, nights_per_subject=2, hours=0.5, modalities=MODALITIES, missing=0, random_state=0,
        site_kinds=["laboratory", "wearable"],
    )  # fmt: skip
    kept = ("units", "subject", "metadata", "stages", "id")
    return [
        Recording(
            {name: (s.values, s.rate) for name, s in night.read().items()},
            **{name: getattr(night, name) for name in kept},
        )
        for night in lazy
    ]


@pytest.fixture(scope="session", params=["nights", "epochs"])
def task(request, nights, checkpoint_path):
    X = nights if request.param == "nights" else EpochSequence(nights)[::10]
    by_night = np.array([night.subject for night in nights], dtype=object)
    groups = by_night if request.param == "nights" else X.groups
    rows = Sleep2VecTransformer(checkpoint_path).fit_transform(X)
    # half of each subject's, and not to be guessed
    y = (np.arange(len(X)) + (np.arange(len(X)) // 4)) % 2
    return Task(X, y, groups, rows, str(checkpoint_path))
