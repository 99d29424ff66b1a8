# SPDX-License-Identifier: BSD-3-Clause
"""Objectives, encoder, optimizer and augmentation of a pretraining run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from torch import Tensor

from .._validation import BELOW_ONE, NON_NEGATIVE, POSITIVE, SHARE, Number, StrOptions, count
from ..model.config import TokenizerConfig
from .losses import NEGATIVES, dash_info_nce_loss, info_nce_loss

if TYPE_CHECKING:
    from .demography import Demography

_NEGATIVES = StrOptions(set(NEGATIVES))


# a dataclass for its constructor alone: scikit-learn compares and prints estimators
@dataclass(eq=False, repr=False)
class DashObjective(BaseEstimator):
    """DASH-InfoNCE: negatives of a similar subject and site count more (arXiv 2602.13857).

    Parameters
    ----------
    temperature, hard_scale, pos_margin, negatives
        See :func:`dash_info_nce_loss`.
    age_bandwidth, sex_factor, site_same, site_different
        See :func:`dash_weights`.
    reconstruction_weight : float, default=0.0
        Weight of a second loss: the columns of both modalities are reconstructed from the hidden
        states of one. With it, nights that have one modality take part too, by themselves.
    distillation_weight : float, default=0.0
        Weight of a third one: a linear layer on the hidden states, discarded afterwards, predicts
        the ``targets`` of :meth:`Sleep2VecPretrainer.fit`.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer
    >>> from sleep2vec_sklearn.pretraining import DashObjective
    >>> pretrainer = Sleep2VecPretrainer(objective=DashObjective(temperature=0.2))
    >>> pretrainer.set_params(objective__age_bandwidth=10.0).objective
    DashObjective(age_bandwidth=10.0, temperature=0.2)
    """

    _parameter_constraints: ClassVar[dict] = {
        "temperature": [POSITIVE], "hard_scale": [NON_NEGATIVE], "pos_margin": [NON_NEGATIVE],
        "negatives": [_NEGATIVES], "age_bandwidth": [Number(Real, 0, np.inf, closed="right")],
        "sex_factor": [NON_NEGATIVE], "site_same": [NON_NEGATIVE], "site_different": [NON_NEGATIVE],
        "reconstruction_weight": [NON_NEGATIVE], "distillation_weight": [NON_NEGATIVE],
    }  # fmt: skip

    temperature: float = 0.1
    _: KW_ONLY
    hard_scale: float = 0.1
    pos_margin: float = 0.0
    negatives: str = "recordings"
    age_bandwidth: float = 20.0
    sex_factor: float = 0.8
    site_same: float = 1.3
    site_different: float = 0.8
    reconstruction_weight: float = 0.0
    distillation_weight: float = 0.0

    def contrast(
        self, first: Tensor, second: Tensor, valid: Tensor, weights: Any
    ) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of two views [B, L, D]; see :func:`dash_info_nce_loss`."""
        weight, history = weights
        constants = (self.temperature, self.hard_scale, self.pos_margin)
        return dash_info_nce_loss(first, second, weight, history, *constants, valid, self.negatives)

    def weigh(self, demography: Demography) -> tuple[np.ndarray, np.ndarray]:
        """Weights and history of the negatives among some nights; see :func:`dash_weights`."""
        return demography.weights(
            age_bandwidth=self.age_bandwidth,
            sex_factor=self.sex_factor,
            site_same=self.site_same,
            site_different=self.site_different,
        )


