# SPDX-License-Identifier: BSD-3-Clause
"""Labels to score by: every row has one."""

from __future__ import annotations

import numpy as np

from ..signals.epochs import as_epoch_sequence

__all__ = ["known_labels"]


def known_labels(y, X, *, classify: bool) -> np.ndarray:
    """Labels as an array.

    Parameters
    ----------
    y : array-like of shape (n_rows,) or (n_rows, ...)
    X : list of Recording, list of lists of them, EpochSequence, or array
    classify : bool
        Whether they are classes; of epochs -1 is none, as in :class:`SleepStage`.

    Raises
    ------
    ValueError
        If their number is not that of the rows, or a row of one label has none.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation.known_labels import known_labels
    >>> known_labels(["a", "b"], [{}, {}], classify=True)
    array(['a', 'b'], dtype='<U1')
    """
    import pandas as pd

    y = np.asarray(y)
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if y.ndim == 0 or len(y) != n_rows:
        found = "no" if y.ndim == 0 else len(y)
        raise ValueError(f"y has {found} labels for {n_rows} rows of X; one of each is needed.")
    # several outcomes, and those with fields, have cells of their own that may be missing
    if y.ndim > 1 or y.dtype.names:
        return y
    missing = np.asarray(pd.isna(y), dtype=bool)
    epochs = as_epoch_sequence(X) is not None
    numbers = np.array([isinstance(v, int | float | np.number) for v in y.tolist()])
    if classify and epochs:
        missing[numbers] |= y[numbers] == -1
    if missing.any():
        also = ", or -1" if classify and epochs else ""
        rest = "X[known], y[known]" if hasattr(X, "shape") else "[X[i] for i in known], y[known]"
        which = "y >= 0" if also and numbers.all() else "pandas.notna(y)"
        if not hasattr(X, "shape"):
            which = f"numpy.flatnonzero({which})"
        raise ValueError(
            f"y has no label (NaN, None{also}) in {missing.sum()} of {n_rows} rows, of which no "
            f"score can tell whether an answer is right. Leave them out: known = {which}, then "
            f"pass {rest}, and groups alike."
        )
    return y
