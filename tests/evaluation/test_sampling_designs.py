# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn.errors import OutcomeWarning, RecordingWarning
from sleep2vec_sklearn.evaluation import (
    CoxRegression,
    case_cohort,
    hazard_ratios,
    nested_case_control,
    observation_weights,
    survival_outcome,
    weighted_hazard_ratios,
)
from sleep2vec_sklearn.evaluation.cox_regression import fit_cox

RNG = np.random.default_rng(0)
N = 1500
DOSE = pd.DataFrame({"dose": RNG.standard_normal(N)})
TIME = RNG.exponential(20 * np.exp(-0.7 * DOSE["dose"]))
ENTRY = np.where(np.arange(N) % 3, 0.0, np.minimum(TIME, 2) / 2)
Y = survival_outcome(TIME < 2, np.minimum(TIME, 2), ENTRY)
FULL = hazard_ratios(Y, covariates=DOSE).table.loc["dose"]
SMALL = survival_outcome([1, 0, 1, 0, 0], [1.0, 1.5, 2.0, 3.0, 3.0])


def test_controls_are_at_risk():
    design = nested_case_control(Y, n_controls=2, random_state=0)
    assert len(np.unique(design.rows)) == len(design.rows)
    assert set(np.flatnonzero(Y["event"])) <= set(design.rows)
    sets = design.sets.merge(design.sets[design.sets["case"]], on="set", suffixes=("", "_case"))
    at, own = Y["time"][sets["row_case"]], Y[sets["row"].to_numpy()]
    assert ((own["entry"] < at) & (own["time"] >= at)).all()
    assert sets.groupby("set").size().eq(3).all()


def test_weights_are_inverse_probabilities():
    design = nested_case_control(SMALL, random_state=0)
    weight = dict(zip(design.rows.tolist(), design.weights.tolist(), strict=True))
    assert weight[0] == weight[2] == 1
    # at risk with the case at 1 are four others, with that at 2 two
    known = {1: 1 / (1 / 4), 3: 1 / (1 - 3 / 4 * 1 / 2), 4: 1 / (1 - 3 / 4 * 1 / 2)}
    assert all(weight[row] == pytest.approx(known[row]) for row in set(weight) - {0, 2})
    drawn = [nested_case_control(SMALL, random_state=seed) for seed in range(200)]
    total = np.mean([design.weights.sum() for design in drawn])
    assert total == pytest.approx(5, abs=0.25)


def test_controls_are_matched():
    sex = np.where(np.arange(N) % 2, "F", "M")
    design = nested_case_control(Y, match=sex, random_state=0)
    of_set = pd.Series(sex[design.sets["row"]]).groupby(design.sets["set"]).nunique()
    assert of_set.eq(1).all()
    again = nested_case_control(Y, match=sex, random_state=0)
    assert again.rows.tolist() == design.rows.tolist()


def test_whole_cohort_is_itself():
    # with everybody sampled all methods are the analysis of the cohort
    for method in ("borgan", "prentice", "barlow"):
        design = case_cohort(Y, fraction=1.0, method=method, random_state=0)
        row = design.hazard_ratios(DOSE).table.loc["dose"]
        assert row.tolist() == pytest.approx(FULL.tolist(), rel=1e-6), method
    with pytest.warns(OutcomeWarning, match="fewer than 2000 controls"):
        design = nested_case_control(Y, n_controls=2000, random_state=0)
    assert design.hazard_ratios(DOSE).table.loc["dose"].tolist() == pytest.approx(FULL.tolist())


@pytest.mark.parametrize("method", ["borgan", "prentice", "barlow"])
def test_subcohort_gives_the_ratio(method):
    design = case_cohort(Y, fraction=0.3, method=method, random_state=1)
    row = design.hazard_ratios(DOSE).table.loc["dose"]
    assert abs(row["coefficient"] - FULL["coefficient"]) < 2 * row["standard_error"]
    assert row["standard_error"] > FULL["standard_error"]
    part = design.hazard_ratios(DOSE.iloc[design.rows]).table.loc["dose"]
    assert part.tolist() == row.tolist()


