# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn.errors import TrainingWarning
from sleep2vec_sklearn.evaluation import (
    CoxRegression,
    UnoConcordance,
    concordance_index,
    cox_regression,
    survival_outcome,
)
from sleep2vec_sklearn.evaluation.cox_regression import fit_cox
from sleep2vec_sklearn.finetuning._losses import BreslowBaseline

# weeks of remission of leukaemia, 6-MP and placebo (Freireich et al., Blood 21, 1963)
TREATED = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
REMISSION = {
    "X": np.repeat([0.0, 1.0], 21)[:, None],
    "event": [True] * 9 + [False] * 12 + [True] * 21,
    "time": TREATED + PLACEBO,
}


def draw_cohort():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 2))
    time = np.ceil(8 * rng.exponential(np.exp(-X[:, 0] / 2)))
    entry = np.floor(time * rng.random(120)) * (rng.random(120) < 0.5)
    event = rng.random(120) < 0.6
    options = {
        "entry": entry, "strata": rng.integers(0, 3, 120), "clusters": np.arange(120) // 2,
        "weights": rng.integers(1, 4, 120),
    }  # fmt: skip
    return X, event, time, options


# R's survival, in its help and in Collett, Modelling Survival Data in Medical Research
@pytest.mark.parametrize(
    ("ties", "coefficient", "error"),
    [("efron", 1.5721, 0.4124), ("breslow", 1.5092, 0.4096)],
)
def test_remission_of_leukaemia(ties, coefficient, error):
    fit = fit_cox(**REMISSION, ties=ties)
    assert fit.coefficients == pytest.approx([coefficient], abs=5e-5)
    assert np.sqrt(fit.covariance) == pytest.approx(error, abs=5e-5)
    assert fit.n_events == 30
    assert fit.converged
    assert fit.robust_covariance is None


# lifelines 0.30.3 (fit_options={"precision": 1e-12}) and statsmodels 0.15.0 on draw_cohort(), with
# the options named; PHReg takes an entry at a time for one before it, as if half a unit earlier.
# lifelines' robust errors leave ties out, so that its times here have them broken by spread().
LIBRARIES = [
    ("lifelines", "", [0.3543955696, 0.0575321066], [0.1266329184, 0.127965304], -269.390758113),
    ("lifelines", "entry strata",
     [0.3266627988, 0.123870541], [0.1364714047, 0.137333416], -171.049248498),
    ("statsmodels", "early strata",
     [0.3379925628, 0.1367429104], [0.1372700259, 0.1372206857], -174.321878024),
    ("statsmodels", "early strata breslow",
     [0.3169919945, 0.1278029599], [0.1364556843, 0.1365492892], -176.916619912),
    ("statsmodels", "strata clusters breslow",
     [0.3957565196, 0.1416263509], [0.1180728257, 0.1321974716], -193.275364876),
    ("lifelines", "weights",
     [0.3655975954, 0.0828486352], [0.0892185995, 0.090642998], -627.917726045),
    ("lifelines", "spread strata clusters",
     [0.4226089752, 0.1295803943], [0.1202763213, 0.132916366], -190.076558682),
    ("lifelines", "spread weights strata clusters",
     [0.4542314031, 0.1834498931], [0.1235021522, 0.145901745], -471.835222526),
    ("lifelines", "spread weights robust",
     [0.3683704361, 0.0794494147], [0.1399047118, 0.1377460881], -625.585352019),
]  # fmt: skip


def spread(time):
    return time + 0.9 * np.random.default_rng(1).random(len(time))


@pytest.mark.parametrize(("library", "named", "coefficients", "errors", "likelihood"), LIBRARIES)
def test_equals_other_libraries(library, named, coefficients, errors, likelihood):
    X, event, time, options = draw_cohort()
    options["early"] = options["entry"] - 0.5
    chosen = {name: options[name] for name in named.split() if name in options}
    if "early" in chosen:
        chosen["entry"] = chosen.pop("early")
    chosen["ties"] = "breslow" if "breslow" in named else "efron"
    fit = fit_cox(X, event, spread(time) if "spread" in named else time, **chosen)
    robust = "clusters" in named or "robust" in named
    covariance = fit.robust_covariance if robust else fit.covariance
    assert fit.coefficients == pytest.approx(coefficients, abs=1e-8), library
    assert np.sqrt(np.diag(covariance)) == pytest.approx(errors, abs=1e-8)
    assert fit.log_likelihood == pytest.approx(likelihood, abs=1e-8)


def test_weights_repeat_rows():
    X, event, time, options = draw_cohort()
    n_times = options["weights"]
    weighted = fit_cox(X, event, time, weights=n_times, clusters=np.arange(120), ties="breslow")
    again = np.repeat(np.arange(120), n_times)
    repeated = fit_cox(X[again], event[again], time[again], clusters=again, ties="breslow")
    for name in ("coefficients", "covariance", "robust_covariance", "log_likelihood"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name), rel=1e-8)
    some = fit_cox(X, event, time, weights=np.arange(120) < 100)
    first = fit_cox(X[:100], event[:100], time[:100])
    assert some.coefficients == pytest.approx(first.coefficients)


def test_influence_is_that_of_rows():
    X, event, time, options = draw_cohort()
    weights, step, slopes = np.ones(120), 1e-5, []
    for row in range(120):
        weights[row] += step
        slopes.append(fit_cox(X, event, time, options["entry"], weights=weights).coefficients)
        weights[row] = 1
    fit = fit_cox(X, event, time, options["entry"], clusters=np.arange(120))
    influence = (np.array(slopes) - fit.coefficients) / step
    assert np.diag(fit.robust_covariance) == pytest.approx((influence**2).sum(axis=0), rel=0.02)


