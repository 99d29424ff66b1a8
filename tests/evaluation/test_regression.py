# SPDX-License-Identifier: BSD-3-Clause
"""Linear and logistic regression against statsmodels 0.15.0.

Data: Spector & Mazzeo (1980), Journal of Economic Education 11, statsmodels.datasets.spector.
sm.Logit(grade, sm.add_constant(exog)).fit(tol=1e-12), and with cov_type="cluster",
cov_kwds={"groups": numpy.arange(32) // 2}; sm.OLS(GPA, sm.add_constant([TUCE, PSI])) alike.
"""

import numpy as np
import pytest

from sleep2vec_sklearn.evaluation._regression import fit_linear, fit_logistic

GPA = np.array([
    2.66, 2.89, 3.28, 2.92, 4.0, 2.86, 2.76, 2.87, 3.03, 3.92, 2.63, 3.32, 3.57, 3.26, 3.53, 2.74,
    2.75, 2.83, 3.12, 3.16, 2.06, 3.62, 2.89, 3.51, 3.54, 2.83, 3.39, 2.67, 3.65, 4.0, 3.1, 2.39,
])  # fmt: skip
TUCE = np.array([
    20, 22, 24, 12, 21, 17, 17, 21, 25, 29, 20, 23, 23, 25, 26, 19, 25, 19, 23, 25, 22, 28, 14, 26,
    24, 27, 17, 24, 21, 23, 21, 19,
])  # fmt: skip
PSI = np.arange(32) >= 18
GRADE = np.isin(np.arange(32), [4, 9, 13, 19, 21, 24, 25, 26, 28, 29, 31]).astype(float)
PAIRS = np.arange(32) // 2


def test_logistic_agrees_with_statsmodels():
    fit = fit_logistic(np.column_stack([GPA, TUCE, PSI]), GRADE, PAIRS)
    expected = [-13.021346858115699, 2.8261125948893233, 0.09515766131790938, 2.3786876550933544]
    np.testing.assert_allclose(fit.coefficients, expected, rtol=1e-8)
    errors = [4.931324213602725, 1.262941075629075, 0.14155420567369612, 1.0645642544971308]
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), errors, rtol=1e-7)
    robust = [4.9790409057836955, 1.4554360835098747, 0.10937582070693548, 0.9390084907891856]
    np.testing.assert_allclose(np.sqrt(np.diag(fit.robust_covariance)), robust, rtol=1e-7)
    assert fit.log_likelihood == pytest.approx(-12.889634222131418)
    assert fit.n_clusters == 16


def test_linear_agrees_with_statsmodels():
    fit = fit_linear(np.column_stack([TUCE, PSI]), GPA, PAIRS)
    expected = [2.1020790459965943, 0.04634684838160123, -0.003715502555366318]
    np.testing.assert_allclose(fit.coefficients, expected, rtol=1e-9)
    errors = [0.4565569734128878, 0.020614126382766593, 0.15957069536582824]
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), errors, rtol=1e-9)
    robust = [0.3351480280173157, 0.015002754454482509, 0.16407579246938186]
    np.testing.assert_allclose(np.sqrt(np.diag(fit.robust_covariance)), robust, rtol=1e-9)
    assert fit.log_likelihood == pytest.approx(-17.916683352421863)


@pytest.mark.parametrize("shift", [0, 1])
def test_separation_is_refused(shift):
    # complete, and with one row on the border
    y = (np.arange(32) >= 20).astype(float)
    x = np.arange(32.0)
    x[20] -= shift
    with pytest.raises(ValueError, match="separate the 12 rows of 1 from the 20 of 0"):
        fit_logistic(x, y)


def test_undefined_regressions_are_refused():
    with pytest.raises(ValueError, match="column 1 of X is constant, or a linear combination"):
        fit_linear(np.column_stack([GPA, 3 - 2 * GPA]), TUCE)
    with pytest.raises(ValueError, match="linear combination of the columns"):
        fit_linear(GPA, 2 * GPA + 1)
    with pytest.raises(ValueError, match="all rows are of one cluster"):
        fit_linear(GPA, TUCE, np.zeros(32))
    with pytest.raises(ValueError, match="accepted are rows of 0 and of 1, both"):
        fit_logistic(GPA, np.ones(32))
    with pytest.raises(ValueError, match="2 rows for 2 coefficients"):
        fit_linear(GPA[:2], TUCE[:2])
