# SPDX-License-Identifier: BSD-3-Clause
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.errors import OutcomeWarning, RecordingWarning
from sleep2vec_sklearn.evaluation import (
    CoxRegression,
    LeaveOneSiteOut,
    hazard_ratios,
    proportional_hazards_test,
    survival_outcome,
)
from sleep2vec_sklearn.evaluation.cox_regression import fit_cox

# recidivism of 432 prisoners (Rossi et al., Money, Work and Crime, 1980)
ROSSI = pd.read_csv(Path(__file__).with_name("rossi.csv"))
OUTCOME = ROSSI[["arrest", "week"]].set_axis(["event", "time"], axis=1)
COVARIATES = ROSSI[["fin", "age", "prio"]]

RNG = np.random.default_rng(0)
N = 150
X = RNG.standard_normal((N, 3))
AGE = RNG.normal(60, 8, N)
TIME = RNG.exponential(np.exp(-X[:, 0] - (AGE - 60) / 16))
Y = survival_outcome(TIME < 2, np.minimum(TIME, 2))
TABLE = pd.DataFrame({"age": AGE})
FLAT = ([95.0] * 60, 1)


# R's survival, printed in Fox & Weisberg, An R Companion to Applied Regression, web appendix on Cox
# regression: coxph and, by version 2, cox.zph of its model of three terms
def test_recidivism_as_in_r():
    ratios = hazard_ratios(OUTCOME, covariates=COVARIATES)
    assert ratios.table["coefficient"].round(5).tolist() == [-0.34695, -0.06711, 0.09689]
    assert "0.097           0.027" in repr(ratios)
    assert "<0.001" in repr(ratios)
    assert "&lt;0.001" in ratios._repr_html_()
    test = proportional_hazards_test(ratios).table
    wanted = [0.00507, 6.54147, 0.77288, 7.13046]
    assert test["statistic"].tolist() == pytest.approx(wanted, abs=6e-6)
    assert test["p_value"].round(4).tolist() == [0.9433, 0.0105, 0.3793, 0.0679]
    assert test["degrees_of_freedom"].tolist() == [1, 1, 1, 3]


def test_errors_are_robust():
    ratios = hazard_ratios(OUTCOME, covariates=COVARIATES, level=0.9)
    fit = fit_cox(COVARIATES, OUTCOME["event"], OUTCOME["time"], clusters=np.arange(432))
    robust, plain = np.diag(fit.robust_covariance), np.diag(fit.covariance)
    assert set((robust > plain).tolist()) == {True, False}
    error = np.sqrt(np.maximum(robust, plain))
    assert ratios.table["standard_error"].to_numpy() == pytest.approx(error)
    width = np.log(ratios.table["high"] / ratios.table["low"]).to_numpy() / 2
    assert width == pytest.approx(1.6448536 * error)
    assert (ratios.n_subjects, ratios.n_events, ratios.n_left_out) == (432, 114, 0)
    assert "| fin" in ratios.to_markdown()
    assert r"\toprule" in ratios.to_latex()
    assert repr(ratios).startswith("HazardRatios(432 subjects, 114 events)")


@pytest.mark.parametrize("transform", ["km", "rank", "identity"])
def test_changing_ratios_are_found(transform):
    rng = np.random.default_rng(0)
    columns = pd.DataFrame({"drug": np.arange(200) % 2, "age": rng.standard_normal(200)})
    y = survival_outcome(np.ones(200), rng.weibull(np.where(columns["drug"] == 1, 3.0, 1.0)))
    test = proportional_hazards_test(hazard_ratios(y, covariates=columns), transform=transform)
    assert test.table["p_value"]["drug"] < 0.002 < 0.005 < test.table["p_value"]["age"]
    # the later the event, the higher the ratio
    assert test.table["slope"]["drug"] > 0
    late = test.residuals.index > np.median(test.residuals.index)
    assert test.residuals["drug"][late].mean() > test.residuals["drug"][~late].mean() + 1


class Recorder(BaseEstimator):
    """Predicts the first column on a scale of its own, and notes whom it was fitted to."""

    fitted: ClassVar[list] = []

    def fit(self, X, y):
        self.fitted.append(X[:, 0].tolist())
        return self

    def predict(self, X):
        scale = len(self.fitted)
        return X[:, 0] * scale - 10 * scale


