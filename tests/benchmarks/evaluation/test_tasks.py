# SPDX-License-Identifier: BSD-3-Clause
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks.evaluation import tasks
from benchmarks.evaluation.questions import APNEA_MINUTE, THREE_STAGES
from benchmarks.evaluation.tasks import (
    TASKS,
    FeatureSet,
    Task,
    evaluate_sets,
    hand_crafted_sets,
    load_annotated_minutes,
)
from sleep2vec_sklearn import Recording


def test_task_selects_its_sensors(cohort, tmp_path):
    nights = [cohort[0], cohort[1].without("ibi"), cohort[2]]
    task = Task("x", lambda folder: nights, ("ibi",), (THREE_STAGES,), {})
    found = task.recordings(tmp_path)
    assert [night.id for night in found] == ["n0", "n2"]
    assert all(night.modalities == ("ibi",) for night in found)


@pytest.mark.parametrize("name", TASKS)
def test_boosting_uses_strongest_features(name):
    with_it, without = (hand_crafted_sets(TASKS[name], choice) for choice in (True, False))
    assert [s.name for s in with_it[:-1]] == [s.name for s in without]
    assert with_it[-1].makers == without[-1].makers
    assert (with_it[-1].head, without[-1].head) == ("boosting", "logistic")


def test_rows_are_made_once(cohort, telling):
    calls = []

    def make(recordings):
        calls.append(len(recordings))
        return telling

    sets = [FeatureSet("a", (make,)), FeatureSet("b", (make,), "boosting")]
    found = [*evaluate_sets(sets, cohort, TASKS["sleep-accel"].questions, n_splits=2)]
    assert calls == [6]
    assert len({(question, name) for question, name, _ in found}) == 4


def test_several_draws_are_averaged(cohort, telling, noise_alone):
    def scores(*blocks):
        makers = tuple(lambda recordings, rows=rows: rows for rows in blocks)
        ((_, _, table),) = evaluate_sets(
            [FeatureSet("x", makers)], cohort, [THREE_STAGES], n_splits=2
        )
        return table["kappa"]

    alone = (scores(telling) + scores(noise_alone)) / 2
    pd.testing.assert_series_equal(scores(telling, noise_alone), alone)


def test_unlabelled_minutes_are_cut(monkeypatch, tmp_path):
    events = pd.DataFrame({"onset": [60.0], "duration": [60.0], "type": ["apnea_minute"]})
    night = Recording({"ibi": (np.ones(5 * 240), 4)}, events=events, subject="s", id="a01")
    monkeypatch.setattr(tasks, "load_apnea_ecg", lambda folder: [night])
    labels = SimpleNamespace(samples=np.arange(3))
    monkeypatch.setattr(tasks, "read_annotations", lambda path: labels)
    (cut,) = load_annotated_minutes(tmp_path)
    np.testing.assert_array_equal(APNEA_MINUTE.labels(cut), [0, 1, 0])
    assert (cut.subject, cut.id, cut.n_epochs) == ("s", "a01", 6)
