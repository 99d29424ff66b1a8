# SPDX-License-Identifier: BSD-3-Clause
"""Hypnodensity: the probability of every stage over the night."""

from __future__ import annotations

import numpy as np

from ..signals import EPOCH_SECONDS, SleepStage
from .stage_colors import STAGE_COLORS, TOP_TO_BOTTOM

__all__ = ["HypnodensityDisplay"]


class HypnodensityDisplay:
    """Probabilities of the stages, stacked: deep sleep at the bottom, wake on top.

    Parameters
    ----------
    probabilities : array-like of shape (n_epochs, 5)
        Columns W, N1, N2, N3, R, as ``predict_proba`` and :func:`stage_night` give them. Epochs
        of NaN are left blank.
    y_true : array-like of shape (n_epochs,), optional
        Scored stages, drawn as a strip above.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    areas_ : dict of str to PolyCollection
        By stage.

    Examples
    --------
    >>> from sleep2vec_sklearn.plotting import HypnodensityDisplay
    >>> display = HypnodensityDisplay([[0.7, 0.2, 0.1, 0, 0], [0.1, 0.2, 0.6, 0.1, 0]]).plot()
    >>> list(display.areas_)
    ['N3', 'N2', 'N1', 'R', 'W']
    """

    def __init__(self, probabilities, *, y_true=None):
        self.probabilities = probabilities
        self.y_true = y_true

    @classmethod
    def from_night(cls, staged, *, y_true=None, ax=None) -> HypnodensityDisplay:
        """Draw a :class:`StagedNight`."""
        return cls(staged.probabilities, y_true=y_true).plot(ax=ax)

    def plot(self, ax=None) -> HypnodensityDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Raises
        ------
        ValueError
            If there is not one column per stage, or the scored stages differ in length.
        """
        found = np.asarray(self.probabilities, dtype=float)
        if found.ndim != 2 or found.shape[1] != 5:
            raise ValueError(
                f"probabilities have shape {found.shape}; accepted is (n_epochs, 5), with the "
                "columns W, N1, N2, N3, R."
            )
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(10, 2.8), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.areas_ = {}
        edges = np.arange(len(found) + 1) * (EPOCH_SECONDS / 3600)
        # each epoch from its begin to its end, or the last one before a gap would not be seen
        hours = np.repeat(edges, 2)[1:-1]
        below = np.zeros(len(hours))
        for stage in reversed(TOP_TO_BOTTOM):
            above = below + np.repeat(found[:, stage], 2)
            self.areas_[stage.name] = ax.fill_between(
                hours, below, above, color=STAGE_COLORS[stage], linewidth=0, label=stage.name
            )
            below = above
        top = 1.0 if self.y_true is None else draw_strip(ax, self.y_true, 1.06, 1.16, len(found))
        ax.set(xlim=(0, edges[-1]), ylim=(0, top), ylabel="probability")
        ax.set(xlabel="Hours since start of recording", yticks=[0, 0.5, 1])
        handles = [self.areas_[stage.name] for stage in TOP_TO_BOTTOM]
        names = [stage.name for stage in TOP_TO_BOTTOM]
        ax.legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        return self


def draw_strip(ax, stages, bottom: float, top: float, n_epochs: int) -> float:
    """Draw scored stages as a strip of colours; returns where it ends.

    Raises
    ------
    ValueError
        If there is not one stage per epoch.
    """
    from ..signals import as_stages

    stages = as_stages(stages)
    if len(stages) != n_epochs:
        raise ValueError(f"y_true has {len(stages)} epochs, the probabilities have {n_epochs}.")
    starts = np.flatnonzero(np.diff(stages, prepend=-2))
    ends = np.append(starts[1:], n_epochs)
    hour = EPOCH_SECONDS / 3600
    for start, end in zip(starts, ends, strict=True):
        if stages[start] >= 0:
            color = STAGE_COLORS[SleepStage(int(stages[start]))]
            ax.axvspan(start * hour, end * hour, bottom / top, 1.0, color=color, linewidth=0)
    ax.text(0, (1 + bottom) / 2, " scored", va="center", ha="left", fontsize=7)
    return top
