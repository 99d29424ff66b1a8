# SPDX-License-Identifier: BSD-3-Clause
"""Embedding, a grid search and preparation by one, two and four workers of dask, one thread each.

``python -m benchmarks.speed.dask_workers [--nights 12] [--hours 8] [--workers 2 4] [--repeats 5]``

Simulated laboratory nights of nine modalities are written as EDF+ first. The clusters are open at
the same time and take turns, so that a change of the machine's speed meets all of them. One worker
does a whole job as one task, so that nothing is sent but its result; the ratios of the others are
to it. The search reads tokens from a folder, as after ``embed``; the other jobs use no cache.

Seconds are the wall clock's. "by processor time" is what the ratio would be on a machine with a
core for every worker: processor time of one worker, over that of the busiest of several and of the
process with client and scheduler, which works while they do. "overhead" is the processor time that
several workers, client and scheduler take in all, less that of one worker, over the nights.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, read_cohort
from sleep2vec_sklearn.pretraining import prepare_cohort

from .grid_search import FOLDS, MODALITIES, make_search, write_nights


def embed(nights, tokens: Path, work: Path) -> None:
    """One row per night, encoded anew."""
    Sleep2VecTransformer(modalities=MODALITIES, cache=None).fit(nights).embed(nights)


def search(nights, tokens: Path, work: Path) -> None:
    """Regularisation of a staging probe on cached tokens."""
    X = EpochSequence(nights)
    encoder = Sleep2VecTransformer(modalities=MODALITIES, cache=tokens)
    grid = make_search(encoder, LogisticRegression(max_iter=50, tol=1e-2))
    grid.fit(X, X.stages, groups=X.groups)


def prepare(nights, tokens: Path, work: Path) -> None:
    """A store of features."""
    prepare_cohort(nights, work, modalities=MODALITIES)


JOBS: dict[str, Callable] = {"embed": embed, "grid search": search, "prepare": prepare}


def main() -> None:
    """Write the nights, run the jobs in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=12)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_nights(Path(folder) / "edf", options.nights, options.hours)
        nights = read_cohort(Path(folder) / "edf", derive=False)
        runs = measure(nights, Path(folder), sorted({1, *options.workers}), options.repeats)
    print(f"{options.nights} simulated nights of {options.hours:g} h, {', '.join(MODALITIES)}")
    print(f"medians of {options.repeats} runs, workers of one thread, in turns")
    print(summarise(runs, options.nights).to_string(index=False, float_format="{:.3g}".format))
    print(f"sent for a night: {len(pickle.dumps(nights[0]))} bytes of a recording read from files")


def measure(nights, folder: Path, sizes: list[int], repeats: int) -> list[dict[str, Any]]:
    """Seconds and processor time of every run, with clusters that are warm."""
    from distributed import Client, LocalCluster

    runs = []
    tokens = folder / "tokens"
    with ExitStack() as stack:
        clients = {}
        for n in sizes:
            cluster = stack.enter_context(
                LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None)
            )
            clients[n] = stack.enter_context(Client(cluster, set_as_default=False))
            clients[n].wait_for_workers(n)
            # every worker imports, and loads the encoder
            for job in JOBS.values():
                clients[n].run(job, nights[:FOLDS], tokens, Path(tempfile.mkdtemp(dir=folder)))
        Sleep2VecTransformer(modalities=MODALITIES, cache=tokens).fit(nights).embed(nights)
        for _ in range(repeats):
            for name, job in JOBS.items():
                for n, client in clients.items():
                    run = partial(job, nights, tokens, Path(tempfile.mkdtemp(dir=folder)))
                    runs.append({"job": name, "workers": n, **take(client, n, run)})
    return runs


def forget() -> None:
    """Drop the tokens that an earlier search has read."""
    # here, or it would be sent along
    from sleep2vec_sklearn.encoding.cache import MEMORY_CACHE

    MEMORY_CACHE.clear()


def take(client, n_workers: int, run: Callable[[], None]) -> dict[str, float]:
    """One run by a cluster: seconds, and processor time of its workers and of this process."""
    client.run(forget)
    forget()
    before, own, started = client.run(time.process_time), time.process_time(), time.perf_counter()
    if n_workers == 1:
        client.submit(run, pure=False).result()
    else:
        with joblib.parallel_config(backend="dask", client=client):
            run()
    seconds, own = time.perf_counter() - started, time.process_time() - own
    after = client.run(time.process_time)
    spent = [after[worker] - before[worker] for worker in before]
    return {"seconds": seconds, "busiest": max(spent), "all": sum(spent), "client": own}


def summarise(runs: list[dict[str, Any]], n_nights: int) -> pd.DataFrame:
    """A row for each job and number of workers."""
    table = pd.DataFrame(runs)
    rows = []
    for (job, n), of_size in table.groupby(["job", "workers"], sort=False):
        one = table[(table["job"] == job) & (table["workers"] == 1)]
        alone, several = one.to_dict("list"), of_size.to_dict("list")
        ways = {key: np.array(values) for key, values in several.items() if key != "job"}
        busiest = np.maximum(ways["busiest"], ways["client"])
        overhead = ways["client"] + ways["all"] - np.add(alone["client"], alone["all"])
        rows.append(
            {
                "job": job, "workers": n, "seconds": np.median(ways["seconds"]),
                "times as fast": np.median(np.array(alone["seconds"]) / ways["seconds"]),
                "by processor time": np.median(np.array(alone["busiest"]) / busiest),
                "client and scheduler, ms a night": 1e3 * np.median(ways["client"]) / n_nights,
                "overhead, ms a night": 1e3 * np.median(overhead) / n_nights,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
