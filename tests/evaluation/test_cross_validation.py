# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import get_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.evaluation._cross_validation import (
    HeldOutPredictions,
    SubjectScorer,
    check_labels,
    fit_aligning_classes,
    named_scorers,
)
from sleep2vec_sklearn.evaluation._subjects import SubjectBootstrap

SUBJECTS = np.repeat(["a", "b", "c"], [10, 20, 30])
Y = np.tile([0, 1], 30)
CORRECT = np.isin(SUBJECTS, ["a", "b"])
PREDICTIONS = HeldOutPredictions(
    {"predict": np.where(CORRECT, Y, 1 - Y)}, "classifier", np.array([0, 1])
)
ACCURACY = {"accuracy": get_scorer("accuracy")}
CLASSES = np.array(["a", "b", "c"])
X = np.random.default_rng(0).normal(size=(60, 4))
NIGHTS = [Recording({"spo2": np.full(240, 95.0)}, id=name) for name in "ab"]
EPOCHS = EpochSequence(NIGHTS)


def scorer(average, scorers=ACCURACY, subjects=SUBJECTS):
    return SubjectScorer(scorers, Y, SubjectBootstrap(subjects, n_resamples=200), average)


@pytest.mark.parametrize(("average", "accuracy"), [("subject", 2 / 3), ("pooled", 1 / 2)])
def test_average_weighs_subjects_or_rows(average, accuracy):
    scores = scorer(average).score(PREDICTIONS, np.arange(60))
    assert scores.estimates == pytest.approx(accuracy)


@pytest.mark.parametrize(("each", "average"), [(30, "subject"), (2, "pooled")])
def test_auto_follows_rows_per_subject(each, average):
    assert scorer("auto", subjects=np.arange(60) // each).average == average


def test_undefined_resamples_are_nan():
    scores = scorer("subject").from_subjects(np.array([[0.5], [np.nan], [np.nan]]))
    assert scores.estimates == 0.5
    none_drawn = scorer("subject").draws.counts[:, 0] == 0
    np.testing.assert_array_equal(np.isnan(scores.replicates[:, 0]), none_drawn)


def test_metric_undefined_for_constant_subject():
    auc = {"roc_auc": get_scorer("roc_auc")}
    constant = HeldOutPredictions(
        {"predict_proba": np.full((60, 2), 0.5)}, "classifier", np.array([0, 1])
    )
    alone = scorer("subject", auc, subjects=np.arange(60))
    with pytest.raises(ValueError, match=r"roc_auc: defined for none of the 60 subjects.*pooled"):
        alone.score(constant, np.arange(60))
    assert np.isnan(alone.score(constant, np.arange(60), strict=False).estimates).all()


@pytest.mark.parametrize(
    ("estimator", "y", "name"),
    [(DummyClassifier(), [0, 1, 0], "roc_auc"), (DummyClassifier(), [0, 1, 2], "kappa"),
     (DummyRegressor(), [0.5, 1.0, 2.0], "neg_mean_absolute_error")],
)  # fmt: skip
def test_default_metric_depends_on_labels(estimator, y, name):
    assert list(named_scorers(None, np.array(y), estimator)) == [name]


@pytest.mark.parametrize(
    ("scoring", "estimator", "message"),
    [(None, KMeans(), "KMeans is neither"), ([], DummyClassifier(), "scoring is {}; accepted")],
)
def test_nothing_to_score_is_refused(scoring, estimator, message):
    with pytest.raises(ValueError, match=message):
        named_scorers(scoring, Y, estimator)


@pytest.mark.parametrize("known", [["a", "c"], ["b"]])
def test_missing_class_has_probability_zero(known):
    model = make_pipeline(StandardScaler(), LogisticRegression())
    fitted = fit_aligning_classes(model, X, np.resize(known, len(X)), CLASSES)
    probabilities = fitted.predict_proba(X)
    assert probabilities.shape == (len(X), 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities[:, ~np.isin(CLASSES, known)] == 0).all()
    assert set(fitted.predict(X)) <= set(known)
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize("known", [["a", "c"], ["b"]])
def test_missing_class_is_never_decided(known):
    fitted = fit_aligning_classes(RidgeClassifier(), X, np.resize(known, len(X)), CLASSES)
    assert not hasattr(fitted, "predict_proba")
    assert set(CLASSES[fitted.decision_function(X).argmax(axis=1)]) <= set(known)


def test_single_class_of_two_wins():
    fitted = fit_aligning_classes(RidgeClassifier(), X, np.full(len(X), "a"), CLASSES[:2])
    assert (fitted.decision_function(X) < 0).all()
    assert fitted.decision_function(X).shape == (len(X),)


@pytest.mark.parametrize(
    "y",
    [[0, 1, -1, 0], [0, np.nan, 1, 1], ["W", None, "R", "W"],
     np.array([0, 1, -1], np.int8)[[0, 2, 1, 1]]],
)  # fmt: skip
def test_unlabelled_epochs_are_refused(y):
    with pytest.raises(ValueError, match=r"no label .* in 1 of 4 rows.*X\[known\], y\[known\]"):
        check_labels(y, EPOCHS, classify=True)


def test_minus_one_is_a_value():
    assert check_labels([-1, 1], NIGHTS, classify=True).tolist() == [-1, 1]
    assert check_labels([-1, 1, 0, 2], EPOCHS, classify=False).tolist() == [-1, 1, 0, 2]
    with pytest.raises(ValueError, match=r"flatnonzero\(pandas.notna\(y\)\).*X\[i\] for i in"):
        check_labels([1.5, np.nan], NIGHTS, classify=False)
    y = np.array([[0, np.nan], [1, 1]])
    assert check_labels(y, NIGHTS, classify=True) is y
