# SPDX-License-Identifier: BSD-3-Clause
"""InfoNCE and DASH-InfoNCE between two modalities of the same epochs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

__all__ = ["dash_info_nce_loss", "info_nce_loss"]

NEGATIVES = ("recordings", "night", "both")
_LEAST_WEIGHT = 1e-6


def info_nce_loss(
    first: Tensor, second: Tensor, temperature: float = 0.2, valid: Any = None,
    negatives: str = "recordings",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """InfoNCE in both directions between two modalities of the same epochs.

    Parameters
    ----------
    first, second : Tensor of shape [B, L, D]
        Projections of B recordings at L positions; brought to unit length here.
    temperature : float
        Divides the cosine similarities.
    valid : bool Tensor or array of shape [B, L], optional
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
    TypeError
        If ``first`` or ``second`` is no Tensor.
    ValueError
        If shapes differ or leave no negative at all, or an argument is not accepted.

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.pretraining import info_nce_loss
    >>> views = torch.randn(2, 8, 20, 16, generator=torch.Generator().manual_seed(0))
    >>> loss, accuracy = info_nce_loss(views[0], views[0] + 0.1 * views[1])
    >>> loss.shape, float(accuracy)
    (torch.Size([]), 1.0)
    """
    return _info_nce(first, second, temperature, valid, negatives, None)


def dash_info_nce_loss(
    first: Tensor, second: Tensor, weights: Any, history: Any, temperature: float = 0.2,
    hard_scale: float = 0.1, pos_margin: float = 0.0, valid: Any = None,
    negatives: str = "recordings",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """DASH-InfoNCE: InfoNCE in which negatives of a similar subject and site count more.

    For the anchor ``i`` of either modality, the negative ``j`` counts ``weights[i, j]`` times and
    its cosine is lowered by ``hard_scale * history[i, j]``; that of the positive is raised by
    ``pos_margin`` (arXiv 2602.13857).

    Parameters
    ----------
    first, second : Tensor of shape [B, L, D]
        Projections of B samples at L positions; brought to unit length here.
    weights, history : Tensor or array of shape [B, B]
        As :func:`dash_weights` gives them. The diagonal is not read, and weights below 1e-6
        count as 1e-6.
    temperature, valid, negatives
        See :func:`info_nce_loss`. Other positions of the same night are not weighted: subject and
        site are the same for all of them.
    hard_scale : float
        Cosine taken off the negatives that belong to the anchor's own subject or recording.
    pos_margin : float
        Cosine added to the positive.

    Returns
    -------
    loss, accuracy : Tensor of shape []
        As of :func:`info_nce_loss`, the accuracy by the cosine alone.

    Raises
    ------
    TypeError, ValueError
        As of :func:`info_nce_loss`.

    Notes
    -----
    Without ``valid``, loss and gradients are those of the authors' code, where padded positions
    are examples too and teach the network to tell apart what is equal.

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.pretraining import dash_info_nce_loss
    >>> views = torch.randn(2, 8, 20, 16, generator=torch.Generator().manual_seed(0))
    >>> weights, history = torch.ones(8, 8), torch.zeros(8, 8)
    >>> loss, accuracy = dash_info_nce_loss(views[0], views[0] + 0.1 * views[1], weights, history)
    >>> loss.shape, float(accuracy)
    (torch.Size([]), 1.0)
    """
    _check_inputs(first, second, temperature)
    adjustment = _adjust(first, weights, history, temperature, hard_scale, pos_margin)
    return _info_nce(first, second, temperature, valid, negatives, adjustment)


def count_examples(valid: Tensor, negatives: str) -> int:
    """Epochs of ``valid`` [B, L] that the loss is a mean over; of both kinds the smaller number."""
    dims = {"recordings": (0,), "night": (1,), "both": (0, 1)}[negatives]
    return min(int((valid & (valid.sum(dim=d, keepdim=True) > 1)).sum()) for d in dims)


def _adjust(
    first: Tensor, weights: Any, history: Any, temperature: float, hard_scale: float,
    pos_margin: float,
) -> Tensor:  # fmt: skip
    """What is added to the logits, [B, B]."""
    weights, history = (
        torch.as_tensor(v, dtype=_full(first.dtype), device=first.device)
        for v in (weights, history)
    )
    square = (len(first), len(first))
    for name, value in (("weights", weights), ("history", history)):
        if value.shape != square:
            raise ValueError(f"{name} must be {square} as first, got {tuple(value.shape)}.")
    adjustment = weights.clamp_min(_LEAST_WEIGHT).log() - history * (hard_scale / temperature)
    return adjustment.fill_diagonal_(pos_margin / temperature)


def _full(dtype: torch.dtype) -> torch.dtype:
    # half precision has three digits, and a temperature multiplies what is left out
    return torch.promote_types(dtype, torch.float32)


def _check_inputs(first: Any, second: Any, temperature: float) -> None:
    for name, value in (("first", first), ("second", second)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} must be a Tensor, of which the loss has a gradient; got "
                f"{type(value).__module__}.{type(value).__name__}. Pass torch.as_tensor({name})."
            )
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature!r}.")


def _info_nce(
    first: Tensor, second: Tensor, temperature: float, valid: Any, negatives: str,
    adjustment: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    _check_inputs(first, second, temperature)
    if first.ndim != 3 or first.shape != second.shape:
        raise ValueError(
            f"first and second must share one shape [B, L, D], got {tuple(first.shape)} and "
            f"{tuple(second.shape)}."
        )
    if negatives not in NEGATIVES:
        raise ValueError(f"negatives must be one of {NEGATIVES}, got {negatives!r}.")
    shape = first.shape[:2]
    if valid is None:
        valid = torch.ones(shape, dtype=torch.bool, device=first.device)
    valid = torch.as_tensor(valid, dtype=torch.bool, device=first.device)
    if valid.shape != shape:
        raise ValueError(f"valid must be {tuple(shape)}, got {tuple(valid.shape)}.")
    # a NaN at a padded position would come back through the gradient
    first, second = (
        v.masked_fill(~valid[..., None], 0.0).to(_full(v.dtype)) for v in (first, second)
    )
    first, second = normalize(first, dim=-1), normalize(second, dim=-1)
    parts = []
    if negatives != "night":
        by_position = (first.transpose(0, 1), second.transpose(0, 1), valid.T)
        parts.append(_contrast(*by_position, temperature, adjustment))
    if negatives != "recordings":
        parts.append(_contrast(first, second, valid, temperature, None))
    losses, accuracies = zip(*parts, strict=True)
    return torch.stack(losses).mean(), torch.stack(accuracies).mean()


def _contrast(
    first: Tensor, second: Tensor, valid: Tensor, temperature: float, adjustment: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Loss and accuracy among the N items of each of G groups, [G, N, D]."""
    n_items = first.shape[1]
    if n_items < 2:
        raise ValueError(
            "no negatives: negatives='recordings' needs at least two recordings in a batch, "
            "'night' two positions."
        )
    with torch.autocast(first.device.type, enabled=False):
        similarity = first @ second.transpose(1, 2) / temperature
    # the own column stays, or a row of padding would be a softmax over nothing
    candidates = valid[:, None, :] | torch.eye(n_items, dtype=torch.bool, device=first.device)
    target = torch.arange(n_items, device=first.device).expand(len(first), -1)
    counted = valid & (valid.sum(dim=1, keepdim=True) > 1)
    loss, hits = similarity.new_zeros(()), similarity.new_zeros(())
    for logits in (similarity, similarity.transpose(1, 2)):
        logits = logits.masked_fill(~candidates, -torch.inf)
        hits = hits + ((logits.argmax(dim=-1) == target) & counted).sum()
        if adjustment is not None:
            logits = logits + adjustment
        rows = cross_entropy(logits.transpose(1, 2), target, reduction="none")
        loss = loss + (rows * counted).sum()
    n_examples = 2 * counted.sum().clamp_min(1)
    return loss / n_examples, hits / n_examples
