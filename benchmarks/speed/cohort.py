# SPDX-License-Identifier: BSD-3-Clause
"""A cohort streamed from EDF files: nights per second, peak memory, how long the encoder waits.

``python -m benchmarks.speed.cohort [--nights 20 200] [--distinct 10] [--dense-nights 3]``

Simulated laboratory nights of 8 h and nine modalities are written as EDF+ first; a cohort larger
than ``--distinct`` holds each file several times, and no cache is used. Every size is a process of
its own, so that peak memory is its own. For the authors' dense size (random weights) the share of
the cores' time is given in which the network does not compute: it waits for a night to be read,
its core conditions a signal, or the last night is nearly done.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from joblib import Parallel, delayed

HOURS = 8
SITE_KIND = "laboratory"


def main() -> None:
    """Write the nights, run every size in a fresh process, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--distinct", type=int, default=10, help="files simulated")
    parser.add_argument("--dense-nights", type=int, default=3)
    parser.add_argument("--measure", nargs=3, metavar=("FOLDER", "N", "SIZE"))
    options = parser.parse_args()
    if options.measure:
        folder, n_nights, size = options.measure
        print(json.dumps(measure(Path(folder), int(n_nights), size)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_nights(Path(folder), options.distinct)
        sizes = [(n, "sleep2vec-mini") for n in options.nights] + [(options.dense_nights, "dense")]
        for n_nights, size in sizes:
            command = [sys.executable, "-m", "benchmarks.speed.cohort"]
            command += ["--measure", folder, str(n_nights), size]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            print(size, json.loads(done.stdout.splitlines()[-1]))


def write_nights(folder: Path, n_nights: int) -> None:
    """Simulated nights as EDF+, two at a time."""
    n_jobs = min(2, os.cpu_count() or 1)
    Parallel(n_jobs=n_jobs)(delayed(_write)(folder, k) for k in range(n_nights))


def _write(folder: Path, seed: int) -> None:
    from sleep2vec_sklearn import make_sleep_cohort
    from sleep2vec_sklearn.datasets import write_edf_cohort

    cohort = make_sleep_cohort(
        1, hours=HOURS, n_sites=1, site_kinds=[SITE_KIND], missing=0, random_state=seed
    )
    write_edf_cohort(cohort, folder / str(seed))


def measure(folder: Path, n_nights: int, size: str) -> dict:
    """Stream the nights through a transform, or through the engine for the dense size."""
    from sleep2vec_sklearn import Sleep2VecTransformer, read_cohort

    nights = read_cohort(folder, derive=False)
    recordings = [nights[k % len(nights)] for k in range(n_nights)]
    if size == "dense":
        return measure_waiting(recordings)
    transformer = Sleep2VecTransformer(size, cache=None).fit(recordings)
    transformer.transform(recordings[:1])
    started = time.perf_counter()
    transformer.transform(recordings)
    seconds = time.perf_counter() - started
    return {
        "nights": n_nights,
        "nights per second": round(n_nights / seconds, 3),
        "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def measure_waiting(recordings) -> dict:
    """Share of the cores' time that is not the network's."""
    import torch

    from sleep2vec_sklearn._torch import resolve_precision
    from sleep2vec_sklearn.encoding._engine import Engine
    from sleep2vec_sklearn.encoding._sleep2vec import Sleep2VecEncoder
    from sleep2vec_sklearn.model.checkpoint import Checkpoint
    from sleep2vec_sklearn.model.network import Sleep2Vec

    from .encoder import NINE, dense_config

    config = dense_config(12)
    state = Sleep2Vec.from_seed(config, 0).state_dict()
    checkpoint = Checkpoint(config, state, {}, "random", "dense, random weights")
    precision = resolve_precision("auto", "cpu")
    encoding: list[float] = []

    class TimedEncoder(Sleep2VecEncoder):
        def encode_signal(self, name, signal):
            started = time.perf_counter()
            encoded = super().encode_signal(name, signal)
            encoding.append(time.perf_counter() - started)
            return encoded

    engine = Engine(TimedEncoder.of(checkpoint, "last", precision, "cpu"), NINE, 2)
    list(engine.encode(recordings[:1], [recordings[0].id]))
    encoding.clear()
    started = time.perf_counter()
    list(engine.encode(recordings, [recording.id for recording in recordings]))
    seconds = time.perf_counter() - started
    n_threads = torch.get_num_threads()
    return {
        "nights": len(recordings), "precision": precision, "threads": n_threads,
        "seconds per night": round(seconds / len(recordings), 2),
        "share of time waiting": round(1 - sum(encoding) / (n_threads * seconds), 4),
    }  # fmt: skip


if __name__ == "__main__":
    main()
