# SPDX-License-Identifier: BSD-3-Clause
"""From scores by subject to means, intervals and paired differences, and to tables one can read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

__all__ = [
    "Runs",
    "as_markdown",
    "average_tables",
    "bootstrap_interval",
    "contrast_table",
    "difference_table",
    "metrics_of",
    "paired_differences",
    "paired_interval",
    "summarise",
    "write_results",
]

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
                "mean": values.mean(),
                "sd": values.std(ddof=1),
                "low": low,
                "high": high,
                "pooled": table.attrs["pooled"][metric],
                "subjects": len(values),
            }
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
                "difference": difference.mean(),
                "low": low,
                "high": high,
                "subjects_better": int((difference > 0).sum()),
                "subjects": len(difference),
            }
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


class Runs:
    """Finished runs, one line of JSON each.

    Parameters
    ----------
    path : path-like
        Of the file, made at the first run; its folder exists.
    design : mapping
        What all runs have in common, ready for JSON. Lines of another design are not read.

    Raises
    ------
    ValueError
        From :meth:`read`, if a line is of another design, or there is none.
    """

    def __init__(self, path: str | os.PathLike, design: Mapping):
        self.path = Path(path)
        self.design = json.loads(json.dumps(design))

    def append(self, setting: str, seed: int, measures: Mapping[str, float]) -> None:
        """Keep a run: a line is written whole, by one call of the system."""
        line = {"setting": setting, "seed": seed, "measures": dict(measures)}
        text = json.dumps(line | {"design": self.design}) + "\n"
        if self.path.exists() and not self.path.read_bytes().endswith(b"\n"):
            # a process was killed within its line
            text = "\n" + text
        target = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(target, text.encode())
            os.fsync(target)
        finally:
            os.close(target)

    def read(self) -> pd.DataFrame:
        """Measures of all runs; rows (setting, seed), each once."""
        rows = {(line["setting"], line["seed"]): line["measures"] for line in self._lines()}
        if not rows:
            raise ValueError(f"{self.path}: no run is finished yet.")
        index = pd.MultiIndex.from_tuples(list(rows), names=["setting", "seed"])
        return pd.DataFrame(list(rows.values()), index=index).sort_index()

    def has(self, setting: str, seed: int) -> bool:
        """Whether this run is finished."""
        return any((line["setting"], line["seed"]) == (setting, seed) for line in self._lines())

    def _lines(self) -> Iterator[dict]:
        if not self.path.exists():
            return
        for text in self.path.read_text().splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if line["design"] != self.design:
                raise ValueError(
                    f"{self.path} holds runs of another design ({line['design']}, now "
                    f"{self.design}). Give another work folder."
                )
            yield line


def paired_interval(differences, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of paired differences, and its bootstrap interval.

    Parameters
    ----------
    differences : array of shape [n_seeds]
        At least two.
    level : float
        Share of the resampled means that lies within.

    Returns
    -------
    mean, low, high : float
        Percentiles of the means of 10,000 samples with replacement, always the same ones.
    """
    differences = np.asarray(differences, dtype=float)
    if differences.ndim != 1 or len(differences) < 2 or np.isnan(differences).any():
        raise ValueError(f"an interval needs two seeds with numbers, got {differences}.")
    return float(differences.mean()), *bootstrap_interval(differences, level=level)


def contrast_table(runs: pd.DataFrame, settings: Sequence[str]) -> pd.DataFrame:
    """Means of some settings, and the first one's difference from the second one.

    Only seeds that all of the settings have are counted. One row for each measure; none where
    there are less than two such seeds.
    """
    seeds = _common_seeds(runs, settings)
    if len(seeds) < 2:
        return pd.DataFrame()
    first, second = settings[:2]
    rows = []
    for measure in runs.columns:
        values = {s: runs.loc[[(s, seed) for seed in seeds], measure].to_numpy() for s in settings}
        difference = values[first] - values[second]
        rows.append(
            {"measure": measure}
            | {name: float(found.mean()) for name, found in values.items()}
            | {f"{first} - {second}": _show(difference)}
            | {f"{first} higher": f"{(difference > 0).sum()} of {len(seeds)} seeds"}
        )
    return pd.DataFrame(rows).set_index("measure")


def difference_table(runs: pd.DataFrame, base: str, settings: Sequence[str]) -> pd.DataFrame:
    """Each setting less the base, over the seeds that both have; one row for each setting."""
    rows = []
    for setting in settings:
        seeds = _common_seeds(runs, [base, setting])
        if len(seeds) < 2:
            continue
        both = [runs.loc[[(s, seed) for seed in seeds]].to_numpy() for s in (setting, base)]
        shown = map(_show, (both[0] - both[1]).T)
        rows.append(
            {"setting": setting, "seeds": len(seeds)} | dict(zip(runs.columns, shown, strict=True))
        )
    columns = ["setting", "seeds", *runs.columns]
    return pd.DataFrame(rows, columns=columns).set_index("setting")


def _common_seeds(runs: pd.DataFrame, settings: Sequence[str]) -> list[int]:
    names, seeds = (runs.index.get_level_values(level) for level in ("setting", "seed"))
    return sorted(set.intersection(*(set(seeds[names == setting]) for setting in settings)))


def _show(differences) -> str:
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(*paired_interval(differences))
