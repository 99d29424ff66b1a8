# SPDX-License-Identifier: BSD-3-Clause
"""Cox's proportional hazards regression on columns, with standard errors by subject.

Weighed for it: statsmodels' PHReg takes no case weights, sums errors by subject for Breslow's ties
alone, and takes 0.7 s for 2,000 subjects and 5 columns, where this file takes 5 ms; lifelines (0.15
s) needs pandas below 3, and its errors by subject leave ties out; scikit-survival is GPL-3, has no
standard errors and takes no late entries. The first two gave values that are frozen in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from .._validation import NON_NEGATIVE, StrOptions, validate_params
from .._warnings import warn
from ..errors import TrainingWarning
from .survival import read_outcome
from .survival_scores import concordance_index

if TYPE_CHECKING:
    from sklearn.utils import Tags

_MAX_STEPS = 50
_MAX_HALVINGS = 20
# steps that change no log risk by more have converged, as they shrink quadratically
_SMALL_STEP = 1e-8
# a likelihood that cannot rise any more while log risks still change by this is monotone
_NO_RISE, _LARGE_STEP = 1e-7, 0.05
# eigenvalue of the correlations of columns within risk sets, below which they are collinear
_COLLINEAR = 1e-10


@dataclass(frozen=True)
class CoxFit:
    """Estimates of a Cox model of p columns; the covariance is that of the coefficients."""

    coefficients: np.ndarray  # (p,) log hazard ratios per unit of each column
    covariance: np.ndarray  # (p, p) inverse of the (penalised) information
    robust_covariance: np.ndarray | None  # (p, p) by clusters, or by rows with weights alone
    log_likelihood: float  # partial, without the penalty
    n_events: int
    converged: bool

    @property
    def standard_errors(self) -> np.ndarray:
        """Of the coefficients; robust ones where they were asked for."""
        robust = self.robust_covariance
        return np.sqrt(np.diag(self.covariance if robust is None else robust))


@dataclass(frozen=True)
class RiskSets:
    """Who is compared with whom: the (stratum, time) pairs that have an event, in order.

    A row is at risk in the pairs from ``first`` to before ``last``. Each event has a row of
    ``weight`` (the mean of those tied with it) and ``fraction``, the share of the tied events that
    Efron's method takes out of its risk set; 0 with Breslow's.
    """

    rows: np.ndarray  # (n_events,) rows with an event, by pair
    pair: np.ndarray  # (n_events,) pair of each event
    fraction: np.ndarray  # (n_events,)
    weight: np.ndarray  # (n_events,)
    first: np.ndarray  # (n,)
    last: np.ndarray  # (n,)
    weights: np.ndarray  # (n,) of rows
    time: np.ndarray  # (n_pairs,)
    stratum: np.ndarray  # (n_pairs,)

    @classmethod
    def of(
        cls, event: np.ndarray, time: np.ndarray, entry: np.ndarray, strata: np.ndarray,
        weights: np.ndarray, *, ties: str,
    ) -> RiskSets:  # fmt: skip
        moments, rank = np.unique(time, return_inverse=True)
        n_moments = len(moments) + 1
        key = strata * n_moments + rank + 1
        entry_key = strata * n_moments + np.searchsorted(moments, entry, side="right")
        rows = np.flatnonzero(event)
        rows = rows[np.argsort(key[rows], kind="stable")]
        pairs, first_event, pair, n_tied = np.unique(
            key[rows], return_index=True, return_inverse=True, return_counts=True
        )
        fraction = np.zeros(len(rows))
        if ties == "efron":
            fraction = (np.arange(len(rows)) - first_event[pair]) / n_tied[pair]
        return cls(
            rows, pair, fraction, (np.bincount(pair, weights[rows]) / n_tied)[pair],
            np.searchsorted(pairs, entry_key, side="right"),
            np.searchsorted(pairs, key, side="right"),
            weights, moments[pairs % n_moments - 1], pairs // n_moments,
        )  # fmt: skip

    def at_risk(self, values: np.ndarray) -> np.ndarray:
        """Sum of rows of values over those at risk, for each pair."""
        n, n_pairs = len(values), len(self.time)
        # those who leave after a pair less those who enter after it, summed from the last pair on
        signs = np.repeat([1.0, -1.0], n)
        place = np.concatenate([self.last, self.first]), np.tile(np.arange(n), 2)
        leaving = csr_array((signs, place), shape=(n_pairs + 1, n)) @ values
        return np.cumsum(leaving[:0:-1], axis=0)[::-1]

    def of_pairs(self, values: np.ndarray) -> np.ndarray:
        """Sum of rows of values of the events over each pair."""
        n = len(self.pair)
        shape = (len(self.time), n)
        return csr_array((np.ones(n), (self.pair, np.arange(n))), shape=shape) @ values

    def over_follow_up(self, values: np.ndarray) -> np.ndarray:
        """Sum of rows of values of the pairs over those in which each row is at risk."""
        sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
        return sums[self.last] - sums[self.first]


@dataclass(frozen=True)
class CoxTerms:
    """The partial likelihood and its derivatives at some coefficients."""

    log_likelihood: float
    gradient: np.ndarray  # (p,)
    information: np.ndarray  # (p, p)
    means: np.ndarray  # (n_events, p) of the columns in each event's risk set
    hazards: np.ndarray  # (n_events,) what each event adds to the hazard of a log risk of `shift`
    relative: np.ndarray  # (n,) hazard of each row, relative to it
    shift: float

    @classmethod
    def at(cls, coefficients: np.ndarray, X: np.ndarray, sets: RiskSets) -> CoxTerms:
        log_risk = X @ coefficients
        shift = float(log_risk.max())
        relative = np.exp(log_risk - shift)
        exposed = sets.weights * relative
        columns = np.column_stack([exposed, exposed[:, None] * X])
        sums = sets.at_risk(columns)[sets.pair]
        if sets.fraction.any():
            sums -= sets.fraction[:, None] * sets.of_pairs(columns[sets.rows])[sets.pair]
        with np.errstate(divide="ignore", invalid="ignore"):
            means, hazards = sums[:, 1:] / sums[:, :1], sets.weight / sums[:, 0]
            log_sums = np.log(sums[:, 0])
        own = sets.weights[sets.rows]
        factor = exposed * _cumulated(hazards, sets)
        return cls(
            float(own @ (log_risk[sets.rows] - shift) - sets.weight @ log_sums),
            own @ X[sets.rows] - sets.weight @ means,
            (X.T * factor) @ X - (means.T * sets.weight) @ means,
            means, hazards, relative, shift,
        )  # fmt: skip

    def score_residuals(self, X: np.ndarray, sets: RiskSets) -> np.ndarray:
        """What each row adds to the gradient, of shape (n, p); Binder's with case weights."""
        hazard = _cumulated(self.hazards, sets)[:, None]
        expected = _cumulated(self.hazards[:, None] * self.means, sets)
        residuals = self.relative[:, None] * (expected - hazard * X)
        n_tied = np.bincount(sets.pair)
        mean_of_ties = (sets.of_pairs(self.means) / n_tied[:, None])[sets.pair]
        residuals[sets.rows] += X[sets.rows] - mean_of_ties
        return sets.weights[:, None] * residuals


