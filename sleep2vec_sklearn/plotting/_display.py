# SPDX-License-Identifier: BSD-3-Clause
"""Colours, axes and marks that several displays share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D

# Okabe and Ito, without black and yellow; told apart also by colour-blind readers
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
SCORED, PREDICTED = "#333333", COLORS[0]


def make_axes(ax: Axes | None, width: float, height: float) -> tuple[Any, Axes]:
    """The figure and axes to draw on: those passed, else new ones of a size in inches."""
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax.figure, ax


def style_axes(ax: Axes, grid: Literal["x", "y", "both"] | None = None) -> None:
    """Hide the upper and right spines; draw a thin grid along one axis or both."""
    ax.spines[["top", "right"]].set_visible(False)
    if grid is not None:
        ax.grid(axis=grid, linewidth=0.3)


def pick_metric(summary: pd.DataFrame, metric: str | None) -> tuple[pd.DataFrame, str]:
    """Rows of one metric, by default of the first one, and its name."""
    known = list(summary["metric"].unique())
    metric = known[0] if metric is None else metric
    if metric not in known:
        raise ValueError(f"metric={metric!r}; accepted are {', '.join(map(repr, known))}.")
    return summary[summary["metric"] == metric], metric


def draw_curves(
    ax: Axes, table: pd.DataFrame, by: str, x: str, alpha: float, labels: Mapping[str, str]
) -> tuple[dict[str, Line2D], dict[str, PolyCollection]]:
    """Draw columns score, low and high of a summary against ``x``, as lines with bands."""
    lines: dict[str, Line2D] = {}
    bands: dict[str, PolyCollection] = {}
    for index, (name, rows) in enumerate(table.groupby(by, sort=False)):
        color, limits = COLORS[index % len(COLORS)], (rows["low"], rows["high"])
        bands[name] = ax.fill_between(rows[x], *limits, color=color, alpha=alpha, linewidth=0)
        (lines[name],) = ax.plot(
            rows[x], rows["score"], color=color, marker=MARKERS[index % len(MARKERS)], markersize=5,
            label=labels.get(name, name),
        )  # fmt: skip
    return lines, bands


def draw_intervals(
    ax: Axes, values: Any, low: Any, high: Any, height: Any, index: int, marker: str, label: str
) -> None:
    """Draw values as points at some heights, with horizontal lines from ``low`` to ``high``."""
    color = COLORS[index % len(COLORS)]
    ax.hlines(height, low, high, color=color, linewidth=1)
    ax.plot(values, height, marker, color=color, markersize=5, label=label)


def draw_heatmap(ax: Axes, values: np.ndarray, form: str, **options: Any) -> AxesImage:
    """Draw an image and its values, light on dark and dark on light; NaN stays empty."""
    image = ax.imshow(values, **options)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            # luma of ITU-R BT.601
            luma = np.dot(image.cmap(image.norm(value))[:3], (0.299, 0.587, 0.114))
            text = ax.text(column, row, form.format(value), ha="center", va="center", size=8)
            text.set_color("black" if luma > 0.5 else "white")
    return image


def label_cells(ax: Axes, rows: Sequence, columns: Sequence, **options: Any) -> None:
    """Name the rows and columns of a heatmap; options are those of the column labels."""
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xticks(range(len(columns)), columns, **options)
