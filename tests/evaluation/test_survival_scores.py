# SPDX-License-Identifier: BSD-3-Clause
"""Survival scores against scikit-survival, by frozen values and live, and as scorers."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sleep2vec_sklearn.evaluation import (
    DynamicAUC,
    HarrellConcordance,
    IntegratedBrier,
    UnoConcordance,
    brier_score,
    concordance_index,
    dynamic_auc,
    integrated_brier_score,
    kaplan_meier,
    survival_outcome,
    uno_concordance,
)
from tests import survival_golden

SCORERS = [HarrellConcordance, UnoConcordance, DynamicAUC, IntegratedBrier]


def draw(n, seed, step=None, longest=4.0):
    return survival_golden.draw(np.random.default_rng(seed), n, step, longest)


@pytest.mark.parametrize("kind", survival_golden.KINDS)
def test_scores_equal_frozen_scikit_survival(kind):
    with np.load(survival_golden.FILE) as golden:
        known = {key.split("/")[1]: golden[key] for key in golden.files if key.startswith(kind)}
    train = survival_outcome(known["train_event"], known["train_time"])
    y = survival_outcome(known["event"], known["time"])
    risk, times, survival = known["risk"], known["moments"], known["survival"]
    auc, auc_mean = dynamic_auc(train, y, risk, times)
    curve = kaplan_meier(y)
    scores = {
        "harrell": concordance_index(y, risk), "uno": uno_concordance(train, y, risk),
        "uno_tau": uno_concordance(train, y, risk, tau=known["tau"]), "auc": auc,
        "auc_mean": auc_mean, "brier": brier_score(train, y, survival, times),
        "integrated_brier": integrated_brier_score(train, y, survival, times),
        "km_times": curve.times, "km": curve.survival,
    }  # fmt: skip
    for name, value in scores.items():
        np.testing.assert_allclose(value, known[name], rtol=0, atol=1e-8, err_msg=name)
    # limits before the first event and after the last are a matter of convention
    between = (known["km"] > 0) & (known["km"] < 1)
    for limit, name in ((curve.lower, "km_lower"), (curve.upper, "km_upper")):
        np.testing.assert_allclose(limit[between], known[name][between], rtol=0, atol=1e-8)


def concordance_by_pairs(y, risk):
    halves = pairs = 0
    for i in np.flatnonzero(y["event"]):
        later = (y["time"] > y["time"][i]) | ((y["time"] == y["time"][i]) & ~y["event"])
        with_i = later & (y["entry"] < y["time"][i])
        pairs += with_i.sum()
        halves += 2 * (risk[with_i] < risk[i]).sum() + (risk[with_i] == risk[i]).sum()
    return halves / 2 / pairs if pairs else None


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(8, 60))
def test_late_entries_are_compared(seed, n):
    risk, y = draw(n, seed, step=4)
    rng = np.random.default_rng(seed)
    y = survival_outcome(y["event"], y["time"], np.floor(4 * rng.random(n) * y["time"] - 0.1) / 4)
    expected = concordance_by_pairs(y, risk)
    if expected is None:
        with pytest.raises(ValueError, match="no comparable pair"):
            concordance_index(y, risk)
    else:
        assert concordance_index(y, risk) == pytest.approx(expected)


def test_neutral_changes_leave_scores():
    risk, y = draw(50, 0)
    late = survival_outcome(y["event"], y["time"], np.zeros(50))
    assert concordance_index(late, risk) == concordance_index(y, risk)
    _, y = draw(40, 0)
    assert concordance_index(y, np.zeros(40)) == 0.5
    assert dynamic_auc(y, y, np.zeros(40), [1.0])[1] == pytest.approx(0.5)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_reversed_risks_reverse_concordance(seed):
    risk, y = draw(40, seed)
    if y["event"][np.argsort(y["time"])[:-1]].any():
        assert concordance_index(y, -risk) == pytest.approx(1 - concordance_index(y, risk))
        assert uno_concordance(y, y, -risk) == pytest.approx(1 - uno_concordance(y, y, risk))


def test_outcomes_with_events_are_averaged():
    risk, y = draw(40, 0)
    other, z = draw(40, 1)
    both = np.stack([y, z, y], axis=1)
    both["event"][:, 2] = False
    risks = np.stack([risk, other, risk], axis=1)
    expected = (concordance_index(y, risk) + concordance_index(z, other)) / 2
    assert concordance_index(both, risks) == pytest.approx(expected)
    expected = (uno_concordance(y, y, risk) + uno_concordance(z, z, other)) / 2
    assert uno_concordance(both, both, risks) == pytest.approx(expected)


def test_missing_outcomes_take_no_part():
    risk, y = draw(40, 0)
    y["time"][:10] = np.nan
    risk[:5] = np.nan
    assert concordance_index(y, risk) == concordance_index(y[10:], risk[10:])
    assert kaplan_meier(y).survival.tolist() == kaplan_meier(y[10:]).survival.tolist()


def test_censored_subjects_are_not_comparable():
    _, y = draw(10, 0)
    y["event"] = False
    with pytest.raises(ValueError, match="no comparable pair: 0 events and 10 known times"):
        concordance_index(y, np.zeros(10))
    with pytest.raises(ValueError, match="no comparable pair"):
        uno_concordance(y, y, np.zeros(10))
    with pytest.raises(ValueError, match="no event until 1"):
        dynamic_auc(y, y, np.zeros(10), [1.0])
    with pytest.raises(ValueError, match="no comparable pair: 1 events"):
        concordance_index(survival_outcome([0, 0, 1], [1.0, 2.0, 3.0]), [1.0, 2.0, 3.0])


def test_events_beyond_training_are_refused():
    train = survival_outcome([1, 0], [1.0, 2.0])
    y = survival_outcome([1, 1, 0], [1.5, 2.5, 3.0])
    with pytest.raises(ValueError, match=r"2.5 is beyond.*earlier tau"):
        uno_concordance(train, y, [1.0, 2.0, 3.0])
    assert uno_concordance(train, y, [1.0, 2.0, 3.0], tau=2.0) == 0
    y = survival_outcome([1, 0], [1.0, 2.0], [0.5, 0.5])
    with pytest.raises(ValueError, match="left truncation"):
        uno_concordance(y, y, [1.0, 0.0])


@pytest.mark.parametrize(
    ("times", "message"),
    [([0.01], "follow-up of the outcomes to be scored is from"),
     ([1.0, 99.0], "follow-up of the outcomes to be scored is from"), ([2.0, 1.0], "times must be"),
     ([1.0, 1.0], "times must be"), ([], "times must be"), ([[1.0]], "times must be"),
     ([np.nan], "times must be")],
)  # fmt: skip
def test_invalid_times_are_refused(times, message):
    risk, y = draw(40, 0)
    with pytest.raises(ValueError, match=message):
        dynamic_auc(y, y, risk, times)


@pytest.mark.parametrize(
    ("survival", "message"),
    [(np.zeros((10, 2)), r"accepted is \(10, 1\)"), (np.full((10, 1), 1.1), "no probabilities"),
     (np.zeros((10, 1)), "at least two times")],
)  # fmt: skip
def test_invalid_survival_is_refused(survival, message):
    _, y = draw(10, 0)
    with pytest.raises(ValueError, match=message):
        integrated_brier_score(y, y, survival, [1.0])


@pytest.mark.parametrize(
    ("risk", "message"),
    [(np.zeros(9), "one risk per subject"), (np.full(10, np.nan), "not finite")],
)
def test_invalid_risks_are_refused(risk, message):
    with pytest.raises(ValueError, match=message):
        concordance_index(draw(10, 0)[1], risk)


class Exponential(BaseEstimator):
    """Survival times that the first column of X shortens."""

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
def cohort():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 2))
    time, end = rng.exponential(np.exp(-X[:, 0])) * 5 + 0.1, rng.uniform(0.5, 8, 120)
    return X, survival_outcome(time <= end, np.minimum(time, end))


@pytest.fixture
def folds(cohort):
    X, y = cohort
    return X[:80], y[:80], X[80:], y[80:]


def test_scorers_equal_the_functions(folds):
    X, y, X_test, y_test = folds
    fitted, times = Exponential().fit(X, y), np.array([1.0, 2.0, 3.0])
    risk = fitted.predict(X_test)
    survival = fitted.predict_survival_function(X_test, times)
    expected = [
        (HarrellConcordance(), concordance_index(y_test, risk)),
        (UnoConcordance(tau=3), uno_concordance(y, y_test, risk, tau=3)),
        (DynamicAUC(times=times), dynamic_auc(y, y_test, risk, times)[1]),
        (IntegratedBrier(times=times), -integrated_brier_score(y, y_test, survival, times)),
    ]
    for scorer, score in expected:
        assert scorer(fitted, X_test, y_test) == pytest.approx(score)
    functions = IntegratedBrier(times=times)(AsFunctions().fit(X, y), X_test, y_test)
    assert functions == pytest.approx(expected[-1][1])


@pytest.mark.parametrize("scorer", SCORERS[1:])
def test_scorers_need_training_outcomes(scorer, folds):
    X, y, X_test, y_test = folds
    expected = scorer()(Exponential().fit(X, y), X_test, y_test)
    forgetful = Exponential(keep=False).fit(X, y)
    assert scorer(y)(forgetful, X_test, y_test) == expected
    with pytest.raises(ValueError, match=rf"Exponential keeps none.*{scorer.__name__}\(y_train\)"):
        scorer()(forgetful, X_test, y_test)


def test_grid_search_with_scorers(cohort):
    X, y = cohort
    scoring = {scorer.__name__: scorer() for scorer in SCORERS}
    search = GridSearchCV(
        Exponential(), {"sign": [-1.0, 0.0, 1.0]}, scoring=scoring, refit="UnoConcordance",
        cv=KFold(4), error_score="raise",
    ).fit(X, y)  # fmt: skip
    assert search.best_params_ == {"sign": 1.0}
    for name in scoring:
        assert np.argmax(search.cv_results_[f"mean_test_{name}"]) == 2
    assert HarrellConcordance()(search, X, y) == concordance_index(y, X[:, 0])
    assert UnoConcordance()(search, X, y) > 0.6
    assert IntegratedBrier()(search, X, y) > -0.25


@pytest.mark.parametrize("scorer", SCORERS)
def test_scorers_of_pipelines_and_pickles(scorer, folds):
    X, y, X_test, y_test = folds
    turn = FunctionTransformer(np.negative)
    pipeline = make_pipeline(turn, Exponential(sign=-1.0)).fit(X, y)
    expected = scorer()(Exponential().fit(X, y), X_test, y_test)
    assert pickle.loads(pickle.dumps(scorer()))(pipeline, X_test, y_test) == pytest.approx(expected)


@pytest.mark.parametrize("scorer", SCORERS)
def test_scorers_average_outcomes_with_events(scorer, folds):
    X, y, X_test, y_test = folds
    both, both_test = (np.stack([v, v], axis=1) for v in (y, y_test))
    both_test["event"][:, 1] = False
    expected = scorer()(Exponential().fit(X, y), X_test, y_test)
    score = scorer()(Exponential().fit(X, both), X_test, both_test)
    assert score == pytest.approx(expected)
    both_test["event"] = False
    with pytest.raises(ValueError, match="no comparable pair"):
        scorer()(Exponential().fit(X, both), X_test, both_test)


def test_test_follow_up_beyond_training(folds):
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


def test_different_numbers_of_outcomes(folds):
    X, y, X_test, y_test = folds
    with pytest.raises(ValueError, match="y_train holds 2 outcomes and y 1"):
        UnoConcordance(np.stack([y, y], axis=1))(Exponential().fit(X, y), X_test, y_test)


def test_brier_needs_survival_functions(folds):
    _, y, X_test, y_test = folds

    class Risk(BaseEstimator):
        def predict(self, X):
            return X[:, 0]

    with pytest.raises(TypeError, match=r"Risk has no predict_survival_function.*UnoConcordance"):
        IntegratedBrier(y)(Risk(), X_test, y_test)


def test_fold_without_event_is_nan(cohort):
    X, y = cohort
    y["event"][:30] = False
    with pytest.warns(UserWarning, match="no comparable pair"):
        scores = cross_validate(Exponential(), X, y, scoring=HarrellConcordance(), cv=KFold(4))
    assert np.isnan(scores["test_score"]).tolist() == [True, False, False, False]


def test_scorers_of_scikit_survival_models(folds):
    linear_model = pytest.importorskip("sksurv.linear_model")
    X, y, X_test, y_test = folds
    model = linear_model.CoxPHSurvivalAnalysis().fit(X, y)
    assert HarrellConcordance()(model, X_test, y_test) == pytest.approx(model.score(X_test, y_test))
    assert IntegratedBrier(y)(model, X_test, y_test) > -0.25
