# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn.errors import OutcomeWarning, TrainingWarning
from sleep2vec_sklearn.evaluation import (
    CauseSpecificCox,
    CompetingConcordance,
    CompetingIntegratedBrier,
    CoxRegression,
    cause_specific_outcome,
    competing_concordance,
    competing_outcome,
    cumulative_incidence,
)

TIMES = [0.0, 0.5, 2.0, 4.0, 100.0]


@pytest.fixture(scope="module")
def cohort():
    """X[:, 0] raises the hazard of cause 1, X[:, 1] that of cause 2."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2))
    times = rng.exponential(1 / (np.exp(X.T) * [[0.15], [0.1]]))
    end = rng.uniform(1, 8, 300)
    cause = np.where(times.min(axis=0) < end, times.argmin(axis=0) + 1, 0)
    return X, competing_outcome(cause, np.minimum(times.min(axis=0), end))


def incidence_by_loop(model, X, cause, at):
    """Riemann sum of S(t-) dH, with S of a constant hazard within each step."""
    curves = [fitted.predict_survival_function(X, model.event_times_) for fitted in
              model.estimators_]  # fmt: skip
    total, reached, before = np.zeros(len(X)), [np.zeros(len(X))] * 2, np.ones(len(X))
    for column in np.flatnonzero(model.event_times_ <= at):
        now = [-np.log(curve[:, column]) for curve in curves]
        steps = [a - b for a, b in zip(now, reached, strict=True)]
        after = before * np.exp(-sum(steps))
        total += (before - after) * steps[cause - 1] / sum(steps)
        reached, before = now, after
    return total


def test_incidence_combines_causes(cohort):
    X, y = cohort
    model = CauseSpecificCox(CoxRegression()).fit(X, y)
    for cause in (1, 2):
        found = model.predict_cumulative_incidence(X[:9], [3.0], cause=cause)[:, 0]
        expected = incidence_by_loop(model, X[:9], cause, 3.0)
        np.testing.assert_allclose(found, expected, atol=1e-12)
    parts = [model.predict_cumulative_incidence(X, TIMES, cause=cause) for cause in (1, 2)]
    total = parts[0] + parts[1] + model.predict_survival_function(X, TIMES)
    np.testing.assert_allclose(total, 1, atol=1e-12)
    assert (parts[0][:, 0] == 0).all()
    assert model.predict_cumulative_incidence(X).shape == (300, len(model.event_times_))


def test_each_cause_has_coefficients(cohort):
    X, y = cohort
    model = CauseSpecificCox(CoxRegression()).fit(X, y)
    for cause, fitted in zip((1, 2), model.estimators_, strict=True):
        alone = CoxRegression().fit(X, cause_specific_outcome(y, cause))
        np.testing.assert_array_equal(fitted.coef_, alone.coef_)
    np.testing.assert_array_equal(model.predict(X), model.estimators_[0].predict(X))
    second = CauseSpecificCox(CoxRegression(), cause=2).fit(X, y)
    np.testing.assert_array_equal(second.predict(X), model.estimators_[1].predict(X))
    assert second.score(X, y) == CompetingConcordance(cause=2)(model, X, y) > 0.6
    assert CompetingConcordance()(second, X, y) == second.score(X, y)


def test_mean_incidence_near_nonparametric(cohort):
    X, y = cohort
    model = CauseSpecificCox(CoxRegression()).fit(X, y)
    observed = cumulative_incidence(y).at([1.0, 3.0, 5.0])
    for cause in (1, 2):
        predicted = model.predict_cumulative_incidence(X, [1.0, 3.0, 5.0], cause=cause)
        np.testing.assert_allclose(predicted.mean(axis=0), observed[cause - 1], atol=0.02)


def test_late_entries_reach_estimators(cohort):
    X, y = cohort
    late = competing_outcome(
        y["cause"], y["time"], np.where(np.arange(300) % 2, 0.0, 0.5 * y["time"])
    )
    model = CauseSpecificCox(CoxRegression()).fit(X, late)
    alone = CoxRegression().fit(X, cause_specific_outcome(late, 2))
    np.testing.assert_array_equal(model.estimators_[1].coef_, alone.coef_)
    with pytest.raises(ValueError, match="left truncation"):
        model.score(X, late)


def test_pipelines_and_searches_compose(cohort):
    X, y = cohort
    inside = CauseSpecificCox(make_pipeline(StandardScaler(), CoxRegression(penalty=1.0)))
    outside = make_pipeline(StandardScaler(), CauseSpecificCox(CoxRegression(penalty=1.0)))
    folds = list(StratifiedKFold(3).split(X, y["cause"]))
    for scorer in (CompetingConcordance(), CompetingIntegratedBrier(times=[1.0, 2.0, 4.0])):
        scores = [cross_val_score(m, X, y, cv=folds, scoring=scorer) for m in (inside, outside)]
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-12)
    grid = {"estimator__coxregression__penalty": [0.1, 1000.0]}
    search = GridSearchCV(inside, grid, scoring=CompetingIntegratedBrier(), cv=folds).fit(X, y)
    assert search.best_params_ == {"estimator__coxregression__penalty": 0.1}
    assert CompetingConcordance()(search, X, y) == search.best_estimator_.score(X, y)


def test_unseen_causes(cohort):
    X, y = cohort
    only = y["cause"] != 1
    with pytest.raises(
        ValueError, match=r"cause 1, the one of interest, has no event in \d+.*of cause 2"
    ):
        CauseSpecificCox(CoxRegression()).fit(X[only], y[only])
    with pytest.warns(TrainingWarning, match="no event of cause 1 in .* its hazard is taken as 0"):
        model = CauseSpecificCox(CoxRegression(), cause=2).fit(X[only], y[only])
    with pytest.raises(ValueError, match="cause=1 had no event in the training"):
        model.predict_cumulative_incidence(X, cause=1)
    alone = 1 - model.estimators_[0].predict_survival_function(X, TIMES)
    np.testing.assert_allclose(model.predict_cumulative_incidence(X, TIMES), alone, atol=1e-12)


def test_scored_causes_are_known(cohort):
    X, y = cohort
    one, several = y["cause"] != 2, np.flatnonzero(y["cause"] == 2)
    model = CauseSpecificCox(CoxRegression()).fit(X[one], y[one])
    for scorer in (CompetingConcordance(tau=3.0), CompetingIntegratedBrier(times=[1, 2, 3])):
        with pytest.warns(OutcomeWarning, match=rf"causes 2 have .*{len(several)} of cause 2"):
            scorer(model, X, y)


def test_folds_without_a_cause():
    y = competing_outcome([1, 1, 1, 2, 2, 0] * 2, np.arange(1.0, 13.0))
    y["cause"][6:][y["cause"][6:] == 2] = 0
    X = np.random.default_rng(0).standard_normal((12, 1))
    model = CauseSpecificCox(CoxRegression(penalty=1.0), cause=2)
    failed = pytest.warns(FitFailedWarning, match="cause 2, the one of interest, has no event in 6")
    with failed, pytest.warns(UserWarning, match="Scoring failed"):
        scores = cross_val_score(model, X, y, cv=KFold(2), scoring=CompetingConcordance(cause=2))
    assert np.isnan(scores).all()


def test_errors_name_the_cause(cohort):
    X, y = cohort
    separated = np.c_[X[:, 0], (y["cause"] == 2).astype(float)]
    with pytest.raises(ValueError, match="likelihood") as caught:
        CauseSpecificCox(CoxRegression(penalty=0.0)).fit(separated, y)
    assert "while fitting cause" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match=r"has no event in 300 .*\(events: none\)"):
        CauseSpecificCox(CoxRegression()).fit(X, competing_outcome([0] * 300, y["time"]))
    with pytest.raises(NotFittedError):
        CauseSpecificCox(CoxRegression()).predict(X)
    with pytest.raises(ValueError, match="estimator is a classifier"):
        CauseSpecificCox(LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match="'cause' parameter"):
        clone(CauseSpecificCox(CoxRegression(), cause=0)).fit(X, y)

    class RisksAlone(BaseEstimator):
        def fit(self, X, y):
            return self

        def predict(self, X):
            return X[:, 0]

    model = CauseSpecificCox(RisksAlone()).fit(X, y)
    with pytest.raises(TypeError, match="RisksAlone has no predict_survival_function"):
        model.predict_cumulative_incidence(X)
    assert competing_concordance(y, y, model.predict(X), tau=4.0) > 0.6
