# SPDX-License-Identifier: BSD-3-Clause
"""The contrastive objective: an epoch seen by one modality finds itself seen by another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

__all__ = ["info_nce_loss"]

_NEGATIVES = ("recordings", "night", "both")


def info_nce_loss(
    first: Tensor,
    second: Tensor,
    temperature: float = 0.2,
    valid: Tensor | None = None,
    negatives: str = "recordings",
) -> tuple[Tensor, Tensor]:
    """InfoNCE in both directions between two modalities of the same epochs.

    Parameters
    ----------
    first, second : Tensor of shape [B, L, D]
        Projections of B recordings at L positions; brought to unit length here.
    temperature : float
        Divides the cosine similarities.
    valid : bool Tensor of shape [B, L], optional
        True where both modalities are real. The rest is neither example nor negative, and an
        example that is left without any negative does not count.
    negatives : {"recordings", "night", "both"}
        Other recordings at the same position, as in sleep2vec (arXiv 2602.13857); other
        positions of the same recording; or the mean of both losses.

    Returns
    -------
    loss : Tensor of shape []
        Mean cross-entropy; 0 where nothing counts.
    accuracy : Tensor of shape []
        Share of the examples that are most similar to their own counterpart.

    Raises
    ------
    ValueError
        If shapes differ, an argument is not accepted, or the shape leaves no negative at all.
    """
    if first.ndim != 3 or first.shape != second.shape:
        raise ValueError(
            f"first and second must share one shape [B, L, D], got {tuple(first.shape)} and "
            f"{tuple(second.shape)}."
        )
    if valid is not None and valid.shape != first.shape[:2]:
        raise ValueError(f"valid must be {tuple(first.shape[:2])}, got {tuple(valid.shape)}.")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature!r}.")
    if negatives not in _NEGATIVES:
        raise ValueError(f"negatives must be one of {_NEGATIVES}, got {negatives!r}.")
    if valid is None:
        valid = torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
    # a NaN at a padded position would come back through the gradient
    first, second = (v.masked_fill(~valid[..., None], 0.0).float() for v in (first, second))
    first, second = normalize(first, dim=-1), normalize(second, dim=-1)
    parts = []
    if negatives != "night":
        parts.append(_contrast(first.transpose(0, 1), second.transpose(0, 1), valid.T, temperature))
    if negatives != "recordings":
        parts.append(_contrast(first, second, valid, temperature))
    losses, accuracies = zip(*parts, strict=True)
    return torch.stack(losses).mean(), torch.stack(accuracies).mean()


def _contrast(
    first: Tensor, second: Tensor, valid: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Loss and accuracy among the N items of each of G groups, [G, N, D]."""
    n_items = first.shape[1]
    if n_items < 2:
        raise ValueError(
            "no negatives: negatives='recordings' needs at least two recordings in a batch, "
            "'night' two positions."
        )
    # half precision has three digits, and a temperature multiplies what is left out
    with torch.autocast(first.device.type, enabled=False):
        similarity = first @ second.transpose(1, 2) / temperature
    # the own column stays, or a row of padding would be a softmax over nothing
    kept = valid[:, None, :] | torch.eye(n_items, dtype=torch.bool, device=first.device)
    target = torch.arange(n_items, device=first.device).expand(len(first), -1)
    counted = valid & (valid.sum(dim=1, keepdim=True) > 1)
    loss, hits = similarity.new_zeros(()), similarity.new_zeros(())
    for logits in (similarity, similarity.transpose(1, 2)):
        logits = logits.masked_fill(~kept, -torch.inf)
        rows = cross_entropy(logits.transpose(1, 2), target, reduction="none")
        loss = loss + (rows * counted).sum()
        hits = hits + ((logits.argmax(dim=-1) == target) & counted).sum()
    n_examples = 2 * counted.sum().clamp_min(1)
    return loss / n_examples, hits / n_examples
