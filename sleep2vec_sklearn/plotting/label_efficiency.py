# SPDX-License-Identifier: BSD-3-Clause
"""Label-efficiency curves."""

from __future__ import annotations

from .palette import COLORS, MARKERS, pick_metric

__all__ = ["LabelEfficiencyDisplay"]


class LabelEfficiencyDisplay:
    """Score against the number of people whose labels were used, one line per estimator.

    Parameters
    ----------
    result : LabelEfficiency
        Of :func:`label_efficiency_curve`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to Line2D
        By estimator.
    bands_ : dict of str to PolyCollection
        Intervals over test subjects.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn.plotting import LabelEfficiencyDisplay
    >>> rng = np.random.default_rng(0)
    >>> people, y = np.repeat(np.arange(9), 30), rng.integers(0, 2, 270)
    >>> X = rng.normal(size=(270, 3)) + y[:, None]
    >>> display = LabelEfficiencyDisplay.from_estimator(
    ...     LogisticRegression(), X, y, people, sizes=[1, 2, 4], cv=3, n_repeats=2
    ... )
    >>> display.lines_["estimator"].get_xdata().tolist()
    [1, 2, 4]
    """

    def __init__(self, result):
        self.result = result

    @classmethod
    def from_estimator(cls, estimator, X, y, groups=None, *, metric=None, ax=None, **parameters):
        """Run :func:`label_efficiency_curve` with these parameters and draw it."""
        from ..probing import label_efficiency_curve

        result = label_efficiency_curve(estimator, X, y, groups, **parameters)
        return cls(result).plot(ax, metric=metric)

    @classmethod
    def from_results(cls, result, *, metric=None, ax=None) -> LabelEfficiencyDisplay:
        """Draw a result; see :meth:`plot`."""
        return cls(result).plot(ax, metric=metric)

    def plot(self, ax=None, *, metric=None) -> LabelEfficiencyDisplay:
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
        self.lines_, self.bands_ = {}, {}
        for place, (name, rows) in enumerate(table.groupby("estimator", sort=False)):
            color = COLORS[place % len(COLORS)]
            self.bands_[name] = ax.fill_between(
                rows["n_subjects"], rows["low"], rows["high"], color=color, alpha=0.15, linewidth=0
            )
            (self.lines_[name],) = ax.plot(
                rows["n_subjects"],
                rows["score"],
                color=color,
                marker=MARKERS[place % len(MARKERS)],
                markersize=5,
                label=name,
            )
        sizes = sorted(table["n_subjects"].unique())
        ax.set_xscale("log", base=2)
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
        by = "mean over test subjects" if self.result.average == "subject" else "all test rows"
        ax.set(xlabel="Subjects with labels", ylabel=f"{metric} ({by})")
        ax.grid(linewidth=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        if len(self.lines_) > 1:
            ax.legend(frameon=False)
        return self
