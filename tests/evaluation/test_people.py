# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import get_scorer

from sleep2vec_sklearn.evaluation._cross_validation import (
    HeldOutPredictions,
    SubjectScorer,
    named_scorers,
)
from sleep2vec_sklearn.evaluation._subjects import SubjectBootstrap

PEOPLE = np.repeat(["a", "b", "c"], [10, 20, 30])
Y = np.tile([0, 1], 30)
RIGHT = np.isin(PEOPLE, ["a", "b"])
ANSWERS = HeldOutPredictions({"predict": np.where(RIGHT, Y, 1 - Y)}, "classifier", np.array([0, 1]))
ACCURACY = {"accuracy": get_scorer("accuracy")}


def scorer(average, scorers=ACCURACY, people=PEOPLE):
    return SubjectScorer(scorers, Y, SubjectBootstrap(people, n_resamples=200), average)


def test_people_count_alike_by_subject_and_rows_where_pooled():
    rows = np.arange(60)
    assert scorer("subject").score(ANSWERS, rows).estimates == pytest.approx(2 / 3)
    assert scorer("pooled").score(ANSWERS, rows).estimates == pytest.approx(1 / 2)


@pytest.mark.parametrize(("each", "average"), [(30, "subject"), (2, "pooled")])
def test_people_with_many_rows_are_scored_one_by_one(each, average):
    assert scorer("auto", people=np.arange(60) // each).average == average


def test_draws_without_anybody_who_has_a_score_are_no_score():
    found = scorer("subject").from_subjects(np.array([[0.5], [np.nan], [np.nan]]))
    assert found.estimates == 0.5
    nobody = scorer("subject").draws.counts[:, 0] == 0
    np.testing.assert_array_equal(np.isnan(found.replicates[:, 0]), nobody)


def test_a_metric_that_nobody_has_alone_is_told():
    auc = {"roc_auc": get_scorer("roc_auc")}
    each = HeldOutPredictions(
        {"predict_proba": np.full((60, 2), 0.5)}, "classifier", np.array([0, 1])
    )
    alone = scorer("subject", auc, people=np.arange(60))
    with pytest.raises(ValueError, match=r"roc_auc: defined for none of the 60 subjects.*pooled"):
        alone.score(each, np.arange(60))
    assert np.isnan(alone.score(each, np.arange(60), strict=False).estimates).all()


@pytest.mark.parametrize(
    ("estimator", "y", "name"),
    [
        (DummyClassifier(), [0, 1, 0], "roc_auc"),
        (DummyClassifier(), [0, 1, 2], "kappa"),
        (DummyRegressor(), [0.5, 1.0, 2.0], "neg_mean_absolute_error"),
    ],
)
def test_the_score_by_default_is_that_of_the_kind_of_label(estimator, y, name):
    assert list(named_scorers(None, np.array(y), estimator)) == [name]


@pytest.mark.parametrize(
    ("scoring", "estimator", "message"),
    [(None, KMeans(), "KMeans is neither"), ([], DummyClassifier(), "scoring is empty")],
)
def test_nothing_to_score_with_is_refused(scoring, estimator, message):
    with pytest.raises(ValueError, match=message):
        named_scorers(scoring, Y, estimator)
