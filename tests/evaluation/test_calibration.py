# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import sklearn
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

from sleep2vec_sklearn.evaluation import SubjectCalibratedClassifier, calibration_report

RNG = np.random.default_rng(0)
METHODS = ["sigmoid", "isotonic", "temperature"]
if parse_version(sklearn.__version__) < parse_version("1.8"):
    METHODS.remove("temperature")


def make_rows(n_subjects, n_classes, rng=RNG):
    """Five copies of one informative column for each class, of subjects who differ in level."""
    groups = np.repeat(np.arange(n_subjects), rng.integers(10, 60, n_subjects))
    y = rng.integers(0, n_classes, len(groups))
    level = rng.normal(0, 0.3, (n_subjects, n_classes))[groups]
    columns = np.eye(n_classes)[y] + level + rng.normal(0, 0.8, (len(y), n_classes))
    return np.repeat(columns, 5, axis=1), y, groups


@parametrize_with_checks([SubjectCalibratedClassifier(LogisticRegression())])
def test_estimator_passes_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_overconfidence_is_corrected(method, n_classes):
    X, y, groups = make_rows(60, n_classes)
    new, y_new, new_groups = make_rows(60, n_classes)
    plain = GaussianNB().fit(X, y).predict_proba(new)
    model = SubjectCalibratedClassifier(GaussianNB(), method=method).fit(X, y, groups)
    calibrated = model.predict_proba(new)
    np.testing.assert_allclose(calibrated.sum(axis=1), 1)
    assert log_loss(y_new, calibrated) < 0.7 * log_loss(y_new, plain)
    slopes = [
        calibration_report(y_new == 1, p[:, 1], pos_label=True, groups=new_groups, n_resamples=1)
        .scores.loc["slope", "value"]
        for p in (plain, calibrated)
    ]  # fmt: skip
    assert slopes[0] < 0.4
    assert slopes[1] == pytest.approx(1, abs=0.2)


def test_each_subject_weighs_the_same():
    # of one large subject all are ill, of nine small ones a tenth
    groups = np.concatenate([np.zeros(900), np.repeat(np.arange(1, 10), 10)])
    y = np.where(groups == 0, 1, np.arange(990) % 10 == 0).astype(int)
    frozen = FrozenEstimator(_Half().fit(y[:, None], y))
    model = SubjectCalibratedClassifier(frozen).fit(y[:, None], y, groups)
    # a tenth of the weight ill, and of the rest a tenth; Platt smooths the targets a little
    assert model.predict_proba([[0]])[0, 1] == pytest.approx(0.19, abs=0.002)


class _Half(GaussianNB):
    """Gives one half to all."""

    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)


def test_calibrated_probabilities_stay():
    X = RNG.normal(size=(4000, 1))
    y = (RNG.random(4000) < 1 / (1 + np.exp(-X[:, 0]))).astype(int)
    head = LogisticRegression(C=np.inf)
    calibrated = SubjectCalibratedClassifier(head).fit(X, y, np.arange(4000) // 20)
    np.testing.assert_allclose(
        calibrated.predict_proba(X), head.fit(X, y).predict_proba(X), atol=0.02
    )


@pytest.mark.parametrize(
    ("estimator", "y", "error", "message"),
    [
        (RidgeClassifier(), [0, 1, 0, 1], TypeError, "has no predict_proba"),
        (GaussianNB(), [0, 0, 0, 0], ValueError, "constant outcome"),
        (FrozenEstimator(GaussianNB().fit([[0], [1], [2]], [0, 1, 2])), [0, 1, 0, 1], ValueError,
         r"frozen estimator \[0, 1, 2\]; accepted are the same"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(estimator, y, error, message):
    with pytest.raises(error, match=message):
        SubjectCalibratedClassifier(estimator).fit([[0.0], [1.0], [0.5], [2.0]], y, [1, 1, 2, 2])
