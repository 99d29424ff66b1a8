# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.errors import TrainingWarning
from sleep2vec_sklearn.evaluation import (
    ConformalClassifier,
    ConformalRegressor,
    conformal_quantile,
    coverage_report,
)

RNG = np.random.default_rng(0)


def make_epochs(n_subjects, rng=RNG, spread=0.4):
    """Rows of three classes, and of subjects who differ in size and level."""
    sizes = rng.integers(5, 60, n_subjects)
    groups = np.repeat(np.arange(n_subjects), sizes)
    y = rng.choice(3, len(groups), p=[0.45, 0.45, 0.1])
    levels = rng.normal(0, spread, (n_subjects, 3))[groups]
    return np.eye(3)[y] + levels + rng.normal(0, 0.5, (len(y), 3)), y, groups


X, Y, GROUPS = make_epochs(60)
NEW, Y_NEW, NEW_GROUPS = make_epochs(60)
HEAD = LogisticRegression()
FROZEN = FrozenEstimator(LogisticRegression().fit(*make_epochs(30)[:2]))


def fit(*rows, **parameters):
    return ConformalClassifier(HEAD, random_state=0, **parameters).fit(*(rows or (X, Y, GROUPS)))


def coverage_of(model):
    sets = model.predict_set(NEW)
    return coverage_report(Y_NEW, sets, groups=NEW_GROUPS, n_resamples=50).scores["value"]


@parametrize_with_checks(
    [
        ConformalClassifier(LogisticRegression(), random_state=0),
        ConformalRegressor(LinearRegression(), cv=2, random_state=0),
    ]
)
@pytest.mark.filterwarnings("ignore::sleep2vec_sklearn.errors.TrainingWarning")
def test_estimators_pass_scikit_learns_checks(estimator, check):
    check(estimator)


def test_rows_of_one_subject_each():
    scores = np.arange(1, 20) / 20
    # rank ceil((n + 1) (1 - alpha)) of n + 1 = 20
    assert conformal_quantile(scores, alpha=0.1) == scores[17]
    assert conformal_quantile(scores, alpha=0.05) == scores[18]
    with pytest.warns(TrainingWarning, match="Calibrate on 24 subjects or more"):
        assert conformal_quantile(scores, alpha=0.04) == np.inf


def test_subjects_weigh_the_same():
    scores = np.concatenate([np.full(1000, 0.1), [0.5, 0.6, 0.7]])
    groups = np.concatenate([np.zeros(1000), [1, 2, 3]])
    assert conformal_quantile(scores, groups, alpha=0.3) == 0.7
    assert conformal_quantile(scores, alpha=0.3) == 0.1


def test_frozen_thresholds_are_the_quantile():
    model = ConformalClassifier(FROZEN, alpha=0.2).fit(X, Y, GROUPS)
    scores = 1 - FROZEN.predict_proba(X)[np.arange(len(Y)), Y]
    assert model.quantile_ == conformal_quantile(scores, GROUPS, alpha=0.2)
    expected = 1 - FROZEN.predict_proba(NEW) <= model.quantile_
    np.testing.assert_array_equal(model.predict_set(NEW), expected)
    assert len(model.calibration_subjects_) == 60


def test_equal_models_make_folds_pool():
    # a regressor that ignores its training rows has the same intervals with folds as without
    y = RNG.normal(size=len(X))
    whole = ConformalRegressor(FrozenEstimator(DummyRegressor(strategy="constant", constant=0)
                                               .fit(X, y))).fit(X, y, GROUPS)  # fmt: skip
    folds = ConformalRegressor(DummyRegressor(strategy="constant", constant=0), cv=4)
    np.testing.assert_allclose(
        folds.fit(X, y, GROUPS).predict_interval(NEW[:9]), whole.predict_interval(NEW[:9])
    )


@pytest.mark.parametrize(
    "parameters", [{}, {"method": "aps"}, {"cv": 5}, {"cv": 5, "by_class": True}]
)
def test_sets_cover_new_subjects(parameters):
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        model = fit(*make_epochs(40, rng), alpha=0.2, **parameters)
        new, y, groups = make_epochs(100, rng)
        report = coverage_report(y, model.predict_set(new), groups=groups, n_resamples=1)
        found.append(report.scores["value"])
    coverage, size, *_ = np.mean(found, axis=0)
    assert 0.78 < coverage < 0.88
    assert size < 2


def test_each_class_is_covered():
    assert coverage_of(fit(cv=5, alpha=0.2))["covers 2"] < 0.7
    found = coverage_of(fit(cv=5, alpha=0.2, by_class=True))
    assert (found[["covers 0", "covers 1", "covers 2"]] > 0.7).all()


def test_adaptive_sets_are_never_empty():
    assert coverage_of(fit(alpha=0.4))["empty"] > 0.02
    sets = fit(alpha=0.4, method="aps").predict_set(NEW)
    assert sets.any(axis=1).all()


def test_few_subjects_give_full_sets():
    few = GROUPS < 8
    with pytest.warns(TrainingWarning, match="every set holds all classes"):
        model = fit(X[few], Y[few], GROUPS[few], alpha=0.1, cv=4)
    assert model.predict_set(NEW).all()
    with pytest.warns(TrainingWarning, match="every interval is infinite"):
        model = ConformalRegressor(LinearRegression(), cv=4).fit(X[few], Y[few], GROUPS[few])
    assert np.isinf(model.predict_interval(NEW)).all()


