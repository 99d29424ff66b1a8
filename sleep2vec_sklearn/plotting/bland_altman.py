# SPDX-License-Identifier: BSD-3-Clause
"""Differences of two measures over their mean."""

from __future__ import annotations

import numpy as np

from .palette import COLORS

__all__ = ["BlandAltmanDisplay"]

_UNITS = {"_min": "min", "_pct": "%"}
_NAMES = {
    "tst": "total sleep time",
    "sleep_efficiency": "sleep efficiency",
    "sol": "sleep onset latency",
    "rem_latency": "REM latency",
    "waso": "wake after sleep onset",
    "light": "N1 and N2",
    "nrem": "NREM",
}
_POINTS, _LINES = COLORS[:2]


class BlandAltmanDisplay:
    """Predicted minus reference of every night, with bias and limits of agreement.

    Parameters
    ----------
    reference, measured : array-like of shape (n_nights,)
        Nights in which either is NaN are left out.
    summary : Series
        Bias and limits with their intervals, as :func:`bland_altman` gives them.
    name, unit : str, optional
        For the labels.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : PathCollection
        The nights.
    lines_ : dict of str to Line2D
        "bias", "lower" and "upper".

    Examples
    --------
    >>> from sleep2vec_sklearn.plotting import BlandAltmanDisplay
    >>> display = BlandAltmanDisplay.from_measures([400, 420, 380], [405, 430, 385])
    >>> display.lines_["bias"].get_ydata()[0].round(2)
    np.float64(6.67)
    """

    def __init__(self, reference, measured, summary, *, name: str = "", unit: str = ""):
        self.reference = reference
        self.measured = measured
        self.summary = summary
        self.name = name
        self.unit = unit

    @classmethod
    def from_measures(
        cls, reference, measured, *, groups=None, name: str = "", unit: str = "", ax=None
    ) -> BlandAltmanDisplay:
        """Compute bias and limits, and draw; see :func:`bland_altman`."""
        from ..evaluation.bland_altman import bland_altman

        summary = bland_altman(reference, measured, groups=groups)
        return cls(reference, measured, summary, name=name, unit=unit).plot(ax=ax)

    @classmethod
    def from_report(cls, report, measure: str = "tst_min", *, ax=None) -> BlandAltmanDisplay:
        """Draw one measure of a :class:`StagingReport`.

        Parameters
        ----------
        report : StagingReport
        measure : str, default="tst_min"
            A row of ``report.bland_altman``.
        ax : matplotlib Axes, optional

        Raises
        ------
        ValueError
            If there is no such measure.
        """
        if measure not in report.bland_altman.index:
            raise ValueError(
                f"measure={measure!r}; the report has {', '.join(report.bland_altman.index)}."
            )
        nights = report.nights[report.nights["measure"] == measure]
        unit = _UNITS.get(measure[-4:], "")
        stem = measure.removesuffix("_min").removesuffix("_pct")
        name = _NAMES.get(stem, stem.upper())
        summary = report.bland_altman.loc[measure]
        display = cls(nights["reference"], nights["predicted"], summary, name=name, unit=unit)
        return display.plot(ax=ax)

    def plot(self, ax=None) -> BlandAltmanDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        """
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(5.5, 4), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        reference, measured = (np.asarray(v, dtype=float) for v in (self.reference, self.measured))
        self.points_ = ax.scatter(
            (reference + measured) / 2, measured - reference, s=18, color=_POINTS, alpha=0.75
        )
        self.lines_ = {}
        for name in ("bias", "lower", "upper"):
            self._draw_line(name)
        unit = f" ({self.unit})" if self.unit else ""
        ax.set(xlabel=f"mean of both{unit}", ylabel=f"predicted - reference{unit}")
        ax.set_title(self.name)
        ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.08, y=0.15)
        return self

    def _draw_line(self, name: str) -> None:
        value = self.summary[name]
        if not np.isfinite(value):
            return
        style = "-" if name == "bias" else "--"
        self.lines_[name] = self.ax_.axhline(value, color=_LINES, linestyle=style, linewidth=1.2)
        low, high = self.summary[f"{name}_low"], self.summary[f"{name}_high"]
        if np.isfinite([low, high]).all():
            self.ax_.axhspan(low, high, color=_LINES, alpha=0.12, linewidth=0)
        self.ax_.annotate(
            f"{value:+.1f}", (1.01, value), xycoords=("axes fraction", "data"), va="center",
            fontsize=9, color=_LINES,
        )  # fmt: skip
