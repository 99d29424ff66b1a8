# SPDX-License-Identifier: BSD-3-Clause
"""Sensors lost in training, so that a head copes with those that are lost later."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["drop_modalities"]


def drop_modalities(present: Tensor, by_night: float, by_epoch: float) -> Tensor:
    """Hide modalities at random; an epoch never loses its last one.

    Parameters
    ----------
    present : bool Tensor of shape [B, L, M]
    by_night : float
        Chance that a sequence loses a modality altogether.
    by_epoch : float
        Chance that an epoch does.

    Returns
    -------
    bool Tensor of shape [B, L, M]
        Draws from torch's generator.

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.finetuning.augmentation import drop_modalities
    >>> present = torch.tensor([[[True, True], [False, True]]])
    >>> drop_modalities(present, 0.99, 0.0).sum(-1)
    tensor([[1, 1]])
    """
    shape = present.shape
    for share, length in ((by_night, 1), (by_epoch, shape[1])):
        if share == 0:
            continue
        draw = torch.rand(shape[0], length, shape[2], device=present.device).expand(shape)
        # of those an epoch has, the one with the highest number stays
        survivor = draw.masked_fill(~present, -1.0).argmax(dim=-1, keepdim=True)
        spared = torch.zeros_like(present).scatter(-1, survivor, True)
        present = present & ((draw >= share) | spared)
    return present
