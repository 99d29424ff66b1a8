# SPDX-License-Identifier: BSD-3-Clause
"""Tables of the simulated polysomnography benchmark: means, intervals, paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.paired_runs import paired_interval
from benchmarks.psg_scores import EPOCH_METRICS, bootstrap_auroc
from benchmarks.real_nights import as_markdown

__all__ = ["outcome_table", "shown", "staging_table", "write_table"]


def staging_table(
    scores: Mapping[tuple[str, str], pd.DataFrame], reference: str, whole: str
) -> pd.DataFrame:
    """One row per input, features and metric.

    Parameters
    ----------
    scores : mapping of (input, features) to DataFrame
        One row per subject.
    reference : str
        Features that the others are compared with, subject by subject.
    whole : str
        Input that the others are compared with.

    Returns
    -------
    DataFrame
        ``value`` is the mean over subjects, ``pooled`` that of all epochs together, ``lead`` what
        the reference has more than these features, ``change`` what these features have more than
        with the whole input; ``_low`` and ``_high`` are 95 % intervals over subjects. A subject
        without a score (one stage alone, and always found) is left out.
    """
    rows = {}
    inputs = list(dict.fromkeys(given for given, _ in scores))
    for given, features in sorted(scores, key=lambda key: inputs.index(key[0])):
        table = scores[given, features]
        for metric in EPOCH_METRICS:
            mine = table[metric]
            row = _interval("value", mine) | {"pooled": table.attrs["pooled"][metric]}
            if features != reference:
                row |= _interval("lead", scores[given, reference][metric] - mine)
            if given != whole:
                row |= _interval("change", mine - scores[whole, features][metric])
            rows[given, features, metric] = row | {"subjects": int(mine.notna().sum())}
    return _as_table(rows, "simulated input", reference)


def outcome_table(
    chances: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]], reference: str
) -> pd.DataFrame:
    """One row per outcome and features, columns as in :func:`staging_table`; metric is AUROC."""
    found = {key: bootstrap_auroc(*given) for key, given in chances.items()}
    rows = {}
    for (outcome, features), (value, resampled) in found.items():
        row = {"value": value} | _percentiles("value", resampled)
        if features != reference:
            best, best_resampled = found[outcome, reference]
            row |= {"lead": best - value} | _percentiles("lead", best_resampled - resampled)
        rows[outcome, features, "auroc"] = row | {"subjects": len(chances[outcome, features][1])}
    return _as_table(rows, "simulated outcome", reference)


def _as_table(rows: Mapping[tuple, Mapping], first: str, reference: str) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.attrs["reference"] = reference
    return table.rename_axis([first, "features", "metric"])


def _interval(name: str, values: pd.Series) -> dict[str, float]:
    names = (name, f"{name}_low", f"{name}_high")
    return dict(zip(names, paired_interval(values.dropna()), strict=True))


def _percentiles(name: str, resampled: np.ndarray) -> dict[str, float]:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Intervals behind their means, metrics side by side."""
    columns = {
        "value": ("", "{:.3f} ({:.3f} to {:.3f})"),
        "lead": (f", {table.attrs['reference']} leads by", "{:+.3f} ({:+.3f} to {:+.3f})"),
        "change": (", change to all sensors", "{:+.3f} ({:+.3f} to {:+.3f})"),
    }
    parts = {}
    for metric in table.index.unique("metric"):
        of_metric = table.xs(metric, level="metric")
        for name, (title, form) in columns.items():
            if name in of_metric:
                values = of_metric[[name, f"{name}_low", f"{name}_high"]].to_numpy()
                parts[f"{metric}{title}"] = [
                    "" if np.isnan(row[0]) else form.format(*row) for row in values
                ]
    index = table.xs(table.index.unique("metric")[0], level="metric").index
    return pd.DataFrame(parts, index=index)


def write_table(name: str, table: pd.DataFrame, folder: Path) -> None:
    """Print a table; write it as CSV, with numbers, and as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = as_markdown(shown(table))
    print(f"{text}\n")
    table.to_csv(folder / f"{name}.csv", float_format="%.4f")
    (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")