def test_estimators_take_designs():
    design = case_cohort(Y, fraction=0.3, random_state=1)
    X = DOSE.to_numpy()[design.records["row"]]
    model = CoxRegression(penalty=0).fit(X, design.y, sample_weight=design.weights)
    table = design.hazard_ratios(DOSE).table
    assert model.coef_[0] == pytest.approx(table.loc["dose", "coefficient"])


def test_strata_are_sampled_apart():
    sex = np.where(np.arange(N) % 5, "F", "M")
    design = case_cohort(Y, fraction={"F": 0.1, "M": 0.5}, strata=sex, random_state=0)
    free = design.records[~design.records["event"]]
    of_sex = free["weight"].groupby(sex[free["row"]])
    assert of_sex.nunique().tolist() == [1, 1]
    totals = pd.Series(~Y["event"]).groupby(sex).sum()
    assert of_sex.sum().tolist() == pytest.approx(totals.tolist())
    with pytest.raises(ValueError, match="no 'M'"):
        case_cohort(Y, fraction={"F": 0.1}, strata=sex)


def test_subcohort_serves_other_outcomes():
    other = Y.copy()
    other["event"] = False
    other["event"][:10] = True
    first, second = (case_cohort(y, fraction=0.2, random_state=3).records for y in (Y, other))
    common = [set(part.loc[~part["event"], "row"]) for part in (first, second)]
    neither = ~Y["event"] & ~other["event"]
    assert {row for row in common[0] if neither[row]} == {r for r in common[1] if neither[r]}


def test_missing_outcomes_are_not_sampled():
    y = Y.copy()
    y["time"][:300] = np.nan
    for design in (case_cohort(y, random_state=0), nested_case_control(y, random_state=0)):
        assert design.rows.min() >= 300
        assert design.n_cohort == N - 300


ONE = survival_outcome([1, 0, 0], [1.0, 2.0, 3.0])
NONE = survival_outcome([0, 0, 0], [1.0, 2.0, 3.0])
LAST = survival_outcome([1, 1, 0], [3.0, 4.0, 1.0])


@pytest.mark.parametrize(
    ("design", "phrase"),
    [
        (lambda: nested_case_control(ONE), r"1 event\(s\) in 3 subjects"),
        (lambda: case_cohort(NONE), r"0 event\(s\) in 3 subjects"),
        (lambda: nested_case_control(LAST, match=[0, 1, 0]), "none of 2 events has a control"),
        (lambda: nested_case_control(Y, n_controls=0), "whole numbers from 1 on"),
        (lambda: nested_case_control(Y, match=[1]), "1 elements"),
        (lambda: nested_case_control(Y, match=DOSE), "match has shape"),
        (lambda: case_cohort(Y, fraction=1.5), "above 0 and up to 1"),
        (lambda: case_cohort(Y, fraction=1e-9), "nobody stands for those"),
        (lambda: case_cohort(Y, method="borgan2"), "accepted are 'borgan'"),
        (lambda: case_cohort(Y, method="prentice", strata=np.ones(N)), "takes no strata"),
        (lambda: case_cohort(Y, random_state=0).hazard_ratios(DOSE[:7]), "has 7 rows"),
        (lambda: weighted_hazard_ratios(Y, DOSE, weights=-np.ones(N)), "missing or negative"),
    ],
)
def test_unusable_designs_are_refused(design, phrase):
    with pytest.raises(ValueError, match=phrase):
        design()


def test_rows_follow_the_design():
    design = case_cohort(Y, fraction=0.3, random_state=1)
    with pytest.raises(ValueError, match="design and covariates have the same rows in another"):
        design.hazard_ratios(DOSE.iloc[design.rows[::-1]])
    with pytest.raises(TypeError, match=r"covariates is of type ndarray; .*pd.DataFrame\(cov"):
        weighted_hazard_ratios(Y, DOSE.to_numpy(), weights=np.ones(N))


