# SPDX-License-Identifier: BSD-3-Clause
"""Calibrated probabilities of a classifier, by subjects that it was not fitted to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from .._validation import StrOptions, count, validate_params
from ._cross_validation import fit_aligning_classes, held_out_predictions, read_labelled
from ._subjects import folds_by_subject

if TYPE_CHECKING:
    from sklearn.utils import Tags

_SMALLEST = 1e-6  # of probabilities whose logit is taken


class SubjectCalibratedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Calibrate probabilities on subjects held out in turn, each with the same weight.

    A thin layer on :class:`sklearn.calibration.CalibratedClassifierCV`, which does the calibration,
    but splits by rows unless it is handed folds, counts a subject of 1000 epochs as 1000, and takes
    no recordings.

    Parameters
    ----------
    estimator : classifier
        With ``predict_proba``; best a whole pipeline from recordings on. A fitted one in
        :class:`sklearn.frozen.FrozenEstimator` is not fitted again: all subjects passed to ``fit``
        calibrate, and have to be others than it was fitted to.
    method : {"sigmoid", "isotonic", "temperature"}, default="sigmoid"
        Of CalibratedClassifierCV. "sigmoid" is fitted to the log-odds of each class against the
        rest, so that calibrated probabilities can stay as they are; "temperature", of all classes
        with one parameter, needs scikit-learn 1.8 or later; "isotonic" needs many subjects.
    cv : int or splitter, default=5
        Folds of subjects, stratified by class.

    Attributes
    ----------
    estimator_ : classifier
        Fitted to all rows.
    calibrator_ : CalibratedClassifierCV
        From the probabilities of ``estimator`` to calibrated ones.
    classes_ : ndarray of shape (n_classes,)

    Raises
    ------
    TypeError
        From ``fit``: if the estimator has no ``predict_proba``.
    ValueError
        From ``fit``: if y has a single class, the labelled rows are of one subject, a fold's
        training subjects have one class, or the classes of a frozen estimator are not those of y.

    See Also
    --------
    calibration_report : Whether probabilities are calibrated, on subjects held out from ``fit``.

    Notes
    -----
    The predictions that calibrate are made by models that were not fitted to the subject, and each
    row has weight 1 / (rows of its subject), so it is a random epoch of a random subject for whom
    the probabilities are calibrated. Platt (1999) for the sigmoid, Zadrozny & Elkan (KDD 2002) for
    isotonic regression, Guo et al. (ICML 2017) for the temperature. Assumed is that new subjects
    are like these; with few of them, use a method with few parameters. Rows without a label (NaN,
    None, of epochs also -1) are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sleep2vec_sklearn.evaluation import SubjectCalibratedClassifier
    >>> rng = np.random.default_rng(0)
    >>> y, groups = rng.integers(0, 2, 600), np.repeat(np.arange(20), 30)
    >>> X = np.repeat(y[:, None] + rng.normal(0, 1, (600, 1)), 5, axis=1)  # five copies
    >>> GaussianNB().fit(X, y).predict_proba([[1.0] * 5]).round(2)
    array([[0.02, 0.98]])
    >>> model = SubjectCalibratedClassifier(GaussianNB()).fit(X, y, groups)
    >>> model.predict_proba([[1.0] * 5]).round(2)
    array([[0.3, 0.7]])
    """

    _parameter_constraints: ClassVar[dict] = {
        "method": [StrOptions({"sigmoid", "isotonic", "temperature"})],
        "cv": [count(2), "cv_object"],
    }

    def __init__(self, estimator: Any, *, method: str = "sigmoid", cv: Any = 5) -> None:
        self.estimator = estimator
        self.method = method
        self.cv = cv

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags

    @property
    def n_features_in_(self) -> int:
        """Number of columns of X, where the estimator counts them."""
        check_is_fitted(self)
        return self.estimator_.n_features_in_

    def fit(self, X: Any, y: ArrayLike, groups: Iterable | None = None) -> Self:
        """Fit the calibration to subjects held out in turn, and the estimator to all.

        Parameters
        ----------
        X : list of Recording, list of lists of them, EpochSequence, or what the estimator takes
        y : array-like of shape (len(X),)
        groups : array-like of shape (len(X),), optional
            Subjects; by default those of the recordings. Rows of an array are each of another
            subject unless they are passed.

        Returns
        -------
        self
        """
        validate_params(self)
        is_frozen = isinstance(self.estimator, FrozenEstimator)
        X, y, subjects = read_labelled(X, y, groups, classify=True, fits=not is_frozen)
        if not hasattr(self.estimator, "predict_proba"):
            raise TypeError(
                f"estimator is a {type(self.estimator).__name__}, which has no predict_proba; "
                "accepted are classifiers with probabilities. Use CalibratedClassifierCV for it."
            )
        self.classes_ = np.unique(y)
        if is_frozen:
            self._check_frozen_classes()
            self.estimator_, held_out = self.estimator, self.estimator.predict_proba(X)
        else:
            folds = folds_by_subject(self.cv, y, subjects, classify=True)
            models = {"model": self.estimator}
            predictions = held_out_predictions(models, X, y, folds, subjects)["model"]
            held_out = predictions.responses["predict_proba"]
            self.estimator_ = fit_aligning_classes(self.estimator, X, y, None, subjects)
        _, codes, rows = np.unique(subjects, return_inverse=True, return_counts=True)
        # of mean one: the smoothing of Platt's targets counts them as rows
        weights = len(y) / (len(rows) * rows[codes])
        every_row = np.arange(len(y))
        calibrator = CalibratedClassifierCV(
            _Given(), method=self.method, ensemble=False, cv=[(every_row, every_row)]
        )
        self.calibrator_ = calibrator.fit(self._as_columns(held_out), y, sample_weight=weights)
        return self

    def _check_frozen_classes(self) -> None:
        known = np.asarray(self.estimator.classes_)
        if not np.array_equal(known, self.classes_):
            raise ValueError(
                f"y has the classes {self.classes_.tolist()}, the frozen estimator "
                f"{known.tolist()}; accepted are the same. Calibrate on subjects who have all."
            )

    def _as_columns(self, probability: np.ndarray) -> np.ndarray:
        """Log-odds of each class against the rest; for one temperature of many classes, logs."""
        p = np.clip(np.asarray(probability, dtype=float), _SMALLEST, 1 - _SMALLEST)
        return np.log(p) if self.method == "temperature" and p.shape[1] > 2 else logit(p)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Calibrated probability of each class of ``classes_``; shape (len(X), n_classes)."""
        check_is_fitted(self)
        return self.calibrator_.predict_proba(self._as_columns(self.estimator_.predict_proba(X)))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class after calibration; shape (len(X),)."""
        columns = self.predict_proba(X).argmax(axis=1)
        return self.classes_[columns]


class _Given(ClassifierMixin, BaseEstimator):
    """A classifier whose X are its own decision values."""

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: Any = None) -> _Given:
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classes_[X.argmax(axis=1)]

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return X[:, 1] if X.shape[1] == 2 else X
