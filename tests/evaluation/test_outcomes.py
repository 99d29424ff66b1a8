# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn.evaluation import binary_report, regression_report

RNG = np.random.default_rng(0)


def test_intervals_hold_the_values():
    y = RNG.integers(0, 2, 80)
    report = binary_report(y, np.clip(0.3 * y + RNG.uniform(0, 0.7, 80), 0, 1), n_resamples=100)
    inside = (report["low"] <= report["value"]) & (report["value"] <= report["high"])
    assert inside.drop("ece").all()


def test_resamples_of_one_class_are_left_out():
    report = binary_report([0, 0, 0, 1], [0.1, 0.3, 0.2, 0.7], n_resamples=100)
    assert report.loc["roc_auc"].tolist() == [1, 1, 1]


def test_rows_of_one_subject_stay_together():
    y, error = np.repeat(RNG.normal(50, 9, 15), 20), np.repeat(RNG.normal(0, 5, 15), 20)
    of_rows = regression_report(y, y + error, n_resamples=100).loc["mae"]
    groups = np.arange(300) // 20
    of_people = regression_report(y, y + error, groups=groups, n_resamples=100).loc["mae"]
    assert of_people["value"] == of_rows["value"] == pytest.approx(np.abs(error).mean())
    assert of_people["high"] - of_people["low"] > 2 * (of_rows["high"] - of_rows["low"])


def test_an_outcome_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="Leave out rows"):
        regression_report([1, np.nan], [1, 2])
    with pytest.raises(ValueError, match="common shape"):
        regression_report([1, 2], [1])
