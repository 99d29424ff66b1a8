# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from benchmarks.evaluation import end_to_end
from benchmarks.evaluation.end_to_end import TRAININGS, evaluate_training, labels_by_epoch
from benchmarks.evaluation.questions import APNEA_MINUTE, THREE_STAGES
from sleep2vec_sklearn import Recording

BOTH = ("ibi", "actigraphy")


class RemembersPeople:
    """In place of an estimator."""

    classes_ = np.arange(3)

    def fit(self, X, y):
        assert len(X) == len(y)
        self.people = set(X.groups)
        return self

    def predict_proba(self, X):
        assert not self.people & set(X.groups)
        return np.full((len(X), 3), 1 / 3)


def test_subjects_are_held_out(checkpoint_in_memory, cohort, monkeypatch):
    monkeypatch.setattr(
        end_to_end.Training, "estimator", lambda self, checkpoint, modalities: RemembersPeople()
    )
    table = evaluate_training(TRAININGS[0], checkpoint_in_memory, cohort, BOTH, THREE_STAGES)
    assert len(table) == len({recording.subject for recording in cohort})


@pytest.mark.parametrize("training", TRAININGS, ids=lambda training: training.name)
def test_every_training_fits_and_scores(training, checkpoint_in_memory, cohort):
    short = end_to_end.Training(
        training.name, {**training.parameters, "max_epochs": 1}, training.from_checkpoint
    )
    table = evaluate_training(short, checkpoint_in_memory, cohort, BOTH, THREE_STAGES)
    assert set(table) == {*THREE_STAGES.metrics, "n_epochs"}
    assert np.isfinite(table.attrs["pooled"]["kappa"])


def test_scratch_training_starts_random(checkpoint_in_memory):
    learned, scratch = (
        training.estimator(checkpoint_in_memory, BOTH).checkpoint
        for training in (TRAININGS[-2], TRAININGS[-1])
    )
    key = "input_projection.weight"
    assert learned is checkpoint_in_memory
    assert not np.allclose(learned.state[key], scratch.state[key])


def test_epochs_share_minute_labels():
    events = pd.DataFrame({"onset": [60.0], "duration": [60.0], "type": ["apnea_minute"]})
    night = Recording({"ibi": (np.full(4 * 150, 0.9), 4)}, events=events)
    assert labels_by_epoch(night, APNEA_MINUTE).tolist() == [0, 0, 1, 1, -1]
