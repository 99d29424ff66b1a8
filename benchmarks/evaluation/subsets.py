# SPDX-License-Identifier: BSD-3-Clause
"""Every subset of the sensors at hand: does another sensor ever cost anything?"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from benchmarks.evaluation.scores import metrics_of, paired_differences
from sleep2vec_sklearn.probing.modality_subsets import SEPARATOR, non_empty_subsets

__all__ = ["SEPARATOR", "compare_subsets", "non_empty_subsets"]


def compare_subsets(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Each subset of several sensors minus the best single sensor in it, paired over subjects.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Scores by subject; names are ``"ibi"``, ``"ibi + actigraphy"``, and so on.

    Returns
    -------
    DataFrame
        ``falls_below`` says that the whole interval lies below zero.
    """
    rows = {}
    for name, table in tables.items():
        singles = name.split(SEPARATOR)
        if len(singles) == 1:
            continue
        for metric in metrics_of(table):
            best = max(singles, key=lambda single, m=metric: tables[single][m].mean())
            pair = {key: tables[key][[metric]] for key in (name, best)}
            row = paired_differences(pair, name).loc[(best, metric)]
            rows[name, metric] = {
                "best_single": best,
                **row[["difference", "low", "high"]].astype(float),
                "falls_below": bool(row["high"] < 0),
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["subset", "metric"])
