# SPDX-License-Identifier: BSD-3-Clause
"""Hypnograms: the stages of a night over time."""

from __future__ import annotations

import numpy as np

from ..signals import EPOCH_SECONDS, SleepStage, as_stages
from .stage_colors import TOP_TO_BOTTOM

__all__ = ["HypnogramDisplay"]

_HEIGHT = {stage: -place for place, stage in enumerate(TOP_TO_BOTTOM)}
_PREDICTED = "#0072b2"
_SCORED = "#333333"
_DIFFERS = "#e69f00"


class HypnogramDisplay:
    """A night's stages, scored and predicted, one above the other.

    Parameters
    ----------
    y_true : array-like of shape (n_epochs,) or None
        Scored stages; unscored epochs are left blank.
    y_pred : array-like of shape (n_epochs,) or None
        Predicted stages. At least one of the two is given.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to Line2D
        The steps drawn, "scored" and "predicted".

    Examples
    --------
    >>> from sleep2vec_sklearn.plotting import HypnogramDisplay
    >>> display = HypnogramDisplay.from_predictions([0, 1, 2, 2, 3], [0, 0, 2, 2, 3])
    >>> sorted(display.lines_)
    ['predicted', 'scored']
    """

    def __init__(self, *, y_true=None, y_pred=None):
        self.y_true = y_true
        self.y_pred = y_pred

    @classmethod
    def from_predictions(cls, y_true, y_pred=None, *, ax=None) -> HypnogramDisplay:
        """Make the display and draw it; see the class for the parameters."""
        return cls(y_true=y_true, y_pred=y_pred).plot(ax=ax)

    def plot(self, ax=None) -> HypnogramDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Raises
        ------
        ValueError
            If there is nothing to draw, or the two differ in length.
        """
        given = {"scored": self.y_true, "predicted": self.y_pred}
        stages = {name: as_stages(y) for name, y in given.items() if y is not None}
        lengths = {name: len(y) for name, y in stages.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"y_true and y_pred need one common length, got {lengths}.")
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(10, 1.2 + 1.6 * len(stages)), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_ = {}
        for row, (name, y) in enumerate(stages.items()):
            self._draw_steps(name, y, offset=-6 * row)
        if len(stages) == 2:
            self._mark_differences(stages["scored"], stages["predicted"])
        self._label_axes(list(stages), len(y))
        return self

    def _draw_steps(self, name: str, y: np.ndarray, offset: float) -> None:
        edges = np.arange(len(y) + 1) * (EPOCH_SECONDS / 3600)
        heights = np.array([_HEIGHT.get(SleepStage(s), np.nan) for s in y]) + offset
        color = _SCORED if name == "scored" else _PREDICTED
        (self.lines_[name],) = self.ax_.step(
            edges, np.append(heights, heights[-1]), where="post", color=color, linewidth=0.9
        )
        rem = np.where(y == SleepStage.R, heights, np.nan)
        self.ax_.step(edges, np.append(rem, np.nan), where="post", color=color, linewidth=3)

    def _mark_differences(self, scored: np.ndarray, predicted: np.ndarray) -> None:
        differs = np.flatnonzero((scored != predicted) & (scored >= 0))
        hours = (differs + 0.5) * (EPOCH_SECONDS / 3600)
        self.ax_.plot(hours, np.full(len(hours), -5.0), "|", color=_DIFFERS, markersize=6)

    def _label_axes(self, names: list[str], n_epochs: int) -> None:
        rows = range(len(names))
        ticks = [height - 6 * row for row in rows for height in _HEIGHT.values()]
        labels = [stage.name for _ in rows for stage in TOP_TO_BOTTOM]
        if len(names) == 2:
            ticks.append(-5.0)
            labels.append("differs")
        self.ax_.set(yticks=ticks, yticklabels=labels, xlabel="Hours since start of recording")
        self.ax_.set_xlim(0, n_epochs * EPOCH_SECONDS / 3600)
        for row, name in enumerate(names):
            self.ax_.text(1.005, -6 * row - 2, name, rotation=270, va="center", ha="left",
                          transform=self.ax_.get_yaxis_transform())  # fmt: skip
        self.ax_.spines[["top", "right"]].set_visible(False)
        self.ax_.grid(axis="y", linewidth=0.3)
