# SPDX-License-Identifier: BSD-3-Clause
"""Scores while sensors are lost."""

from __future__ import annotations

from .palette import COLORS, MARKERS, pick_metric

__all__ = ["ModalityDropoutDisplay"]

_LABELS = {
    "night": "whole nights of a sensor",
    "epoch": "single epochs",
    "block": "one stretch of the night",
}


class ModalityDropoutDisplay:
    """Score against the share of sensors lost, one line per pattern of loss.

    Parameters
    ----------
    result : ModalityDropout
        Of :func:`modality_dropout_curve`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to Line2D
        By pattern.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.plotting import ModalityDropoutDisplay
    >>> nights = make_sleep_cohort(
    ...     4, hours=1, modalities=["ibi", "spo2"], missing=0, random_state=0
    ... )
    >>> X = EpochSequence(nights)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(max_iter=1000))
    >>> display = ModalityDropoutDisplay.from_estimator(
    ...     model, X, X.stages > 0, X.groups, cv=2, patterns="block", fractions=[0, 0.5]
    ... )
    >>> [round(float(share), 2) for share in display.lines_["block"].get_xdata()]
    [0.0, 0.5]
    """

    def __init__(self, result):
        self.result = result

    @classmethod
    def from_estimator(cls, estimator, X, y, groups=None, *, metric=None, ax=None, **parameters):
        """Run :func:`modality_dropout_curve` with these parameters and draw it."""
        from ..probing import modality_dropout_curve

        result = modality_dropout_curve(estimator, X, y, groups, **parameters)
        return cls(result).plot(ax, metric=metric)

    @classmethod
    def from_results(cls, result, *, metric=None, ax=None) -> ModalityDropoutDisplay:
        """Draw a result; see :meth:`plot`."""
        return cls(result).plot(ax, metric=metric)

    def plot(self, ax=None, *, metric=None) -> ModalityDropoutDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        metric : str, optional
            The first one by default.

        Raises
        ------
        ValueError
            If the metric is not in the result.
        """
        table, metric = pick_metric(self.result.summary, metric)
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(6, 4), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_ = {}
        for place, (pattern, rows) in enumerate(table.groupby("pattern", sort=False)):
            color = COLORS[place % len(COLORS)]
            ax.fill_between(rows["lost"], rows["low"], rows["high"], color=color, alpha=0.12, lw=0)
            (self.lines_[pattern],) = ax.plot(
                rows["lost"],
                rows["score"],
                color=color,
                marker=MARKERS[place],
                markersize=5,
                label=_LABELS[pattern],
            )
        ax.set(xlabel="Share of the sensors' epochs lost", ylabel=metric)
        ax.legend(frameon=False, title="Lost at random")
        ax.grid(linewidth=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        return self