def _cumulated(values: np.ndarray, sets: RiskSets) -> np.ndarray:
    """Sum of the events' values over each row's follow-up; ties share them by Efron's method."""
    total = sets.over_follow_up(sets.of_pairs(values))
    if sets.fraction.any():
        shared = (values.T * sets.fraction).T
        total[sets.rows] -= sets.of_pairs(shared)[sets.pair]
    return total


def fit_cox(
    X: ArrayLike, event: ArrayLike, time: ArrayLike, entry: ArrayLike | None = None, *,
    strata: ArrayLike | None = None, clusters: ArrayLike | None = None,
    weights: ArrayLike | None = None, penalty: float = 0.0, ties: str = "efron",
    names: Sequence[str] | None = None,
) -> CoxFit:  # fmt: skip
    """Maximise Cox's partial likelihood less ``penalty / 2`` times the squared coefficients.

    Rows with the same value of ``strata`` are compared with each other alone. The robust covariance
    sums the rows' influence over ``clusters`` (Lin & Wei, JASA 84, 1989); with ``weights``, which
    count as in Binder (Biometrika 79, 1992), it is given without clusters too, by rows. ``names``
    of the columns are for errors.
    """
    table: np.ndarray = np.asarray(X, dtype=np.float64)
    sets, counted = _read_rows(table, event, time, entry, strata, weights, ties)
    table = table[counted]
    center, scale = np.average(table, axis=0, weights=sets.weights), table.std(axis=0)
    # a column that is constant but for rounding keeps its scale
    scale = np.where(scale > 1e-12 * np.abs(center), scale, 1.0)
    scaled = (table - center) / scale
    ridge = penalty / scale**2
    terms = CoxTerms.at(np.zeros(table.shape[1]), scaled, sets)
    if not penalty:
        _check_information(terms.information, names)
    coefficients, terms, converged = _climb(scaled, sets, terms, ridge, names)
    if not converged:
        warn(
            f"Newton's method did not converge in {_MAX_STEPS} steps; coefficients are not those "
            "of the highest likelihood. Standardise the columns, or pass a higher penalty.",
            TrainingWarning,
        )
    covariance = np.linalg.inv(terms.information + np.diag(ridge))
    robust = None
    if clusters is not None or weights is not None:
        influence = terms.score_residuals(scaled, sets) @ covariance
        if clusters is not None:
            codes = np.unique(np.asarray(clusters)[counted], return_inverse=True)[1].reshape(-1)
            place = codes, np.arange(len(codes))
            influence = csr_array((np.ones(len(codes)), place)) @ influence
        robust = influence.T @ influence / np.outer(scale, scale)
    return CoxFit(
        coefficients / scale, covariance / np.outer(scale, scale), robust, terms.log_likelihood,
        len(sets.rows), converged,
    )  # fmt: skip


