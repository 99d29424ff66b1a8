# SPDX-License-Identifier: BSD-3-Clause
"""What an element of X should come out as, and how much it counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Targets", "check_sample_weight", "is_missing"]


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The labels of X as numbers, one entry per row.

    Attributes
    ----------
    values : ndarray of shape (n_rows, ...)
        Integers, below 0 where there is no label, or floats, NaN where there is none.
    weights : float32 ndarray of shape (n_rows,)
    strata : bool ndarray of shape (n_rows, n_strata) or None
        What a row is an example of. No subjects are held out whose absence would leave training
        without an example of something.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.finetuning.targets import Targets
    >>> Targets.of(np.array([[1.0, np.nan], [np.nan, np.nan]])).labelled
    array([ True, False])
    """

    values: np.ndarray
    weights: np.ndarray
    strata: np.ndarray | None = None

    @classmethod
    def of(cls, values: np.ndarray, strata: np.ndarray | None = None) -> Targets:
        """Targets that all count alike."""
        return cls(values, np.ones(len(values), dtype=np.float32), strata)

    @property
    def labelled(self) -> np.ndarray:
        """Which rows have a label and a weight, bool of shape (n_rows,)."""
        flat = self.values.reshape(len(self.values), -1)
        known = ~np.isnan(flat) if flat.dtype.kind == "f" else flat >= 0
        return known.any(axis=1) & (self.weights > 0)

    def weighted(self, weights: np.ndarray) -> Targets:
        """The same, with their weights times these."""
        return replace(self, weights=(self.weights * weights).astype(np.float32))

    def take(self, rows: np.ndarray) -> Targets:
        """Those of some rows."""
        strata = None if self.strata is None else self.strata[rows]
        return Targets(self.values[rows], self.weights[rows], strata)


def check_sample_weight(weights, n_rows: int) -> np.ndarray:
    """Weights as float32, ones where none are given.

    Raises
    ------
    ValueError
        If they are not one finite number of at least 0 per row, or all of them are 0.
    """
    if weights is None:
        return np.ones(n_rows, dtype=np.float32)
    weights = np.asarray(weights, dtype=np.float32)
    if weights.shape != (n_rows,) or not (np.isfinite(weights) & (weights >= 0)).all():
        found = f"shape {weights.shape}"
        if weights.shape == (n_rows,):
            found = f"{weights[~(np.isfinite(weights) & (weights >= 0))][0]:g} among them"
        raise ValueError(
            f"sample_weight must be {n_rows} finite numbers, none below 0, one for each element "
            f"of X; got {found}."
        )
    if not weights.any():
        raise ValueError("sample_weight is 0 for every element of X; raise some.")
    return weights


def is_missing(values: np.ndarray) -> np.ndarray:
    """Where an array says that nothing is known: NaN, None, NaT or pandas' NA."""
    import pandas as pd

    return np.asarray(pd.isna(values), dtype=bool)
