# SPDX-License-Identifier: BSD-3-Clause
"""Sleep stages, diagnoses and other classes, by fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from ..encoding.inputs import EncoderInput
from ._base import FineTuningEstimator, SharedParameters, with_shared_parameters
from ._labels import (
    Targets,
    check_sample_weight,
    encode_classes,
    encode_outcomes,
    read_labels,
    read_multilabels,
    require_labels,
)

if TYPE_CHECKING:
    from sklearn.utils import Tags
    from torch import nn

__all__ = ["Sleep2VecClassifier"]


@with_shared_parameters
class Sleep2VecClassifier(ClassifierMixin, FineTuningEstimator):
    """Classify epochs or nights by fine-tuning a pretrained encoder.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        Weight of each class; "balanced" makes all count alike.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted. For several outcomes at once, their numbers.
    class_weight_ : float32 ndarray
        Weight of each class, or of 0 and 1 of each outcome.
    multilabel_ : bool
        Whether y had several columns.
    unit_ : {"night", "epoch"}
    modalities_ : tuple of str
        Modalities used.
    net_ : FineTuningNet
        The skorch net; ``net_.module_`` is the network.
    history_ : skorch.history.History
        ``history_[:, "train_loss"]`` and, with held-out subjects, ``"valid_loss"``.
    device_, precision_, checkpoint_sha256_ : str

    See Also
    --------
    Sleep2VecTransformer : Embeddings for any estimator of scikit-learn.

    Notes
    -----
    Unlabelled are: NaN and None; with epochs, also -1, as in :class:`SleepStage`. Rows of y with
    several columns (0, 1, NaN) are outcomes that can be true at the same time.

    Examples
    --------
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecClassifier, make_sleep_cohort
    >>> X = EpochSequence(make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0))
    >>> stager = Sleep2VecClassifier(max_epochs=5, random_state=0).fit(X, X.stages)
    >>> stager.classes_
    array([0, 1, 2, 3], dtype=int8)
    >>> stager.predict_proba(X[:10]).shape
    (10, 4)
    """

    def __init__(
        self, checkpoint: Any = "sleep2vec-mini", *, pooling: str = "mean",
        time_of_night: bool = False, class_weight: Any = None, **shared: Unpack[SharedParameters],
    ):  # fmt: skip
        super().__init__(checkpoint, **shared)
        self.pooling = pooling
        self.time_of_night = time_of_night
        self.class_weight = class_weight

    _fitted_kinds: ClassVar[dict[str, Any]] = {
        "multilabel_": bool, "classes_": np.ndarray, "class_weight_": np.ndarray,
    }  # fmt: skip

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class, or of each outcome.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence

        Returns
        -------
        float32 ndarray of shape (len(X), n_classes)
            Rows add up to one, but for outcomes.
        """
        outputs = self._outputs(X)
        return expit(outputs) if self.multilabel_ else softmax(outputs, axis=1)

    def decision_function(self, X: Any) -> np.ndarray:
        """Predict scores, the logits of the probabilities.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence

        Returns
        -------
        float32 ndarray of shape (len(X), n_classes), or (len(X),) of two classes
            Logits; of two classes that of the second one minus that of the first.
        """
        outputs = self._outputs(X)
        if self.multilabel_ or len(self.classes_) > 2:
            return outputs
        return outputs[:, 1] - outputs[:, 0]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy over the rows, or cells of outcomes, that have a label.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
        y : array of shape (len(X),) or (len(X), n_outcomes)
        sample_weight : array of shape (len(X),), optional

        Returns
        -------
        float
        """
        predicted = self._predict(self._outputs(X))
        read = read_multilabels if self.multilabel_ else read_labels
        true, known = read(y, len(predicted), self.unit_)
        rest = ": there is nothing to score. Look at the split that these rows come from."
        require_labels(known, self.unit_, rest)
        weights = check_sample_weight(sample_weight, len(predicted))
        weights = np.broadcast_to(weights.reshape(-1, *[1] * (known.ndim - 1)), known.shape)
        return float(accuracy_score(true[known], predicted[known], sample_weight=weights[known]))

    def _encode_targets(self, inputs: EncoderInput, y: Any) -> Targets:
        try:
            shape = np.shape(y)
        except ValueError as error:
            raise ValueError(
                "y has rows of different lengths; accepted is one label for each element of X, or "
                "one row of 0, 1 and NaN, as many in each."
            ) from error
        self.multilabel_ = len(shape) == 2 and shape[1] > 1
        encode = encode_outcomes if self.multilabel_ else encode_classes
        self.classes_, self.class_weight_, targets = encode(y, inputs, self.class_weight)
        return targets

    def _n_outputs(self) -> int:
        return len(self.classes_)

    def _criterion(self) -> nn.Module:
        from ._losses import ClassCrossEntropy, OutcomeCrossEntropy

        kind = OutcomeCrossEntropy if self.multilabel_ else ClassCrossEntropy
        return kind(self.class_weight_)

    def _try_outputs(self, outputs: np.ndarray) -> None:
        n = len(self.classes_)
        if self.classes_.ndim != 1 or len(np.unique(self.classes_)) < max(n, 2):
            raise ValueError("classes_ are no different classes")
        shape, weights = ((n, 2) if self.multilabel_ else (n,)), self.class_weight_
        if weights.shape != shape or weights.dtype != np.float32 or not (weights > 0).all():
            raise ValueError(f"class_weight_ are no positive numbers of shape {shape}")
        super()._try_outputs(outputs)

    def _predict(self, outputs: np.ndarray) -> np.ndarray:
        if self.multilabel_:
            return (outputs > 0).astype(int)
        return self.classes_[outputs.argmax(axis=1)]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
