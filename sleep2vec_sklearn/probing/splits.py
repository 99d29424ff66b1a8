# SPDX-License-Identifier: BSD-3-Clause
"""Which people train: whole people are drawn, never single rows."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from ..evaluation.known_labels import known_labels

__all__ = ["check_target", "choose_sizes", "draw_seed", "nested_subsets"]


def draw_seed(random_state) -> int:
    """A number to seed generators with, from whatever scikit-learn takes for one."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def check_target(y, X, estimator) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels as an array, and the classes they are of where the estimator is a classifier.

    Raises
    ------
    ValueError
        If their number is not that of the rows, one is missing, or there is one class alone.
    """
    classify = is_classifier(estimator)
    y = known_labels(y, X, classify=classify)
    if not classify or y.ndim > 1:
        return y, None
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class ({classes[0]}); a classifier needs two. Check the labels, or "
            "which rows were chosen."
        )
    return y, classes


def choose_sizes(sizes: Sequence | None, n_people: int) -> list[int]:
    """Numbers of training subjects in rising order, of numbers and shares.

    Parameters
    ----------
    sizes : sequence of int or float, or None
        Numbers, or shares from above 0 to 1.0 of ``n_people``; by default 1, 2, 4, ... and all.
    n_people : int
        Subjects that the smallest training fold has.

    Raises
    ------
    ValueError
        If one is neither, or larger than ``n_people``.
    """
    if sizes is None:
        sizes = [2**k for k in range(math.ceil(math.log2(n_people)))] + [n_people]
    found = set()
    for size in np.atleast_1d(np.asarray(sizes, dtype=object)):
        number = isinstance(size, numbers.Real) and not isinstance(size, bool)
        if number and isinstance(size, numbers.Integral):
            count = int(size)
        elif number and 0 < size <= 1:
            count = max(round(size * n_people), 1)
        else:
            raise ValueError(
                f"sizes has {size!r}; accepted are numbers of subjects, or shares of them above 0 "
                "and up to 1.0."
            )
        if not 1 <= count <= n_people:
            raise ValueError(
                f"sizes has {count} subjects, and the smallest training fold has {n_people}; "
                f"accepted are 1 to {n_people}. Leave it out, or take more folds."
            )
        found.add(count)
    if not found:
        raise ValueError("sizes is empty; at least one number of subjects is needed.")
    return sorted(found)


def nested_subsets(people: Sequence, sizes: Sequence[int], random_state) -> dict[int, np.ndarray]:
    """Draw subsets of people by size, each within the next.

    Parameters
    ----------
    people : sequence
        Names, each counted once.
    sizes : sequence of int
    random_state : int, sequence of int, or Generator

    Examples
    --------
    >>> from sleep2vec_sklearn.probing import nested_subsets
    >>> subsets = nested_subsets([*"abcd"], [1, 2, 4], 0)
    >>> set(subsets[1]) < set(subsets[2]) < set(subsets[4])
    True
    """
    unique = np.fromiter(sorted(set(people), key=str), dtype=object)
    order = np.random.default_rng(random_state).permutation(len(unique))
    return {size: unique[order[:size]] for size in sizes}
