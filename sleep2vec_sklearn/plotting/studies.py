# SPDX-License-Identifier: BSD-3-Clause
"""Displays of studies: label efficiency, sensors, retrieval, scaling and many outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..probing.label_efficiency import LabelEfficiency, label_efficiency_curve
from ..probing.modality_dropout import ModalityDropout, modality_dropout_curve
from ..probing.modality_subsets import ModalitySubsets, modality_subset_scores
from ._display import (
    COLORS,
    MARKERS,
    draw_curves,
    draw_heatmap,
    draw_intervals,
    label_cells,
    make_axes,
    pick_metric,
    style_axes,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Text
    from sklearn.utils import Bunch

    from ..evaluation.phenome import PhenomeScan
    from ..probing.retrieval import CrossModalRetrieval
    from ..probing.scaling import ScalingLaw

_SUBSET_KINDS = ("auto", "subsets", "heatmap")
_MAX_LINES = 31
_METHODS = {"drop": "sensor dropped", "swap": "from another subject", "noise": "noise added"}
_PATTERNS = {
    "night": "whole nights of a sensor",
    "epoch": "single epochs",
    "block": "one stretch of the night",
}
_MEASURES = {
    "recall_1": "Recall@1",
    "recall_5": "Recall@5",
    "median_rank": "Median rank",
    "loss": "Contrastive loss (nats)",
}
_CHANCE = {"recall_1": "chance_1", "recall_5": "chance_5", "median_rank": "chance_rank"}
_SCOPES = {"nights": "among epochs of all nights", "night": "among epochs of the same night"}
# where a name may stand by its point, in points, and how it is aligned
_OFFSETS = (
    ((5, 0), "left"), ((-5, 0), "right"), ((0, 8), "center"), ((5, 8), "left"), ((-5, 8), "right"),
    ((5, -8), "left"), ((-5, -8), "right"), ((0, 16), "center"),
)  # fmt: skip
_SIZES = {
    "n_nights": "Training nights",
    "n_modalities": "Modalities",
    "n_parameters": "Parameters",
    "loss": "Held-out contrastive loss (nats)",
}


class _ResultDisplay:
    """A display of one result, which ``plot`` draws."""

    plot: Any

    def __init__(self, result: Any):
        self.result = result

    @classmethod
    def from_results(cls, result: Any, *, ax: Axes | None = None, **options: Any) -> Self:
        """Draw a result; the options are those of :meth:`plot`."""
        return cls(result).plot(ax, **options)


class _StudyDisplay(_ResultDisplay):
    """A display that can run the study that it shows."""

    _study: Callable[..., Any]

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, groups: Any = None, *, ax: Axes | None = None,
        **parameters: Any,
    ) -> Self:  # fmt: skip
        """Run the study and draw it; the parameters are those of the study and of :meth:`plot`."""
        names = [name for name in ("metric", "kind") if name in parameters]
        options = {name: parameters.pop(name) for name in names}
        return cls(cls._study(estimator, X, y, groups, **parameters)).plot(ax, **options)


class LabelEfficiencyDisplay(_StudyDisplay):
    """Score against the number of labelled training subjects, one line per estimator.

    Parameters
    ----------
    result : LabelEfficiency
        Of :func:`label_efficiency_curve`.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    lines_ : dict of str to Line2D
        By estimator.
    bands_ : dict of str to PolyCollection
        Confidence intervals over test subjects.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn.plotting import LabelEfficiencyDisplay
    >>> rng = np.random.default_rng(0)
    >>> subjects, y = np.repeat(np.arange(9), 30), rng.integers(0, 2, 270)
    >>> X = rng.normal(size=(270, 3)) + y[:, None]
    >>> display = LabelEfficiencyDisplay.from_estimator(
    ...     LogisticRegression(), X, y, subjects, sizes=[1, 2, 4], cv=3, n_repeats=2
    ... )
    >>> display.lines_["estimator"].get_xdata().tolist()
    [1, 2, 4]
    """

    result: LabelEfficiency
    _study = staticmethod(label_efficiency_curve)

    def plot(self, ax: Axes | None = None, *, metric: str | None = None) -> LabelEfficiencyDisplay:
        """Draw a metric, by default the first one; a ValueError if the result lacks it."""
        table, metric = pick_metric(self.result.summary, metric)
        self.figure_, self.ax_ = make_axes(ax, 6, 4)
        self.lines_, self.bands_ = draw_curves(
            self.ax_, table, "estimator", "n_subjects", alpha=0.15, labels={}
        )
        sizes = sorted(table["n_subjects"].unique())
        self.ax_.set_xscale("log", base=2)
        self.ax_.set_xticks(sizes, [str(size) for size in sizes])
        self.ax_.minorticks_off()
        by = "mean over test subjects" if self.result.average == "subject" else "all test rows"
        self.ax_.set(xlabel="Subjects with labels", ylabel=f"{metric} ({by})")
        style_axes(self.ax_, "both")
        if len(self.lines_) > 1:
            self.ax_.legend(frameon=False)
        return self


class ModalitySubsetsDisplay(_StudyDisplay):
    """Score of each subset of sensors; or, of many subsets, their means in a heatmap.

    Parameters
    ----------
    result : ModalitySubsets
        Of :func:`modality_subset_scores`.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    table_ : DataFrame
        What is drawn: the summary's rows from top to bottom; or the mean score by a sensor and the
        number of sensors in the subsets that hold it.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.plotting import ModalitySubsetsDisplay
    >>> names = ["ibi", "spo2"]
    >>> nights = make_sleep_cohort(4, hours=1, modalities=names, missing=0, random_state=0)
    >>> X = EpochSequence(nights)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(max_iter=1000))
    >>> display = ModalitySubsetsDisplay.from_estimator(model, X, X.stages > 0, X.groups, cv=2)
    >>> display.table_["subset"].tolist()
    ['spo2', 'ibi', 'spo2 + ibi']
    """

    result: ModalitySubsets
    _study = staticmethod(modality_subset_scores)

    def plot(
        self, ax: Axes | None = None, *, metric: str | None = None, kind: str = "auto"
    ) -> ModalitySubsetsDisplay:
        """Draw on ``ax``, by default in a new figure; the first metric by default.

        Parameters
        ----------
        kind : {"auto", "subsets", "heatmap"}
            One line per subset with its confidence interval; or the mean over the subsets that
            hold a sensor, by their size. "auto" is the heatmap for more than 31 subsets.

        Raises a ValueError if the metric is not in the result, or the kind is unknown.
        """
        if kind not in _SUBSET_KINDS:
            listed = ", ".join(map(repr, _SUBSET_KINDS))
            raise ValueError(f"kind must be one of {listed}; got {kind!r}.")
        rows, metric = pick_metric(self.result.summary, metric)
        heatmap = kind == "heatmap" or (kind == "auto" and len(rows) > _MAX_LINES)
        height = 0.42 * len(self.result.modalities) if heatmap else 0.22 * len(rows)
        self.figure_, self.ax_ = make_axes(ax, 6.5, 1.2 + height)
        draw = self._draw_heatmap if heatmap else self._draw_lines
        draw(rows, metric)
        return self

    def _draw_lines(self, rows: pd.DataFrame, metric: str) -> None:
        # best of its size last, so that the eye follows what one more sensor adds
        rows = rows.sort_values(["n_modalities", "score"], kind="stable").reset_index(drop=True)
        self.table_ = rows
        sizes = rows["n_modalities"].to_numpy()
        for index, size in enumerate(np.unique(sizes)):
            part = rows[sizes == size]
            columns = part["score"], part["low"], part["high"], part.index
            draw_intervals(self.ax_, *columns, index, marker="o", label="")
        self.ax_.set_yticks(range(len(rows)), rows["subset"])
        for edge in np.flatnonzero(np.diff(sizes)) + 0.5:
            self.ax_.axhline(edge, color="0.8", linewidth=0.5)
        self.ax_.set(xlabel=metric, ylim=(len(rows) - 0.4, -0.6))
        style_axes(self.ax_, "x")

    def _draw_heatmap(self, rows: pd.DataFrame, metric: str) -> None:
        names = list(self.result.modalities)
        members = rows["subset"].str.split(" + ", regex=False)
        by_member = rows.assign(modality=members).explode("modality")
        table = by_member.pivot_table(index="modality", columns="n_modalities", values="score")
        self.table_ = table.reindex(names)
        values = self.table_.to_numpy(dtype=float)
        image = draw_heatmap(self.ax_, values, "{:.2f}", cmap="viridis", aspect="auto")
        label_cells(self.ax_, names, self.table_.columns)
        self.ax_.set(xlabel="Number of sensors", ylabel="Subsets that hold")
        self.figure_.colorbar(image, ax=self.ax_, label=f"mean {metric}")


class ModalityImportanceDisplay(_ResultDisplay):
    """Decrease in the score by sensor, with its confidence interval over test subjects.

    Parameters
    ----------
    result : Bunch or sequence of Bunch
        Of :func:`modality_importance`; several of one metric, such as one per method, are drawn
        side by side.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
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

    result: Bunch | Sequence[Bunch]

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, groups: Any = None, *,
        methods: str | Sequence[str] = ("drop", "swap", "noise"), ax: Axes | None = None,
        **parameters: Any,
    ) -> ModalityImportanceDisplay:  # fmt: skip
        """Run :func:`modality_importance` with each of these methods and draw them."""
        from ..probing.modality_importance import modality_importance

        methods = [methods] if isinstance(methods, str) else methods
        study = (estimator, X, y, groups)
        results = [modality_importance(*study, method=name, **parameters) for name in methods]
        return cls(results).plot(ax)

    def plot(self, ax: Axes | None = None) -> ModalityImportanceDisplay:
        """Draw on ``ax``, by default in a new figure.

        Raises a ValueError if results are of different metrics or modalities.
        """
        alone = hasattr(self.result, "modalities")
        results: list[Any] = [self.result] if alone else list(self.result)
        if any(not hasattr(result, "modalities") for result in results):
            raise ValueError("results are of several metrics; pass those of one, result['kappa'].")
        first = results[0]
        if len({(frozenset(result.modalities), result.metric) for result in results}) > 1:
            raise ValueError("results differ in their modalities or metric; pass one study's.")
        order = np.argsort(-np.asarray(first.importances_mean), kind="stable")
        self.order_ = [first.modalities[k] for k in order]
        height = np.arange(len(order))
        self.figure_, self.ax_ = make_axes(ax, 6.5, 1.2 + 0.25 * len(order) * len(results))
        for index, result in enumerate(results):
            by_height = [result.modalities.index(name) for name in self.order_]
            keys = ("importances_mean", "low", "high")
            mean, low, high = (np.asarray(result[key])[by_height] for key in keys)
            at = height + (index - (len(results) - 1) / 2) * 0.22
            label, marker = (
                _METHODS.get(result.method, result.method),
                MARKERS[index % len(MARKERS)],
            )
            draw_intervals(self.ax_, mean, low, high, at, index, marker, label)
        self.ax_.axvline(0, color="0.4", linewidth=0.8)
        self.ax_.set_yticks(height, self.order_)
        label = f"Decrease in {first.metric}, from {first.baseline:.2f} with all sensors"
        self.ax_.set(ylim=(len(order) - 0.5, -0.5), xlabel=label)
        style_axes(self.ax_, "x")
        if len(results) > 1:
            # above, as intervals may be anywhere within
            above: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
            self.ax_.legend(frameon=False, ncols=3, fontsize=9, **above)
        return self