def test_penalty_is_that_of_sklearn():
    X, event, time, _ = draw_cohort()
    X = X * [1, 10]

    def loss(b):
        risk = X @ b
        at_risk = time >= time[event][:, None]
        sums = np.log((at_risk * np.exp(risk)).sum(axis=1))
        return sums.sum() - risk[event].sum() + 20 / 2 * b @ b

    fit = fit_cox(X, event, time, penalty=20, ties="breslow")
    wanted = minimize(loss, np.zeros(2), tol=1e-10).x
    assert fit.coefficients == pytest.approx(wanted, abs=1e-6)
    wide = np.random.default_rng(0).standard_normal((30, 50))
    assert fit_cox(wide, event[:30], time[:30], penalty=1).converged


def test_early_end_warns(monkeypatch):
    monkeypatch.setattr(cox_regression, "_MAX_STEPS", 1)
    with pytest.warns(TrainingWarning, match="did not converge in 1 steps"):
        fit_cox(**REMISSION)


SEPARATED = np.arange(42.0)[:, None] < 21  # alone has events
BAD = [
    ({"event": np.zeros(42)}, "none of 42 rows has an event"),
    ({"X": np.ones((42, 1))}, "column 0 is the same in all"),
    ({"X": np.full((42, 1), 1e8 + 1e-9)}, "column 0 is the same in all"),
    ({"X": np.tile(REMISSION["X"], 2)}, "collinear.*column 0, column 1"),
    ({"X": SEPARATED, "event": np.arange(42) < 21}, "rises without end in column 0"),
    ({"X": np.full((42, 1), np.nan)}, "no table of finite numbers"),
    ({"weights": -np.ones(42)}, "42 finite numbers"),
    ({"ties": "exact"}, "'efron' and 'breslow'"),
    ({"strata": np.arange(42)}, "column 0 is the same in all"),
]


@pytest.mark.parametrize(("change", "phrase"), BAD)
def test_what_cannot_be_estimated(change, phrase):
    with pytest.raises(ValueError, match=phrase):
        fit_cox(**(REMISSION | change))


def test_columns_are_named():
    with pytest.raises(ValueError, match="'drug' is the same"):
        fit_cox(**(REMISSION | {"X": np.ones((42, 1))}), names=["drug"])


def test_units_change_nothing_else():
    X, event, time, options = draw_cohort()
    fit, other = (fit_cox(x, event, time, **options) for x in (X, X * [1e6, 1e-6] + [1e8, 3]))
    scale = np.array([1e6, 1e-6])
    assert other.coefficients * scale == pytest.approx(fit.coefficients, rel=1e-5)
    robust = other.robust_covariance * np.outer(scale, scale)
    assert robust == pytest.approx(fit.robust_covariance, rel=1e-4)


def test_estimator_predicts_as_the_encoder():
    X, event, time, options = draw_cohort()
    y = survival_outcome(event, time, options["entry"])
    model = CoxRegression(penalty=0, ties="breslow").fit(X, y)
    late = fit_cox(X, event, time, options["entry"], ties="breslow")
    assert model.coef_ == pytest.approx(late.coefficients)
    risk = model.predict(X)
    assert risk == pytest.approx(X @ model.coef_ - (X @ model.coef_).mean())
    assert model.score(X, y) == concordance_index(y, risk) > 0.55
    baseline = BreslowBaseline.fit(risk, event, time, options["entry"])
    wanted = baseline.survival(risk, [0.5, 8, 1e3])
    assert model.predict_survival_function(X, [0.5, 8, 1e3]) == pytest.approx(wanted)
    assert model.predict_survival_function(X[:3]).shape == (3, len(np.unique(time[event])))


def test_estimator_in_a_pipeline():
    X, event, time, _ = draw_cohort()
    y = survival_outcome(event, np.where(np.arange(120) < 5, np.nan, time))
    table = pd.DataFrame({"event": event.astype(float), "time": y["time"]})
    model = make_pipeline(StandardScaler(), CoxRegression(penalty=0.1))
    assert model.fit(X, table).predict(X) == pytest.approx(model.fit(X, y).predict(X))
    assert len(model[-1].training_outcomes_) == 115
    scores = cross_validate(model, X, y, cv=3, scoring={"uno": UnoConcordance()})
    assert (scores["test_uno"] > 0.5).sum() >= 2
    weights = np.arange(115) % 2
    weighted = CoxRegression().fit(X[5:], y[5:], sample_weight=weights)
    some = CoxRegression().fit(X[5:][weights == 1], y[5:][weights == 1])
    assert weighted.predict(X) == pytest.approx(some.predict(X))


@pytest.mark.parametrize(
    ("y", "phrase"),
    [
        (survival_outcome([0, 0, 0], [1, 2, 3]), "all are censored"),
        (survival_outcome(np.ones((3, 2)), np.ones((3, 2))), "2 outcomes; accepted is one"),
        (survival_outcome([1, 1], [1, 2]), "inconsistent numbers"),
        (pd.DataFrame({"died": [1, 1, 0], "time": [1, 2, 3]}), "the columns died, time.*Rename"),
    ],
)
def test_estimator_refuses_outcomes(y, phrase):
    with pytest.raises(ValueError, match=phrase):
        CoxRegression().fit(np.eye(3), y)
