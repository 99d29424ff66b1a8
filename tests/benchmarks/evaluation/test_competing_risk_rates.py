# SPDX-License-Identifier: BSD-3-Clause
import numpy as np

from benchmarks.evaluation.error_rates import competing_risks as rates
from sleep2vec_sklearn.evaluation import cumulative_incidence


def test_truth_is_of_cohorts():
    log_ratios = np.array([0.0, rates.EFFECT])
    x, y, full = rates.draw_cohort(np.random.default_rng(0), 20_000, True, log_ratios)
    expected = rates.true_incidence(x, log_ratios, rates.TIMES).mean(axis=0)
    np.testing.assert_allclose(cumulative_incidence(y).at(rates.TIMES, 1), expected, atol=0.01)
    assert (full["cause"] > 0).all()
    assert (y["time"] <= full["time"]).all()


def test_tables_have_rates():
    table = rates.cox_table(2, seed=0)
    assert table["of"].value_counts()["the same, one-sided upward"] == 3
    assert rates.rate(np.array([True, False])) == "0.500 (0.013 to 0.987)"