class ModalityDropoutDisplay(_StudyDisplay):
    """Score against the share of sensors lost, one line per pattern of loss.

    Parameters
    ----------
    result : ModalityDropout
        Of :func:`modality_dropout_curve`.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    lines_ : dict of str to Line2D
        By pattern.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.plotting import ModalityDropoutDisplay
    >>> from sleep2vec_sklearn.probing import ModalityDropout
    >>> rows = [["block", "kappa", 0.0, 0.7, 0.6, 0.8], ["block", "kappa", 0.5, 0.5, 0.4, 0.6]]
    >>> columns = ["pattern", "metric", "lost", "score", "low", "high"]
    >>> result = ModalityDropout(pd.DataFrame(rows, columns=columns), ("ibi",), "subject", 0.95)
    >>> list(ModalityDropoutDisplay.from_results(result).lines_)
    ['block']
    """

    result: ModalityDropout
    _study = staticmethod(modality_dropout_curve)

    def plot(self, ax: Axes | None = None, *, metric: str | None = None) -> ModalityDropoutDisplay:
        """Draw a metric, by default the first one; a ValueError if the result lacks it."""
        table, metric = pick_metric(self.result.summary, metric)
        self.figure_, self.ax_ = make_axes(ax, 6, 4)
        self.lines_, _ = draw_curves(self.ax_, table, "pattern", "lost", 0.12, _PATTERNS)
        self.ax_.set(xlabel="Share of the sensors' epochs lost", ylabel=metric)
        self.ax_.legend(frameon=False, title="Lost at random")
        style_axes(self.ax_, "both")
        return self


