# SPDX-License-Identifier: BSD-3-Clause
"""Ages, indices and other numbers, by fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from .._arguments import as_numbers, check_squares
from .._validation import StrOptions
from ..encoding.inputs import EncoderInput
from ._base import FineTuningEstimator, SharedParameters, with_shared_parameters
from ._labels import Targets, check_length, check_sample_weight

if TYPE_CHECKING:
    from sklearn.utils import Tags
    from torch import nn

__all__ = ["Sleep2VecRegressor"]


@with_shared_parameters
class Sleep2VecRegressor(RegressorMixin, FineTuningEstimator):
    """Predict numbers for nights or epochs by fine-tuning a pretrained encoder.

    Parameters
    ----------
    loss : {"squared_error", "huber"}
        Of the standardised targets; "huber" is less moved by few extreme ones.

    Attributes
    ----------
    target_mean_, target_std_ : float64 ndarray of shape (n_outputs,)
        By which targets are standardised in training; predictions are in the units of y.
    several_outputs_ : bool
        Whether y had two axes.
    unit_, modalities_, net_, history_, device_, precision_, checkpoint_sha256_
        As of :class:`Sleep2VecClassifier`.

    Notes
    -----
    NaN in y is a missing value: such cells are left out of training and of the score. No number
    stands for "missing".

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecRegressor, make_sleep_cohort
    >>> nights = make_sleep_cohort(4, hours=0.5, modalities=["ibi"], random_state=0)
    >>> model = Sleep2VecRegressor(max_epochs=5, random_state=0)
    >>> model.fit(nights, nights.metadata["age"]).predict(nights).shape
    (4,)
    """

    _parameter_constraints = FineTuningEstimator._parameter_constraints | {
        "loss": [StrOptions({"squared_error", "huber"})]
    }

    def __init__(
        self, checkpoint: Any = "sleep2vec-mini", *, loss: str = "squared_error",
        pooling: str = "mean", time_of_night: bool = False, **shared: Unpack[SharedParameters],
    ):  # fmt: skip
        super().__init__(checkpoint, **shared)
        self.loss = loss
        self.pooling = pooling
        self.time_of_night = time_of_night

    _fitted_kinds: ClassVar[dict[str, Any]] = {
        "several_outputs_": bool, "target_mean_": np.ndarray, "target_std_": np.ndarray,
    }  # fmt: skip

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² over the values that are known; of several outputs the mean of theirs.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
        y : array of shape (len(X),) or (len(X), n_outputs)
        sample_weight : array of shape (len(X),), optional

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If y does not fit X.
        """
        predicted = self._predict(self._outputs(X))
        n_rows = len(predicted)
        true, predicted = (v.reshape(n_rows, -1) for v in (_read_values(y, n_rows), predicted))
        if true.shape != predicted.shape:
            raise ValueError(
                f"y has {true.shape[1]} columns, this estimator predicts {predicted.shape[1]}."
            )
        _require_known(true, "score")
        weights = check_sample_weight(sample_weight, n_rows)
        scores = []
        for expected, outputs in zip(true.T, predicted.T, strict=True):
            known = ~np.isnan(expected)
            scores.append(r2_score(expected[known], outputs[known], sample_weight=weights[known]))
        return float(np.mean(scores))

    def _encode_targets(self, inputs: EncoderInput, y: Any) -> Targets:
        values = _read_values(y, inputs.n_rows)
        self.several_outputs_ = values.ndim == 2
        values = values.reshape(inputs.n_rows, -1)
        _require_known(values, "learn")
        self.target_mean_ = np.nanmean(values, axis=0)
        std = np.nanstd(values, axis=0)
        self.target_std_ = np.where(std > 0, std, 1.0)
        standardised = (values - self.target_mean_) / self.target_std_
        return Targets.of(standardised.astype(np.float32), ~np.isnan(values))

    def _n_outputs(self) -> int:
        return len(self.target_mean_)

    def _criterion(self) -> nn.Module:
        from ._losses import KnownValuesLoss

        return KnownValuesLoss(self.loss)

    def _try_outputs(self, outputs: np.ndarray) -> None:
        mean, std = self.target_mean_, self.target_std_
        if mean.ndim != 1 or mean.shape != std.shape or not (std > 0).all():
            raise ValueError("target_mean_ and target_std_ are no statistics of the same outputs")
        if len(mean) > 1 and not self.several_outputs_:
            raise ValueError("several_outputs_ is False for several outputs")
        super()._try_outputs(outputs)

    def _predict(self, outputs: np.ndarray) -> np.ndarray:
        values = outputs.astype(np.float64) * self.target_std_ + self.target_mean_
        return values if self.several_outputs_ else values[:, 0]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _require_known(values: np.ndarray, purpose: str) -> None:
    unknown = np.isnan(values).all(axis=0)
    if unknown.any():
        raise ValueError(
            f"y is NaN in every row of column {int(unknown.argmax())}: there is nothing to "
            f"{purpose}. Leave it out, or look at the split that these rows come from."
        )


def _read_values(y: Any, n_rows: int) -> np.ndarray:
    """Numbers as float64, NaN where missing, of shape (n_rows,) or (n_rows, k)."""
    try:
        values = as_numbers("y", y, range(9))
    except ValueError as error:
        raise ValueError(f"{error} For classes use Sleep2VecClassifier.") from error
    check_length(values, n_rows, (1, 2))
    check_squares("y", values)
    return values