def _read_rows(
    X: np.ndarray, event: ArrayLike, time: ArrayLike, entry: ArrayLike | None,
    strata: ArrayLike | None, weights: ArrayLike | None, ties: str,
) -> tuple[RiskSets, np.ndarray]:  # fmt: skip
    """Risk sets of the rows that have a weight, and which these are."""
    if ties not in ("efron", "breslow"):
        raise ValueError(f"ties={ties!r}; accepted are 'efron' and 'breslow'.")
    n = len(X)
    if X.ndim != 2 or not np.isfinite(X).all():
        raise ValueError(
            f"X of shape {X.shape} is no table of finite numbers; accepted is (n_rows, n_columns). "
            "Impute missing values, or leave these rows out."
        )
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (n,) or not (np.isfinite(w) & (w >= 0)).all():
        raise ValueError(f"weights must be {n} finite numbers that are not negative.")
    counted = w > 0
    events = np.asarray(event).astype(bool)
    if not events[counted].any():
        raise ValueError(
            f"none of {int(counted.sum())} rows has an event: all are censored, so that hazards "
            "cannot be compared. Look at how events are coded, or follow up for longer."
        )
    start = np.full(n, -np.inf) if entry is None else np.asarray(entry, dtype=np.float64)
    codes = np.zeros(n, dtype=int)
    if strata is not None:
        codes = np.unique(np.asarray(strata), return_inverse=True)[1].reshape(-1)
    columns = (events, np.asarray(time, dtype=np.float64), start, codes, w)
    return RiskSets.of(*(column[counted] for column in columns), ties=ties), counted


def _name(column: int, names: Sequence[str] | None) -> str:
    return f"column {column}" if names is None else repr(names[column])


