# SPDX-License-Identifier: BSD-3-Clause
"""Colours that tell apart whoever looks, also in grey, and what several displays share."""

from __future__ import annotations

__all__ = [
    "COLORS",
    "MARKERS",
    "annotate_cells",
    "pick_metric",
]

# Okabe and Ito, without black and yellow
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")


def pick_metric(summary, metric: str | None):
    """Rows of one metric, the first one by default, and its name.

    Raises
    ------
    ValueError
        If it is not there.
    """
    known = list(summary["metric"].unique())
    metric = known[0] if metric is None else metric
    if metric not in known:
        raise ValueError(f"metric={metric!r}; accepted are {', '.join(map(repr, known))}.")
    return summary[summary["metric"] == metric], metric


def annotate_cells(image, values, text_of) -> list:
    """Write into each cell of a heatmap, light on dark and dark on light; NaN stays empty."""
    import numpy as np

    texts = []
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            color = "black" if light else "white"
            label = text_of(row, column)
            texts.append(
                image.axes.text(column, row, label, ha="center", va="center", color=color, size=8)
            )
    return texts
