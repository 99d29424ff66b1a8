# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.evaluation.questions import (
    APNEA_EPOCH,
    APNEA_MINUTE,
    FIVE_STAGES,
    THREE_STAGES,
    random_twin,
)
from sleep2vec_sklearn import Recording

STAGES = [-1, 0, 1, 2, 3, 4]


def night(n_epochs=6, events=(), **options):
    events = pd.DataFrame([*events], columns=["onset", "duration", "type"])
    return Recording({"ibi": (np.ones(n_epochs * 120), 4)}, events=events, **options)


@pytest.mark.parametrize(
    ("question", "expected"),
    [(THREE_STAGES, [-1, 0, 1, 1, 1, 2]), (FIVE_STAGES, [-1, 0, 1, 2, 3, 4])],
)
def test_stages_become_classes(question, expected):
    np.testing.assert_array_equal(question.labels(night(stages=STAGES)), expected)
    assert question.n_classes == max(expected) + 1


def test_events_become_classes():
    events = [(30, 30, "hypopnea"), (75, 30, "central_apnea"), (120, 30, "arousal")]
    labels = APNEA_EPOCH.labels(night(events=events, stages=[0, 2, 2, 2, 2, -1]))
    np.testing.assert_array_equal(labels, [0, 1, 1, 1, 0, -1])
    recording = night(5, [(60, 60, "apnea_minute")])
    np.testing.assert_array_equal(APNEA_MINUTE.labels(recording), [0, 1])
    rows = np.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(APNEA_MINUTE.rows(rows), [[1, 2], [5, 6]])
    assert THREE_STAGES.rows(rows) is rows


def test_scores_of_probabilities():
    y = np.array([0, 0, 1, 1, 2, 2])
    right = np.eye(3)[y]
    assert THREE_STAGES.score(y, right) == {"wake_auc": 1, "kappa": 1}
    assert THREE_STAGES.score(y, 1 - right)["wake_auc"] == 0
    only_sleep = THREE_STAGES.score(y[2:], right[2:])
    assert np.isnan(only_sleep["wake_auc"])
    assert only_sleep["kappa"] == 1
    y = np.array([0, 0, 1, 1])
    probability = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]])
    assert APNEA_EPOCH.score(y, probability) == {"auroc": 0.75}


def test_random_twin_shares_statistics_only(checkpoint_in_memory):
    twin = random_twin(checkpoint_in_memory)
    assert twin.config == checkpoint_in_memory.config
    assert twin.sha256 != checkpoint_in_memory.sha256
    key = "tokenizers.eeg.feature_std"
    assert torch.equal(twin.state[key], checkpoint_in_memory.state[key])
    key = "encoder.blocks.0.feed_in.weight"
    assert not torch.equal(twin.state[key], checkpoint_in_memory.state[key])
    assert random_twin(checkpoint_in_memory).sha256 == twin.sha256
    assert random_twin(checkpoint_in_memory, seed=1).sha256 != twin.sha256
