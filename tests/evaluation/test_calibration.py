# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from sleep2vec_sklearn.evaluation import calibration_report, expected_calibration_error

RNG = np.random.default_rng(0)
RISK = expit(RNG.normal(-1, 1.2, 1500))
ILL = (RNG.random(1500) < RISK).astype(int)


def scores_of(probability, **parameters):
    return calibration_report(ILL, probability, n_resamples=60, **parameters).scores


def test_right_probabilities_have_slope_one_and_intercept_zero():
    found = scores_of(RISK)
    for name, right in (("slope", 1), ("intercept", 0)):
        assert found.loc[name, "low"] < right < found.loc[name, "high"]


def test_overconfidence_shows_as_a_slope_below_one():
    assert scores_of(expit(2 * logit(RISK))).loc["slope", "high"] < 0.7


def test_probabilities_that_are_too_high_show_as_a_negative_intercept():
    found = scores_of(expit(logit(RISK) + 1))
    assert found.loc["intercept", "value"] == pytest.approx(-1, abs=0.2)
    assert found.loc["ece", "value"] > scores_of(RISK).loc["ece", "value"]


def test_the_slope_is_that_of_an_unpenalised_logistic_regression():
    head = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(RISK)[:, None], ILL)
    assert scores_of(RISK).loc["slope", "value"] == pytest.approx(head.coef_[0, 0], rel=1e-4)


def test_the_intercept_makes_predicted_and_observed_rates_equal():
    shifted = expit(logit(RISK) + 0.7)
    found = scores_of(shifted).loc["intercept", "value"]
    assert expit(logit(shifted) + found).mean() == pytest.approx(ILL.mean())


def test_the_brier_score_is_that_of_scikit_learn():
    assert scores_of(RISK).loc["brier", "value"] == pytest.approx(brier_score_loss(ILL, RISK))


def test_a_bin_counts_as_often_as_it_has_rows():
    y, p = [1, 0, 0, 0], [0.55, 0.05, 0.05, 0.05]
    assert expected_calibration_error(y, p) == pytest.approx((0.45 + 3 * 0.05) / 4)


def test_classes_may_have_names_and_probabilities_two_columns():
    names = np.where(ILL, "apnea", "none")
    both = np.stack([1 - RISK, RISK], axis=1)
    found = calibration_report(names, both, pos_label="apnea", n_resamples=60).scores
    np.testing.assert_allclose(found, scores_of(RISK))


def test_people_are_drawn_not_rows():
    width = {}
    for name, groups in (("rows", None), ("people", np.arange(1500) // 50)):
        ordered = np.argsort(RISK - ILL)
        report = calibration_report(ILL[ordered], RISK[ordered], groups=groups, n_resamples=80)
        width[name] = np.ptp(report.scores.loc["intercept", ["low", "high"]])
    assert width["people"] > 2 * width["rows"]


def test_separated_classes_have_no_slope():
    found = calibration_report([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], n_resamples=20).scores
    assert np.isnan(found.loc["slope", "value"])
    assert found.loc["brier", "value"] < 0.05


def test_equal_probabilities_have_no_slope():
    assert np.isnan(scores_of(np.full(1500, 0.3)).loc["slope", "value"])


def test_the_curve_and_the_repr_tell_the_same_rows():
    report = calibration_report(ILL, RISK, n_bins=5, n_resamples=20)
    assert len(report.curve) == 5
    assert np.corrcoef(report.curve.T)[0, 1] > 0.98
    assert "1500 rows of 1500 subjects" in repr(report)
    assert [*report.to_frame()["score"]] == ["brier", "ece", "slope", "intercept"]


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.3], "accepted are two"),
        ([0, 1, 2], [0.1, 0.2, 0.3], "accepted are two"),
        (["a", "b"], [0.1, 0.2], "pos_label=1"),
        ([0, 1], [0.1, 1.2], "values from 0.1 to 1.2"),
        ([0, 1], [0.1], r"shape \(1,\) for 2 rows"),
        ([0, 1], [0.1, np.nan], "one probability per row"),
    ],
)
def test_what_is_no_binary_outcome_is_refused(y, p, message):
    with pytest.raises(ValueError, match=message):
        calibration_report(y, p)


def test_a_slope_that_is_far_from_one_is_found():
    probability = np.linspace(0, 1, 40)
    y = np.arange(40) % 2
    found = calibration_report(y, probability, n_resamples=200).scores
    assert np.abs(found.loc["slope", ["value", "low", "high"]].astype(float)).max() < 5
