# SPDX-License-Identifier: BSD-3-Clause
"""Confusion of predicted with scored stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StageConfusionDisplay"]


class StageConfusionDisplay:
    """How often a scored stage is predicted as each stage.

    Parameters
    ----------
    confusion : DataFrame
        Counts, scored stages in rows, as :class:`StagingReport` has them.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : AxesImage
    texts_ : ndarray of Text
        Share of the row, and the count below it.

    Examples
    --------
    >>> from sleep2vec_sklearn import staging_report
    >>> from sleep2vec_sklearn.plotting import StageConfusionDisplay
    >>> report = staging_report([0, 1, 2, 2, 3, 4], [0, 2, 2, 2, 3, 4], n_resamples=10)
    >>> display = StageConfusionDisplay.from_report(report)
    >>> display.texts_[1, 2].get_text()
    '100 %\\n1'
    """

    def __init__(self, confusion: pd.DataFrame):
        self.confusion = confusion

    @classmethod
    def from_report(cls, report, *, ax=None) -> StageConfusionDisplay:
        """Draw that of a :class:`StagingReport`."""
        return cls(report.confusion).plot(ax=ax)

    @classmethod
    def from_predictions(cls, y_true, y_pred, *, n_classes: int = 5, ax=None):
        """Draw that of stages, or of an EpochSequence and predicted stages.

        Parameters
        ----------
        y_true : EpochSequence or array-like of shape (n,)
        y_pred : array-like of shape (n,)
        n_classes : {5, 4, 3}, default=5
        ax : matplotlib Axes, optional
        """
        from ..evaluation.staging import staging_report

        report = staging_report(y_true, y_pred, n_classes=n_classes, n_resamples=1)
        return cls.from_report(report, ax=ax)

    def plot(self, ax=None) -> StageConfusionDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        """
        counts = self.confusion.to_numpy()
        if ax is None:
            import matplotlib.pyplot as plt

            side = 1.4 + 0.75 * len(counts)
            _, ax = plt.subplots(figsize=(side + 0.8, side), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        with np.errstate(invalid="ignore"):
            share = counts / counts.sum(axis=1, keepdims=True)
        self.image_ = ax.imshow(share, cmap="cividis", vmin=0, vmax=1)
        self.texts_ = np.empty(counts.shape, dtype=object)
        for (row, column), count in np.ndenumerate(counts):
            part = share[row, column]
            color = "black" if part > 0.5 else "white"
            text = f"{100 * part:.0f} %\n{count}" if np.isfinite(part) else "-"
            color = "black" if not np.isfinite(part) else color
            self.texts_[row, column] = ax.text(
                column, row, text, ha="center", va="center", color=color, fontsize=9
            )
        places = range(len(counts))
        ax.set(xticks=places, yticks=places, xlabel="predicted", ylabel="scored")
        ax.set_xticklabels(self.confusion.columns)
        ax.set_yticklabels(self.confusion.index)
        self.figure_.colorbar(self.image_, ax=ax, label="share of the scored epochs", shrink=0.8)
        return self
