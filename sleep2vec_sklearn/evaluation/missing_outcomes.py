# SPDX-License-Identifier: BSD-3-Clause
"""Weights of subjects with an outcome, for those whose outcome is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .._arguments import check_row_order
from .._html import ShownAsTable
from .._warnings import warn
from ..errors import OutcomeWarning
from ._covariates import read_covariates
from .tables import TableExportMixin

# probabilities of being observed below which weights rest on few, and at which they are undefined
_UNLIKELY, _IMPOSSIBLE = 0.05, 1e-6
# no penalty, for every release of scikit-learn
_UNPENALISED = 1e10


@dataclass(frozen=True, repr=False)
class ObservationWeights(TableExportMixin, ShownAsTable):
    """Result of :func:`observation_weights`.

    Attributes
    ----------
    weights : ndarray of shape (n,)
        0 where the outcome is missing.
    probabilities : ndarray of shape (n,)
        To be observed, by the covariates.
    n_observed : int
    effective_size : float
        Observed rows of equal weights that are as precise (Kish, Survey Sampling, 1965).

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import observation_weights
    >>> age = pd.DataFrame({"old": [0, 0, 0, 0, 1, 1, 1, 1]})
    >>> observation_weights([1, 1, 1, 1, 1, 0, 1, 0], age, stabilise=False).weights.round(1)
    array([1., 1., 1., 1., 2., 0., 2., 0.])
    """

    weights: np.ndarray
    probabilities: np.ndarray
    n_observed: int
    effective_size: float

    def to_frame(self) -> pd.DataFrame:
        """One row: subjects, observed, effective_size, lowest_probability, largest_weight."""
        facts = {
            "subjects": len(self.weights),
            "observed": self.n_observed,
            "effective_size": self.effective_size,
            "lowest_probability": self.probabilities.min(),
            "largest_weight": self.weights.max(),
        }
        return pd.DataFrame([facts])


def observation_weights(
    observed: ArrayLike, covariates: pd.DataFrame, *, stabilise: bool = True
) -> ObservationWeights:
    """Weights by which subjects with an outcome stand for those whose outcome is missing.

    Parameters
    ----------
    observed : array-like of shape (n,)
        True or 1 where the outcome is known, such as ``table["ahi"].notna()``.
    covariates : DataFrame of n rows
        What is known of all, and explains who is observed: numbers, booleans, and words as factors.
        Add squares and products of columns where the logistic model needs them.
    stabilise : bool, default=True
        Multiply by the fraction observed, so that weights are about 1 in the mean. This changes no
        ratio, mean or robust error.

    Returns
    -------
    ObservationWeights

    Warns
    -----
    OutcomeWarning
        If some have a probability below 5 % to be observed, so that few stand for many.

    Raises
    ------
    ValueError
        If nobody is observed, a covariate is missing or constant, or some could not have been
        observed at all by the covariates.

    Notes
    -----
    Weights are inverse probabilities of a logistic regression (Seaman & White, Statistical Methods
    in Medical Research 22, 2013). Assumed are outcomes missing at random: given the covariates,
    who is observed does not depend on the outcome itself, which no data can show; a logistic model
    that is right; and that everybody could have been observed (positivity). An analysis of
    complete cases needs no weights where its own covariates explain both who is observed and the
    outcome. A survival time cut short is censored, not missing.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.evaluation import observation_weights
    >>> rng = np.random.default_rng(0)
    >>> age = rng.normal(60, 10, 2000)
    >>> ahi = 5 + 0.5 * (age - 60) + rng.standard_normal(2000)
    >>> seen = rng.random(2000) < 1 / (1 + np.exp((age - 60) / 20))  # the old do not come
    >>> result = observation_weights(seen, pd.DataFrame({"age": age}))
    >>> complete, weighted = ahi[seen].mean(), np.average(ahi, weights=result.weights)
    >>> f"{complete:.1f} {weighted:.1f}, of all {ahi.mean():.1f}"
    '3.8 4.8, of all 4.9'
    """
    check_row_order(observed=observed, covariates=covariates)
    flags = pd.Series(np.asarray(observed))
    n = len(flags)
    if flags.isna().any() or not flags.isin([0, 1]).all():
        raise ValueError(
            "observed holds more than True, False, 1 and 0; accepted is whether each outcome is "
            "known, such as table['ahi'].notna()."
        )
    seen = flags.to_numpy().astype(bool)
    columns = read_covariates(covariates, None, None, None, n)
    gaps = columns.columns[columns.isna().any()]
    if len(gaps):
        raise ValueError(
            f"covariates: {gaps[0]!r} is missing in {int(columns[gaps[0]].isna().sum())} of {n} "
            "rows; accepted is what is known of all. Impute it, with a column that says where."
        )
    flat = columns.columns[columns.nunique() < 2]
    if not columns.shape[1] or len(flat):
        which = f"{flat[0]!r} is the same in all rows" if len(flat) else "there are no columns"
        raise ValueError(f"covariates: {which}, which explains nothing. Pass what varies.")
    if not seen.any():
        raise ValueError(
            f"observed is False in all {n} rows, so that nobody stands for them. Look at how "
            "missing outcomes are coded."
        )
    if seen.all():
        return ObservationWeights(np.ones(n), np.ones(n), n, float(n))
    logistic = LogisticRegression(C=_UNPENALISED, max_iter=1000, tol=1e-8)
    model = make_pipeline(StandardScaler(), logistic)
    probability = model.fit(columns.to_numpy(), seen).predict_proba(columns.to_numpy())[:, 1]
    _check_positivity(probability, seen)
    weights = np.where(seen, 1 / probability, 0.0) * (seen.mean() if stabilise else 1)
    effective = weights.sum() ** 2 / (weights**2).sum()
    return ObservationWeights(weights, probability, int(seen.sum()), float(effective))


def _check_positivity(probability: np.ndarray, seen: np.ndarray) -> None:
    n_never = int((probability < _IMPOSSIBLE).sum())
    if n_never:
        raise ValueError(
            f"by the covariates {n_never} of {len(seen)} subjects are never observed, so that "
            "nobody stands for them (positivity). Restrict the question to those who could be "
            "observed, or merge categories."
        )
    n_unlikely = int((probability < _UNLIKELY).sum())
    if n_unlikely:
        warn(
            f"{n_unlikely} of {len(seen)} subjects have a probability below {_UNLIKELY:.0%} to be "
            f"observed (lowest {probability.min():.3f}), so that few stand for many. Restrict the "
            "question, or report how results change without them.",
            OutcomeWarning,
        )
