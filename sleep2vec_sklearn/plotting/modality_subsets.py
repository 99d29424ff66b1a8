# SPDX-License-Identifier: BSD-3-Clause
"""Scores by subset of the sensors."""

from __future__ import annotations

import numpy as np

from .palette import COLORS, annotate_cells, pick_metric

__all__ = ["ModalitySubsetsDisplay"]

KINDS = ("auto", "subsets", "heatmap")
_MOST_LINES = 31


class ModalitySubsetsDisplay:
    """Score of each subset of sensors; or, of many subsets, their means in a heatmap.

    Parameters
    ----------
    result : ModalitySubsets
        Of :func:`modality_subset_scores`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    table_ : DataFrame
        What is drawn: the summary's rows from top to bottom; or the mean score by a sensor and the
        number of sensors in the subsets that hold it.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.plotting import ModalitySubsetsDisplay
    >>> nights = make_sleep_cohort(
    ...     4, hours=1, modalities=["ibi", "spo2"], missing=0, random_state=0
    ... )
    >>> X = EpochSequence(nights)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(max_iter=1000))
    >>> display = ModalitySubsetsDisplay.from_estimator(model, X, X.stages > 0, X.groups, cv=2)
    >>> display.table_["subset"].tolist()
    ['spo2', 'ibi', 'spo2 + ibi']
    """

    def __init__(self, result):
        self.result = result

    @classmethod
    def from_estimator(
        cls, estimator, X, y, groups=None, *, metric=None, kind="auto", ax=None, **parameters
    ) -> ModalitySubsetsDisplay:
        """Run :func:`modality_subset_scores` with these parameters and draw it."""
        from ..probing import modality_subset_scores

        result = modality_subset_scores(estimator, X, y, groups, **parameters)
        return cls(result).plot(ax, metric=metric, kind=kind)

    @classmethod
    def from_results(cls, result, *, metric=None, kind="auto", ax=None) -> ModalitySubsetsDisplay:
        """Draw a result; see :meth:`plot`."""
        return cls(result).plot(ax, metric=metric, kind=kind)

    def plot(self, ax=None, *, metric=None, kind="auto") -> ModalitySubsetsDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        metric : str, optional
            The first one by default.
        kind : {"auto", "subsets", "heatmap"}
            One line per subset with its interval; or the mean over the subsets that hold a sensor,
            by their size. "auto" takes the heatmap for more than 31 subsets.

        Raises
        ------
        ValueError
            If the metric is not in the result, or the kind is unknown.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}; got {kind!r}.")
        rows, metric = pick_metric(self.result.summary, metric)
        if kind == "auto":
            kind = "subsets" if len(rows) <= _MOST_LINES else "heatmap"
        n_lines = len(rows) if kind == "subsets" else len(self.result.modalities)
        if ax is None:
            import matplotlib.pyplot as plt

            size = (6.5, 1.2 + (0.22 if kind == "subsets" else 0.42) * n_lines)
            _, ax = plt.subplots(figsize=size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        if kind == "subsets":
            self._draw_lines(rows, metric)
        else:
            self._draw_heatmap(rows, metric)
        return self

    def _draw_lines(self, rows, metric: str) -> None:
        # best of its size first, so that the eye follows what one more sensor adds
        rows = rows.sort_values(["n_modalities", "score"], kind="stable").reset_index(drop=True)
        self.table_ = rows
        height = np.arange(len(rows))
        sizes = rows["n_modalities"].to_numpy()
        for place, size in enumerate(np.unique(sizes)):
            mine = sizes == size
            part, color = rows[mine], COLORS[place % len(COLORS)]
            self.ax_.hlines(height[mine], part["low"], part["high"], color=color, linewidth=1)
            self.ax_.plot(part["score"], height[mine], "o", color=color, markersize=5)
        self.ax_.set_yticks(height, rows["subset"])
        for edge in np.flatnonzero(np.diff(sizes)) + 0.5:
            self.ax_.axhline(edge, color="0.8", linewidth=0.5)
        self.ax_.set(xlabel=metric, ylim=(len(rows) - 0.4, -0.6))
        self.ax_.grid(axis="x", linewidth=0.3)
        self.ax_.spines[["top", "right"]].set_visible(False)

    def _draw_heatmap(self, rows, metric: str) -> None:
        import pandas as pd

        names = list(self.result.modalities)
        parts = rows["subset"].str.split(" + ", regex=False)
        spread = rows.assign(modality=parts).explode("modality")
        table = spread.pivot_table(index="modality", columns="n_modalities", values="score")
        self.table_ = pd.DataFrame(table).reindex(names)
        values = self.table_.to_numpy(dtype=float)
        image = self.ax_.imshow(values, cmap="viridis", aspect="auto")
        annotate_cells(image, values, lambda r, c: f"{values[r, c]:.2f}")
        self.ax_.set_yticks(range(len(names)), names)
        self.ax_.set_xticks(range(values.shape[1]), self.table_.columns)
        self.ax_.set(xlabel="Number of sensors", ylabel="Subsets that hold")
        self.figure_.colorbar(image, ax=self.ax_, label=f"mean {metric}")
