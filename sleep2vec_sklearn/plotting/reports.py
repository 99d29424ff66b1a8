# SPDX-License-Identifier: BSD-3-Clause
"""Displays of evaluations: confusion, agreement, calibration and review."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._display import COLORS, label_cells, make_axes, pick_metric, style_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from ..evaluation.outcomes import CalibrationReport
    from ..evaluation.review import ReviewCurve
    from ..evaluation.staging import StagingReport

_UNITS = {"_min": "min", "_pct": "%"}
_MEASURE_NAMES = {
    "tst": "total sleep time", "sleep_efficiency": "sleep efficiency", "sol": "sleep onset latency",
    "rem_latency": "REM latency", "waso": "wake after sleep onset", "light": "N1 and N2",
    "nrem": "NREM",
}  # fmt: skip


@dataclass(eq=False, repr=False)
class StageConfusionDisplay:
    """How often a scored stage is predicted as each stage.

    Parameters
    ----------
    confusion : DataFrame
        Counts, scored stages in rows, as :class:`StagingReport` has them.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    image_ : AxesImage
    texts_ : ndarray of Text
        Share of the row, and the count below it.

    Examples
    --------
    >>> from sleep2vec_sklearn import staging_report
    >>> from sleep2vec_sklearn.plotting import StageConfusionDisplay
    >>> report = staging_report([0, 1, 2, 2, 3, 4], [0, 2, 2, 2, 3, 4], n_resamples=10)
    >>> StageConfusionDisplay.from_report(report).texts_[1, 2].get_text()
    '100 %\\n1'
    """

    confusion: pd.DataFrame

    @classmethod
    def from_report(cls, report: StagingReport, *, ax: Axes | None = None) -> StageConfusionDisplay:
        """Draw the confusion matrix of a :class:`StagingReport`."""
        return cls(report.confusion).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any, *, n_classes: int = 5, ax: Axes | None = None
    ) -> StageConfusionDisplay:
        """Draw the confusion matrix of stages; see :func:`staging_report` for the parameters."""
        from ..evaluation.staging import staging_report

        report = staging_report(y_true, y_pred, n_classes=n_classes, n_resamples=1)
        return cls.from_report(report, ax=ax)

    def plot(self, ax: Axes | None = None) -> StageConfusionDisplay:
        """Draw on ``ax``, by default in a new figure."""
        counts = self.confusion.to_numpy()
        side = 1.4 + 0.75 * len(counts)
        self.figure_, self.ax_ = make_axes(ax, side + 0.8, side)
        with np.errstate(invalid="ignore"):
            shares = counts / counts.sum(axis=1, keepdims=True)
        self.image_ = self.ax_.imshow(shares, cmap="cividis", vmin=0, vmax=1)
        self.texts_ = np.empty(counts.shape, dtype=object)
        for (row, column), share in np.ndenumerate(shares):
            known = np.isfinite(share)
            text = f"{100 * share:.0f} %\n{counts[row, column]}" if known else "-"
            color = "white" if known and share <= 0.5 else "black"
            self.texts_[row, column] = self.ax_.text(
                column, row, text, ha="center", va="center", color=color, fontsize=9
            )
        self.ax_.set(xlabel="predicted", ylabel="scored")
        label_cells(self.ax_, self.confusion.index, self.confusion.columns)
        label = "share of the scored epochs"
        self.figure_.colorbar(self.image_, ax=self.ax_, label=label, shrink=0.8)
        return self


@dataclass(eq=False, repr=False)
class BlandAltmanDisplay:
    """Predicted minus reference value of every night, with bias and limits of agreement.

    Parameters
    ----------
    reference, measured : array-like of shape (n_nights,)
        Nights in which either is NaN are left out.
    summary : Series
        Bias and limits with their confidence intervals, as :func:`bland_altman` returns them.
    name, unit : str, optional
        For the labels.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
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

    reference: Any
    measured: Any
    summary: Any
    _: KW_ONLY
    name: str = ""
    unit: str = ""

    @classmethod
    def from_measures(
        cls, reference: Any, measured: Any, *, groups: Any = None, name: str = "", unit: str = "",
        ax: Axes | None = None,
    ) -> BlandAltmanDisplay:  # fmt: skip
        """Compute bias and limits, and draw; see :func:`bland_altman`."""
        from ..evaluation.agreement import bland_altman

        summary = bland_altman(reference, measured, groups=groups)
        return cls(reference, measured, summary, name=name, unit=unit).plot(ax=ax)

    @classmethod
    def from_report(
        cls, report: StagingReport, measure: str = "tst_min", *, ax: Axes | None = None
    ) -> BlandAltmanDisplay:
        """Draw one measure of a :class:`StagingReport`, a row of its ``bland_altman``.

        Raises a ValueError if there is no such measure.
        """
        if measure not in report.bland_altman.index:
            raise ValueError(
                f"measure={measure!r}; the report has {', '.join(report.bland_altman.index)}."
            )
        nights = report.nights[report.nights["measure"] == measure]
        unit = _UNITS.get(measure[-4:], "")
        stem = measure.removesuffix("_min").removesuffix("_pct")
        name = _MEASURE_NAMES.get(stem, stem.upper())
        summary = report.bland_altman.loc[measure]
        display = cls(nights["reference"], nights["predicted"], summary, name=name, unit=unit)
        return display.plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> BlandAltmanDisplay:
        """Draw on ``ax``, by default in a new figure."""
        self.figure_, self.ax_ = make_axes(ax, 5.5, 4)
        reference, measured = (np.asarray(v, dtype=float) for v in (self.reference, self.measured))
        self.points_ = self.ax_.scatter(
            (reference + measured) / 2, measured - reference, s=18, color=COLORS[0], alpha=0.75
        )
        self.lines_: dict[str, Line2D] = {}
        for name, style in (("bias", "-"), ("lower", "--"), ("upper", "--")):
            self._draw_line(name, style)
        unit = f" ({self.unit})" if self.unit else ""
        self.ax_.set(xlabel=f"mean of both{unit}", ylabel=f"predicted - reference{unit}")
        self.ax_.set_title(self.name)
        self.ax_.axhline(0, color="0.6", linewidth=0.6, zorder=0)
        style_axes(self.ax_)
        self.ax_.margins(x=0.08, y=0.15)
        return self

    def _draw_line(self, name: str, style: str) -> None:
        value, color = self.summary[name], COLORS[1]
        if not np.isfinite(value):
            return
        self.lines_[name] = self.ax_.axhline(value, color=color, linestyle=style, linewidth=1.2)
        low, high = self.summary[f"{name}_low"], self.summary[f"{name}_high"]
        if np.isfinite([low, high]).all():
            self.ax_.axhspan(low, high, color=color, alpha=0.12, linewidth=0)
        self.ax_.annotate(
            f"{value:+.1f}", (1.01, value), xycoords=("axes fraction", "data"), va="center",
            fontsize=9, color=color,
        )  # fmt: skip