class RetrievalDisplay(_ResultDisplay):
    """Retrieval of the epochs of one sensor (row) by those of another (column).

    Parameters
    ----------
    result : CrossModalRetrieval
        Of :func:`cross_modal_retrieval`.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    image_ : AxesImage
    table_ : DataFrame
        What is drawn.

    Examples
    --------
    >>> from sleep2vec_sklearn import cross_modal_retrieval, make_sleep_cohort
    >>> from sleep2vec_sklearn.plotting import RetrievalDisplay
    >>> names = ["ibi", "effort"]
    >>> nights = make_sleep_cohort(3, hours=1, modalities=names, missing=0, random_state=0)
    >>> result = cross_modal_retrieval("sleep2vec-mini", nights, n_candidates=100)
    >>> RetrievalDisplay.from_results(result, scope="night").table_.columns.tolist()
    ['effort', 'ibi']
    """

    result: CrossModalRetrieval

    @classmethod
    def from_estimator(
        cls, checkpoint: Any, recordings: Any, *, measure: str = "recall_1",
        scope: str = "nights", ax: Axes | None = None, **parameters: Any,
    ) -> RetrievalDisplay:  # fmt: skip
        """Run :func:`cross_modal_retrieval` and draw it; a fitted encoder is a checkpoint too."""
        from ..probing.retrieval import cross_modal_retrieval

        # a parameter of the transformer, a method of the pretrainer
        checkpoint = getattr(checkpoint, "checkpoint", checkpoint)
        checkpoint = checkpoint() if callable(checkpoint) else checkpoint
        result = cross_modal_retrieval(checkpoint, recordings, scopes=[scope], **parameters)
        return cls(result).plot(ax, measure=measure, scope=scope)

    def plot(
        self, ax: Axes | None = None, *, measure: str = "recall_1", scope: str = "nights"
    ) -> RetrievalDisplay:
        """Draw on ``ax``, by default in a new figure.

        Parameters
        ----------
        measure : {"recall_1", "recall_5", "median_rank", "loss"}
        scope : {"nights", "night"}

        Raises a ValueError if the result lacks the measure or the scope.
        """
        if measure not in _MEASURES:
            raise ValueError(f"measure must be one of {', '.join(_MEASURES)}; got {measure!r}.")
        self.table_ = self.result.matrix(measure, scope)
        values = self.table_.to_numpy(dtype=float)
        names = list(self.table_.columns)
        side = 1.6 + 0.55 * len(names)
        self.figure_, self.ax_ = make_axes(ax, side + 1.4, side)
        # good is bright in either case
        is_share = measure.startswith("recall")
        colors = {"cmap": "viridis", "vmin": 0} if is_share else {"cmap": "viridis_r"}
        form = "{:.0f}" if measure == "median_rank" else "{:.2f}"
        self.image_ = draw_heatmap(self.ax_, values, form, **colors)
        label_cells(self.ax_, names, names, rotation=45, ha="right", rotation_mode="anchor")
        self.ax_.set(xlabel="Target", ylabel="Query")
        self.ax_.set_title(f"{_MEASURES[measure]} {_SCOPES[scope]}", fontsize=10)
        label = _MEASURES[measure]
        if measure in _CHANCE:
            rows = self.result.summary[self.result.summary["scope"] == scope]
            label += f" (chance {rows[_CHANCE[measure]].mean():.3g})"
        self.figure_.colorbar(self.image_, ax=self.ax_, label=label)
        return self


