# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sleep2vec_sklearn.evaluation import (
    DynamicAUC,
    HarrellConcordance,
    IntegratedBrier,
    UnoConcordance,
    concordance_index,
    dynamic_auc,
    integrated_brier_score,
    survival_outcome,
    uno_concordance,
)

SCORERS = [HarrellConcordance, UnoConcordance, DynamicAUC, IntegratedBrier]


class Exponential(BaseEstimator):
    """Survival times that the first column of X shortens, which keeps what it was fitted on."""

    def __init__(self, sign=1.0, keep=True):
        self.sign = sign
        self.keep = keep

    def fit(self, X, y):
        events, exposed = y["event"].sum(axis=0), np.nansum(y["time"], axis=0)
        self.rate_ = events / exposed
        if self.keep:
            self.training_outcomes_ = y
        return self

    def predict(self, X):
        risk = self.sign * X[:, 0]
        return risk if np.ndim(self.rate_) == 0 else np.stack([risk] * len(self.rate_), axis=1)

    def predict_survival_function(self, X, times=None):
        hazard = np.exp(self.predict(X)) * self.rate_
        return np.exp(-hazard[..., None] * times)


class AsFunctions(Exponential):
    """The same, with survival functions as scikit-survival gives them."""

    def predict_survival_function(self, X):
        hazards = np.exp(self.predict(X)) * self.rate_
        return [lambda times, h=h: np.exp(-h * np.asarray(times)) for h in hazards]


@pytest.fixture
def people():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 2))
    time, end = rng.exponential(np.exp(-X[:, 0])) * 5 + 0.1, rng.uniform(0.5, 8, 120)
    return X, survival_outcome(time <= end, np.minimum(time, end))


@pytest.fixture
def folds(people):
    X, y = people
    return X[:80], y[:80], X[80:], y[80:]


def test_scores_are_those_of_the_functions(folds):
    X, y, X_test, y_test = folds
    fitted, moments = Exponential().fit(X, y), np.array([1.0, 2.0, 3.0])
    risk = fitted.predict(X_test)
    survival = fitted.predict_survival_function(X_test, moments)
    expected = [
        (HarrellConcordance(), concordance_index(y_test, risk)),
        (UnoConcordance(tau=3), uno_concordance(y, y_test, risk, tau=3)),
        (DynamicAUC(times=moments), dynamic_auc(y, y_test, risk, moments)[1]),
        (IntegratedBrier(times=moments), -integrated_brier_score(y, y_test, survival, moments)),
    ]
    for scorer, score in expected:
        assert scorer(fitted, X_test, y_test) == pytest.approx(score)


@pytest.mark.parametrize("scorer", SCORERS[1:])
def test_training_outcomes_are_given_or_found_on_the_estimator(scorer, folds):
    X, y, X_test, y_test = folds
    found = scorer()(Exponential().fit(X, y), X_test, y_test)
    forgetful = Exponential(keep=False).fit(X, y)
    assert scorer(y)(forgetful, X_test, y_test) == found
    with pytest.raises(ValueError, match=rf"Exponential keeps none.*{scorer.__name__}\(y_train\)"):
        scorer()(forgetful, X_test, y_test)


def test_they_are_used_together_in_a_grid_search(people):
    X, y = people
    scoring = {scorer.__name__: scorer() for scorer in SCORERS}
    search = GridSearchCV(
        Exponential(),
        {"sign": [-1.0, 0.0, 1.0]},
        scoring=scoring,
        refit="UnoConcordance",
        cv=KFold(4),
        error_score="raise",
    ).fit(X, y)
    assert search.best_params_ == {"sign": 1.0}
    for name in scoring:
        assert np.argmax(search.cv_results_[f"mean_test_{name}"]) == 2
    assert HarrellConcordance()(search, X, y) == concordance_index(y, X[:, 0])
    assert UnoConcordance()(search, X, y) > 0.6
    assert IntegratedBrier()(search, X, y) > -0.25


@pytest.mark.parametrize("scorer", SCORERS)
def test_they_see_through_a_pipeline_and_survive_pickling(scorer, folds):
    X, y, X_test, y_test = folds
    turn = FunctionTransformer(np.negative)
    pipeline = make_pipeline(turn, Exponential(sign=-1.0)).fit(X, y)
    expected = scorer()(Exponential().fit(X, y), X_test, y_test)
    assert pickle.loads(pickle.dumps(scorer()))(pipeline, X_test, y_test) == pytest.approx(expected)


def test_survival_may_come_as_functions(folds):
    X, y, X_test, y_test = folds
    expected = IntegratedBrier()(Exponential().fit(X, y), X_test, y_test)
    found = IntegratedBrier()(AsFunctions().fit(X, y), X_test, y_test)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("scorer", SCORERS)
def test_several_outcomes_are_averaged_and_those_without_an_event_left_out(scorer, folds):
    X, y, X_test, y_test = folds
    both, both_test = (np.stack([v, v], axis=1) for v in (y, y_test))
    both_test["event"][:, 1] = False
    expected = scorer()(Exponential().fit(X, y), X_test, y_test)
    found = scorer()(Exponential().fit(X, both), X_test, both_test)
    assert found == pytest.approx(expected)
    both_test["event"] = False
    with pytest.raises(ValueError, match="no comparable pair"):
        scorer()(Exponential().fit(X, both), X_test, both_test)


def test_a_fold_followed_up_for_longer_than_training_is_scored_by_what_training_knows(folds):
    X, y, X_test, y_test = folds
    early = y["time"] < 2
    fitted = Exponential().fit(X[early], y[early])
    risk = fitted.predict(X_test)
    with pytest.raises(ValueError, match="beyond the follow-up"):
        uno_concordance(y[early], y_test, risk)
    until = y["time"][early].max()
    expected = uno_concordance(y[early], y_test, risk, tau=until)
    assert UnoConcordance()(fitted, X_test, y_test) == pytest.approx(expected)
    for scorer in (DynamicAUC(), IntegratedBrier()):
        assert np.isfinite(scorer(fitted, X_test, y_test))


def test_a_different_number_of_outcomes_is_refused(folds):
    X, y, X_test, y_test = folds
    with pytest.raises(ValueError, match="y_train holds 2 outcomes and y 1"):
        UnoConcordance(np.stack([y, y], axis=1))(Exponential().fit(X, y), X_test, y_test)


def test_an_estimator_without_survival_functions_has_no_brier_score(folds):
    _, y, X_test, y_test = folds

    class Risk(BaseEstimator):
        def predict(self, X):
            return X[:, 0]

    with pytest.raises(TypeError, match=r"Risk has no predict_survival_function.*UnoConcordance"):
        IntegratedBrier(y)(Risk(), X_test, y_test)


def test_a_fold_without_an_event_fails_alone(people):
    X, y = people
    y["event"][:30] = False
    with pytest.warns(UserWarning, match="no comparable pair"):
        scores = cross_validate(Exponential(), X, y, scoring=HarrellConcordance(), cv=KFold(4))
    assert np.isnan(scores["test_score"]).tolist() == [True, False, False, False]


def test_they_score_scikit_survivals_models(folds):
    linear_model = pytest.importorskip("sksurv.linear_model")
    X, y, X_test, y_test = folds
    model = linear_model.CoxPHSurvivalAnalysis().fit(X, y)
    assert HarrellConcordance()(model, X_test, y_test) == pytest.approx(model.score(X_test, y_test))
    assert IntegratedBrier(y)(model, X_test, y_test) > -0.25
