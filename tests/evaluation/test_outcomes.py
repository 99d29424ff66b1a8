# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from sleep2vec_sklearn.evaluation import (
    binary_report,
    calibration_report,
    expected_calibration_error,
    regression_report,
)

RNG = np.random.default_rng(0)
RISK = expit(RNG.normal(-1, 1.2, 1500))
ILL = (RNG.random(1500) < RISK).astype(int)


def calibration_of(probability, **parameters):
    return calibration_report(ILL, probability, n_resamples=60, **parameters).scores


def test_intervals_include_their_value():
    y = RNG.integers(0, 2, 80)
    report = binary_report(y, np.clip(0.3 * y + RNG.uniform(0, 0.7, 80), 0, 1), n_resamples=100)
    inside = (report["low"] <= report["value"]) & (report["value"] <= report["high"])
    assert inside.drop("ece").all()
    report = binary_report([0, 0, 0, 1], [0.1, 0.3, 0.2, 0.7], n_resamples=100)
    assert report.loc["roc_auc"].tolist() == [1, 1, 1]


def test_reports_resample_subjects():
    y, error = np.repeat(RNG.normal(50, 9, 15), 20), np.repeat(RNG.normal(0, 5, 15), 20)
    of_rows = regression_report(y, y + error, n_resamples=100).loc["mae"]
    groups = np.arange(300) // 20
    of_subjects = regression_report(y, y + error, groups=groups, n_resamples=100).loc["mae"]
    assert of_subjects["value"] == of_rows["value"] == pytest.approx(np.abs(error).mean())
    assert of_subjects["high"] - of_subjects["low"] > 2 * (of_rows["high"] - of_rows["low"])


@pytest.mark.parametrize(
    ("y", "message"), [([1, np.nan], "Leave out rows"), ([1, 2, 3], "common shape")]
)
def test_invalid_numbers_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        regression_report(y, [1, 2])


@pytest.mark.parametrize(("name", "ideal"), [("slope", 1), ("intercept", 0)])
def test_true_probabilities_are_calibrated(name, ideal):
    scores = calibration_of(RISK)
    assert scores.loc[name, "low"] < ideal < scores.loc[name, "high"]


def test_shifts_show_in_calibration():
    assert calibration_of(expit(2 * logit(RISK))).loc["slope", "high"] < 0.7
    scores = calibration_of(expit(logit(RISK) + 1))
    assert scores.loc["intercept", "value"] == pytest.approx(-1, abs=0.2)
    assert scores.loc["ece", "value"] > calibration_of(RISK).loc["ece", "value"]
    shifted = expit(logit(RISK) + 0.7)
    intercept = calibration_of(shifted).loc["intercept", "value"]
    assert expit(logit(shifted) + intercept).mean() == pytest.approx(ILL.mean())


def test_scores_equal_scikit_learn():
    value = calibration_of(RISK)["value"]
    head = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(RISK)[:, None], ILL)
    assert value["slope"] == pytest.approx(head.coef_[0, 0], rel=1e-4)
    assert value["brier"] == pytest.approx(brier_score_loss(ILL, RISK))
    y, p = [1, 0, 0, 0], [0.55, 0.05, 0.05, 0.05]
    assert expected_calibration_error(y, p) == pytest.approx((0.45 + 3 * 0.05) / 4)


def test_named_classes_and_two_columns():
    names = np.where(ILL, "apnea", "none")
    both = np.stack([1 - RISK, RISK], axis=1)
    scores = calibration_report(names, both, pos_label="apnea", n_resamples=60).scores
    np.testing.assert_allclose(scores, calibration_of(RISK))


def test_calibration_resamples_subjects():
    order = np.argsort(RISK - ILL)
    inputs = ILL[order], RISK[order]
    reports = [
        calibration_report(*inputs, groups=groups, n_resamples=80)
        for groups in (None, np.arange(1500) // 50)
    ]
    width = [np.ptp(report.scores.loc["intercept", ["low", "high"]]) for report in reports]
    assert width[1] > 2 * width[0]


@pytest.mark.parametrize(
    ("y", "p"), [([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]), ([0, 1, 0, 1], [0.3] * 4)]
)
def test_undefined_slope_is_nan(y, p):
    scores = calibration_report(y, p, n_resamples=20).scores
    assert np.isnan(scores.loc["slope", "value"])
    assert scores.loc["brier", "value"] == pytest.approx(np.mean(np.subtract(y, p) ** 2))


def test_slope_far_from_one():
    scores = calibration_report(np.arange(40) % 2, np.linspace(0, 1, 40), n_resamples=200).scores
    assert np.abs(scores.loc["slope", ["value", "low", "high"]].astype(float)).max() < 5


def test_curve_and_repr():
    report = calibration_report(ILL, RISK, n_bins=5, n_resamples=20)
    assert len(report.curve) == 5
    assert np.corrcoef(report.curve.T)[0, 1] > 0.98
    assert "1500 rows of 1500 subjects" in repr(report)
    assert [*report.to_frame()["metric"]] == ["brier", "ece", "slope", "intercept"]


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [([1, 1, 1], [0.1, 0.2, 0.3], "accepted are two"),
     ([0, 1, 2], [0.1, 0.2, 0.3], "accepted are two"), (["a", "b"], [0.1, 0.2], "pos_label=1"),
     ([0, 1], [0.1, 1.2], "values from 0.1 to 1.2"), ([0, 1], [0.1], r"shape \(1,\) for 2 rows"),
     ([0, 1], [0.1, np.nan], "one probability per row")],
)  # fmt: skip
def test_invalid_outcomes_are_refused(y, p, message):
    with pytest.raises(ValueError, match=message):
        calibration_report(y, p)