class ScalingLawDisplay(_ResultDisplay):
    """Measured points, the law through them, and its extrapolation, dashed and labelled.

    Parameters
    ----------
    result : ScalingLaw
        Of :func:`fit_scaling_law`.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    lines_ : dict of str to Line2D
        "measured", "law" and "extrapolated".

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn import fit_scaling_law
    >>> from sleep2vec_sklearn.plotting import ScalingLawDisplay
    >>> points = pd.DataFrame({"n_nights": [8, 16, 32, 64], "loss": [2.4, 2.0, 1.7, 1.5]})
    >>> law = fit_scaling_law(points, x="n_nights", n_resamples=50)
    >>> ScalingLawDisplay.from_results(law).lines_["extrapolated"].get_linestyle()
    '--'
    """

    result: ScalingLaw

    @classmethod
    def from_estimator(
        cls, pretrainer: Any, X: Any, sweep: Mapping[str, Sequence], *, y: str = "loss",
        extrapolate: float = 4.0, ax: Axes | None = None, **parameters: Any,
    ) -> ScalingLawDisplay:  # fmt: skip
        """Run :func:`run_scaling_sweep` along one axis, fit the law, and draw it."""
        from ..probing.scaling import fit_scaling_law, run_scaling_sweep

        points = run_scaling_sweep(pretrainer, X, sweep, **parameters)
        return cls(fit_scaling_law(points, y=y)).plot(ax, extrapolate=extrapolate)

    def plot(self, ax: Axes | None = None, *, extrapolate: float = 4.0) -> ScalingLawDisplay:
        """Draw on ``ax``, by default in a new figure.

        Parameters
        ----------
        extrapolate : float, default=4.0
            How many times beyond the largest size measured; 1 for not at all.

        Raises a ValueError if ``extrapolate`` is below 1.
        """
        if extrapolate < 1:
            raise ValueError(f"extrapolate must be at least 1, got {extrapolate!r}.")
        law = self.result
        self.figure_, self.ax_ = make_axes(ax, 5.5, 4)
        x, y = law.points["x"], law.points["y"]
        smallest, largest = x.min(), x.max()
        self.lines_: dict[str, Line2D] = {}
        (self.lines_["measured"],) = self.ax_.plot(
            x, y, "o", color="0.25", markersize=4, label="measured"
        )
        self._draw_part("law", smallest, largest, COLORS[0], "-", 0.25, self._describe_law())
        if extrapolate > 1:
            ends = largest, largest * extrapolate
            self._draw_part("extrapolated", *ends, COLORS[1], "--", 0.12, "extrapolated")
            self.ax_.axvline(largest, color="0.6", linewidth=0.8, linestyle=":")
        self.ax_.set_xscale("log")
        self._label_sizes(largest * extrapolate)
        labels = [_SIZES.get(name, name) for name in (law.x_name, law.y_name)]
        self.ax_.set(xlabel=labels[0], ylabel=labels[1])
        # above, as points may be anywhere within
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderpad": 0}
        self.ax_.legend(frameon=False, fontsize=8, **above)
        style_axes(self.ax_, "both")
        return self

    def _draw_part(
        self, name: str, low: float, high: float, color: str, style: str, alpha: float, label: str
    ) -> None:
        curve = self.result.predict(np.geomspace(low, high, 100))
        x = curve["x"]
        self.ax_.fill_between(x, curve["low"], curve["high"], color=color, alpha=alpha, linewidth=0)
        (self.lines_[name],) = self.ax_.plot(
            x, curve["y"], style, color=color, linewidth=1.5, label=label
        )

    def _label_sizes(self, largest: float) -> None:
        """Label the measured sizes themselves if they are few and small."""
        sizes = np.unique(self.result.points["x"])
        if len(sizes) <= 8 and largest < 10_000:
            ticks = [*sizes, largest] if largest > sizes[-1] else [*sizes]
            self.ax_.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            self.ax_.minorticks_off()

    def _describe_law(self) -> str:
        law = self.result
        c = law.parameters.set_index("parameter").loc["c"]
        sign = "+" if law.b >= 0 else "-"
        return (
            rf"${law.a:.2f} {sign} {abs(law.b):.3g}\,n^{{-c}}$, c = {c['value']:.2f} "
            f"({c['low']:.2f} to {c['high']:.2f})"
        )


