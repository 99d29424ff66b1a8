# SPDX-License-Identifier: BSD-3-Clause
"""Sleep stages, diagnoses and other classes, by fine-tuning."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from ..encoding.inputs import EncoderInput
from ._base import FineTuningEstimator
from ._labels import (
    CellLabels,
    ClassLabels,
    Targets,
    check_sample_weight,
    read_labels,
    read_multilabels,
)

__all__ = [
    "Sleep2VecClassifier",
]


class Sleep2VecClassifier(ClassifierMixin, FineTuningEstimator):
    """Classify epochs or nights by fine-tuning a pretrained encoder.

    Parameters
    ----------
    checkpoint : str, path or Checkpoint, default="sleep2vec-mini"
        Name of a bundled encoder, a file written by :func:`save_checkpoint`, one of the authors'
        ``.ckpt`` files, or a loaded one.
    modalities : sequence of str, optional
        Modalities to use; by default all that the checkpoint supports and a labelled night has.
    finetune : {"head", "lora", "full"}, default="head"
        What is trained: a head on tokens that are computed once; low-rank adapters in the encoder
        as well; or all weights.
    head : {"auto", "linear", "mlp", "regression", "temporal_conv", "temporal_transformer"}
        The temporal ones look at the night around each epoch, and are for epochs only. "auto", the
        default, is "temporal_conv" for epochs and "mlp" for nights.
    head_size : int, optional
        Hidden width of the head; that of a token by default.
    aggregation : {"mean", "concat", "gated"}, default="concat"
        How the modalities of an epoch are combined: their mean, one block each, a missing one
        filled with the mean of the others, or a learned weight each, shared anew among those that
        are there.
    pooling : {"mean", "attention", "cls"}, default="mean"
        How the epochs of a night are combined; does not apply to epochs.
    layer_mix : bool, default=False
        Whether the head learns a weight for each of the encoder's layers, by modality.
    dropout : float, default=0.1
        In the head.
    lora_rank : int, default=8
    lora_alpha : float, default=16.0
        Of the adapters, if ``finetune="lora"``.
    modality_dropout : float or (float, float), default=0.1
        Chance, in training, that a night loses a modality, and that an epoch does; never the last
        one.
    covariates : sequence of str, optional
        Keys of ``Recording.metadata``, such as ``("age", "sex")``, that are put beside the
        features. A missing value counts as training's mean, and a column of its own says so.
    time_of_night : bool, default=False
        For epochs: put the columns of :class:`TimeOfNight` beside the features.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class; "balanced" makes all count alike.
    max_epochs : int, default=40
        Passes over the training rows.
    batch_size : int, optional
        Rows of nights, or, for epochs, nights or stretches of one, in a step. By default 4, or 16
        for a head on nights.
    lr, encoder_lr : float, default=1e-3, 1e-4
        Peak learning rate of the head, and of the encoder or its adapters.
    weight_decay : float, default=1e-2
        Of AdamW, on matrices.
    validation_fraction : float, default=0.1
        Share of the *subjects* whose loss tells when to stop. If these are less than two, nobody is
        held out. Every class stays among those trained on.
    patience : int or None, default=10
        Stop after so many epochs without a lower loss, and keep the best weights. None trains on
        everybody for ``max_epochs``.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        "auto" takes bfloat16 where the hardware is fast at it.
    device : str, default="auto"
        A torch device; "auto" takes a GPU if there is one.
    cache : "memory", path or None, default="memory"
        Where tokens, or prepared signals, are kept between fits; see
        :class:`Sleep2VecTransformer`.
    random_state : int, RandomState or None, default=None
        No global seed is touched.
    verbose : int, default=0
        1 shows progress bars.

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
        That are read.
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
        self,
        checkpoint="sleep2vec-mini",
        *,
        modalities=None,
        finetune="head",
        head="auto",
        head_size=None,
        aggregation="concat",
        pooling="mean",
        layer_mix=False,
        dropout=0.1,
        lora_rank=8,
        lora_alpha=16.0,
        modality_dropout=0.1,
        covariates=None,
        time_of_night=False,
        class_weight=None,
        max_epochs=40,
        batch_size=None,
        lr=1e-3,
        encoder_lr=1e-4,
        weight_decay=1e-2,
        validation_fraction=0.1,
        patience=10,
        precision="float32",
        device="auto",
        cache="memory",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            checkpoint,
            modalities=modalities,
            finetune=finetune,
            head=head,
            head_size=head_size,
            aggregation=aggregation,
            pooling=pooling,
            layer_mix=layer_mix,
            dropout=dropout,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            modality_dropout=modality_dropout,
            covariates=covariates,
            time_of_night=time_of_night,
            max_epochs=max_epochs,
            batch_size=batch_size,
            lr=lr,
            encoder_lr=encoder_lr,
            weight_decay=weight_decay,
            validation_fraction=validation_fraction,
            patience=patience,
            precision=precision,
            device=device,
            cache=cache,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def predict_proba(self, X) -> np.ndarray:
        """Probability of each class, or of each outcome.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence

        Returns
        -------
        float32 ndarray of shape (len(X), n_classes)
            Rows add up to one, unless they are outcomes.
        """
        return self._labels().probabilities(self._outputs(X))

    def decision_function(self, X) -> np.ndarray:
        """Scores before they become probabilities.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence

        Returns
        -------
        float32 ndarray of shape (len(X), n_classes), or (len(X),) of two classes
            Logits; of two classes that of the second one minus that of the first.
        """
        return self._labels().decisions(self._outputs(X))

    def score(self, X, y, sample_weight=None) -> float:
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
        if not known.any():
            raise ValueError(
                f"y has no label for any of the {len(predicted)} {self.unit_}s: there is nothing "
                "to score. Look at the split that these rows come from."
            )
        weights = check_sample_weight(sample_weight, len(predicted))
        weights = np.broadcast_to(weights.reshape(-1, *[1] * (known.ndim - 1)), known.shape)
        return float(accuracy_score(true[known], predicted[known], sample_weight=weights[known]))

    def _encode_targets(self, given: EncoderInput, y) -> Targets:
        try:
            shape = np.shape(y)
        except ValueError as error:
            raise ValueError(
                "y has rows of different lengths; accepted is one label for each element of X, or "
                "one row of 0, 1 and NaN, as many in each."
            ) from error
        several = len(shape) == 2 and shape[1] > 1
        kind = CellLabels if several else ClassLabels
        labels, targets = kind.fit(y, given, self.class_weight)
        self.multilabel_ = several
        self.classes_ = labels.classes
        self.class_weight_ = labels.weights
        return targets

    def _labels(self) -> ClassLabels | CellLabels:
        check_is_fitted(self, "net_")
        kind = CellLabels if self.multilabel_ else ClassLabels
        return kind(self.classes_, self.class_weight_)

    def _n_outputs(self) -> int:
        return len(self.classes_)

    def _loss(self, outputs, targets, weights):
        kind = CellLabels if self.multilabel_ else ClassLabels
        return kind(self.classes_, self.class_weight_).loss(outputs, targets, weights)

    def _predict(self, outputs: np.ndarray) -> np.ndarray:
        return self._labels().decide(outputs)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
