# SPDX-License-Identifier: BSD-3-Clause
"""What age, sex and body mass say of an outcome before any signal is looked at."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..encoding.conventions import RecordingInputMixin
from ..encoding.inputs import read_input
from ..encoding.metadata import RecordingMetadata
from ..errors import InvalidRecordingError

__all__ = ["DemographicBaseline"]

_KINDS = ("classifier", "regressor")


class DemographicBaseline(RecordingInputMixin, BaseEstimator):
    """A linear model of what is known of the sleepers without a recording.

    Logistic regression, or ridge regression, on the recordings' metadata. What is missing is
    imputed by the training people's median, with a column that says so.

    Parameters
    ----------
    kind : {"classifier", "regressor"}, default="classifier"
    fields : sequence of str, default=("age", "sex", "bmi")
        Keys of ``Recording.metadata``; those that no training recording states are left out.
    penalty : float, default=1.0
        Strength of the L2 penalty on standardised columns.
    class_weight : dict, "balanced" or None, default=None
        Of a classifier.

    Attributes
    ----------
    fields_ : tuple of str
        Those that are used.
    classes_ : ndarray
        Of a classifier.
    model_ : Pipeline
        Lookup, imputer, scaler and linear model.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import DemographicBaseline
    >>> cohort = make_sleep_cohort(40, hours=0.5, modalities=["ibi"], random_state=0)
    >>> baseline = DemographicBaseline().fit(cohort, cohort.metadata["hypertension"])
    >>> baseline.fields_
    ('age', 'sex', 'bmi')
    >>> baseline.predict_proba(cohort[:2]).round(1)
    array([[0.8, 0.2],
           [0.9, 0.1]], dtype=float32)
    """

    def __init__(
        self, kind="classifier", *, fields=("age", "sex", "bmi"), penalty=1.0, class_weight=None
    ):
        self.kind = kind
        self.fields = fields
        self.penalty = penalty
        self.class_weight = class_weight

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if self.kind in _KINDS:
            tags.estimator_type = self.kind
        return tags

    def fit(self, X, y):
        """Fit to the sleepers' metadata; no signal is read.

        Parameters
        ----------
        X : list of Recording, list of lists of them, or EpochSequence
        y : array-like of shape (len(X),)

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If ``kind`` is neither, or y holds one class.
        InvalidRecordingError
            If no recording states any of the fields.
        """
        if self.kind not in _KINDS:
            raise ValueError(f"kind must be 'classifier' or 'regressor', got {self.kind!r}.")
        self.fields_ = self._stated(X)
        if self.kind == "classifier":
            head = LogisticRegression(C=1 / self.penalty, class_weight=self.class_weight)
        else:
            head = Ridge(alpha=self.penalty)
        self.model_ = make_pipeline(
            RecordingMetadata(self.fields_),
            SimpleImputer(strategy="median", add_indicator=True),
            StandardScaler(),
            head,
        )
        self.model_.fit(X, np.asarray(y))
        if self.kind == "classifier":
            self.classes_ = self.model_.classes_
        return self

    def predict(self, X) -> np.ndarray:
        """Predict the outcome.

        Parameters
        ----------
        X : list of Recording, list of lists of them, or EpochSequence

        Returns
        -------
        ndarray of shape (len(X),)
        """
        check_is_fitted(self)
        return self.model_.predict(X)

    @available_if(lambda self: self.kind == "classifier")
    def predict_proba(self, X) -> np.ndarray:
        """Probability of each class, in the order of ``classes_``; of a classifier.

        Parameters
        ----------
        X : list of Recording, list of lists of them, or EpochSequence

        Returns
        -------
        ndarray of shape (len(X), n_classes)
        """
        check_is_fitted(self)
        return self.model_.predict_proba(X)

    def score(self, X, y) -> float:
        """Accuracy of a classifier, R2 of a regressor.

        Parameters
        ----------
        X : list of Recording, list of lists of them, or EpochSequence
        y : array-like of shape (len(X),)
        """
        check_is_fitted(self)
        return self.model_.score(X, y)

    def _stated(self, X) -> tuple[str, ...]:
        given = read_input(X, "nan")
        stated = {
            key
            for recording in given.recordings
            for key, value in recording.metadata.items()
            if value is not None and value == value
        }
        known = tuple(field for field in self.fields if field in stated)
        if not known:
            raise InvalidRecordingError(
                f"no recording states {' or '.join(map(repr, self.fields))}; their metadata has "
                f"{', '.join(sorted(map(str, stated))) or 'nothing'}. Give it with "
                "Recording(..., metadata={...}), or name other fields."
            )
        return known
