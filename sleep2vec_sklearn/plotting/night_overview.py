# SPDX-License-Identifier: BSD-3-Clause
"""A night at a glance: which sensors it has, how it was staged, and the encoder's rows."""

from __future__ import annotations

import numpy as np

from ..signals import EPOCH_SECONDS, as_stages
from .hypnodensity import HypnodensityDisplay
from .hypnogram import HypnogramDisplay

__all__ = ["NightOverviewDisplay"]

_THERE, _GAP = "#0072b2", "#e8e8e8"


class NightOverviewDisplay:
    """Coverage of each sensor, stages, hypnodensity and embedding, one above the other.

    Parameters
    ----------
    staged : StagedNight
        What :func:`stage_night` gives.
    y_true : array-like of shape (n_epochs,), optional
        Scored stages, drawn above the predicted ones.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : dict of str to Axes
        "coverage", "stages", "probabilities", "embedding".

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
    >>> from sleep2vec_sklearn.plotting import NightOverviewDisplay
    >>> night = make_sleep_cohort(1, hours=1, modalities=["ibi"], random_state=0)[0]
    >>> display = NightOverviewDisplay.from_night(stage_night(night), y_true=night.stages)
    >>> list(display.axes_)
    ['coverage', 'stages', 'probabilities', 'embedding']
    """

    def __init__(self, staged, *, y_true=None):
        self.staged = staged
        self.y_true = y_true

    @classmethod
    def from_night(cls, staged, *, y_true=None, figure=None) -> NightOverviewDisplay:
        """Make the display and draw it; see the class for the parameters."""
        return cls(staged, y_true=y_true).plot(figure)

    def plot(self, figure=None) -> NightOverviewDisplay:
        """Draw.

        Parameters
        ----------
        figure : matplotlib Figure, optional
            An empty one; a new one by default. There is no ``ax``, as there are four of them.

        Raises
        ------
        ValueError
            If the scored stages differ in length.
        """
        staged = self.staged
        n_sensors = len(staged.modalities)
        if self.y_true is not None and len(as_stages(self.y_true)) != len(staged.stages):
            raise ValueError(
                f"y_true has {len(self.y_true)} epochs, the night has {len(staged.stages)}."
            )
        heights = [0.3 + 0.22 * n_sensors, 1.4 if self.y_true is None else 2.6, 1.5, 1.5]
        if figure is None:
            import matplotlib.pyplot as plt

            figure = plt.figure(figsize=(10, 1.2 + sum(heights)), layout="constrained")
        self.figure_ = figure
        axes = figure.subplots(4, 1, sharex=True, height_ratios=heights)
        names = ("coverage", "stages", "probabilities", "embedding")
        self.axes_ = dict(zip(names, axes, strict=True))
        self._draw_coverage()
        HypnogramDisplay(y_true=self.y_true, y_pred=staged.stages).plot(self.axes_["stages"])
        HypnodensityDisplay(staged.probabilities).plot(self.axes_["probabilities"])
        self._draw_embedding()
        for ax in axes[:-1]:
            ax.set_xlabel("")
        axes[-1].set_xlabel("Hours since start of recording")
        if staged.id is not None:
            figure.suptitle(str(staged.id), x=0.01, ha="left", fontsize=10)
        return self

    def _draw_coverage(self) -> None:
        from matplotlib.colors import ListedColormap

        ax, measured = self.axes_["coverage"], self.staged.measured
        hours = len(measured) * EPOCH_SECONDS / 3600
        ax.imshow(
            measured.to_numpy().T, aspect="auto", interpolation="nearest", vmin=0, vmax=1,
            cmap=ListedColormap([_GAP, _THERE]), extent=(0, hours, measured.shape[1], 0),
        )  # fmt: skip
        for row in range(1, measured.shape[1]):
            ax.axhline(row, color="white", linewidth=1.5)
        ax.set_yticks(np.arange(measured.shape[1]) + 0.5, measured.columns, fontsize=8)
        shares = [f"{100 * share:.0f} %" for share in measured.mean()]
        for row, share in enumerate(shares):
            ax.text(1.005, row + 0.5, share, transform=ax.get_yaxis_transform(), va="center",
                    fontsize=8)  # fmt: skip
        ax.tick_params(axis="y", length=0)

    def _draw_embedding(self) -> None:
        ax, rows = self.axes_["embedding"], np.asarray(self.staged.embedding, dtype=float)
        # what the encoder makes of epochs without a signal is of those around them
        seen = self.staged.measured.to_numpy().any(axis=1)
        spread = rows[seen].std(axis=0)
        scores = (rows - rows[seen].mean(axis=0)) / np.where(spread > 0, spread, 1)
        order = _by_likeness(scores[seen])
        scores[~seen] = np.nan
        hours = len(rows) * EPOCH_SECONDS / 3600
        image = ax.imshow(
            scores.T[order], aspect="auto", interpolation="nearest", vmin=-2.5,
            vmax=2.5, cmap="cividis", extent=(0, hours, rows.shape[1], 0),
        )  # fmt: skip
        ax.set(ylabel=f"{rows.shape[1]} columns", yticks=[])
        bar = self.figure_.colorbar(image, ax=ax, pad=0.01, aspect=12)
        bar.set_label("SD of the night", fontsize=8)


def _by_likeness(scores: np.ndarray) -> np.ndarray:
    """Order of the columns by their part in the strongest pattern of the night."""
    if len(scores) < 2:
        return np.arange(scores.shape[1])
    _, _, patterns = np.linalg.svd(scores, full_matrices=False)
    first = patterns[0] * np.sign(patterns[0][np.abs(patterns[0]).argmax()])
    return np.argsort(first)
