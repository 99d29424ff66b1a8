# SPDX-License-Identifier: BSD-3-Clause
"""Intervals over subjects, and tables one can read."""

from __future__ import annotations

import numpy as np
import pandas as pd

N_RESAMPLES = 10_000


def bootstrap_interval(
    values: np.ndarray, n_resamples: int = N_RESAMPLES, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean of one value per subject; NaN without any."""
    if len(values) == 0:
        return np.nan, np.nan
    draws = np.random.default_rng(0).integers(len(values), size=(n_resamples, len(values)))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values[draws].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)


def as_markdown(table: pd.DataFrame) -> str:
    """A Markdown table with three decimals."""
    flat = table.reset_index()
    rows = [
        [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row]
        for row in flat.itertuples(index=False, name=None)
    ]
    head = [str(column) for column in flat.columns]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))
