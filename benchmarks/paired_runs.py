# SPDX-License-Identifier: BSD-3-Clause
"""Runs kept as lines of a file, and what they say of settings that share their seeds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.evaluation.scores import bootstrap_interval

__all__ = ["Runs", "contrast_table", "difference_table", "paired_interval"]


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