def _check_information(information: np.ndarray, names: Sequence[str] | None) -> None:
    """Refuse columns that do not vary among those compared, or are a sum of others."""
    own = np.diag(information)
    flat = np.flatnonzero(~(own > 1e-12))
    if len(flat):
        raise ValueError(
            f"{_name(flat[0], names)} is the same in all who are at risk at each event, so its "
            "hazard ratio is undefined. Leave it out, or merge strata."
        )
    correlations = information / np.sqrt(np.outer(own, own))
    values, vectors = np.linalg.eigh(correlations)
    if len(values) and values[0] < _COLLINEAR:
        involved = np.flatnonzero(np.abs(vectors[:, 0]) > 0.1)
        raise ValueError(
            f"columns are collinear ({', '.join(_name(i, names) for i in involved[:5])}), so their "
            "hazard ratios are undefined. Leave one out, or take CoxRegression(penalty=1)."
        )


def _climb(
    X: np.ndarray, sets: RiskSets, terms: CoxTerms, ridge: np.ndarray, names: Sequence[str] | None
) -> tuple[np.ndarray, CoxTerms, bool]:
    """Newton's method from 0, with steps halved until the likelihood does not fall."""
    coefficients = np.zeros(X.shape[1])

    def objective(terms: CoxTerms, at: np.ndarray) -> float:
        return terms.log_likelihood - at @ (ridge * at) / 2

    for _ in range(_MAX_STEPS):
        slope = terms.gradient - ridge * coefficients
        try:
            step = np.linalg.solve(terms.information + np.diag(ridge), slope)
        except np.linalg.LinAlgError:
            raise _monotone(X, coefficients, names) from None
        change = np.abs(X @ step).max()
        if not ridge.any() and slope @ step < _NO_RISE and change > _LARGE_STEP:
            raise _monotone(X, step, names)
        reached = objective(terms, coefficients)
        for _ in range(_MAX_HALVINGS):
            tried = CoxTerms.at(coefficients + step, X, sets)
            if objective(tried, coefficients + step) >= reached - 1e-10 * abs(reached):
                break
            step = step / 2
        coefficients, terms = coefficients + step, tried
        if change < _SMALL_STEP:
            return coefficients, terms, True
    return coefficients, terms, False


def _monotone(X: np.ndarray, step: np.ndarray, names: Sequence[str] | None) -> ValueError:
    column = int(np.argmax(np.abs(step) * np.ptp(X, axis=0)))
    return ValueError(
        f"the likelihood rises without end in {_name(column, names)}: it tells those with an event "
        "from those at risk with them without error, as where a category has no event (monotone "
        "likelihood). Merge or leave out such a column, or take CoxRegression(penalty=1)."
    )


