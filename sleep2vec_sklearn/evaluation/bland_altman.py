# SPDX-License-Identifier: BSD-3-Clause
"""How far two ways to measure the same nights are apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .bootstrap import SubjectBootstrap

__all__ = ["bland_altman"]

_Z = 1.959963984540054


def bland_altman(
    reference, measured, *, groups=None, n_resamples: int = 2000, level: float = 0.95,
    random_state=0,
) -> pd.Series:  # fmt: skip
    """Bias and 95 % limits of agreement of two measures of the same nights.

    Parameters
    ----------
    reference, measured : array-like of shape (n_nights,)
        Nights in which either is NaN are left out.
    groups : array-like of shape (n_nights,), optional
        Subject of each night; by default each night is of another one.
    n_resamples : int, default=2000
    level : float, default=0.95
        Of the intervals.
    random_state : int, RandomState or None, default=0

    Returns
    -------
    Series
        ``nights``; ``reference`` and ``measured``, the means; ``bias``, the mean of measured -
        reference; ``sd`` of the differences; ``lower`` and ``upper``, bias -+ 1.96 sd; ``mae``,
        the mean absolute difference. Bias and limits have an interval, ``bias_low``,
        ``bias_high`` and so on, by bootstrap over subjects.

    Notes
    -----
    Nights of one subject count as nights, so with several of each the limits are those of a night
    drawn from all nights.

    References
    ----------
    Bland JM, Altman DG (1986). Statistical methods for assessing agreement between two methods of
    clinical measurement. Lancet 327, 307-310.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import bland_altman
    >>> found = bland_altman([400, 420, 380, 410], [405, 430, 385, 420])
    >>> found[["bias", "lower", "upper"]].round(1)
    bias      7.5
    lower     1.8
    upper    13.2
    dtype: float64
    """
    reference, measured = (np.asarray(v, dtype=float) for v in (reference, measured))
    if reference.ndim != 1 or reference.shape != measured.shape:
        raise ValueError(
            f"reference and measured need one common length, got shapes {reference.shape} and "
            f"{measured.shape}."
        )
    groups = np.arange(len(reference)) if groups is None else np.asarray(groups)
    known = np.isfinite(reference) & np.isfinite(measured)
    reference, measured, groups = reference[known], measured[known], groups[known]
    names = ("bias", "lower", "upper")
    row = {"nights": float(len(reference)), "reference": np.nan, "measured": np.nan}
    if len(reference) == 0:
        lost = ["sd", "mae", *names, *(f"{n}_{e}" for n in names for e in ("low", "high"))]
        return pd.Series(row | dict.fromkeys(lost, np.nan))
    difference = measured - reference
    row |= {"reference": reference.mean(), "measured": measured.mean()}
    row |= {"bias": difference.mean(), "mae": np.abs(difference).mean()}
    row["sd"] = difference.std(ddof=1) if len(difference) > 1 else np.nan
    row["lower"], row["upper"] = row["bias"] - _Z * row["sd"], row["bias"] + _Z * row["sd"]
    draws = SubjectBootstrap(groups, n_resamples, level, random_state)
    low, high = draws.interval(_resampled(difference, draws))
    for place, name in enumerate(names):
        row[f"{name}_low"], row[f"{name}_high"] = float(low[place]), float(high[place])
    return pd.Series(row)


def _resampled(difference: np.ndarray, draws: SubjectBootstrap) -> np.ndarray:
    """Bias and limits in each resample, of shape (n_resamples, 3)."""
    centred = difference - difference.mean()
    powers = np.stack([np.ones_like(centred), centred, centred**2], axis=1)
    n, total, squares = draws.sums(powers).T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        sd = np.sqrt(np.maximum(squares - n * mean**2, 0) / (n - 1))
    bias = mean + difference.mean()
    return np.stack([bias, bias - _Z * sd, bias + _Z * sd], axis=1)
