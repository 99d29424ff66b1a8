# SPDX-License-Identifier: BSD-3-Clause
"""How much of a score hangs on each sensor."""

from __future__ import annotations

import numpy as np

from .palette import COLORS, MARKERS

__all__ = ["ModalityImportanceDisplay"]

_LABELS = {"drop": "sensor dropped", "swap": "of another person", "noise": "noise added"}


class ModalityImportanceDisplay:
    """Fall of the score by sensor, with its interval over test subjects.

    Parameters
    ----------
    results : Bunch or sequence of Bunch
        Of :func:`modality_importance`; several of one metric, such as one per method, are drawn
        side by side.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    order_ : list of str
        Sensors from top to bottom, by the first result.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.utils import Bunch
    >>> from sleep2vec_sklearn.plotting import ModalityImportanceDisplay
    >>> result = Bunch(
    ...     modalities=("eeg", "ecg"), importances_mean=np.array([0.3, 0.1]), method="drop",
    ...     low=np.array([0.2, 0.0]), high=np.array([0.4, 0.2]), metric="accuracy", baseline=0.8,
    ... )
    >>> ModalityImportanceDisplay.from_results(result).order_
    ['eeg', 'ecg']
    """

    def __init__(self, results):
        self.results = results

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        groups=None,
        *,
        methods=("drop", "swap", "noise"),
        ax=None,
        **parameters,
    ) -> ModalityImportanceDisplay:
        """Run :func:`modality_importance` with each of these methods and draw them."""
        from ..probing import modality_importance

        methods = [methods] if isinstance(methods, str) else methods
        found = [
            modality_importance(estimator, X, y, groups, method=m, **parameters) for m in methods
        ]
        return cls(found).plot(ax)

    @classmethod
    def from_results(cls, results, *, ax=None) -> ModalityImportanceDisplay:
        """Draw one result or several."""
        return cls(results).plot(ax)

    def plot(self, ax=None) -> ModalityImportanceDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Raises
        ------
        ValueError
            If results are of several metrics, or of other sensors than the first one.
        """
        results = [self.results] if hasattr(self.results, "modalities") else list(self.results)
        if any(not hasattr(result, "modalities") for result in results):
            raise ValueError("results are of several metrics; pass those of one, result['kappa'].")
        first = results[0]
        for result in results[1:]:
            if set(result.modalities) != set(first.modalities) or result.metric != first.metric:
                raise ValueError(
                    "results differ in their modalities or metric; accepted are those of one study."
                )
        order = np.argsort(-np.asarray(first.importances_mean), kind="stable")
        self.order_ = [first.modalities[k] for k in order]
        if ax is None:
            import matplotlib.pyplot as plt

            size = (6.5, 1.2 + 0.25 * len(self.order_) * len(results))
            _, ax = plt.subplots(figsize=size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        for number, result in enumerate(results):
            self._draw_method(result, number, len(results))
        ax.axvline(0, color="0.4", linewidth=0.8)
        ax.set_yticks(range(len(self.order_)), self.order_)
        ax.set(ylim=(len(self.order_) - 0.5, -0.5))
        ax.set_xlabel(f"Fall of {first.metric}, from {first.baseline:.2f} with all sensors")
        ax.grid(axis="x", linewidth=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        if len(results) > 1:
            # intervals may reach anywhere within
            ax.legend(
                frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9
            )
        return self

    def _draw_method(self, result, number: int, n_methods: int) -> None:
        places = [result.modalities.index(name) for name in self.order_]
        offset = (number - (n_methods - 1) / 2) * 0.22
        height = np.arange(len(places)) + offset
        color = COLORS[number % len(COLORS)]
        self.ax_.hlines(height, result.low[places], result.high[places], color=color, linewidth=1)
        self.ax_.plot(
            np.asarray(result.importances_mean)[places],
            height,
            MARKERS[number % len(MARKERS)],
            color=color,
            markersize=5,
            label=_LABELS.get(result.method, result.method),
        )