def test_integer_weights_repeat_rows():
    weights = RNG.integers(0, 3, N)
    rows = np.repeat(np.arange(N), weights)
    # times are all different but for the repeats, whose ties Efron's method would treat otherwise
    weighted = weighted_hazard_ratios(Y, DOSE, weights=weights)
    repeated = weighted_hazard_ratios(
        Y[rows], DOSE.iloc[rows].reset_index(drop=True), weights=np.ones(len(rows)), groups=rows
    )
    assert weighted.n_subjects == repeated.n_subjects == (weights > 0).sum()
    assert weighted.table["coefficient"].iloc[0] == pytest.approx(
        repeated.table["coefficient"].iloc[0], rel=2e-3
    )
    gaps = DOSE.mask(np.arange(N)[:, None] < 5)
    everyone = observation_weights(np.ones(N), DOSE)
    pd.testing.assert_frame_equal(
        weighted_hazard_ratios(Y, DOSE, weights=everyone).table,
        weighted_hazard_ratios(Y, DOSE, weights=everyone.weights).table,
    )
    with pytest.warns(RecordingWarning, match=r"rows lack a covariate"):
        assert weighted_hazard_ratios(Y, gaps, weights=np.ones(N)).n_subjects == N - 5


def test_one_event_proves_nothing():
    rng = np.random.default_rng(0)
    y, dose = survival_outcome(np.arange(30) == 3, np.arange(1.0, 31)), rng.standard_normal((30, 1))
    for scale in (1, 10):
        with pytest.warns(OutcomeWarning, match="1 events for 1 terms"):
            ratios = weighted_hazard_ratios(y, pd.DataFrame(dose), weights=np.full(30, scale))
        plain = fit_cox(dose, y["event"], y["time"]).standard_errors
        assert ratios.table["standard_error"].tolist() == pytest.approx(plain.tolist())
        assert ratios.table["p_value"].item() > 0.3


def test_weights_of_missing_outcomes():
    visit = pd.DataFrame({"visit": np.repeat(["a", "b"], 500)})
    seen = np.r_[np.arange(500) % 2 == 0, np.arange(500) % 5 == 0]
    result = observation_weights(seen, visit, stabilise=False)
    # a saturated model: the inverse of the fraction seen
    assert result.weights[seen] == pytest.approx(np.repeat([2.0, 5.0], [250, 100]), rel=1e-4)
    assert not result.weights[~seen].any()
    assert result.effective_size == pytest.approx(1000**2 / (250 * 4 + 100 * 25), rel=1e-3)
    mean_one = observation_weights(seen, visit).weights
    assert mean_one[seen].mean() == pytest.approx(1, rel=1e-4)
    assert observation_weights(np.ones(1000), visit).weights.tolist() == [1.0] * 1000


def test_rarely_seen_is_told():
    old = pd.DataFrame({"old": np.repeat([0, 1], 500)})
    seen = np.r_[np.arange(500) % 2 == 0, np.arange(500) % 50 == 0]
    with pytest.warns(OutcomeWarning, match="500 of 1000 subjects have a probability below 5%"):
        observation_weights(seen, old)
    with pytest.raises(ValueError, match="500 of 1000 subjects are never observed"):
        observation_weights(old["old"] == 0, old)


@pytest.mark.parametrize(
    ("observed", "covariates", "phrase"),
    [
        ([0, 0, 0], {"age": [1, 2, 3]}, "False in all 3 rows"),
        ([1, 0, 2], {"age": [1, 2, 3]}, "holds more than"),
        ([1, 0, 1], {"age": [1, None, 3]}, "'age' is missing in 1 of 3"),
        ([1, 0, 1], {"age": [1, 1, 1]}, "the same in all rows"),
        ([1, 0, 1], {}, "covariates"),
    ],
)
def test_unusable_observations_are_refused(observed, covariates, phrase):
    with pytest.raises(ValueError, match=phrase):
        observation_weights(observed, pd.DataFrame(covariates))