@pytest.mark.parametrize("training", ["earlier", "others"])
def test_index_is_held_out(training):
    Recorder.fitted.clear()
    folds = GroupKFold(3)
    ratios = hazard_ratios(Y, X, estimator=Recorder(), cv=folds, training=training)
    tests = [X[test, 0] for _, test in folds.split(X, groups=np.arange(N))]
    earlier = training == "earlier"
    assert [len(rows) for rows in Recorder.fitted] == ([50, 100] if earlier else [100] * 3)
    for rows, test in zip(Recorder.fitted, tests[1:] if earlier else tests, strict=True):
        assert not set(rows) & set(test)
    assert ratios.n_folds == (2 if earlier else 3)
    assert ratios.n_subjects == (100 if earlier else 150)
    assert np.isnan(ratios.table.loc["index", ["low", "high", "p_value"]]).all() != earlier
    # the same fold by fold, whatever the scale
    kept = np.concatenate([t for _, t in folds.split(X, groups=np.arange(N))][earlier:])
    strata = np.repeat(np.arange(ratios.n_folds), 50)
    index = np.concatenate([(t - t.mean()) / t.std() for t in tests[earlier:]])[:, None]
    fit = fit_cox(index, Y["event"][kept], Y["time"][kept], strata=strata)
    assert ratios.table["coefficient"]["index"] == pytest.approx(fit.coefficients[0])


def test_index_is_found():
    ratios = hazard_ratios(Y, X, estimator=CoxRegression(), covariates=TABLE, per={"age": 10})
    assert list(ratios.table.index) == ["age per 10", "index"]
    assert ratios.table["low"]["index"] > 1.2
    assert ratios.table["p_value"]["index"] < 0.01
    assert ratios.table["value"]["age per 10"] == pytest.approx(np.exp(10 / 16), rel=0.3)
    assert len(proportional_hazards_test(ratios).residuals) == ratios.n_events


def test_few_events_warn():
    y = survival_outcome(np.arange(N) < 9, Y["time"])
    with pytest.warns(OutcomeWarning, match="9 events for 2 terms"):
        hazard_ratios(y, covariates=TABLE.assign(noise=X[:, 2]))


def test_nights_are_one_observation():
    rows = np.concatenate([np.arange(N), np.arange(50)])
    twice = hazard_ratios(Y[rows], groups=rows, covariates=TABLE.iloc[rows])
    once = hazard_ratios(Y, covariates=TABLE)
    pd.testing.assert_frame_equal(twice.table, once.table)
    other = Y[rows].copy()
    other["time"][-1] += 1
    with pytest.raises(ValueError, match="different outcomes: 'time'"):
        hazard_ratios(other, groups=rows, covariates=TABLE.iloc[rows])


def test_entries_and_gaps_are_kept():
    entry = np.where(np.arange(N) % 2, 0.5, 0) * Y["time"]
    y = survival_outcome(Y["event"], np.where(np.arange(N) < 3, np.nan, Y["time"]), entry)
    lacking = TABLE.assign(age=TABLE["age"].where(np.arange(N) < 140))
    with pytest.warns(RecordingWarning, match="10 of 147 subjects, with 7 events.*age of 10"):
        ratios = hazard_ratios(y, covariates=lacking)
    kept = slice(3, 140)
    late = fit_cox(TABLE[kept], Y["event"][kept], Y["time"][kept], entry[kept])
    assert ratios.table["coefficient"]["age"] == pytest.approx(late.coefficients[0])
    assert ratios.n_left_out == 10
    assert "10 without a covariate left out" in repr(ratios)


def test_factors_have_a_reference():
    words = np.array(["never", "former", "current"])[np.arange(N) % 3]
    smoking = pd.Categorical(words, categories=["never", "former", "current"])
    table = pd.DataFrame({"smoking": smoking, "race": np.where(AGE > 60, "b", "a")})
    terms = hazard_ratios(Y, covariates=table).table.index.tolist()
    assert terms == [
        "smoking (former, not never)",
        "smoking (current, not never)",
        "race (b, not a)",
    ]
    metadata = [
        {"age": a, "sex": "FM"[i % 2], "race": "ab"[int(a > 60)]} for i, a in enumerate(AGE)
    ]
    nights = [
        Recording({"spo2": ([95.0] * 60, 1)}, metadata=facts, subject=i)
        for i, facts in enumerate(metadata)
    ]
    named = hazard_ratios(Y, nights, covariates=("age", "sex", "race")).table
    assert named.index.tolist() == ["age", "sex (male, not female)", "race (b, not a)"]
    with pytest.raises(ValueError, match="covariates is 'age'"):
        hazard_ratios(Y, nights, covariates="age")


