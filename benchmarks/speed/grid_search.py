# SPDX-License-Identifier: BSD-3-Clause
"""A grid search over heads, with the cache and without, on EDF files of simulated nights.

``python -m benchmarks.speed.grid_search [--nights 12] [--hours 8] [--repeats 3]``

Four folds by subject, five candidates and a refit. Every run starts with an empty cache, and the
two take turns. scikit-learn's own ``Pipeline(memory=...)`` is beside them: it keeps what
``fit_transform`` gave, and encodes the test folds again for every candidate.

Then heads alone, after everything was encoded once: on an array of the rows, on a table of them
(``PrecomputedEmbeddings``) and on cached tokens. Their processor time is compared, which others who
use the machine hardly change.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sleep2vec_sklearn import (
    EpochSequence,
    PrecomputedEmbeddings,
    Sleep2VecTransformer,
    make_sleep_cohort,
    read_cohort,
)
from sleep2vec_sklearn.datasets import write_edf_cohort
from sleep2vec_sklearn.encoding.cache import MEMORY_CACHE

FOLDS = 4
CANDIDATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
MODALITIES = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2", "ibi", "resp")


def write_nights(folder, n_nights: int, hours: float) -> None:
    """Simulated laboratory nights as EDF+."""
    options = {"modalities": MODALITIES, "site_kinds": "laboratory", "missing": 0.0}
    write_edf_cohort(make_sleep_cohort(n_nights, hours=hours, random_state=0, **options), folder)


def search_seconds(X: EpochSequence, cache, memory=None) -> float:
    """Seconds of one whole search."""
    MEMORY_CACHE.clear()
    encoder = Sleep2VecTransformer(modalities=MODALITIES, cache=cache)
    search = make_search(encoder, LogisticRegression(max_iter=50, tol=1e-2), memory=memory)
    started = time.perf_counter()
    search.fit(X, X.stages, groups=X.groups)
    return time.perf_counter() - started


def make_search(*steps, memory=None) -> GridSearchCV:
    """A search over the regularisation of the last of some steps."""
    model = make_pipeline(*steps[:-1], StandardScaler(), steps[-1], memory=memory)
    return GridSearchCV(model, {"logisticregression__C": CANDIDATES}, cv=GroupKFold(FOLDS))


def compare_heads(X: EpochSequence, repeats: int) -> pd.DataFrame:
    """Processor time of searches over heads alone, and what it is to that on an array."""
    encoder = Sleep2VecTransformer(modalities=MODALITIES).fit(X)
    table, rows, stages, groups = encoder.embed(X), encoder.transform(X), X.stages, X.groups
    ways = {
        "array": (rows,),
        "PrecomputedEmbeddings": (X, PrecomputedEmbeddings(table)),
        "cached tokens": (X, encoder),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, (data, *steps) in ways.items():
            search = make_search(*steps, LogisticRegression())
            started = time.process_time()
            # threads of BLAS that wait for each other would count too
            with threadpool_limits(1):
                search.fit(data, stages, groups=groups)
            spent[name].append(time.process_time() - started)
    times = pd.DataFrame(spent)
    ratios = times.div(times["array"], axis=0)
    return pd.DataFrame({"processor time": times.median(), "to the array's": ratios.median()})


def compare(X: EpochSequence) -> dict[str, float]:
    """Seconds of each way, once."""
    with tempfile.TemporaryDirectory() as memory:
        return {
            "no cache": search_seconds(X, None),
            "Pipeline(memory=...)": search_seconds(X, None, memory),
            "cache='memory'": search_seconds(X, "memory"),
        }


def main() -> None:
    """Print seconds of each way and how many times as fast the cache is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=12)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_nights(folder, options.nights, options.hours)
        X = EpochSequence(read_cohort(folder, derive=False))
        rows = [compare(X) for _ in range(options.repeats)]
        heads = compare_heads(X, options.repeats)
    table = pd.DataFrame(rows)
    ratios = table.rdiv(table["no cache"], axis=0)
    summary = pd.DataFrame({"seconds": table.median(), "times as fast": ratios.median()})
    print(f"{options.nights} simulated nights of {options.hours:g} h, {', '.join(MODALITIES)}")
    print(f"{FOLDS} folds, {len(CANDIDATES)} candidates, refit; median of {options.repeats} runs")
    print(summary.round(2).to_string())
    print("heads alone, LogisticRegression() of scikit-learn")
    print(heads.round(3).to_string())


if __name__ == "__main__":
    main()
