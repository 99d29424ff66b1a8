# SPDX-License-Identifier: BSD-3-Clause
"""Predicted probabilities over what happened."""

from __future__ import annotations

from .palette import COLORS

__all__ = ["ReliabilityDisplay"]

_CURVE = COLORS[0]


class ReliabilityDisplay:
    """scikit-learn's calibration curve, with the numbers and where the probabilities lie.

    Parameters
    ----------
    report : CalibrationReport
    name : str, optional
        Of the model, for the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    display_ : sklearn.calibration.CalibrationDisplay

    Examples
    --------
    >>> from sleep2vec_sklearn.plotting import ReliabilityDisplay
    >>> display = ReliabilityDisplay.from_predictions([0, 0, 1, 1, 0, 1], [.1, .6, .4, .8, .2, .9])
    >>> display.ax_.get_ylabel()
    'observed rate'
    """

    def __init__(self, report, *, name: str | None = None):
        self.report = report
        self.name = name

    @classmethod
    def from_report(cls, report, *, name: str | None = None, ax=None) -> ReliabilityDisplay:
        """Draw a :class:`CalibrationReport`."""
        return cls(report, name=name).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true, probability, *, groups=None, pos_label=1, n_bins: int = 10,
        strategy: str = "quantile", name: str | None = None, ax=None,
    ) -> ReliabilityDisplay:  # fmt: skip
        """Compute and draw; see :func:`calibration_report` for the parameters."""
        from ..evaluation.calibration import calibration_report

        report = calibration_report(
            y_true, probability, groups=groups, pos_label=pos_label, n_bins=n_bins,
            strategy=strategy,
        )  # fmt: skip
        return cls.from_report(report, name=name, ax=ax)

    def plot(self, ax=None) -> ReliabilityDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        """
        from sklearn.calibration import CalibrationDisplay

        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(4.8, 4.8), layout="constrained")
        report = self.report
        curve = report.curve
        display = CalibrationDisplay(
            curve["observed"].to_numpy(), curve["predicted"].to_numpy(), report.probability,
            estimator_name=self.name,
        )  # fmt: skip
        self.display_ = display.plot(ax=ax, color=_CURVE, name=self.name or "predicted")
        self.ax_, self.figure_ = ax, ax.figure
        ax.vlines(report.probability, -0.045, -0.02, color=_CURVE, alpha=0.25, linewidth=0.6)
        ax.set(xlabel="predicted probability", ylabel="observed rate", xlim=(-0.02, 1.02))
        ax.set(ylim=(-0.05, 1.05), aspect="equal")
        ax.text(0.97, 0.05, self._numbers(), transform=ax.transAxes, ha="right", va="bottom",
                fontsize=9, family="monospace")  # fmt: skip
        ax.legend(loc="upper left", frameon=False, fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        return self

    def _numbers(self) -> str:
        rows = self.report.scores[["value", "low", "high"]].itertuples()
        return "\n".join(
            f"{name:9s} {value:5.2f} [{low:5.2f}, {high:5.2f}]" for name, value, low, high in rows
        )
