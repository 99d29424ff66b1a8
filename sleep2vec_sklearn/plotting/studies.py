# SPDX-License-Identifier: BSD-3-Clause
"""Label-efficiency curves."""

from __future__ import annotations

import numpy as np

from ._display import COLORS, MARKERS, annotate_cells, pick_metric

__all__ = [
    "LabelEfficiencyDisplay",
    "ModalityDropoutDisplay",
    "ModalityImportanceDisplay",
    "ModalitySubsetsDisplay",
    "RetrievalDisplay",
    "ScalingLawDisplay",
]


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


_IMPORTANCE_LABELS = {"drop": "sensor dropped", "swap": "of another person", "noise": "noise added"}


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
            label=_IMPORTANCE_LABELS.get(result.method, result.method),
        )


_DROPOUT_LABELS = {
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
                label=_DROPOUT_LABELS[pattern],
            )
        ax.set(xlabel="Share of the sensors' epochs lost", ylabel=metric)
        ax.legend(frameon=False, title="Lost at random")
        ax.grid(linewidth=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        return self


_RETRIEVAL_LABELS = {
    "recall_1": "Recall@1",
    "recall_5": "Recall@5",
    "median_rank": "Median rank",
    "loss": "Contrastive loss (nats)",
}
_CHANCE = {"recall_1": "chance_1", "recall_5": "chance_5", "median_rank": "chance_rank"}
_SCOPES = {"nights": "among epochs of all nights", "night": "among epochs of the same night"}


class RetrievalDisplay:
    """How well an epoch seen by one sensor (row) finds itself seen by another (column).

    Parameters
    ----------
    result : CrossModalRetrieval
        Of :func:`cross_modal_retrieval`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : AxesImage
    table_ : DataFrame
        What is drawn.

    Examples
    --------
    >>> from sleep2vec_sklearn import cross_modal_retrieval, make_sleep_cohort
    >>> from sleep2vec_sklearn.plotting import RetrievalDisplay
    >>> nights = make_sleep_cohort(
    ...     3, hours=1, modalities=["ibi", "effort"], missing=0, random_state=0
    ... )
    >>> result = cross_modal_retrieval("sleep2vec-mini", nights, n_candidates=100)
    >>> RetrievalDisplay.from_results(result, scope="night").table_.columns.tolist()
    ['effort', 'ibi']
    """

    def __init__(self, result):
        self.result = result

    @classmethod
    def from_estimator(
        cls, checkpoint, recordings, *, measure="recall_1", scope="nights", ax=None, **parameters
    ) -> RetrievalDisplay:
        """Run :func:`cross_modal_retrieval` and draw it.

        Parameters
        ----------
        checkpoint : str, path, Checkpoint, or fitted Sleep2VecTransformer or Sleep2VecPretrainer
        recordings : list of Recording or dict
        """
        from ..probing import cross_modal_retrieval

        given = getattr(checkpoint, "checkpoint", checkpoint)
        checkpoint = given() if callable(given) else given
        result = cross_modal_retrieval(checkpoint, recordings, scopes=[scope], **parameters)
        return cls(result).plot(ax, measure=measure, scope=scope)

    @classmethod
    def from_results(
        cls, result, *, measure="recall_1", scope="nights", ax=None
    ) -> RetrievalDisplay:
        """Draw a result; see :meth:`plot`."""
        return cls(result).plot(ax, measure=measure, scope=scope)

    def plot(self, ax=None, *, measure="recall_1", scope="nights") -> RetrievalDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        measure : {"recall_1", "recall_5", "median_rank", "loss"}
        scope : {"nights", "night"}

        Raises
        ------
        ValueError
            If the result lacks the measure or the scope.
        """
        if measure not in _RETRIEVAL_LABELS:
            raise ValueError(
                f"measure must be one of {', '.join(_RETRIEVAL_LABELS)}; got {measure!r}."
            )
        self.table_ = self.result.matrix(measure, scope)
        values = self.table_.to_numpy(dtype=float)
        names = list(self.table_.columns)
        if ax is None:
            import matplotlib.pyplot as plt

            side = 1.6 + 0.55 * len(names)
            _, ax = plt.subplots(figsize=(side + 1.4, side), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        share = measure.startswith("recall")
        # good is bright in either case
        cmap = "viridis" if share else "viridis_r"
        self.image_ = ax.imshow(values, cmap=cmap, **({"vmin": 0} if share else {}))
        form = "{:.2f}" if share or measure == "loss" else "{:.0f}"
        annotate_cells(self.image_, values, lambda r, c: form.format(values[r, c]))
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(names)), names)
        ax.set(xlabel="Found in", ylabel="Asked for by")
        ax.set_title(f"{_RETRIEVAL_LABELS[measure]} {_SCOPES[scope]}", fontsize=10)
        self.figure_.colorbar(self.image_, ax=ax, label=self._describe_chance(measure, scope))
        return self

    def _describe_chance(self, measure: str, scope: str) -> str:
        if measure not in _CHANCE:
            return _RETRIEVAL_LABELS[measure]
        rows = self.result.summary[self.result.summary["scope"] == scope]
        return f"{_RETRIEVAL_LABELS[measure]} (chance {rows[_CHANCE[measure]].mean():.3g})"


_SCALING_LABELS = {
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
        ax.set_xlabel(_SCALING_LABELS.get(law.x_name, law.x_name))
        ax.set_ylabel(_SCALING_LABELS.get(law.y_name, law.y_name))
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
