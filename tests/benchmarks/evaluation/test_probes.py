# SPDX-License-Identifier: BSD-3-Clause
"""The probe itself: people held out, and nothing of them in any choice."""

import numpy as np
import pytest

from benchmarks.evaluation import probes
from benchmarks.evaluation.probes import Labels
from benchmarks.evaluation.questions import APNEA_EPOCH, THREE_STAGES
from benchmarks.evaluation.tasks import by_subject


@pytest.fixture
def labels(cohort):
    y = np.concatenate([THREE_STAGES.labels(night) for night in cohort])
    subjects = np.repeat(cohort.groups, [night.n_epochs for night in cohort]).astype(str)
    return by_subject(THREE_STAGES, y[y >= 0], subjects[y >= 0])


@pytest.fixture
def scored(labels, cohort):
    """Function of features: the scores of their heads."""
    asked = np.concatenate([THREE_STAGES.labels(night) for night in cohort]) >= 0

    def score(features):
        X = np.concatenate(features)[asked]
        return labels.score(labels.predict(labels.fit(X), X))

    return score


def test_informative_features_beat_noise(scored, telling, noise_alone):
    good, chance = scored(telling), scored(noise_alone)
    assert good.subjects.min().min() > 0.7
    assert abs(chance.subjects["wake_auc"].mean() - 0.5) < 0.15
    assert abs(chance.pooled["kappa"]) < 0.2
    lead, low, high = good.lead(chance, "kappa")
    assert lead == pytest.approx((good.subjects - chance.subjects)["kappa"].mean())
    assert 0 < low < lead < high
    assert good.lead(good, "kappa") == (0, 0, 0)


def test_constant_columns_change_nothing(scored, telling):
    more = [np.column_stack([rows, np.full(len(rows), 7.0)]) for rows in telling]
    np.testing.assert_array_equal(scored(more).probability, scored(telling).probability)


def test_folds_share_no_subject(labels, monkeypatch):
    trained = []
    monkeypatch.setattr(probes, "fit_head", lambda X, y, groups, q: trained.append({*groups}))
    labels.fit(np.zeros((len(labels.y), 1)))
    tested = [set(labels.subjects[test]) for _, test in labels.folds]
    assert all(not train & test for train, test in zip(trained, tested, strict=True))
    assert set().union(*tested) == {*labels.subjects}


def test_untested_rows_have_no_prediction():
    X, y = np.arange(40.0)[:, None], np.arange(40) % 2
    subjects = np.repeat([*"abcd"], 10)
    one = Labels(APNEA_EPOCH, y, subjects, [(np.arange(20), np.arange(20, 40))])
    probability = one.predict(one.fit(X), X)
    assert np.isnan(probability[:20]).all()
    assert [*one.score(probability).subjects.index] == ["c", "d"]
    assert np.isnan(one.score(probability).lead(one.score(probability), "auroc")[1])


def test_nights_are_compared_pooled(monkeypatch):
    monkeypatch.setattr(probes, "N_RESAMPLES", 50)
    y = np.arange(40) % 2
    labels = Labels(APNEA_EPOCH, y, np.arange(40).astype(str), [])
    right, wrong = (labels.score(np.eye(2)[answers]) for answers in (y, 1 - y))
    assert right.subjects["auroc"].isna().all()
    assert right.lead(wrong, "auroc") == (1, 1, 1)
