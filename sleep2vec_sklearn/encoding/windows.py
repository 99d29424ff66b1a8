# SPDX-License-Identifier: BSD-3-Clause
"""Nights longer than the encoder's context: overlapping windows, and back.

A night of n epochs and a context of c epochs gives windows that start every c // 2 epochs, the
last one ending with the night; a shorter night is one window. An epoch's token is the mean over
the windows that hold it, weighted by a triangle that peaks in each window's middle, where the
network sees most on either side. The layout depends on n and c alone.
"""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["cut_windows", "merge_windows", "window_starts"]


def window_starts(n_epochs: int, context: int) -> np.ndarray:
    """First epoch of each window, shape (n_windows,)."""
    if n_epochs <= context:
        return np.zeros(1, dtype=np.int64)
    last = n_epochs - context
    return np.append(np.arange(0, last, max(context // 2, 1)), last)


def cut_windows(sequence: torch.Tensor, context: int) -> torch.Tensor:
    """Cut (n_epochs, ...) into (n_windows, min(context, n_epochs), ...)."""
    n_epochs = sequence.shape[0]
    starts = torch.from_numpy(window_starts(n_epochs, context)).to(sequence.device)
    places = starts[:, None] + torch.arange(min(context, n_epochs), device=sequence.device)
    return sequence[places]


def merge_windows(windows: torch.Tensor, n_epochs: int, context: int) -> torch.Tensor:
    """Average (n_windows, length, width) back to (n_epochs, width)."""
    if len(windows) == 1:
        return windows[0]
    length = windows.shape[1]
    ramp = torch.arange(1, length + 1, dtype=windows.dtype, device=windows.device)
    weights = torch.minimum(ramp, ramp.flip(0))
    merged = windows.new_zeros(n_epochs, windows.shape[2])
    total = windows.new_zeros(n_epochs)
    for start, window in zip(window_starts(n_epochs, context), windows, strict=True):
        merged[start : start + length] += window * weights[:, None]
        total[start : start + length] += weights
    return merged / total[:, None]