@dataclass(eq=False, repr=False)
class ReliabilityDisplay:
    """Calibration curve of scikit-learn, with calibration scores and the distribution of risks.

    Parameters
    ----------
    report : CalibrationReport
    name : str, optional
        Of the model, for the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    display_ : sklearn.calibration.CalibrationDisplay

    Examples
    --------
    >>> from sleep2vec_sklearn.plotting import ReliabilityDisplay
    >>> display = ReliabilityDisplay.from_predictions([0, 0, 1, 1, 0, 1], [.1, .6, .4, .8, .2, .9])
    >>> display.ax_.get_ylabel()
    'observed rate'
    """

    report: CalibrationReport
    _: KW_ONLY
    name: str | None = None

    @classmethod
    def from_report(
        cls, report: CalibrationReport, *, name: str | None = None, ax: Axes | None = None
    ) -> ReliabilityDisplay:
        """Draw a :class:`CalibrationReport`."""
        return cls(report, name=name).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: Any, probability: Any, *, name: str | None = None, ax: Axes | None = None,
        **parameters: Any,
    ) -> ReliabilityDisplay:  # fmt: skip
        """Compute and draw; see :func:`calibration_report` for the parameters."""
        from ..evaluation.outcomes import calibration_report

        return cls(calibration_report(y_true, probability, **parameters), name=name).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> ReliabilityDisplay:
        """Draw on ``ax``, by default in a new figure."""
        from sklearn.calibration import CalibrationDisplay

        self.figure_, self.ax_ = make_axes(ax, 4.8, 4.8)
        columns = self.report.curve[["observed", "predicted"]].to_numpy().T
        probability = self.report.probability
        display = CalibrationDisplay(*columns, probability, estimator_name=self.name)
        self.display_ = display.plot(ax=self.ax_, color=COLORS[0], name=self.name or "predicted")
        self.ax_.vlines(probability, -0.045, -0.02, color=COLORS[0], alpha=0.25, linewidth=0.6)
        self.ax_.set(xlabel="predicted probability", ylabel="observed rate", xlim=(-0.02, 1.02))
        self.ax_.set(ylim=(-0.05, 1.05), aspect="equal")
        rows = self.report.scores[["value", "low", "high"]].itertuples()
        scores = [f"{name:9s} {v:5.2f} [{low:5.2f}, {high:5.2f}]" for name, v, low, high in rows]
        self.ax_.text(0.97, 0.05, "\n".join(scores), transform=self.ax_.transAxes, ha="right",
                      va="bottom", fontsize=9, family="monospace")  # fmt: skip
        self.ax_.legend(loc="upper left", frameon=False, fontsize=9)
        style_axes(self.ax_)
        return self


