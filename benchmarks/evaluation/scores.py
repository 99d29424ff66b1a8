# SPDX-License-Identifier: BSD-3-Clause
"""From scores by subject to means, intervals and paired differences, and to tables one can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

N_RESAMPLES = 10_000


def metrics_of(table: pd.DataFrame) -> list[str]:
    """Columns of a table by subject that are scores."""
    return [column for column in table.columns if column != "n_epochs"]


def summarise(
    tables: Mapping[str, pd.DataFrame], *, n_resamples: int = N_RESAMPLES
) -> pd.DataFrame:
    """Mean, SD over subjects, 95 % interval of the mean, and pooled value per feature set.

    ``subjects`` is how many have a score: who has one class alone is left out of the mean, and is
    in the pooled value.
    """
    rows = {}
    for name, table in tables.items():
        for metric in metrics_of(table):
            values = table[metric].dropna().to_numpy()
            low, high = bootstrap_interval(values, n_resamples)
            rows[name, metric] = {
                "mean": values.mean(), "sd": values.std(ddof=1), "low": low, "high": high,
                "pooled": table.attrs["pooled"][metric], "subjects": len(values),
            }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["features", "metric"])


def paired_differences(
    tables: Mapping[str, pd.DataFrame], reference: str, *, n_resamples: int = N_RESAMPLES
) -> pd.DataFrame:
    """``reference`` minus each other feature set, paired over subjects, 95 % bootstrap interval."""
    rows = {}
    for name, table in tables.items():
        if name == reference:
            continue
        for metric in metrics_of(table):
            difference = (tables[reference][metric] - table[metric]).dropna().to_numpy()
            low, high = bootstrap_interval(difference, n_resamples)
            rows[name, metric] = {
                "difference": difference.mean(), "low": low, "high": high,
                "subjects_better": int((difference > 0).sum()), "subjects": len(difference),
            }  # fmt: skip
    index = [f"{reference} minus", "metric"]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index)


def bootstrap_interval(
    values: np.ndarray, n_resamples: int = N_RESAMPLES, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean of one value per subject or seed; NaN without any."""
    if len(values) == 0:
        return np.nan, np.nan
    rng = np.random.default_rng(0)
    draws = rng.integers(len(values), size=(n_resamples, len(values)))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values[draws].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)


def average_tables(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean over runs that differ in their seed, subject by subject."""
    average = sum(tables[1:], start=tables[0]) / len(tables)
    pooled = [table.attrs["pooled"] for table in tables]
    average.attrs["pooled"] = {m: float(np.mean([p[m] for p in pooled])) for m in pooled[0]}
    return average


def write_results(
    results: Mapping[str, pd.DataFrame], subjects: pd.DataFrame, folder: Path
) -> None:
    """Print each result; write it as CSV and Markdown, and the scores of every subject."""
    folder.mkdir(parents=True, exist_ok=True)
    subjects.to_csv(folder / "subjects.csv", float_format="%.4f")
    for name, result in results.items():
        text = as_markdown(result)
        print(f"{name}\n\n{text}\n", flush=True)
        result.to_csv(folder / f"{name}.csv", float_format="%.4f")
        (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")


def as_markdown(table: pd.DataFrame) -> str:
    """A Markdown table with three decimals."""
    flat = table.reset_index()
    rows = [
        [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row]
        for row in flat.itertuples(index=False, name=None)
    ]
    head = [str(column) for column in flat.columns]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def paired_interval(differences, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of paired differences, and its bootstrap interval."""
    differences = np.asarray(differences, dtype=float)
    if differences.ndim != 1 or len(differences) < 2 or np.isnan(differences).any():
        raise ValueError(f"an interval needs two seeds with numbers, got {differences}.")
    return float(differences.mean()), *bootstrap_interval(differences, level=level)
