# SPDX-License-Identifier: BSD-3-Clause
"""Nights of different lengths through the encoder, in one batch, with gradients.

The windows are those of :mod:`..encoding.windows`, so that a night's tokens are the engine's,
whichever nights are beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..encoding.windows import window_starts
from ..model.sleep2vec import Sleep2Vec

__all__ = ["encode_sequences"]


def encode_sequences(
    encoder: Sleep2Vec, tokens: Tensor, valid: Tensor, lengths: Tensor, layers: Sequence[int]
) -> tuple[Tensor, Tensor | None]:
    """States of chosen layers.

    Parameters
    ----------
    encoder : Sleep2Vec
    tokens : Tensor of shape [S, L, d]
        One modality each.
    valid : bool Tensor of shape [S, L]
        Epochs that have the modality.
    lengths : int Tensor of shape [S]
        Epochs of each sequence, those without the modality included and padding not.
    layers : sequence of int
        The first block is 1.

    Returns
    -------
    states : Tensor of shape [S, L, K, H]
        Zeros where not valid.
    cls : Tensor of shape [S, K, H] or None
        Mean over windows; zeros in a sequence without a valid epoch.
    """
    size = (len(layers), encoder.config.hidden_size)
    states = tokens.new_zeros(*tokens.shape[:2], *size)
    cls = tokens.new_zeros(len(tokens), *size) if encoder.config.cls else None
    rows = valid.any(dim=1).nonzero()[:, 0]
    if len(rows) == 0:
        return states, cls
    found, summary = _encode_rows(encoder, tokens[rows], valid[rows], lengths[rows], layers)
    found = found.masked_fill(~valid[rows][..., None, None], 0.0)
    # in the dtype the encoder computes in, which autocast chooses
    states = states.to(found.dtype).index_copy(0, rows, found)
    if cls is not None:
        cls = cls.to(summary.dtype).index_copy(0, rows, summary)
    return states, cls


def _encode_rows(encoder, tokens: Tensor, valid: Tensor, lengths: Tensor, layers):
    context = encoder.config.context_epochs
    if tokens.shape[1] <= context:
        return _encode_windows(encoder, tokens, valid, layers)
    layout = _layout(lengths.cpu().numpy(), context)
    owner, place, weight = (torch.from_numpy(part).to(tokens.device) for part in layout)
    seen = valid[owner[:, None], place] & (weight > 0)
    found, summary = _encode_windows(encoder, tokens[owner[:, None], place], seen, layers)
    n, length = tokens.shape[:2]
    at = (owner[:, None] * length + place).flatten()
    weight = weight.to(found.dtype)
    merged = found.new_zeros(n * length, *found.shape[2:])
    merged = merged.index_add(0, at, (found * weight[..., None, None]).flatten(0, 1))
    total = weight.new_zeros(n * length).index_add(0, at, weight.flatten())
    # zero where padding, which is masked afterwards
    merged = merged / total.clamp(min=1)[:, None, None]
    if summary is not None:
        n_windows = torch.bincount(owner, minlength=n)[:, None, None]
        summary = summary.new_zeros(n, *summary.shape[1:]).index_add(0, owner, summary) / n_windows
    return merged.unflatten(0, (n, length)), summary


def _layout(lengths: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all windows: whose they are [N], their epochs [N, c], and the weights of these [N, c].

    A sequence shorter than the context is one window whose end has no weight.
    """
    starts = [window_starts(length, context) for length in lengths]
    owner = np.repeat(np.arange(len(lengths)), [len(s) for s in starts])
    offset = np.arange(context)
    long = np.minimum(lengths, context)[owner][:, None]
    weight = np.minimum(offset + 1, long - offset).clip(0)
    # what is beyond the end points at the first epoch, to which it adds nothing
    place = np.where(weight > 0, np.concatenate(starts)[:, None] + offset, 0)
    return owner, place, weight


def _encode_windows(encoder, tokens: Tensor, seen: Tensor, layers):
    """[N, c, d] to [N, c, K, H], and summaries [N, K, H] or None."""
    # without a mask attention is faster on a processor; elsewhere the question costs a wait
    mask = None if seen.device.type == "cpu" and seen.all() else seen
    if len(layers) == 1:
        states = encoder.encode(tokens, mask, layer=layers[0])[:, :, None]
    else:
        every = encoder.hidden_states(tokens, mask)
        states = torch.stack([every[layer] for layer in layers], dim=2)
    if encoder.config.cls:
        return states[:, 1:], states[:, 0]
    return states, None