@dataclass(eq=False, repr=False)
class ReviewDisplay:
    """Agreement after the review of a share of epochs, least certain first, and at random.

    Parameters
    ----------
    curve : ReviewCurve
    metric : {"kappa", "accuracy", "macro_f1"}, default="kappa"
    name : str, optional
        Of the model, for the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    line_, random_line_ : Line2D
    band_ : PolyCollection
        The confidence interval.

    Examples
    --------
    >>> from sleep2vec_sklearn.plotting import ReviewDisplay
    >>> p = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.4, 0.6]]
    >>> display = ReviewDisplay.from_predictions([0, 1, 1, 0], p, metric="accuracy")
    >>> display.line_.get_ydata()[[0, -1]]
    array([0.5, 1. ])
    """

    curve: ReviewCurve
    _: KW_ONLY
    metric: str = "kappa"
    name: str | None = None

    @classmethod
    def from_report(
        cls, curve: ReviewCurve, *, metric: str = "kappa", name: str | None = None,
        ax: Axes | None = None,
    ) -> ReviewDisplay:  # fmt: skip
        """Draw a :class:`ReviewCurve`."""
        return cls(curve, metric=metric, name=name).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: Any, probabilities: Any, *, groups: Any = None, metric: str = "kappa",
        name: str | None = None, ax: Axes | None = None, **parameters: Any,
    ) -> ReviewDisplay:  # fmt: skip
        """Compute and draw; see :func:`review_curve` for the parameters."""
        from ..evaluation.review import review_curve

        curve = review_curve(y_true, probabilities, groups, **parameters)
        return cls(curve, metric=metric, name=name).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> ReviewDisplay:
        """Draw on ``ax``, by default in a new figure; a ValueError if there is no such metric."""
        rows, metric = pick_metric(self.curve.table, self.metric)
        self.figure_, self.ax_ = make_axes(ax, 5, 3.6)
        percent = 100 * rows["share"]
        (self.line_,) = self.ax_.plot(
            percent, rows["value"], color=COLORS[0], marker="o", markersize=4,
            label=self.name or "least certain first",
        )  # fmt: skip
        self.band_ = self.ax_.fill_between(
            percent, rows["low"], rows["high"], color=COLORS[0], alpha=0.18, linewidth=0
        )
        (self.random_line_,) = self.ax_.plot(
            percent, rows["random"], color="0.4", linestyle="--", label="at random"
        )
        self.ax_.set(xlabel="epochs reviewed (%)", ylabel=metric.replace("_", " "), xlim=(0, None))
        self.ax_.legend(frameon=False, loc="lower right")
        style_axes(self.ax_, grid="y")
        return self
