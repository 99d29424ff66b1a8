# SPDX-License-Identifier: BSD-3-Clause
"""Scores of agreement from confusion matrices, many at a time.

scikit-learn has all of them for one pair of label arrays. A bootstrap asks for thousands, over
tens of thousands of epochs each, and every one is a function of the confusion matrix alone.
"""

from __future__ import annotations

import numpy as np

__all__ = ["agreement", "confusion_tables", "per_class"]


def confusion_tables(
    y_true: np.ndarray, y_pred: np.ndarray, codes: np.ndarray, n_codes: int, n_classes: int
) -> np.ndarray:
    """Confusion matrix of each subject, of shape (n_codes, n_classes, n_classes).

    Parameters
    ----------
    y_true, y_pred : int ndarray of shape (n,)
        Numbers of the classes.
    codes : int ndarray of shape (n,)
        Number of the subject.
    n_codes, n_classes : int
    """
    cell = (codes * n_classes + y_true) * n_classes + y_pred
    counts = np.bincount(cell, minlength=n_codes * n_classes**2)
    return counts.reshape(n_codes, n_classes, n_classes).astype(float)


def per_class(tables: np.ndarray) -> dict[str, np.ndarray]:
    """F1, sensitivity, specificity and precision of each class.

    Parameters
    ----------
    tables : ndarray of shape (..., k, k)
        Counts, the truth in rows.

    Returns
    -------
    dict of str to ndarray of shape (..., k)
        NaN where a class occurs in neither, or has no epoch to divide by.
    """
    tables = np.asarray(tables, dtype=float)
    hits = np.diagonal(tables, axis1=-2, axis2=-1)
    true, found = tables.sum(axis=-1), tables.sum(axis=-2)
    total = true.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "f1": 2 * hits / (true + found),
            "sensitivity": hits / true,
            "specificity": (total - true - found + hits) / (total - true),
            "precision": hits / found,
        }


def agreement(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, Cohen's kappa and averages over the classes.

    Parameters
    ----------
    tables : ndarray of shape (..., k, k)
        Counts, the truth in rows.

    Returns
    -------
    dict of str to ndarray of shape (...)
        Averages are over the classes that occur, as scikit-learn's are. Kappa is NaN where one
        class is all there is, as agreement by chance is then complete.
    """
    tables = np.asarray(tables, dtype=float)
    true, found = tables.sum(axis=-1), tables.sum(axis=-2)
    total = true.sum(axis=-1)
    classes = per_class(tables)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(tables, axis1=-2, axis2=-1) / total
        chance = (true * found).sum(axis=-1) / total**2
        # a rounding error away from complete is complete
        kappa = np.where(chance > 1 - 1e-12, np.nan, (observed - chance) / (1 - chance))
        return {
            "accuracy": observed,
            "kappa": kappa,
            "macro_f1": _mean(classes["f1"]),
            "weighted_f1": np.nansum(classes["f1"] * true, axis=-1) / total,
            "sensitivity": _mean(classes["sensitivity"]),
            "specificity": _mean(classes["specificity"]),
        }


def _mean(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)
