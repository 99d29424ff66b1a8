# SPDX-License-Identifier: BSD-3-Clause
"""Means and deviations over the nights that train, for tokenizers, noise and targets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..model.sleep2vec import Sleep2Vec
from .content import Content
from .store import NightStore

__all__ = ["column_statistics", "standardise_tokenizers"]

_STEADY = 1e-4
_NIGHTS = 256
_EPOCHS_APART = 4


def column_statistics(
    store: NightStore, names, kind: str | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and standard deviation of every modality's columns over valid epochs.

    Of at most 256 nights, evenly spread, and every fourth epoch. A column that does not vary has
    a deviation of 1.

    Parameters
    ----------
    store : NightStore
    names : iterable of str
    kind : {"features"}, optional
        Of the spectral features, whatever the store holds; by default of what it holds.
    """
    statistics = {}
    n_epochs = store.table["n_epochs"].to_numpy()
    for name in names:
        content = store.contents[name]
        wanted = content if kind is None else Content.features(content.conditioning)
        nights = np.flatnonzero(store.table[f"coverage_{name}"].to_numpy() > 0)
        picked = np.unique(np.linspace(0, len(nights) - 1, _NIGHTS).astype(int))
        count, sums, squares = 0, 0.0, 0.0
        for night in nights[picked]:
            rows = store.window(night, name, 0, int(n_epochs[night]))
            rows = rows[store.valid(night, name)][::_EPOCHS_APART]
            if wanted.kind != content.kind:
                rows = wanted.compute(rows)
            rows = rows.astype(np.float64)
            count += len(rows)
            sums, squares = sums + rows.sum(axis=0), squares + (rows**2).sum(axis=0)
        mean = sums / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0))
        std = np.where(std < _STEADY, 1.0, std)
        statistics[name] = tuple(torch.from_numpy(v).float() for v in (mean, std))
    return statistics


def standardise_tokenizers(
    network: Sleep2Vec,
    store: NightStore,
    scales: Mapping[str, float] | None = None,
    known: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> None:
    """Give the spectral tokenizers that have none the mean and deviation of their features.

    Those whose learning rate is scaled by 0 stay as they are. ``known`` are the
    :func:`column_statistics` of what the store holds, so that features are not read again.
    """
    known = {n: s for n, s in (known or {}).items() if store.contents[n].kind == "features"}
    frozen = {name for name, scale in (scales or {}).items() if scale == 0}
    spectral = {
        name: tokenizer
        for name, tokenizer in network.tokenizers.items()
        if name in store.contents and name not in frozen and _lacks_statistics(tokenizer)
    }
    present = [n for n in spectral if store.table[f"coverage_{n}"].to_numpy().any()]
    unknown = [name for name in present if name not in known]
    statistics = known | column_statistics(store, unknown, kind="features")
    for name in present:
        spectral[name].set_statistics(*statistics[name])


def _lacks_statistics(tokenizer) -> bool:
    if not hasattr(tokenizer, "set_statistics"):
        return False
    return bool((tokenizer.feature_mean == 0).all() and (tokenizer.feature_std == 1).all())
