# SPDX-License-Identifier: BSD-3-Clause
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks.evaluation import tasks
from benchmarks.evaluation.one_night import OneNight
from benchmarks.evaluation.questions import APNEA_MINUTE, THREE_STAGES
from benchmarks.evaluation.tasks import (
    REAL,
    RealNights,
    in_memory,
    load_annotated_minutes,
    lose_sensors,
    simulated_cohort,
    simulated_psg,
)
from sleep2vec_sklearn import EpochSequence, Recording


def make(X):
    """Rows that say how many sensors there are, and which epoch or night it is."""
    recordings = X.recordings if isinstance(X, EpochSequence) else X
    return {"full": np.array([[len(recordings[0].modalities), i] for i in range(len(X))])}


def test_task_selects_its_sensors(cohort, tmp_path):
    nights = [cohort[0], cohort[1].without("ibi"), cohort[2]]
    task = RealNights("x", lambda folder: nights, ("ibi",), (THREE_STAGES,))
    found = task.recordings(tmp_path)
    assert [night.id for night in found] == ["n0", "n2"]
    assert all(night.modalities == ("ibi",) for night in found)
    ((name, labels, rows, tested),) = task(make, tmp_path)
    assert (name, tested) == ("x, ibi", None)
    # the first epoch of each night is unscored
    np.testing.assert_array_equal(rows["full"][:, 1], [*range(1, 40), *range(41, 80)])
    assert set(labels.subjects) == {"s00", "s22"}


def test_laboratories_change_places(cohort, tmp_path, monkeypatch):
    def night(k):
        eeg = np.random.default_rng(k).standard_normal(40 * 3000)
        recording = Recording({"eeg": (eeg, 100)}, stages=cohort[k].stages, subject=f"p{k}")
        return lambda data: OneNight(recording, recording.stages >= 0)

    monkeypatch.setattr(tasks, "NIGHTS", {k: night(k) for k in range(3)})
    (_, there, rows, _), (_, back, _, _) = REAL["eeg"](make, tmp_path)
    ((train, test),) = there.folds
    assert set(there.subjects[train]) == {"p0"}
    assert set(there.subjects[test]) == {"p1", "p2"}
    assert len(set(there.inner[train])) == 5
    np.testing.assert_array_equal(back.folds[0][0], test)
    assert len(rows["full"]) == 3 * 39


def test_unlabelled_minutes_are_cut(monkeypatch, tmp_path):
    events = pd.DataFrame({"onset": [60.0], "duration": [60.0], "type": ["apnea_minute"]})
    night = Recording({"ibi": (np.ones(5 * 240), 4)}, events=events, subject="s", id="a01")
    monkeypatch.setattr(tasks, "load_apnea_ecg", lambda folder: [night])
    labels = SimpleNamespace(samples=np.arange(3))
    monkeypatch.setattr(tasks, "read_annotations", lambda path: labels)
    (cut,) = load_annotated_minutes(tmp_path)
    np.testing.assert_array_equal(APNEA_MINUTE.labels(cut), [0, 1, 0])
    assert (cut.subject, cut.id, cut.n_epochs) == ("s", "a01", 6)


@pytest.fixture(scope="module")
def problems():
    return [*simulated_psg(make, simulated_cohort(12, hours=0.25))]


def test_unseen_laboratories_are_held_out(problems):
    (_, seen, whole, _), (_, same, _, lost), (_, unseen, _, _), *_ = problems
    assert same is seen
    assert (whole["full"][:, 0] == 9).all()
    assert 1 <= lost["full"][:, 0].min() < lost["full"][:, 0].max() <= 9
    assert len(unseen.folds) == 6
    for train, test in unseen.folds:
        assert not {*unseen.subjects[train]} & {*unseen.subjects[test]}


def test_outcomes_have_rows_of_nights(problems):
    outcomes = problems[3:]
    assert {labels.question.name for _, labels, _, _ in outcomes} <= {*tasks.OUTCOMES}
    for _, labels, rows, _ in outcomes:
        assert {name: len(X) for name, X in rows.items()} == {"full": 12, "age, sex, BMI": 12}
        assert len(labels.folds) == 15


def test_sensors_are_lost_at_random():
    night = in_memory(simulated_cohort(6, hours=0.25)[0])
    rng = np.random.default_rng(0)
    left = [set(lose_sensors(night, rng).modalities) for _ in range(20)]
    assert all(names and names <= {*night.modalities} for names in left)
    assert len({*map(frozenset, left)}) > 10