FEW, LAST = (survival_outcome(np.arange(N) >= N - k, Y["time"]) for k in (1, 2))
EPOCHS = EpochSequence([Recording({"spo2": FLAT})])
FROZEN = FrozenEstimator(CoxRegression().fit(X, Y))
BAD = [
    ({"covariates": None}, "both None"),
    ({"y": survival_outcome(np.zeros(N), Y["time"])}, "none of 150 rows has an event"),
    ({"y": np.stack([Y, Y], axis=1)}, "2 outcomes; accepted is one"),
    ({"X": None, "estimator": CoxRegression()}, "X is None"),
    ({"X": EPOCHS}, "X holds epochs"),
    ({"X": X[:9]}, "150 outcomes for 9 rows"),
    ({"estimator": FROZEN}, "estimator is frozen"),
    ({"estimator": make_pipeline(StandardScaler(), FROZEN)}, "estimator is frozen"),
    ({"estimator": GridSearchCV(make_pipeline(FROZEN), {})}, r"frozen \(CoxRegression\)"),
    ({"estimator": LogisticRegression()}, "is a classifier"),
    ({"estimator": CoxRegression(), "training": "all"}, "'earlier' and 'others'"),
    ({"estimator": Recorder(), "X": np.zeros((N, 3))}, "the same risk for all"),
    ({"estimator": CoxRegression(), "y": FEW}, "an event in 1 subjects"),
    ({"estimator": CoxRegression(), "y": LAST, "cv": list(KFold(5).split(X))}, "hold no event"),
    ({"covariates": TABLE[:5]}, "5 rows for 150 outcomes"),
    ({"covariates": TABLE.assign(one=1.0)}, "'one' is the same in all"),
    ({"covariates": pd.concat([TABLE, TABLE], axis=1)}, "'age' twice"),
    ({"covariates": TABLE.assign(site="A")}, "'site' is the same in all"),
    ({"covariates": TABLE.assign(age=TABLE["age"].astype(str))}, "text of 150 .* pd.to_numeric"),
    ({"covariates": TABLE.assign(born=pd.Timestamp("1950-01-01"))}, "'born' holds dates"),
    ({"covariates": TABLE.rename(columns={"age": "index"}), "estimator": CoxRegression()},
     "has a column 'index'"),
    ({"y": pd.DataFrame(Y), "covariates": TABLE[::-1]}, "y and covariates .* another order"),
    ({"per": {"weight": 10}}, "per has 'weight'"),
    ({"level": 95}, "level must be between 0 and 1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "phrase"), BAD)
def test_unusable_requests_are_refused(change, phrase):
    with pytest.raises(ValueError, match=phrase):
        hazard_ratios(**({"y": Y, "X": X, "covariates": TABLE} | change))


def test_numbers_keep_their_kind():
    grades = pd.Categorical(np.arange(N) % 3 + 1.0)
    table = pd.DataFrame({"grade": grades, "age": pd.Series([None, *AGE[1:]], dtype=object)})
    with pytest.warns(RecordingWarning, match="1 of 150 subjects"):
        terms = hazard_ratios(Y, covariates=table).table.index.tolist()
    assert terms == ["grade (2, not 1)", "grade (3, not 1)", "age"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_divided_subjects_are_refused():
    twice, rows = np.tile(np.arange(N // 2), 2), np.arange(N)
    # a third of the subjects are seen at both sites
    sites = np.where(rows < 100, rows % 2, 1 - rows % 2)
    for cv in (KFold(2), LeaveOneSiteOut(sites)):
        with pytest.raises(ValueError, match=r"of 75 subjects \(0, 1, 2\) in several folds"):
            hazard_ratios(Y[twice], X, twice, estimator=CoxRegression(), cv=cv)


def test_learned_on_same_subjects_untested():
    ratios = hazard_ratios(Y, X, estimator=CoxRegression(), covariates=TABLE, training="others")
    tested = proportional_hazards_test(ratios).table["p_value"].notna()
    assert tested.to_dict() == {"age": True, "index": False, "all terms": False}


def test_trend_needs_times():
    ratios = hazard_ratios(Y, covariates=TABLE)
    with pytest.raises(TypeError, match="ratios is DataFrame; accepted is what hazard_ratios"):
        proportional_hazards_test(ratios.table)
    with pytest.raises(ValueError, match="'km', 'rank' and 'identity'"):
        proportional_hazards_test(ratios, transform="log")
    same = survival_outcome(np.arange(N) % 2, np.ones(N))
    with pytest.raises(ValueError, match="all events are at one time"):
        proportional_hazards_test(hazard_ratios(same, covariates=TABLE))


def test_proportionality_keeps_ties():
    coarse = pd.DataFrame({"event": True, "time": np.ceil(np.arange(1, N + 1) / 30)})
    first, second = (
        proportional_hazards_test(hazard_ratios(coarse, covariates=TABLE, ties=ties)).residuals
        for ties in ("efron", "breslow")
    )
    assert first.shape == second.shape
    assert not np.allclose(first, second)
    # residuals less the coefficients sum to zero at the estimates of the same method
    ratios = hazard_ratios(coarse, covariates=TABLE, ties="breslow")
    centred = second.to_numpy() - ratios.table["coefficient"].to_numpy()
    np.testing.assert_allclose(centred.sum(axis=0), 0, atol=1e-6)