class CoxRegression(BaseEstimator):
    """Cox's proportional hazards regression with an L2 penalty, as a head for rows of an encoder.

    Parameters
    ----------
    penalty : float, default=1.0
        Half of it times the sum of squared coefficients is taken from the log partial likelihood of
        all rows, as ``alpha`` of scikit-survival, or 1 / C of scikit-learn's LogisticRegression.
        Columns are taken as they are: put a ``StandardScaler`` before.
    ties : {"efron", "breslow"}, default="efron"
        How events at the same time are treated.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Log hazard ratios per unit of each column.
    event_times_ : ndarray of shape (n_times,)
        Distinct times of events, ascending.
    cumulative_hazard_ : ndarray of shape (n_times,)
        From each of these times on, of a row whose log hazard ratio is 0.
    training_outcomes_ : structured ndarray of shape (n,)
        Outcomes trained on; :class:`UnoConcordance` and the like read the follow-up from it.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Of a table.

    See Also
    --------
    hazard_ratios : Hazard ratios with confidence limits, of covariates and of an embedding.
    sleep2vec_sklearn.Sleep2VecCoxRegressor : Fine-tunes the encoder.

    Notes
    -----
    Cox, JRSS B 34 (1972); Efron, JASA 72 (1977). It assumes that hazard ratios do not change over
    time, that censoring tells nothing of the hazard given the columns, and rows that are
    independent: with several nights of a subject, give lists of nights, ``cohort.by_subject()``,
    so that a subject is one row. The baseline hazard is Breslow's, with Efron's ties where these
    are chosen.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import CoxRegression, survival_outcome
    >>> X = np.array([[3.0], [1.0], [2.0], [0.0]])
    >>> y = survival_outcome([1, 1, 0, 1], [2.0, 5.0, 6.0, 9.0])
    >>> model = CoxRegression(penalty=1.0).fit(X, y)
    >>> model.coef_.round(3)
    array([0.537])
    >>> model.predict_survival_function(X[:2], times=[1, 3]).round(2)
    array([[1.  , 0.62],
           [1.  , 0.85]])
    """

    _parameter_constraints: ClassVar[dict] = {
        "penalty": [NON_NEGATIVE],
        "ties": [StrOptions({"efron", "breslow"})],
    }

    def __init__(self, *, penalty: float = 1.0, ties: str = "efron") -> None:
        self.penalty = penalty
        self.ties = ties

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(self, X: ArrayLike, y: Any, sample_weight: ArrayLike | None = None) -> CoxRegression:
        """Fit to rows of columns.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : structured array of shape (n,), or DataFrame
            As :func:`survival_outcome` makes it, of one outcome; rows whose time is NaN are left
            out, and entries (left truncation) count.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self

        Warns
        -----
        TrainingWarning
            If Newton's method does not converge.

        Raises
        ------
        ValueError
            If y has no event or several outcomes, X is not finite, or, without a penalty, a hazard
            ratio is undefined: of a column that does not vary, or that tells those with an event
            from the others without error.
        """
        validate_params(self)
        X = validate_data(self, X, dtype=np.float64)
        outcome = read_outcome(y)
        if outcome.n_outcomes != 1:
            raise ValueError(
                f"y holds {outcome.n_outcomes} outcomes; accepted is one. Choose a column: y[:, 0]."
            )
        check_consistent_length(X, outcome, sample_weight)
        known, event, time, entry = outcome.column(0)
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=float)[known]
        names = list(getattr(self, "feature_names_in_", [])) or None
        columns = np.asarray(X)[known]
        fit = fit_cox(
            columns, event, time, entry, weights=weights, penalty=self.penalty, ties=self.ties,
            names=names,
        )  # fmt: skip
        self.coef_ = fit.coefficients
        self.training_outcomes_ = outcome.to_array()[known]
        log_risk = columns @ self.coef_
        self._center = float(np.average(log_risk, weights=weights))
        relative = (log_risk - self._center)[:, None]
        sets, counted = _read_rows(relative, event, time, entry, None, weights, self.ties)
        terms = CoxTerms.at(np.ones(1), relative[counted], sets)
        self.event_times_ = sets.time
        steps = sets.of_pairs(terms.hazards)
        self.cumulative_hazard_ = np.cumsum(steps) * np.exp(-terms.shift)
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict log hazard ratios, relative to the mean of the training rows; shape (n,)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return X @ self.coef_ - self._center

    def predict_survival_function(self, X: ArrayLike, times: ArrayLike | None = None) -> np.ndarray:
        """Predict the probability to be without the event after each time.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        times : array-like of shape (n_times,), optional
            By default ``event_times_``. Beyond the last of them, curves stay flat.

        Returns
        -------
        ndarray of shape (n, n_times)

        Raises
        ------
        ValueError
            If times are no list of numbers.
        """
        relative = np.exp(self.predict(X))
        at = np.asarray(self.event_times_ if times is None else times, dtype=np.float64)
        if at.ndim != 1 or np.isnan(at).any():
            raise ValueError(f"times must be a list of numbers, got {at}.")
        hazard = np.append(0.0, self.cumulative_hazard_)
        reached = hazard[np.searchsorted(self.event_times_, at, side="right")]
        return np.exp(-np.outer(relative, reached))

    def score(self, X: ArrayLike, y: Any) -> float:
        """Harrell's concordance index; see :func:`concordance_index`."""
        return concordance_index(y, self.predict(X))
