# SPDX-License-Identifier: BSD-3-Clause
"""Scaling laws, and where they stop being measurements."""

from __future__ import annotations

import numpy as np

from .palette import COLORS

__all__ = ["ScalingLawDisplay"]

_LABELS = {
    "n_nights": "Nights that train",
    "n_modalities": "Modalities",
    "n_parameters": "Parameters",
    "loss": "Held-out contrastive loss (nats)",
}
_POINTS_DRAWN = 100


class ScalingLawDisplay:
    """Measured points, the law through them, and its extrapolation, dashed and named so.

    Parameters
    ----------
    law : ScalingLaw
        Of :func:`fit_scaling_law`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to Line2D
        "measured", "law" and "extrapolated".

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn import fit_scaling_law
    >>> from sleep2vec_sklearn.plotting import ScalingLawDisplay
    >>> n = [8, 16, 32, 64]
    >>> points = pd.DataFrame({"n_nights": n, "loss": [2.4, 2.0, 1.7, 1.5]})
    >>> display = ScalingLawDisplay.from_results(
    ...     fit_scaling_law(points, x="n_nights", n_resamples=50)
    ... )
    >>> display.lines_["extrapolated"].get_linestyle()
    '--'
    """

    def __init__(self, law):
        self.law = law

    @classmethod
    def from_estimator(
        cls, pretrainer, X, sweep, *, y="loss", extrapolate=4.0, ax=None, **parameters
    ) -> ScalingLawDisplay:
        """Run :func:`run_scaling_sweep` along one axis, fit the law, and draw it.

        Parameters
        ----------
        pretrainer : Sleep2VecPretrainer
        X : list of Recording or dict, NightStore, or path of a store's folder
        sweep : mapping of one axis to its values
        """
        from ..probing import fit_scaling_law, run_scaling_sweep

        points = run_scaling_sweep(pretrainer, X, sweep, **parameters)
        return cls(fit_scaling_law(points, y=y)).plot(ax, extrapolate=extrapolate)

    @classmethod
    def from_results(cls, law, *, extrapolate=4.0, ax=None) -> ScalingLawDisplay:
        """Draw a law; see :meth:`plot`."""
        return cls(law).plot(ax, extrapolate=extrapolate)

    def plot(self, ax=None, *, extrapolate=4.0) -> ScalingLawDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        extrapolate : float, default=4.0
            How many times beyond the largest size measured; 1 for not at all.

        Raises
        ------
        ValueError
            If ``extrapolate`` is below 1.
        """
        if extrapolate < 1:
            raise ValueError(f"extrapolate must be at least 1, got {extrapolate!r}.")
        law = self.law
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(5.5, 4), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        low, high = law.points["x"].min(), law.points["x"].max()
        color = COLORS[0]
        self.lines_ = {}
        (self.lines_["measured"],) = ax.plot(
            law.points["x"], law.points["y"], "o", color="0.25", markersize=4, label="measured"
        )
        self._draw_part("law", (low, high), color, "-", 0.25, self._describe())
        if extrapolate > 1:
            beyond = (high, high * extrapolate)
            self._draw_part("extrapolated", beyond, COLORS[1], "--", 0.12, "extrapolated")
            ax.axvline(high, color="0.6", linewidth=0.8, linestyle=":")
        ax.set_xscale("log")
        self._label_sizes(low, high * extrapolate)
        ax.set_xlabel(_LABELS.get(law.x_name, law.x_name))
        ax.set_ylabel(_LABELS.get(law.y_name, law.y_name))
        # above, as points may be anywhere within
        ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
        ax.grid(linewidth=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        return self

    def _draw_part(self, name: str, ends, color: str, style: str, alpha: float, label: str):
        curve = self.law.predict(np.geomspace(*ends, _POINTS_DRAWN))
        self.ax_.fill_between(
            curve["x"], curve["low"], curve["high"], color=color, alpha=alpha, linewidth=0
        )
        (self.lines_[name],) = self.ax_.plot(
            curve["x"], curve["y"], style, color=color, linewidth=1.5, label=label
        )

    def _label_sizes(self, low: float, high: float) -> None:
        """Name the sizes themselves where they are few and small."""
        sizes = np.unique(self.law.points["x"])
        if len(sizes) <= 8 and high < 10_000:
            beyond = [high] if high > sizes[-1] else []
            ticks = [*sizes, *beyond]
            self.ax_.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            self.ax_.minorticks_off()

    def _describe(self) -> str:
        law = self.law
        c = law.parameters.set_index("parameter").loc["c"]
        sign = "+" if law.b >= 0 else "-"
        return (
            rf"${law.a:.2f} {sign} {abs(law.b):.3g}\,n^{{-c}}$, c = {c['value']:.2f} "
            f"({c['low']:.2f} to {c['high']:.2f})"
        )
