# SPDX-License-Identifier: BSD-3-Clause
"""Prediction sets of classes and intervals of numbers that cover a random epoch of a new subject.

MAPIE 1 was weighed for them: its calibration rows are exchangeable one by one, so that a subject of
1000 epochs counts as 1000, and it takes arrays only, not recordings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    is_classifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold, GroupShuffleSplit
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils.validation import check_is_fitted

from .._html import ShownAsTable
from .._validation import Number, StrOptions, count, validate_params
from .._warnings import listed, warn
from ..errors import TrainingWarning
from ._cross_validation import fit_aligning_classes, read_labelled
from ._subjects import SubjectBootstrap
from .tables import TableExportMixin

if TYPE_CHECKING:
    from sklearn.utils import Tags

# sums of weights are exact to some 1e-12
_TOLERANCE = 1e-9
_MOST_CELLS = 10**7


def conformal_quantile(
    scores: ArrayLike, groups: ArrayLike | None = None, *, alpha: float = 0.1
) -> float:
    """Threshold that the score of a random row of a new subject passes with probability ``alpha``.

    For scores of your own, or those of predictions that no estimator of scikit-learn makes, such as
    one minus the probability that :func:`~sleep2vec_sklearn.stage_night` gives the scored stage:
    the prediction set of an epoch holds the stages whose score is at most the threshold.

    Parameters
    ----------
    scores : array-like of shape (n,)
        Of labelled rows of subjects that the model was not fitted to; large where a label is
        surprising.
    groups : array-like of shape (n,), optional
        Subject of each row; by default each row is of another one.
    alpha : float, default=0.1
        Share of epochs that may be left uncovered.

    Returns
    -------
    float
        Infinite, with a warning, where ``alpha`` is below 1 / (n_subjects + 1).

    Raises
    ------
    ValueError
        If a score is NaN, there is none, or ``alpha`` is not between 0 and 1.

    Warns
    -----
    TrainingWarning
        If there are too few subjects for ``alpha``.

    Notes
    -----
    Hierarchical conformal prediction (Lee, Barber & Willett 2023, arXiv 2306.06342), which is the
    pooling of distribution functions of Dunn, Wasserman & Ramdas (JASA 118, 2023) with a mass for
    the new subject. Each of n subjects has weight 1 / (n + 1), which its rows share equally; the
    weight of the new one is at infinity. Assumed is that subjects are exchangeable: neither rows of
    a subject nor their number need be alike. The probability is over the calibration subjects, the
    new subject, and which of its rows is looked at; it is at least 1 - alpha, and without ties at
    most 1 - alpha + 2 / (n + 1).

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import conformal_quantile
    >>> scores = [0.1, 0.2, 0.3, 0.8, 0.2, 0.4]
    >>> conformal_quantile(scores, ["a", "a", "a", "a", "b", "c"], alpha=0.3)
    0.8
    """
    values = np.asarray(scores, dtype=float)
    if values.ndim != 1 or not len(values) or np.isnan(values).any():
        raise ValueError(
            f"scores has shape {values.shape} and {int(np.isnan(values).sum())} NaN; accepted is "
            "one number for each row. Leave out rows without a label."
        )
    if not isinstance(alpha, Real) or not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}.")
    whose = np.arange(len(values)) if groups is None else np.asarray(groups)
    if len(whose) != len(values):
        raise ValueError(f"groups has {len(whose)} elements for {len(values)} scores.")
    _warn_of_few(alpha, {"": len(np.unique(whose))}, "sets hold all classes, intervals everything")
    return _Weighted.of(values, _weights_by_subject(whose)).quantile(alpha)


def _weights_by_subject(subjects: np.ndarray) -> np.ndarray:
    """Weight of each row: 1 / (n + 1) of each of n subjects, shared by its rows."""
    _, codes, rows = np.unique(subjects, return_inverse=True, return_counts=True)
    return 1 / ((len(rows) + 1) * rows[codes])


@dataclass(frozen=True)
class _Weighted:
    """Scores in ascending order, and the weight of those below each."""

    values: np.ndarray  # (n,)
    below: np.ndarray  # (n + 1,)

    @classmethod
    def of(cls, scores: np.ndarray, weights: np.ndarray) -> _Weighted:
        order = np.argsort(scores, kind="stable")
        return cls(scores[order], np.concatenate([[0.0], np.cumsum(weights[order])]))

    def mass_below(self, scores: np.ndarray) -> np.ndarray:
        """Weight of the scores that are smaller than each of some."""
        return self.below[np.searchsorted(self.values, scores, side="left")]

    def quantile(self, alpha: float) -> float:
        """The smallest score that a weight of 1 - alpha does not exceed, else infinity."""
        index = np.searchsorted(self.below[1:], 1 - alpha - _TOLERANCE, side="left")
        return float(self.values[index]) if index < len(self.values) else np.inf


def _warn_of_few(alpha: float, n_subjects: dict[str, int], so: str) -> None:
    """Warn where a set of all classes is the only one that covers as much as asked for."""
    few = {name: n for name, n in n_subjects.items() if alpha < 1 / (n + 1) - _TOLERANCE}
    if few:
        shown = [
            f"{n} subjects{f' with class {name!r}' if name else ''}" for name, n in few.items()
        ]
        warn(
            f"alpha={alpha:g} is below 1 / (n + 1) for {listed(shown)} to calibrate on, so {so}. "
            f"Calibrate on {ceil(1 / alpha - _TOLERANCE) - 1} subjects or more, or raise alpha.",
            TrainingWarning,
        )


class _SubjectConformal(MetaEstimatorMixin, BaseEstimator):
    """Models, each with subjects that it was not fitted to."""

    _parameter_constraints: ClassVar[dict] = {
        "alpha": [Number(Real, 0, 1, closed="neither")],
        "cv": [Number(Real, 0, 1, closed="neither"), count(2)],
        "random_state": ["random_state"],
    }

    estimator: Any
    alpha: float
    cv: float
    random_state: Any

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags

    @property
    def n_features_in_(self) -> int:
        """Number of columns of X, where the estimator counts them."""
        check_is_fitted(self)
        return self.estimators_[0].n_features_in_

    def _read(self, X: Any, y: ArrayLike, groups: Any) -> tuple[Any, np.ndarray, np.ndarray]:
        validate_params(self)
        classify = isinstance(self, ClassifierMixin)
        return read_labelled(X, y, groups, classify=classify, fits=not self._is_frozen)

    @property
    def _is_frozen(self) -> bool:
        return isinstance(self.estimator, FrozenEstimator)

    def _folds(self, subjects: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows to fit to, and rows of other subjects to calibrate on."""
        n_subjects = len(np.unique(subjects))
        if self._is_frozen:
            return iter([(np.arange(0), np.arange(len(subjects)))])
        splitter: Any
        if self.cv >= 1:
            # drawn without a look at y or at the number of rows, as the guarantee needs it
            n_splits = min(int(self.cv), n_subjects)
            splitter = GroupKFold(n_splits, shuffle=True, random_state=self.random_state)
        else:
            n_out = min(max(round(self.cv * n_subjects), 1), n_subjects - 1)
            splitter = GroupShuffleSplit(1, test_size=n_out, random_state=self.random_state)
        return splitter.split(subjects, groups=subjects)

    def _calibrate(self, X: Any, y: np.ndarray, subjects: np.ndarray) -> _Calibration:
        """Fit the models, and score the rows of subjects that they were not fitted to."""
        classes = getattr(self, "classes_", None)
        self.estimators_, rows, scores = [], [], []
        for train, test in self._folds(subjects):
            model = self.estimator
            if not self._is_frozen:
                X_train = _safe_indexing(X, train)
                model = fit_aligning_classes(model, X_train, y[train], classes, subjects[train])
            self.estimators_.append(model)
            rows.append(test)
            scores.append(self._score_labels(model, _safe_indexing(X, test), y[test]))
        folds = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        order = np.concatenate(rows)
        self.calibration_subjects_ = np.unique(subjects[order])
        return _Calibration(np.concatenate(scores), y[order], subjects[order], folds)

    def _score_labels(self, model: Any, X: Any, y: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class _Calibration:
    """Scores of labelled rows, and which fold's model they are of."""

    scores: np.ndarray
    y: np.ndarray
    subjects: np.ndarray
    folds: np.ndarray

    def of(self, rows: np.ndarray) -> _Calibration:
        return _Calibration(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def weigh(self, n_folds: int) -> list[_Weighted]:
        """The scores of each fold; the weights of all add up to n / (n + 1)."""
        weights = _weights_by_subject(self.subjects)
        inside = [self.folds == fold for fold in range(n_folds)]
        return [_Weighted.of(self.scores[rows], weights[rows]) for rows in inside]

    def quantile(self, alpha: float) -> float:
        """The threshold of the scores of all folds."""
        return _Weighted.of(self.scores, _weights_by_subject(self.subjects)).quantile(alpha)

    @property
    def n_subjects(self) -> int:
        return len(np.unique(self.subjects))


class ConformalClassifier(ClassifierMixin, _SubjectConformal):
    """Prediction sets that hold the class of a random epoch of a new subject as often as asked for.

    Any classifier with ``predict_proba`` is wrapped, best a whole pipeline from recordings on. Part
    of the subjects calibrate how improbable a class may be and still belong to the set.

    Parameters
    ----------
    estimator : classifier
        Takes X. A fitted one in :class:`sklearn.frozen.FrozenEstimator` is not fitted again: all
        subjects passed to ``fit`` calibrate, and have to be others than it was fitted to.
    alpha : float, default=0.1
        Share of epochs that may be left uncovered, so the sets cover 1 - alpha.
    method : {"lac", "aps"}, default="lac"
        "lac" is one minus the probability of the class: the smallest sets on average; some may be
        empty, where no class is probable enough. "aps" is the probability of the more probable
        classes: sets are never empty, larger, and adapt to how hard an epoch is.
    by_class : bool, default=False
        A threshold for each class, so that each is covered as often as asked for, at the price of
        larger sets; otherwise a rare class, such as N1, may be covered much less than 1 - alpha.
    cv : float or int, default=0.5
        Share of subjects that calibrate a model fitted to the others (split conformal); or a number
        of folds, so that all subjects calibrate and each is predicted by a model that was fitted
        without it (CV+).
    random_state : int, RandomState or None, default=None
        Of who calibrates.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimators_ : list of classifier
        One, or one for each fold, whose probabilities are averaged by ``predict_proba``.
    calibration_subjects_ : ndarray
        Who calibrates.
    quantile_ : float, or ndarray of shape (n_classes,) with ``by_class``
        The threshold of the score, see :func:`conformal_quantile`; with folds, of all of them
        together, while sets compare each fold's scores with its own model.

    Raises
    ------
    ValueError
        From ``fit``: if y has a single class, the labelled rows are of one subject, or y holds a
        class that a frozen estimator does not know.
    TypeError
        From ``fit``: if the estimator has no ``predict_proba``.

    Warns
    -----
    TrainingWarning
        If ``alpha`` is below 1 / (n + 1) for n calibration subjects: sets hold all classes. With
        ``by_class``, n is the number of those who have the class.

    Notes
    -----
    Subjects, not epochs, are exchangeable: each has the same weight, as of
    :func:`conformal_quantile`, where the source and the assumption are. A share as ``cv``, and a
    frozen estimator, cover at least 1 - alpha of the scored epochs of a new subject, on average
    over subjects and calibrations; for one subject it may be far less. Folds are guaranteed at
    least 1 - 2 alpha with one subject each (hierarchical jackknife+ of Lee et al.), less
    sqrt(2 / n) in folds of several (CV+, Barber et al., Annals of Statistics 49, 2021), and cover
    about 1 - alpha where the models of the folds are alike. Scores: Sadinle, Lei & Wasserman (JASA
    114, 2019); Romano, Sesia & Candès (NeurIPS 2020), without their randomisation and without the
    probability of the class itself.

    Rows of ``fit`` without a label (NaN, None, of epochs also -1) are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn.evaluation import ConformalClassifier
    >>> rng = np.random.default_rng(0)
    >>> y, groups = rng.integers(0, 3, 1200), np.repeat(np.arange(40), 30)
    >>> X = np.eye(3)[y] + rng.normal(0, 0.5, (1200, 3)) + rng.normal(0, 0.3, (40, 3))[groups]
    >>> model = ConformalClassifier(LogisticRegression(), alpha=0.2, random_state=0)
    >>> model.fit(X[:900], y[:900], groups[:900]).predict_set(X[900:902])
    array([[False,  True, False],
           [False, False,  True]])
    >>> sets = model.predict_set(X[900:])
    >>> sets[np.arange(300), y[900:]].mean().round(2), sets.sum(axis=1).mean().round(2)
    (np.float64(0.88), np.float64(1.16))
    """

    _parameter_constraints: ClassVar[dict] = {
        **_SubjectConformal._parameter_constraints,
        "method": [StrOptions({"lac", "aps"})],
        "by_class": ["boolean"],
    }

    def __init__(
        self, estimator: Any, *, alpha: float = 0.1, method: str = "lac", by_class: bool = False,
        cv: float = 0.5, random_state: Any = None,
    ) -> None:  # fmt: skip
        self.estimator = estimator
        self.alpha = alpha
        self.method = method
        self.by_class = by_class
        self.cv = cv
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike, groups: Iterable | None = None) -> Self:
        """Fit the estimator to some subjects, and calibrate on others.

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
        X, y, subjects = self._read(X, y, groups)
        if not hasattr(self.estimator, "predict_proba"):
            raise TypeError(
                f"estimator is a {type(self.estimator).__name__}, which has no predict_proba; "
                "accepted are classifiers with probabilities. Wrap it in CalibratedClassifierCV."
            )
        self.classes_ = np.asarray(self.estimator.classes_) if self._is_frozen else np.unique(y)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y has the class {unknown[0]!r}, which the frozen estimator does not know; "
                f"accepted are {', '.join(map(repr, self.classes_.tolist()))}. Merge the classes, "
                "or leave its rows out."
            )
        calibration = self._calibrate(X, y, subjects)
        parts, so = {"": calibration}, "every set holds all classes"
        if self.by_class:
            in_class = {name: np.flatnonzero(calibration.y == name) for name in self.classes_}
            parts = {str(name): calibration.of(rows) for name, rows in in_class.items()}
            so = "it is in every set"
        n_subjects = {name: part.n_subjects for name, part in parts.items()}
        _warn_of_few(self.alpha, n_subjects, so)
        quantiles = np.array([part.quantile(self.alpha) for part in parts.values()])
        self.quantile_ = quantiles if self.by_class else float(quantiles[0])
        self._weighted = [part.weigh(len(self.estimators_)) for part in parts.values()]
        return self

    def predict_set(self, X: Any) -> np.ndarray:
        """Predict which classes are in the set of each row.

        Parameters
        ----------
        X : as that of ``fit``

        Returns
        -------
        bool ndarray of shape (len(X), n_classes)
            Columns are those of ``classes_``.
        """
        check_is_fitted(self)
        parts = self._weighted if self.by_class else self._weighted * len(self.classes_)
        mass = np.zeros(())
        for fold, model in enumerate(self.estimators_):
            scores = self._score_classes(model.predict_proba(X))
            columns = [
                part[fold].mass_below(column) for part, column in zip(parts, scores.T, strict=True)
            ]
            mass = mass + np.stack(columns, axis=1)
        return mass < 1 - self.alpha - _TOLERANCE

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, the mean over the models; shape (len(X), n_classes)."""
        check_is_fitted(self)
        return np.mean([model.predict_proba(X) for model in self.estimators_], axis=0)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class; shape (len(X),)."""
        columns = self.predict_proba(X).argmax(axis=1)
        return self.classes_[columns]

    def _score_labels(self, model: Any, X: Any, y: np.ndarray) -> np.ndarray:
        scores = self._score_classes(model.predict_proba(X))
        columns = (y[:, None] == self.classes_).argmax(axis=1)
        return scores[np.arange(len(y)), columns]

    def _score_classes(self, probability: np.ndarray) -> np.ndarray:
        """How surprising each class would be, of shape (n, n_classes)."""
        probability = np.asarray(probability, dtype=float)
        if self.method == "lac":
            return 1 - probability
        order = np.argsort(-probability, axis=1, kind="stable")
        ranked = np.take_along_axis(probability, order, axis=1)
        more_probable = np.zeros_like(ranked)
        more_probable[:, 1:] = np.cumsum(ranked[:, :-1], axis=1)
        scores = np.empty_like(ranked)
        np.put_along_axis(scores, order, more_probable, axis=1)
        return scores


class ConformalRegressor(RegressorMixin, _SubjectConformal):
    """Intervals that hold the number of a random row of a new subject as often as asked for.

    Parameters
    ----------
    estimator : regressor
        Takes X; as of :class:`ConformalClassifier`.
    alpha, cv, random_state
        As of :class:`ConformalClassifier`.

    Attributes
    ----------
    estimators_, calibration_subjects_
        As of :class:`ConformalClassifier`.
    quantile_ : float
        Half the width of the intervals, in units of y; with folds, that of their scores together.

    Raises
    ------
    ValueError
        From ``fit``: if y is constant or infinite, or the labelled rows are of one subject.

    Warns
    -----
    TrainingWarning
        If ``alpha`` is below 1 / (n + 1) for n calibration subjects: intervals are infinite.

    See Also
    --------
    ConformalClassifier : Where the sources, assumptions and guarantees are.

    Notes
    -----
    The score is the absolute residual, so that intervals have one width (with folds, about one):
    subjects who are hard to predict are covered less. For skewed numbers such as an AHI, fit
    ``numpy.log1p(y)`` and pass the interval through ``numpy.expm1``: it covers as often, and its
    width follows the number. Folds give the interval of CV+ (Barber et al. 2021), each subject with
    the same weight.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sleep2vec_sklearn.evaluation import ConformalRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(80, 1))
    >>> y = 50 + 10 * X[:, 0] + rng.normal(0, 5, 80)
    >>> model = ConformalRegressor(LinearRegression(), alpha=0.2, random_state=0).fit(X, y)
    >>> model.predict_interval([[0.0], [1.0]]).round(1)
    array([[43. , 55.9],
           [52.7, 65.7]])
    """

    def __init__(
        self, estimator: Any, *, alpha: float = 0.1, cv: float = 0.5, random_state: Any = None
    ) -> None:
        self.estimator = estimator
        self.alpha = alpha
        self.cv = cv
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike, groups: Iterable | None = None) -> Self:
        """Fit the estimator to some subjects, and calibrate on others.

        Parameters
        ----------
        X : list of Recording, list of lists of them, EpochSequence, or what the estimator takes
        y : array-like of shape (len(X),)
            Rows whose number is NaN are left out.
        groups : array-like of shape (len(X),), optional
            Subjects, as of :meth:`ConformalClassifier.fit`.

        Returns
        -------
        self
        """
        if is_classifier(self.estimator):
            raise TypeError(
                f"estimator is a classifier ({type(self.estimator).__name__}); accepted are "
                "regressors. Take ConformalClassifier for sets of classes."
            )
        X, y, subjects = self._read(X, y, groups)
        y = y.astype(float)
        if not np.isfinite(y).all():
            raise ValueError(
                "y is infinite in some rows; accepted are numbers, and NaN as missing."
            )
        calibration = self._calibrate(X, y, subjects)
        _warn_of_few(self.alpha, {"": calibration.n_subjects}, "every interval is infinite")
        self.quantile_ = calibration.quantile(self.alpha)
        self._weighted = calibration.weigh(len(self.estimators_))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The number, the mean over the models; shape (len(X),)."""
        check_is_fitted(self)
        return self._predict_each(X).mean(axis=1)

    def predict_interval(self, X: Any) -> np.ndarray:
        """Lower and upper limit of each row.

        Parameters
        ----------
        X : as that of ``fit``

        Returns
        -------
        ndarray of shape (len(X), 2)
            In units of y.
        """
        check_is_fitted(self)
        centre = self._predict_each(X)
        if len(self.estimators_) == 1:
            return centre + np.array([-self.quantile_, self.quantile_])
        # limits of each row by every calibration row, and the weighted quantile of these
        scores = np.concatenate([part.values for part in self._weighted])
        weights = np.concatenate([np.diff(part.below) for part in self._weighted])
        fold = np.repeat(np.arange(len(self._weighted)), [len(p.values) for p in self._weighted])
        limits = np.empty((len(centre), 2))
        step = max(1, _MOST_CELLS // len(scores))
        for start in range(0, len(centre), step):
            rows = slice(start, start + step)
            moved = centre[rows][:, fold]
            limits[rows, 0] = -_upper(scores - moved, weights, self.alpha)
            limits[rows, 1] = _upper(scores + moved, weights, self.alpha)
        return limits

    def _predict_each(self, X: Any) -> np.ndarray:
        """Predictions of shape (n, n_models)."""
        predicted = [np.asarray(model.predict(X), dtype=float) for model in self.estimators_]
        return np.stack(predicted, axis=1)

    def _score_labels(self, model: Any, X: Any, y: np.ndarray) -> np.ndarray:
        return np.abs(y - np.asarray(model.predict(X), dtype=float))


def _upper(values: np.ndarray, weights: np.ndarray, alpha: float) -> np.ndarray:
    """Weighted quantile 1 - alpha of each row, the rest of the weight being at infinity."""
    order = np.argsort(values, axis=1)
    ranked = np.take_along_axis(values, order, axis=1)
    reached = np.cumsum(weights[order], axis=1) >= 1 - alpha - _TOLERANCE
    first = np.take_along_axis(ranked, reached.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(reached.any(axis=1), first, np.inf)


def coverage_report(
    y_true: ArrayLike, predicted: ArrayLike, *, groups: ArrayLike | None = None,
    classes: ArrayLike | None = None, n_resamples: int = 2000, level: float = 0.95,
    random_state: int | np.random.RandomState | None = 0,
) -> CoverageReport:  # fmt: skip
    """How often prediction sets or intervals hold the truth, and how large they are.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Of subjects that the model was neither fitted to nor calibrated on. Rows without a label
        (NaN, None; -1 if that is no class) are left out.
    predicted : bool array of shape (n, n_classes), or array-like of shape (n, 2)
        Sets of ``predict_set``, or intervals of ``predict_interval``.
    groups : array-like of shape (n,), optional
        Subject of each row; by default each row is of another one.
    classes : array-like of shape (n_classes,), optional
        Of the columns of sets, ``model.classes_``; by default 0, 1, ...
    n_resamples, level, random_state
        Of the confidence intervals, by bootstrap over subjects; see :func:`bland_altman`.

    Returns
    -------
    CoverageReport

    Raises
    ------
    ValueError
        If shapes do not fit, y holds a label that is no class, or no row has one.

    Notes
    -----
    Values are means over subjects of a subject's mean, as coverage is promised for a random row of
    a new subject. The calibration is held fixed: an interval says how far other subjects may
    differ, not other calibration subjects. The promise is on average over both.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import coverage_report
    >>> sets = [[True, False], [True, True], [False, True], [False, True]]
    >>> report = coverage_report([0, 0, 0, 1], sets, groups=["a", "a", "b", "b"])
    >>> report.scores["value"].to_dict()
    {'coverage': 0.75, 'size': 1.25, 'single': 0.75, 'empty': 0.0, 'covers 0': 0.5, 'covers 1': 1.0}
    """
    y, predicted = np.asarray(y_true), np.asarray(predicted)
    whose = np.arange(len(y)) if groups is None else np.asarray(groups)
    if predicted.ndim != 2 or len(predicted) != len(y) or len(whose) != len(y):
        raise ValueError(
            f"predicted has shape {predicted.shape} and groups {len(whose)} elements for {len(y)} "
            "labels; accepted is one row of a set or interval, and one subject, for each label."
        )
    table = _sets_of(y, predicted, classes) if predicted.dtype == bool else _widths(y, predicted)
    known = table.pop("known").to_numpy()
    if not known.any():
        raise ValueError(
            f"none of the {len(y)} rows has a label; coverage needs one at least. Pass scored "
            "epochs, or nights with the outcome."
        )
    table, whose = table[known], whose[known]
    draws = SubjectBootstrap(whose, n_resamples, level, random_state)
    by_subject = (
        table.groupby(draws.codes).mean().set_axis(pd.Index(draws.subjects, name="subject"))
    )
    rows = {
        name: (values.mean(), *draws.mean_interval(values)) for name, values in by_subject.items()
    }
    scores = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
    by_subject.insert(0, "rows", np.bincount(draws.codes))
    return CoverageReport(scores.rename_axis("metric"), by_subject)


def _sets_of(y: np.ndarray, sets: np.ndarray, classes: ArrayLike | None) -> pd.DataFrame:
    names = np.arange(sets.shape[1]) if classes is None else np.asarray(classes)
    if len(names) != sets.shape[1]:
        raise ValueError(
            f"classes has {len(names)} elements for sets of {sets.shape[1]} columns. Pass the "
            "classes_ of the model that predicted them."
        )
    is_class = y[:, None] == names
    labelled = ~np.asarray(pd.isna(y), dtype=bool) & (y != -1)
    if (labelled & ~is_class.any(axis=1)).any():
        other = y[labelled & ~is_class.any(axis=1)][0]
        raise ValueError(
            f"y_true holds {str(other)!r}, which is no class of the sets; accepted are "
            f"{', '.join(map(repr, names.tolist()))}. Pass "
            "classes=model.classes_, and leave out rows of a class that it was not fitted to."
        )
    covered, size = (is_class & sets).any(axis=1), sets.sum(axis=1)
    columns = {"coverage": covered, "size": size, "single": size == 1, "empty": size == 0}
    table = pd.DataFrame(columns, dtype=float)
    for name, of_class in zip(names, is_class.T, strict=True):
        table[f"covers {name}"] = np.where(of_class, covered, np.nan)
    return table.assign(known=is_class.any(axis=1))


def _widths(y: np.ndarray, limits: np.ndarray) -> pd.DataFrame:
    if limits.shape[1] != 2:
        raise ValueError(
            f"predicted has {limits.shape[1]} columns of type {limits.dtype}; accepted are sets "
            "(bool), or intervals of two columns. Pass what predict_set or predict_interval gives."
        )
    y, (low, high) = y.astype(float), limits.astype(float).T
    columns = {"coverage": (low <= y) & (y <= high), "width": high - low}
    columns |= {"above": y > high, "below": y < low}
    return pd.DataFrame(columns, dtype=float).assign(known=np.isfinite(y))


@dataclass(frozen=True, repr=False)
class CoverageReport(TableExportMixin, ShownAsTable):
    """Result of :func:`coverage_report`.

    Attributes
    ----------
    scores : DataFrame
        Columns value, low, high. Rows of sets: coverage, size, the shares of sets of a single class
        and of empty ones, and ``covers C``, the coverage of epochs of class C over the subjects who
        have it. Rows of intervals: coverage, width, and how often the truth is above and below.
    by_subject : DataFrame
        The same of each subject, and the number of rows.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import coverage_report
    >>> coverage_report([50, 62], [[41, 55], [43, 57]]).by_subject["above"].tolist()
    [0.0, 1.0]
    """

    scores: pd.DataFrame
    by_subject: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """The scores, with columns metric, value, low, high."""
        return self.scores.reset_index()

    def _headline(self) -> str:
        kind = "sets" if "size" in self.scores.index else "intervals"
        n_rows = int(self.by_subject["rows"].sum())
        return f"CoverageReport({kind} of {n_rows} rows of {len(self.by_subject)} subjects)"