def test_rare_classes_are_always_included():
    rare = Y.copy()
    rare[(Y == 2) & (GROUPS > 3)] = 0
    with pytest.warns(TrainingWarning, match="4 subjects with class '2'"):
        model = fit(X, rare, GROUPS, cv=5, by_class=True)
    assert model.predict_set(NEW)[:, 2].all()
    assert not model.predict_set(NEW).all()
    assert np.isinf(model.quantile_).tolist() == [False, False, True]


def test_intervals_cover_and_narrow():
    new, whose = NEW[::7], NEW_GROUPS[::7]
    y, y_new = X[:, 0] * 10 + RNG.normal(size=len(X)), new[:, 0] * 10 + RNG.normal(size=len(new))
    for cv in (0.5, 5):
        model = ConformalRegressor(LinearRegression(), cv=cv, random_state=0).fit(X, y, GROUPS)
        limits = model.predict_interval(new)
        report = coverage_report(y_new, limits, groups=whose, n_resamples=50)
        assert report.scores.loc["coverage", "value"] == pytest.approx(0.9, abs=0.06)
        # of a normal distribution, 2 * 1.645
        assert report.scores.loc["width", "value"] == pytest.approx(3.3, abs=0.5)
        np.testing.assert_allclose(limits.mean(axis=1), model.predict(new), atol=0.2)


def test_unlabelled_epochs_are_left_out():
    nights = [
        Recording({"ibi": (np.full(120, 1.0), 1.0)}, stages=[0, 2, -1, 2], subject=number)
        for number in range(6)
    ]
    epochs = EpochSequence(nights)
    head = make_pipeline(_FirstEpochs(), HEAD)
    model = ConformalClassifier(head, alpha=0.4, random_state=0).fit(epochs, epochs.stages)
    assert model.classes_.tolist() == [0, 2]
    assert len(model.calibration_subjects_) == 3
    assert model.predict_set(epochs).shape == (24, 2)


class _FirstEpochs(StandardScaler):
    """Number of the epoch in its night."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.asarray(X.epoch_index, dtype=float)[:, None]


def test_groups_reach_the_calibration():
    model = ConformalClassifier(make_pipeline(StandardScaler(), HEAD), random_state=0)
    options = {"cv": GroupKFold(3), "method": "predict_proba", "groups": GROUPS}
    probability = cross_val_predict(model, X, Y, params={"groups": GROUPS}, **options)
    with config_context(enable_metadata_routing=True):
        asked = clone(model).set_fit_request(groups=True)
        options.pop("groups")
        routed = cross_val_predict(asked, X, Y, params={"groups": GROUPS}, **options)
    np.testing.assert_array_equal(routed, probability)
    search = GridSearchCV(model, {"estimator__logisticregression__C": [0.1, 1]}, cv=GroupKFold(2))
    assert search.fit(X, Y, groups=GROUPS).best_score_ > 0.5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"alpha": 1.0}, ValueError, "'alpha' parameter of ConformalClassifier"),
        ({"alpha": 90}, ValueError, "^The 'alpha' parameter of ConformalClassifier"),
        ({"y": np.zeros(len(Y))}, ValueError, "constant outcome"),
        ({"groups": np.zeros(len(Y))}, ValueError, "rows are of 1 subject"),
        ({"y": np.c_[Y, Y]}, ValueError, "one at a time"),
        ({"estimator": RidgeClassifier()}, TypeError, "has no predict_proba"),
        ({"estimator": FROZEN, "y": Y + 1}, ValueError, "frozen estimator does not know"),
        ({"groups": np.where(GROUPS == 0, np.nan, GROUPS)}, ValueError, "groups names nobody"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    rows = {"y": Y, "groups": GROUPS} | {k: v for k, v in change.items() if k in ("y", "groups")}
    rest = {k: v for k, v in change.items() if k not in rows}
    with pytest.raises(error, match=message):
        ConformalClassifier(**{"estimator": HEAD, **rest}).fit(X, **rows)


def test_intervals_are_of_regressors():
    with pytest.raises(TypeError, match="estimator is a classifier"):
        ConformalRegressor(HEAD).fit(X, Y, GROUPS)


def test_reports_weigh_subjects():
    sets = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], dtype=bool)
    report = coverage_report([0, 0, 0, -1], sets, groups=[1, 1, 2, 2], n_resamples=50)
    assert report.by_subject["coverage"].tolist() == [1.0, 0.0]
    assert report.by_subject["rows"].tolist() == [2, 1]
    assert report.scores.loc["coverage", "value"] == 0.5
    assert np.isnan(report.scores.loc["covers 1", "value"])
    assert "sets of 3 rows of 2 subjects" in repr(report)


@pytest.mark.parametrize(
    ("y", "predicted", "message"),
    [
        ([0, 5], [[True, False]] * 2, "holds .5., which is no class .* not fitted to"),
        ([-1, -1], [[True, False]] * 2, "none of the 2 rows has a label"),
        ([0, 1], [[True, False]], "one row of a set or interval"),
        ([0, 1], [[0.1, 0.2, 0.3]] * 2, "intervals of two columns"),
    ],
)
def test_bad_sets_are_refused(y, predicted, message):
    with pytest.raises(ValueError, match=message):
        coverage_report(y, predicted)
