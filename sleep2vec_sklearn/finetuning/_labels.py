# SPDX-License-Identifier: BSD-3-Clause
"""Classes and outcomes: from labels as given to targets, and from outputs to labels again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, softmax
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from ..encoding.inputs import EncoderInput

__all__ = [
    "CellLabels",
    "ClassLabels",
    "Targets",
    "check_length",
    "check_sample_weight",
    "is_missing",
    "read_labels",
    "read_multilabels",
]

_UNSCORED = -1


def read_labels(y, n_rows: int, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels as an array, and which of them are known; both of shape (n_rows,).

    Raises
    ------
    ValueError
        If there is not one label for each row.
    """
    import pandas as pd

    # numpy would make text of a NaN among words
    values = pd.Series(y, dtype=object).to_numpy() if isinstance(y, list | tuple) else np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    check_length(values, n_rows, (1,))
    known = ~is_missing(values)
    if values.dtype == object:
        found = pd.Series(list(values[known])).infer_objects().to_numpy()
        if found.dtype.kind in "biuf":
            whole = np.full(n_rows, 0, dtype=found.dtype)
            whole[known] = found
            values = whole
    if unit == "epoch" and values.dtype.kind in "if":
        known &= values != _UNSCORED
    return values, known


def read_multilabels(y, n_rows: int, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes as float32 of shape (n_rows, k), NaN where not known, and which are known.

    Raises
    ------
    ValueError
        If there is not one row of them for each row of X, or one is neither 0, 1 nor missing.
    """
    values = np.asarray(y, dtype=object)
    check_length(values, n_rows, (2,))
    known = ~is_missing(values)
    cells = np.full(values.shape, np.nan, dtype=np.float32)
    strange = [v for v in values[known].tolist() if v not in (0, 1)]
    if strange:
        raise ValueError(
            f"y has several columns, so each is an outcome that is true or not, and holds "
            f"{strange[0]!r}; accepted are 0, 1 and NaN. Give classes that exclude each other as "
            "one column."
        )
    cells[known] = values[known].astype(np.float32)
    return cells, known


def check_length(values: np.ndarray, n_rows: int, ndims: tuple[int, ...]) -> None:
    """Refuse a y that is not one entry for each row of X."""
    if values.ndim not in ndims or len(values) != n_rows:
        wanted = " or ".join(f"({n_rows},)" if n == 1 else f"({n_rows}, k)" for n in ndims)
        raise ValueError(
            f"y has shape {values.shape} and X {n_rows} elements; accepted is y of shape {wanted}, "
            "one entry for each element of X. With an EpochSequence these are epochs."
        )


@dataclass(frozen=True, slots=True, eq=False)
class ClassLabels:
    """Classes that exclude each other.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
    weights : float32 ndarray of shape (n_classes,)
    """

    classes: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, y, given: EncoderInput, class_weight) -> tuple[ClassLabels, Targets]:
        """Learn the classes, and encode them.

        Raises
        ------
        ValueError
            If there are less than two, or y cannot be classes.
        """
        values, known = read_labels(y, given.n_rows, given.unit)
        if not known.any():
            raise ValueError(
                f"y has no label for any of the {given.n_rows} {given.unit}s: all are NaN, None "
                "or -1. Give at least two classes."
            )
        try:
            check_classification_targets(values[known])
            classes, codes = np.unique(values[known], return_inverse=True)
        except TypeError as error:
            raise ValueError(f"y mixes labels that cannot be sorted: {error}.") from error
        if len(classes) < 2:
            (only,) = classes.tolist()
            raise ValueError(
                f"y has one class only, {only!r}, among {len(codes)} labelled {given.unit}s; "
                "two at least are needed. Look at the split that these rows come from."
            )
        weights = compute_class_weight(class_weight, classes=classes, y=values[known])
        if not (np.isfinite(weights) & (weights > 0)).all():
            raise ValueError(
                f"class_weight gives {classes.tolist()} the weights {weights.tolist()}; accepted "
                "are numbers above 0. Leave out a class by NaN or None in y."
            )
        encoded = np.full(given.n_rows, -1, dtype=np.int64)
        encoded[known] = codes
        strata = encoded[:, None] == np.arange(len(classes))
        return cls(classes, weights.astype(np.float32)), Targets.of(encoded, strata)

    def loss(self, outputs, targets, weights):
        """Weighted mean of the cross-entropy."""
        import torch
        from torch.nn.functional import cross_entropy

        by_class = torch.from_numpy(self.weights).to(outputs.device)
        weights = weights * by_class[targets]
        losses = cross_entropy(outputs, targets, reduction="none")
        return (losses * weights).sum() / weights.sum().clamp_min(1e-12)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Rows that add up to one."""
        return softmax(outputs, axis=1)

    def decisions(self, outputs: np.ndarray) -> np.ndarray:
        """Logits; of two classes their difference."""
        return outputs[:, 1] - outputs[:, 0] if len(self.classes) == 2 else outputs

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """The most likely class."""
        return self.classes[outputs.argmax(axis=1)]


@dataclass(frozen=True, slots=True, eq=False)
class CellLabels:
    """Outcomes, each true or not.

    Attributes
    ----------
    classes : int ndarray of shape (n_outcomes,)
        Their numbers.
    weights : float32 ndarray of shape (n_outcomes, 2)
        Of 0 and 1.
    """

    classes: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, y, given: EncoderInput, class_weight) -> tuple[CellLabels, Targets]:
        """Encode outcomes.

        Raises
        ------
        ValueError
            If one of them is always or never true among the rows where it is known.
        """
        cells, known = read_multilabels(y, given.n_rows, given.unit)
        weights = np.ones((cells.shape[1], 2), dtype=np.float32)
        for column in range(cells.shape[1]):
            found = cells[known[:, column], column].astype(int)
            if len(np.unique(found)) < 2:
                raise ValueError(
                    f"column {column} of y is {', '.join(map(str, np.unique(found))) or 'unknown'} "
                    f"in all {len(found)} rows where it is known; both 0 and 1 are needed. Leave "
                    "the outcome out, or look at the split that these rows come from."
                )
            weights[column] = compute_class_weight(class_weight, classes=np.arange(2), y=found)
        strata = np.concatenate([cells == 0, cells == 1], axis=1)
        return cls(np.arange(cells.shape[1]), weights), Targets.of(cells, strata)

    def loss(self, outputs, targets, weights):
        """Weighted mean of the binary cross-entropy over the cells that are known."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        known = ~targets.isnan()
        truth = torch.nan_to_num(targets)
        by_class = torch.from_numpy(self.weights).to(outputs.device)
        by_cell = torch.where(truth > 0, by_class[:, 1], by_class[:, 0]) * known * weights[:, None]
        losses = binary_cross_entropy_with_logits(outputs, truth, reduction="none")
        return (losses * by_cell).sum() / by_cell.sum().clamp_min(1e-12)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Of each outcome."""
        return expit(outputs)

    def decisions(self, outputs: np.ndarray) -> np.ndarray:
        """Logits."""
        return outputs

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """1 where an outcome is more likely than not."""
        return (outputs > 0).astype(int)


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
    >>> from sleep2vec_sklearn.finetuning._labels import Targets
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
