# SPDX-License-Identifier: BSD-3-Clause
"""Displays of evaluations: confusion, agreement, calibration and survival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.survival import kaplan_meier, read_outcome
from ..evaluation.survival_scores import check_risks
from ._display import COLORS, label_cells, make_axes, style_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.lines import Line2D

    from ..evaluation.outcomes import CalibrationReport
    from ..evaluation.staging import StagingReport

_UNITS = {"_min": "min", "_pct": "%"}
_MEASURE_NAMES = {
    "tst": "total sleep time", "sleep_efficiency": "sleep efficiency", "sol": "sleep onset latency",
    "rem_latency": "REM latency", "waso": "wake after sleep onset", "light": "N1 and N2",
    "nrem": "NREM",
}  # fmt: skip
# tell the curves apart in print
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
_RISK_GROUPS: dict[int, Sequence[str]] = {
    2: ("low risk", "high risk"),
    3: ("low risk", "middle risk", "high risk"),
}


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
class KaplanMeierDisplay:
    """Event-free survival over time in each of some groups.

    Parameters
    ----------
    groups : mapping of str to structured ndarray of shape (n,)
        Name and outcomes of each group, as :func:`survival_outcome` makes them; six at most.
    level : float or None, default=0.95
        Of the pointwise confidence bands; None draws none.
    unit : str
        Of the times, for the axis.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    curves_ : dict of str to KaplanMeier
    lines_ : dict of str to Line2D
    bands_ : dict of str to PolyCollection
        Empty without bands.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import survival_outcome
    >>> from sleep2vec_sklearn.plotting import KaplanMeierDisplay
    >>> y = survival_outcome([True, False, True, False], [5.0, 8.0, 3.0, 9.0])
    >>> list(KaplanMeierDisplay.from_predictions(y, [0.4, 0.1, 0.9, 0.2]).curves_)
    ['low risk', 'high risk']
    """

    groups: Mapping[str, Any]
    _: KW_ONLY
    level: float | None = 0.95
    unit: str = "years"

    @classmethod
    def from_predictions(
        cls, y: Any, risk: Any, *, n_groups: int = 2, thresholds: Any = None, outcome: int = 0,
        level: float | None = 0.95, unit: str = "years", ax: Axes | None = None,
    ) -> KaplanMeierDisplay:  # fmt: skip
        """Draw groups of equal size by risk.

        Parameters
        ----------
        y : structured array of shape (n,) or (n, k)
        risk : array-like of the same shape
        n_groups : int
            From two to six.
        thresholds : array-like of shape (n_groups - 1,), optional
            Ascending risks that begin the next group, such as quantiles in the training set. By
            default quantiles of ``risk``.
        outcome : int
            Which of several outcomes.
        level, unit, ax
            See the class and :meth:`plot`.

        Raises a ValueError if a group is empty, or arguments do not fit.
        """
        outcomes = read_outcome(y)
        if not 0 <= outcome < outcomes.n_outcomes:
            raise ValueError(f"outcome={outcome!r}: y holds {outcomes.n_outcomes}, from 0 on.")
        known = ~np.isnan(outcomes.time[:, outcome])
        risk = check_risks(risk, outcomes)[known, outcome]
        y = np.asarray(y if y.ndim == 1 else y[:, outcome])[known]
        if thresholds is None:
            thresholds = np.quantile(risk, np.arange(1, n_groups) / n_groups)
        thresholds = np.asarray(thresholds, dtype=np.float64)
        n_groups = len(thresholds) + 1
        if not 2 <= n_groups <= len(COLORS):
            raise ValueError(f"n_groups must be from 2 to {len(COLORS)}, got {n_groups}.")
        group = np.searchsorted(thresholds, risk, side="right")
        numbered = [f"risk group {number + 1}" for number in range(n_groups)]
        names = _RISK_GROUPS.get(n_groups, numbered)
        groups = {name: y[group == index] for index, name in enumerate(names)}
        empty = [name for name, members in groups.items() if not len(members)]
        if empty:
            raise ValueError(
                f"nobody is in the group {empty[0]!r}: risks are from {risk.min():g} to "
                f"{risk.max():g}, thresholds {thresholds}. Choose fewer groups or other thresholds."
            )
        return cls(groups, level=level, unit=unit).plot(ax=ax)

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, **options: Any) -> KaplanMeierDisplay:
        """Draw groups by the risk that a fitted estimator predicts, as :meth:`from_predictions`."""
        return cls.from_predictions(y, estimator.predict(X), **options)

    def plot(self, ax: Axes | None = None) -> KaplanMeierDisplay:
        """Draw on ``ax``, by default in a new figure.

        Raises a ValueError if there are no groups, or more than six.
        """
        if not 1 <= len(self.groups) <= len(COLORS):
            raise ValueError(f"groups must be from 1 to {len(COLORS)}, got {len(self.groups)}.")
        level = 0.95 if self.level is None else self.level
        self.curves_ = {name: kaplan_meier(y, level=level) for name, y in self.groups.items()}
        self.figure_, self.ax_ = make_axes(ax, 6.4, 4.2 + 0.2 * len(self.groups))
        self.lines_: dict[str, Line2D] = {}
        self.bands_: dict[str, PolyCollection] = {}
        # of three groups, the highest risk is in the colour that it has of two
        order = (0, 2, 1) if len(self.curves_) == 3 else range(len(self.curves_))
        for name, index, dashes in zip(self.curves_, order, _DASHES, strict=False):
            self._draw_curve(name, COLORS[index], dashes)
        self._label_axes()
        self._write_numbers_at_risk()
        return self

    def _draw_curve(self, name: str, color: str, dashes: Any) -> None:
        curve = self.curves_[name]
        times = np.append(0.0, curve.times)
        (self.lines_[name],) = self.ax_.step(
            times, np.append(1.0, curve.survival), where="post", color=color, linestyle=dashes,
            linewidth=1.8, label=f"{name} ({curve.n_events.sum()} of {len(self.groups[name])})",
        )  # fmt: skip
        _, event, time, _ = read_outcome(self.groups[name]).column(0)
        censored = np.unique(time[~event])
        self.ax_.plot(censored, curve.at(censored), "|", color=color, markersize=5, alpha=0.6)
        if self.level is not None:
            lower, upper = np.append(1.0, curve.lower), np.append(1.0, curve.upper)
            self.bands_[name] = self.ax_.fill_between(
                times, lower, upper, step="post", color=color, alpha=0.18, linewidth=0
            )

    def _label_axes(self) -> None:
        longest = max(curve.times[-1] for curve in self.curves_.values())
        self.ax_.set(xlim=(0, longest), ylim=(0, 1.02), ylabel="Event-free survival")
        self.ax_.set_xlabel(f"Time ({self.unit})")
        # more than three would cover the curves
        beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
        position = beside if len(self.groups) > 3 else {"loc": "lower left"}
        title = "Group (events of subjects)"
        self.ax_.legend(frameon=False, title=title, alignment="left", **position)
        style_axes(self.ax_)

    def _write_numbers_at_risk(self) -> None:
        """A row per group below the axis, at its ticks."""
        low, high = self.ax_.get_xlim()
        ticks = [tick for tick in self.ax_.get_xticks() if low <= tick <= high]
        self._write("Number at risk", low, row=-1, ha="left")
        for row, (name, y) in enumerate(self.groups.items()):
            color = self.lines_[name].get_color()
            _, _, time, entry = read_outcome(y).column(0)
            for tick in ticks:
                at_risk = (time >= tick) & ((entry < tick) | np.isinf(entry))
                self._write(str(at_risk.sum()), tick, row, ha="center", color=color)
            self._write(f"  {name}", high, row, ha="left", color=color)

    def _write(self, text: str, x: float, row: int, **style: Any) -> None:
        # in points, as a share of the axes would move when a layout shrinks them
        self.ax_.annotate(
            text, (x, 0), (0, -57 - 13 * row), xycoords=self.ax_.get_xaxis_transform(),
            textcoords="offset points", va="center", fontsize=9, annotation_clip=False, **style,
        )  # fmt: skip
