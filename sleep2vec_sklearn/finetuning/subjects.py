# SPDX-License-Identifier: BSD-3-Clause
"""Which subjects are held out to tell when training should stop."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["hold_out"]

_FEWEST = 2


def hold_out(
    subjects: Sequence, examples: np.ndarray | None, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Nights that are held out with all nights of their subject.

    Parameters
    ----------
    subjects : sequence of shape (n_nights,)
        Names of them.
    examples : bool ndarray of shape (n_nights, n_strata) or None
        What each night has a labelled example of. Of everything that any night has, one stays
        among those to train on.
    share : float
        Of the subjects, rounded down. Less than two are none: what one person's loss says of
        another's is little.
    rng : Generator

    Returns
    -------
    bool ndarray of shape (n_nights,)

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.finetuning.subjects import hold_out
    >>> hold_out(list("aabbccddee"), None, 0.4, np.random.default_rng(0)).sum()
    np.int64(4)
    """
    names, place = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    wanted = math.floor(share * len(names))
    if examples is None:
        examples = np.ones((len(place), 1), dtype=bool)
    counts = np.zeros((len(names), examples.shape[1]), dtype=int)
    np.add.at(counts, place, examples)
    left = counts.sum(axis=0)
    needed = left > 0
    held = np.zeros(len(names), dtype=bool)
    for subject in rng.permutation(len(names)):
        if held.sum() == wanted:
            break
        if (left - counts[subject])[needed].all():
            left = left - counts[subject]
            held[subject] = True
    return held[place] if held.sum() >= _FEWEST else np.zeros(len(place), dtype=bool)