@dataclass(eq=False, repr=False)
class InfoNCEObjective(BaseEstimator):
    """InfoNCE, to which all negatives count the same.

    Parameters
    ----------
    temperature, negatives, reconstruction_weight, distillation_weight
        As of :class:`DashObjective`.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer
    >>> Sleep2VecPretrainer(objective="info_nce").set_params(objective__temperature=0.2).objective
    InfoNCEObjective(temperature=0.2)
    """

    _parameter_constraints: ClassVar[dict] = {
        "temperature": [POSITIVE],
        "negatives": [_NEGATIVES],
        "reconstruction_weight": [NON_NEGATIVE],
        "distillation_weight": [NON_NEGATIVE],
    }

    temperature: float = 0.1
    _: KW_ONLY
    negatives: str = "recordings"
    reconstruction_weight: float = 0.0
    distillation_weight: float = 0.0

    def contrast(
        self, first: Tensor, second: Tensor, valid: Tensor, weights: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of two views [B, L, D]; see :func:`info_nce_loss`."""
        return info_nce_loss(first, second, self.temperature, valid, self.negatives)

    def weigh(self, demography: Demography) -> None:
        """None: all negatives weigh the same."""


Objective = DashObjective | InfoNCEObjective


@dataclass(eq=False, repr=False)
class EncoderSpec(BaseEstimator):
    """Sizes and tokenizers of an encoder to be built.

    What it reads, that is modalities and their conditioning, follows from the data and makes a
    whole :class:`EncoderConfig` of it.

    Parameters
    ----------
    tokenizer : str, TokenizerConfig or mapping of modality to either, default="spectral"
        "linear", "sundial" and "sundial2" learn from samples, "spectral" from fixed features,
        "expert" from those of :class:`~sleep2vec_sklearn.encoding.ExpertFeatures`, which follow the
        states in rows too.
    token_dim, hidden_size, n_layers, n_heads : int, default=128, 128, 4, 4
    intermediate_size : int, optional
        Of the feed-forward layers; four times ``hidden_size`` by default.
    cls : bool, default=False
        Whether a token for the whole window is trained too.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer
    >>> from sleep2vec_sklearn.pretraining import EncoderSpec
    >>> pretrainer = Sleep2VecPretrainer(encoder=EncoderSpec(hidden_size=64, n_layers=2))
    >>> pretrainer.get_params()["encoder__hidden_size"]
    64
    """

    _parameter_constraints: ClassVar[dict] = {
        "tokenizer": [str, TokenizerConfig, Mapping], "token_dim": [count()],
        "hidden_size": [count()], "n_layers": [count()], "n_heads": [count()],
        "intermediate_size": [count(), None], "cls": ["boolean"],
    }  # fmt: skip

    tokenizer: str | TokenizerConfig | Mapping[str, str | TokenizerConfig] = "spectral"
    _: KW_ONLY
    token_dim: int = 128
    hidden_size: int = 128
    n_layers: int = 4
    n_heads: int = 4
    intermediate_size: int | None = None
    cls: bool = False


@dataclass(eq=False, repr=False)
class AdamW(BaseEstimator):
    """AdamW with betas 0.9 and 0.95, warm-up, a cosine, clipping, and an average of the weights.

    Parameters
    ----------
    lr : float, default=1e-3
        Peak learning rate.
    weight_decay : float, default=1e-2
        Of matrices; biases, norms, masks and CLS do not decay.
    lr_scales : mapping of str to float, optional
        Factors of ``lr`` for parts of the encoder: a modality (its tokenizer and mask embedding),
        "input_projection", "encoder", "cls_token", "projection". One with 0 is frozen to the bit.
    warmup_ratio : float, default=0.03
        Share of the steps in which the rate rises.
    min_lr_ratio : float, default=0.1
        Share of ``lr`` that is left at the end of the cosine.
    max_grad_norm : float or None, default=1.0
        Gradients are clipped to it.
    ema_decay : float, default=0.996
        Of the moving average of the network, which is what is evaluated and saved; 0 for none.

    Notes
    -----
    A :class:`skorch.callbacks.LRScheduler` among the callbacks takes the place of warm-up and
    cosine.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer
    >>> from sleep2vec_sklearn.pretraining import AdamW
    >>> Sleep2VecPretrainer(optimizer=AdamW(lr=3e-4, ema_decay=0.998)).optimizer
    AdamW(ema_decay=0.998, lr=0.0003)
    """

    _parameter_constraints: ClassVar[dict] = {
        "lr": [POSITIVE], "weight_decay": [NON_NEGATIVE], "lr_scales": [Mapping, None],
        "warmup_ratio": [SHARE], "min_lr_ratio": [SHARE], "max_grad_norm": [POSITIVE, None],
        "ema_decay": [BELOW_ONE],
    }  # fmt: skip

    lr: float = 1e-3
    _: KW_ONLY
    weight_decay: float = 1e-2
    lr_scales: Mapping[str, float] | None = None
    warmup_ratio: float = 0.03
    min_lr_ratio: float = 0.1
    max_grad_norm: float | None = 1.0
    ema_decay: float = 0.996


@dataclass(eq=False, repr=False)
class Augmentation(BaseEstimator):
    """What training hides, shifts and disturbs.

    Parameters
    ----------
    mask_ratio : float, default=0.15
        Share of either modality's valid epochs whose token is replaced by the mask's.
    modality_dropout : float, default=0.0
        Share of the windows in which a sensor is off for a stretch, in either view.
    max_shift : int, default=0
        Most epochs by which one view starts after the other, so that an epoch's position in the
        window does not give it away.
    noise, offset : float, default=0.0, 0.0
        Disturbance of every column, epoch by epoch and for a window as a whole, in standard
        deviations.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecPretrainer
    >>> Sleep2VecPretrainer().set_params(augmentation__mask_ratio=0.3).augmentation
    Augmentation(mask_ratio=0.3)
    """

    _parameter_constraints: ClassVar[dict] = {
        "mask_ratio": [BELOW_ONE], "modality_dropout": [SHARE], "max_shift": [count(0)],
        "noise": [NON_NEGATIVE], "offset": [NON_NEGATIVE],
    }  # fmt: skip

    mask_ratio: float = 0.15
    _: KW_ONLY
    modality_dropout: float = 0.0
    max_shift: int = 0
    noise: float = 0.0
    offset: float = 0.0