class ManhattanDisplay(_ResultDisplay):
    """Minus log10 of the p value of each outcome of a scan, in groups, with the corrections.

    Parameters
    ----------
    result : PhenomeScan
        Of :func:`phenome_scan`.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    points_ : dict of str to Line2D
        By category, of the outcomes that were tested.
    lines_ : dict of str to Line2D
        "Bonferroni", and "Benjamini-Hochberg" where it rejects any.
    labels_ : dict of str to Text
        Of outcomes that Benjamini-Hochberg rejects, the smallest p value first, as far as there is
        room for them.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import phenome_scan
    >>> from sleep2vec_sklearn.plotting import ManhattanDisplay
    >>> X = np.random.default_rng(0).standard_normal((80, 2))
    >>> outcomes = {"copy": X[:, 0] > 0, "even": np.arange(80) % 2}
    >>> scan = phenome_scan(None, X, outcomes, n_resamples=0)
    >>> list(ManhattanDisplay.from_results(scan).labels_)
    ['copy']
    """

    result: PhenomeScan

    def plot(
        self, ax: Axes | None = None, *, categories: Mapping[str, str] | None = None,
        alpha: float = 0.05, max_labels: int = 20,
    ) -> ManhattanDisplay:  # fmt: skip
        """Draw on ``ax``, by default in a new figure.

        Parameters
        ----------
        categories : mapping of str to str, optional
            Category of each outcome; "other" of those it lacks. By default the kind.
        alpha : float, default=0.05
            Level of both corrections.
        max_labels : int, default=20

        Raises a ValueError if no outcome was tested, or ``alpha`` is not between 0 and 1.
        """
        tested = self.result.to_frame()
        tested = tested[tested["p_value"].notna()]
        if not len(tested):
            raise ValueError("no outcome was tested, see not_tested; there is nothing to draw.")
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}.")
        names = tested["outcome"]
        named = tested["kind"] if categories is None else names.map(categories).fillna("other")
        order = named.argsort(kind="stable")
        table = tested.assign(category=named).iloc[order].reset_index(drop=True)
        # what underflows is drawn at the top
        table["height"] = -np.log10(np.maximum(table["p_value"].to_numpy(), 1e-300))
        self.figure_, self.ax_ = make_axes(ax, max(6.0, min(12.0, 3 + 0.09 * len(table))), 4.2)
        self.points_: dict[str, Line2D] = {}
        for index, (category, rows) in enumerate(table.groupby("category", sort=True)):
            (self.points_[str(category)],) = self.ax_.plot(
                rows.index, rows["height"], MARKERS[index % len(MARKERS)], markersize=4,
                color=COLORS[index % len(COLORS)], linestyle="none",
            )  # fmt: skip
        rejected = table[table["p_bh"] <= alpha]
        self._draw_limits(len(table), len(rejected), alpha)
        centers = table.reset_index().groupby("category", sort=True)["index"].mean()
        self.ax_.set_xticks(centers, centers.index, rotation=30, ha="right", rotation_mode="anchor")
        self.ax_.tick_params(axis="x", length=0)
        ylabel = r"$-\log_{10}$ p, one-sided"
        top = max(table["height"].max(), -np.log10(alpha / len(table)))
        self.ax_.set(xlim=(-1, len(table)), ylim=(0, 1.15 * top), ylabel=ylabel)
        style_axes(self.ax_)
        self._label(rejected.nsmallest(max_labels, "p_value"), table)
        return self

    def _draw_limits(self, n_tested: int, n_rejected: int, alpha: float) -> None:
        limits = {"Bonferroni": alpha / n_tested}
        if n_rejected:
            limits["Benjamini-Hochberg"] = alpha * n_rejected / n_tested
        self.lines_ = {
            name: self.ax_.axhline(-np.log10(limit), color="0.4", linewidth=0.8, linestyle=style)
            for (name, limit), style in zip(limits.items(), ("--", ":"), strict=False)
        }
        above: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderpad": 0}
        handles = list(self.lines_.values())
        self.ax_.legend(handles, list(limits), frameon=False, fontsize=8, ncols=2, **above)

    def _label(self, rows: pd.DataFrame, table: pd.DataFrame) -> None:
        """Name outcomes where no other name and no point is below the text."""
        self.labels_: dict[str, Text] = {}
        # the layout moves the axes
        self.figure_.draw_without_rendering()
        points = self.ax_.transData.transform(table[["height"]].reset_index().to_numpy(float))
        taken: list[Any] = []
        for at, row in rows.iterrows():
            for offset, align in _OFFSETS:
                text = self.ax_.annotate(
                    row["outcome"], (at, row["height"]), offset, textcoords="offset points",
                    ha=align, va="center", fontsize=7,
                )  # fmt: skip
                box = text.get_window_extent()
                inside = self.figure_.bbox.containsx(box.x0) and self.figure_.bbox.containsx(box.x1)
                if inside and not box.count_contains(points) and not box.count_overlaps(taken):
                    taken.append(box)
                    self.labels_[str(row["outcome"])] = text
                    break
                text.remove()
