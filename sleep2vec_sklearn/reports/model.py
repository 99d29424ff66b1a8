# SPDX-License-Identifier: BSD-3-Clause
"""Report of a model on held-out subjects: folds, scores, calibration, confusion, sensors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..evaluation.outcomes import CalibrationReport, calibration_report
from ..evaluation.staging import StagingReport
from ..evaluation.tables import format_interval
from ..plotting.reports import ReliabilityDisplay
from ._page import NO_VALUE, ReportPage, Section, list_versions, number, shorten
from ._stages import STATISTICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..evaluation.comparison import EstimatorComparison

_SUBJECTS_LISTED = 60
_MOST_CLASSES = 12
_ROWS_FOR_SUBJECT_SCORES = 5
_BLUE, _ORANGE = "#0072b2", "#d55e00"
_GREY = "#777777"
_INTERVAL = "95 % CI"


def model_report(
    result: EstimatorComparison | StagingReport | CalibrationReport,
    path: str | os.PathLike | None = None, *,
    calibration: CalibrationReport | Mapping[str, CalibrationReport] | None = None,
    importance: Any = None, title: str | None = None,
) -> str:  # fmt: skip
    """Describe how well a model does on held-out subjects in an HTML file that needs no other.

    Of a comparison: which subjects were tested in which fold, scores with confidence intervals,
    paired differences to the reference, the distribution over subjects, calibration (two classes)
    and confusion. Of the reports on stages and calibration, what they hold.

    Parameters
    ----------
    result : EstimatorComparison, StagingReport or CalibrationReport
        As :func:`~sleep2vec_sklearn.evaluation.compare_estimators`,
        :func:`~sleep2vec_sklearn.evaluation.compare_encoders`,
        :func:`~sleep2vec_sklearn.evaluation.compare_with_baseline`,
        :func:`~sleep2vec_sklearn.staging_report` and
        :func:`~sleep2vec_sklearn.evaluation.calibration_report` return them.
    path : path, optional
        File to write, in one step.
    calibration : CalibrationReport, or mapping of str to it, optional
        By default that of each estimator with probabilities of two classes.
    importance : Bunch, dict or list of Bunch, optional
        Of :func:`~sleep2vec_sklearn.modality_importance`.
    title : str, optional

    Returns
    -------
    str
        The page, with its pictures, as HTML. It holds no script and loads nothing.

    Raises
    ------
    ImportError
        Without matplotlib.
    OSError
        If ``path`` cannot be written.
    TypeError
        If ``result`` is of another kind.

    Examples
    --------
    >>> from sklearn.dummy import DummyRegressor
    >>> from sleep2vec_sklearn.evaluation import compare_estimators
    >>> from sleep2vec_sklearn.reports import model_report
    >>> models = {"mean": DummyRegressor(), "median": DummyRegressor(strategy="median")}
    >>> y = [1, 2, 3, 4, 5, 9]
    >>> comparison = compare_estimators(models, [[0]] * 6, y, cv=3, n_resamples=100)
    >>> html = model_report(comparison)
    >>> "Differences to mean" in html
    True
    """
    page = ReportPage(title or "Report of a model", path)
    curves = {"": calibration} if isinstance(calibration, CalibrationReport) else calibration
    curves = dict(curves or {})
    if isinstance(result, StagingReport):
        _describe_staging(page, result)
    elif isinstance(result, CalibrationReport):
        positive = 100 * float(np.mean(result.y_true))
        page.lead.append(
            f"Calibration of probabilities: {len(result.y_true)} rows of {result.n_subjects} "
            f"subjects, {positive:.1f} % positive."
        )
        curves = {"": result, **curves}
    elif hasattr(result, "differences") and hasattr(result, "fold"):
        # by what it has, as its class would be a long way to import
        _describe_comparison(page, result, curves)
    else:
        raise TypeError(
            f"result is a {type(result).__name__}; accepted are EstimatorComparison, StagingReport "
            "and CalibrationReport. Make one by compare_estimators, staging_report or "
            "calibration_report."
        )
    _describe_calibration(page, curves)
    _describe_importance(page, importance)
    with page.section("Warnings and versions") as section:
        if page.warnings:
            section.list(page.warnings)
        section.table("Versions", ["Package", "Version"], list_versions(), first_number=2)
    return page.finish()


def _describe_comparison(
    page: ReportPage, result: EstimatorComparison, curves: dict[str, CalibrationReport]
) -> None:
    names = list(result.predictions)
    n_subjects = len(set(map(str, result.groups)))
    ways = {"pooled": "all held-out rows together", "fold": "of pairs of subjects within folds"}
    how = ways.get(result.average, "means over subjects")
    page.lead.append(
        f"{', '.join(map(str, names))}: {len(result.fold)} rows of {n_subjects} subjects in "
        f"{result.fold.max() + 1} folds. Every row is predicted by a model that was not fitted to "
        f"its subject; scores are {how}."
    )
    _describe_scores(page, result)
    # of several outcomes, or times to events, there are scores alone
    if result.y.ndim == 1 and result.y.dtype.names is None:
        _describe_predictions(page, result, curves)
    _describe_folds(page, result)


def _describe_scores(page: ReportPage, result: EstimatorComparison) -> None:
    with page.section("Scores") as section:
        rows = [
            [str(name), str(metric), format_interval(row["value"], row["low"], row["high"]),
             str(int(row["subjects"]))]
            for (name, metric), row in result.scores.iterrows()
        ]  # fmt: skip
        section.table(
            "Scores on held-out subjects", ["Model", "Score", f"Value ({_INTERVAL})", "Subjects"],
            rows, 2, note="Intervals are by bootstrap over subjects, at the level that the "
            "comparison was made with, 95 % by default. Higher is better.",
        )  # fmt: skip
        metrics = list(result.scores.index.get_level_values("metric").unique())
        section.picture(
            "Scores with their confidence intervals: "
            + "; ".join(f"{model} {metric} {text}" for model, metric, text, _ in rows[:12]),
            (6.5, 0.7 + 0.32 * len(rows) + 0.4 * len(metrics)),
            lambda figure: _draw_scores(figure, result.scores, metrics),
            "Scores with their confidence intervals",
        )
    with page.section(f"Differences to {result.reference}") as section:
        rows = [
            [str(name), str(metric),
             format_interval(row["difference"], row["low"], row["high"], sign=True),
             number(100 * row["fraction_above"], 0), str(int(row["subjects"]))]
            for (name, metric), row in result.differences.iterrows()
        ]  # fmt: skip
        section.table(
            f"Paired differences, model minus {result.reference}",
            ["Model", "Score", f"Difference ({_INTERVAL})", "Resamples above 0, %", "Subjects"],
            rows, 2, note="Paired: both models are scored in the same resamples of subjects. An "
            "interval that contains 0 does not show a difference.",
        )  # fmt: skip


def _draw_scores(figure: Figure, scores: pd.DataFrame, metrics: Sequence[str]) -> None:
    heights = [len(scores.xs(metric, level="metric")) + 1 for metric in metrics]
    axes = figure.subplots(len(metrics), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, metric in zip(axes, metrics, strict=True):
        table = scores.xs(metric, level="metric")
        _draw_intervals(ax, table.index, table["value"], table["low"], table["high"])
        ax.set_xlabel(_plain(metric))


def _draw_intervals(ax: Axes, names: Sequence[Any], value: Any, low: Any, high: Any) -> None:
    at = np.arange(len(names))
    ax.hlines(at, low, high, color=_BLUE, linewidth=1.4)
    ax.plot(value, at, "o", color=_BLUE, markersize=5)
    ax.set_yticks(at, [_plain(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", linewidth=0.3)


def _plain(text: Any) -> str:
    """Text of a figure; a dollar sign would begin a formula."""
    return shorten(text)[:40].replace("$", r"\$")


def _describe_folds(page: ReportPage, result: EstimatorComparison) -> None:
    with page.section("Folds by subject") as section:
        y, simple = result.y, result.y.ndim == 1 and result.y.dtype.names is None
        classes = np.unique(y).tolist() if simple else []
        classes = classes if len(classes) <= _MOST_CLASSES else []
        rows = []
        for fold in range(result.fold.max() + 1):
            test = result.fold == fold
            subjects = sorted(set(map(str, result.groups[test])))
            counts = [str(int((y[test] == c).sum())) for c in classes]
            more = len(subjects) - _SUBJECTS_LISTED
            listed = ", ".join(subjects[:_SUBJECTS_LISTED]) + (
                f" and {more} more" if more > 0 else ""
            )
            rows.append([str(fold + 1), listed, str(len(subjects)), str(test.sum()), *counts])
        headings = ["Fold", "Subjects tested in it", "Subjects", "Rows"]
        headings += [f"of class {c}" for c in classes]
        section.table("Subjects tested in each fold", headings, rows, 2)
        shared = _subjects_in_several_folds(result)
        if shared:
            section.note(f"Subjects tested in more than one fold: {', '.join(shared[:20])}.")


def _subjects_in_several_folds(result: EstimatorComparison) -> list[str]:
    folds = pd.Series(result.fold).groupby(list(map(str, result.groups))).nunique()
    return [str(name) for name in folds.index[folds > 1]]


def _describe_predictions(
    page: ReportPage, result: EstimatorComparison, curves: dict[str, CalibrationReport]
) -> None:
    y = result.y
    is_number = _predicts_numbers(result, y)
    classes = np.unique(y)
    with page.section("Distribution over subjects") as section:
        if is_number:
            _describe_numbers(section, result, y)
        else:
            _describe_subject_scores(section, result, y)
    if is_number or len(classes) > _MOST_CLASSES:
        return
    with page.section("Confusion") as section:
        for name, responses in result.predictions.items():
            if "predict" in responses:
                _add_confusion(section, name, y, responses["predict"], classes)
    if len(classes) != 2:
        return
    for name, responses in result.predictions.items():
        if "predict_proba" not in responses or name in curves:
            continue
        with page.collecting():
            curves[str(name)] = calibration_report(
                y, responses["predict_proba"], groups=result.groups, pos_label=classes[1]
            )


def _predicts_numbers(result: EstimatorComparison, y: np.ndarray) -> bool:
    """Regressors have no other responses, and predict what is no class of y."""
    responses = next(iter(result.predictions.values()))
    if set(responses) != {"predict"}:
        return False
    return y.dtype.kind in "iuf" and not np.isin(responses["predict"], y).all()


def _describe_numbers(section: Section, result: EstimatorComparison, y: np.ndarray) -> None:
    rows = []
    for name, responses in result.predictions.items():
        errors = pd.Series(np.abs(responses["predict"] - y)).groupby(list(result.groups)).mean()
        rows.append([str(name), *_quartiles(errors.to_numpy(dtype=float))])
    section.table(
        "Mean absolute error of each subject", ["Model", "Subjects", "Median (quartiles)"], rows
    )
    names = list(result.predictions)
    section.picture(
        f"Predicted against true values of {len(y)} held-out rows, by model.",
        (min(3.4 * len(names), 10.2), 3.2),
        lambda figure: _draw_numbers(figure, result, y, names[:4]),
        "Predicted against true values of held-out rows; the line is where they are equal",
    )


def _draw_numbers(
    figure: Figure, result: EstimatorComparison, y: np.ndarray, names: Sequence[str]
) -> None:
    axes = figure.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
    for ax, name in zip(axes, names, strict=True):
        ax.plot(y, result.predictions[name]["predict"], "o", markersize=3, alpha=0.5,
                color=_BLUE, rasterized=len(y) > 2000)  # fmt: skip
        ax.axline((float(np.mean(y)), float(np.mean(y))), slope=1, color=_GREY, linewidth=0.8)
        ax.set(title=_plain(name), xlabel="true")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("predicted")


def _quartiles(values: np.ndarray, digits: int = 2) -> list[str]:
    known = values[np.isfinite(values)]
    if not len(known):
        return ["0", NO_VALUE]
    low, middle, high = (number(q, digits) for q in np.percentile(known, [25, 50, 75]))
    return [str(len(known)), f"{middle} ({low} to {high})"]


def _describe_subject_scores(section: Section, result: EstimatorComparison, y: np.ndarray) -> None:
    """Accuracy of each subject where it has several rows, else the probabilities by class."""
    rows_each = pd.Series(y).groupby(list(map(str, result.groups))).size()
    if rows_each.median() >= _ROWS_FOR_SUBJECT_SCORES:
        values = {
            str(name): (pd.Series(np.asarray(r["predict"]) == y, dtype=float)
                        .groupby(list(map(str, result.groups))).mean().to_numpy())
            for name, r in result.predictions.items() if "predict" in r
        }  # fmt: skip
        _add_distribution(section, values, "Accuracy of each subject", (0, 1))
        return
    classes = np.unique(y)
    if len(classes) != 2:
        section.text("Subjects have too few rows for scores of their own.")
        return
    values = {
        f"{name}, class {label}": responses["predict_proba"][y == label, 1]
        for name, responses in result.predictions.items()
        if "predict_proba" in responses
        for label in classes
    }
    caption = f"Predicted probability of class {classes[1]}, by true class"
    _add_distribution(section, values, caption, (0, 1))


def _add_distribution(
    section: Section, values: Mapping[str, np.ndarray], caption: str,
    limits: tuple[float, float] | None = None,
) -> None:  # fmt: skip
    if not values:
        section.text("There are no predictions to show.")
        return
    rows = [[name, *_quartiles(v)] for name, v in values.items()]
    section.table(caption, ["", "Number", "Median (quartiles)"], rows)
    texts = ", ".join(f"{name} {median}" for name, _, median in rows[:8])
    section.picture(
        f"{caption}; medians and quartiles: {texts}.",
        (6.5, 0.7 + 0.42 * len(values)),
        lambda figure: _draw_distribution(figure, values, limits),
        f"{caption}; the line is the median",
    )


def _draw_distribution(
    figure: Figure, values: Mapping[str, np.ndarray], limits: tuple[float, float] | None
) -> None:
    ax = figure.subplots()
    rng = np.random.default_rng(0)
    for at, v in enumerate(values.values()):
        known = v[np.isfinite(v)]
        height = at + rng.uniform(-0.25, 0.25, len(known))
        ax.plot(known, height, "o", color=_BLUE, markersize=3, alpha=0.5,
                markeredgewidth=0, rasterized=len(known) > 2000)  # fmt: skip
        if len(known):
            ax.vlines(np.median(known), at - 0.35, at + 0.35, color=_ORANGE, linewidth=1.6)
    ax.set_yticks(range(len(values)), [_plain(name) for name in values])
    ax.set_ylim(len(values) - 0.5, -0.5)
    if limits is not None:
        ax.set_xlim(limits[0] - 0.02, limits[1] + 0.02)
    ax.spines[["top", "right"]].set_visible(False)


def _add_confusion(
    section: Section, name: str, y: np.ndarray, predicted: np.ndarray, classes: np.ndarray
) -> None:
    counts = pd.crosstab(y, np.asarray(predicted))
    counts = counts.reindex(index=classes, columns=classes, fill_value=0)
    _add_counts(section, f"Confusion of {name}, rows by true and predicted class", counts)


def _add_counts(
    section: Section, caption: str, counts: pd.DataFrame, true: str = "True class"
) -> None:
    totals = counts.sum(axis=1)
    rows = [
        [str(label), *(_count_of(int(n), int(totals.loc[label])) for n in row), str(int(sum(row)))]
        for label, row in zip(counts.index, counts.to_numpy(), strict=True)
    ]
    headings = [true, *(f"predicted {c}" for c in counts.columns), "All"]
    section.table(
        caption, headings, rows, note=f"In brackets: per cent of the row. Rows: {true.lower()}."
    )


def _count_of(n: int, total: int) -> str:
    return f"{n} ({100 * n / total:.0f})" if total else f"{n}"


def _describe_calibration(page: ReportPage, curves: Mapping[str, CalibrationReport]) -> None:
    if not curves:
        return
    with page.section("Calibration") as section:
        labels = {"brier": "Brier score", "ece": "Expected calibration error",
                  "slope": "Slope", "intercept": "Intercept"}  # fmt: skip
        rows = [
            [str(name) or "Model", labels.get(str(score), str(score)),
             format_interval(row["value"], row["low"], row["high"])]
            for name, report in curves.items() for score, row in report.scores.iterrows()
        ]  # fmt: skip
        section.table(
            "Calibration of the predicted probabilities",
            ["Model", "Score", f"Value ({_INTERVAL})"], rows, 2,
            note="Slope 1 and intercept 0 are perfect; a slope below 1 means that probabilities "
            "are too extreme, an intercept below 0 that they are too high.",
        )  # fmt: skip
        for name, report in curves.items():
            section.picture(
                f"Calibration curve{f' of {name}' if name else ''}: "
                + "; ".join(
                    f"predicted {p:.2f}, observed {o:.2f}"
                    for p, o in report.curve[["predicted", "observed"]].to_numpy()
                ),
                (4.6, 4.6),
                lambda figure, report=report, name=name: _draw_calibration(figure, report, name),  # type: ignore[misc]
                f"Observed rate against predicted probability{f', {name}' if name else ''}",
            )


def _draw_calibration(figure: Figure, report: CalibrationReport, name: str) -> None:
    label = _plain(name) if name else None
    ReliabilityDisplay.from_report(report, name=label, ax=figure.subplots())


def _describe_importance(page: ReportPage, importance: Any) -> None:
    if importance is None:
        return
    with page.section("Importance of sensors") as section:
        # one study, several of one metric, or one study of several metrics
        alone = hasattr(importance, "modalities")
        by_metric = isinstance(importance, Mapping) and not alone
        groups = [[b] for b in importance.values()] if by_metric else [
            [importance] if alone else list(importance)
        ]  # fmt: skip
        for group in groups:
            _add_importance(section, group)


def _add_importance(section: Section, results: Sequence[Any]) -> None:
    rows = [
        (name, result.method, mean, low, high)
        for result in results
        for name, mean, low, high in zip(
            result.modalities, result.importances_mean, result.low, result.high, strict=True
        )
    ]
    rows.sort(key=lambda row: -row[2])
    texts = [
        [name, how, format_interval(*values, digits=3, sign=True)] for name, how, *values in rows
    ]
    metric, baseline = results[0].metric, results[0].baseline
    section.table(
        f"Decrease in {metric} without a sensor's information",
        ["Sensor", "How", f"Decrease ({_INTERVAL})"], texts, 2,
        note=f"With all sensors it is {number(baseline, 3)}. Differences are paired by subject.",
    )  # fmt: skip
    listed = ", ".join(f"{name} {text}" for name, _, text in texts[:8])
    section.picture(
        f"Decrease in {metric} by sensor: {listed}.",
        (6.5, 0.8 + 0.28 * len(rows)),
        lambda figure: _draw_importance(figure, rows, metric),
        f"Decrease in {metric} by sensor, with confidence intervals",
    )


def _draw_importance(figure: Figure, rows: Sequence[Sequence[Any]], metric: str) -> None:
    ax = figure.subplots()
    several = len({how for _, how, *_ in rows}) > 1
    names = [f"{name}, {how}" if several else name for name, how, *_ in rows]
    _draw_intervals(ax, names, *np.array([row[2:] for row in rows], dtype=float).T)
    ax.axvline(0, color=_GREY, linewidth=0.8)
    ax.set_xlabel(f"decrease in {_plain(metric)}")


def _describe_staging(page: ReportPage, result: StagingReport) -> None:
    n_epochs = int(result.confusion.to_numpy().sum())
    page.lead.append(
        f"Sleep stages: {n_epochs} epochs of {result.nights['recording'].nunique()} nights of "
        f"{len(result.by_subject)} subjects, {len(result.classes)} classes; "
        f"{result.n_unpredicted} scored epochs have no prediction."
    )
    with page.section("Scores") as section:
        section.table(
            "Agreement with the scored stages",
            ["Score", f"All epochs ({_INTERVAL})", f"Mean of subjects ({_INTERVAL})", "Subjects"],
            [
                [str(name).replace("_", " "),
                 format_interval(row["value"], row["low"], row["high"]),
                 format_interval(row["subject_mean"], row["subject_low"], row["subject_high"]),
                 str(int(row["subjects"]))]
                for name, row in result.scores.iterrows()
            ],
            note="Intervals are by bootstrap over subjects.",
        )  # fmt: skip
        section.table(
            "By stage",
            ["Stage", f"F1 ({_INTERVAL})", "Sensitivity", "Specificity", "Precision", "Scored",
             "Predicted"],
            [
                [str(name), format_interval(row["f1"], row["f1_low"], row["f1_high"]),
                 *(number(row[c], 2) for c in ("sensitivity", "specificity", "precision")),
                 *(str(int(row[c])) for c in ("scored", "predicted"))]
                for name, row in result.by_class.iterrows()
            ],
        )  # fmt: skip
    with page.section("Distribution over subjects") as section:
        values = {n: result.by_subject[n].to_numpy(dtype=float) for n in ("kappa", "accuracy")}
        _add_distribution(section, values, "Kappa and accuracy of each subject")
    with page.section("Confusion") as section:
        caption = "Epochs by scored and by predicted stage"
        _add_counts(section, caption, result.confusion, "Scored stage")
    with page.section("Sleep statistics of a night") as section:
        section.table(
            "Predicted minus scored, with limits of agreement (Bland and Altman)",
            ["Measure", "Nights", "Scored", "Predicted", f"Bias ({_INTERVAL})", "Lower limit",
             "Upper limit"],
            [
                [_measure_name(str(name)), str(int(row["nights"])), number(row["reference"]),
                 number(row["measured"]),
                 format_interval(row["bias"], row["bias_low"], row["bias_high"], digits=1,
                                 sign=True),
                 number(row["lower"]), number(row["upper"])]
                for name, row in result.bland_altman.iterrows()
            ],
        )  # fmt: skip


def _measure_name(name: str) -> str:
    """A sleep statistic with its unit; merged stages have names of their own."""
    label, unit, _ = STATISTICS.get(name, (name.removesuffix("_pct"), "% of sleep", 1))
    return f"{label}, {unit}"
