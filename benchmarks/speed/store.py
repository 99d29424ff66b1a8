# SPDX-License-Identifier: BSD-3-Clause
"""A store of nights: space on disk, nights prepared per second, windows read per second.

``python -m benchmarks.speed.store [--nights 12] [--jobs 2] [--seconds 5] [--folder DIR]``

Simulated laboratory nights of 8 h and nine modalities are written as EDF+ first and prepared from
there, once with every number of processes. Windows of 120 epochs are drawn at random over nights
and modalities, by one thread: from the page cache, and after it was told to forget the files. The
EDF files come from the page cache. The folder should be on the disk that is to be measured.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from sleep2vec_sklearn import read_cohort
from sleep2vec_sklearn.pretraining import NightStore, prepare_cohort

from .cohort import HOURS, write_nights

PAPER_NIGHTS = 42_249
CONTEXT = 120
BATCH = 48
MODALITIES = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2", "ibi", "resp")


def main() -> None:
    """Write the nights, prepare them in every way, read, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=2, help="most processes tried")
    parser.add_argument("--seconds", type=float, default=5.0, help="of reading, at most")
    parser.add_argument("--folder", help="where to put the nights for the time being")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_nights(Path(folder) / "edf", options.nights)
        rows = {
            content: measure(Path(folder), content, options) for content in ("features", "samples")
        }
    print(f"{options.nights} simulated nights of {HOURS} h, {', '.join(MODALITIES)}")
    print(pd.DataFrame(rows).to_string(float_format=lambda value: f"{value:.4g}"))


def measure(folder: Path, content: str, options) -> dict[str, float]:
    """One column of the table."""
    figures = {}
    for n_jobs in range(1, options.jobs + 1):
        place = folder / f"{content}-{n_jobs}"
        seconds = time_preparation(folder / "edf", place, content, n_jobs)
        figures[f"nights/s, {n_jobs} processes"] = options.nights / seconds
        figures[f"hours for {PAPER_NIGHTS:,}"] = PAPER_NIGHTS * seconds / options.nights / 3600
    files = list(place.glob("nights/??/*"))
    figures["MB per night"] = sum(path.stat().st_size for path in files) / len(files) / 1e6
    figures[f"GB for {PAPER_NIGHTS:,}"] = figures["MB per night"] * PAPER_NIGHTS / 1e3
    store = NightStore.open(place)
    forget(files)
    for where, once in (("cold", True), ("cached", False)):
        n_windows, n_bytes, seconds = read_windows(store, options.seconds, once)
        figures[f"windows/s, {where}"] = n_windows / seconds
        figures[f"MB/s, {where}"] = n_bytes / seconds / 1e6
    figures[f"batches/s of 2 x {BATCH}, cached"] = figures["windows/s, cached"] / (2 * BATCH)
    return figures


def time_preparation(edf: Path, place: Path, content: str, n_jobs: int) -> float:
    """Seconds of :func:`prepare_cohort`, with processes that are started."""
    for path in edf.rglob("*.edf"):
        # a file that changed is hashed again, as in a session of its own
        os.utime(path)
    nights = read_cohort(edf, derive=False, verbose=0)
    Parallel(n_jobs=n_jobs)(delayed(_warm_up)() for _ in range(n_jobs))
    started = time.perf_counter()
    prepare_cohort(nights, place, content=content, modalities=MODALITIES, n_jobs=n_jobs)
    return time.perf_counter() - started


def _warm_up() -> None:
    import sleep2vec_sklearn.pretraining  # noqa: F401

    time.sleep(0.5)


def forget(files: list[Path]) -> None:
    """Ask the system to drop what it holds of the files; only some systems can."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.sync()
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_windows(store: NightStore, most_seconds: float, once: bool) -> tuple[int, int, float]:
    """Windows and stored bytes read, and the seconds that took; ``once``: each window one time."""
    every = [
        (night, name, start)
        for night, n_epochs in enumerate(store.table["n_epochs"])
        for name in store.contents
        for start in range(0, n_epochs - CONTEXT + 1, CONTEXT)
    ]
    order = np.random.default_rng(0).permutation(len(every))
    sizes = {name: CONTEXT * c.width * c.dtype.itemsize for name, c in store.contents.items()}
    n_windows = n_bytes = 0
    started = time.perf_counter()
    while (seconds := time.perf_counter() - started) < most_seconds:
        if once and n_windows == len(every):
            break
        night, name, start = every[order[n_windows % len(every)]]
        store.window(night, name, start, CONTEXT)
        n_windows += 1
        n_bytes += sizes[name]
    return n_windows, n_bytes, seconds


if __name__ == "__main__":
    main()
