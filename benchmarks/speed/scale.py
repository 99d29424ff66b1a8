# SPDX-License-Identifier: BSD-3-Clause
"""A cohort that grows from 500 to 6,000 nights: time per night and memory of each step.

``python -m benchmarks.speed.scale [--nights 500 1000 2000 4000 6000] [--folder /tmp]``

An encoder of random rows stands for the network, whose time per night ``speed.cohort`` measures.
What is shown is all else: rows of 128 numbers for each of the 960 epochs of a night, centred by
night, go through ``embed`` to Parquet and .npz, and a probe of sleep stages is fitted to them. Each
step is a process of its own. "CPU" is time of processors. "peak" is the largest resident memory,
which counts pages of mapped files that the system drops when it needs the room; "anonymous" is what
it cannot drop (RssAnon of Linux), above that before the step. The probe is cross-validated in three
folds of subjects by the same scikit-learn line on ``PrecomputedEmbeddings`` of the .npz file, and
on the same numbers in an .npy file that ``np.load`` maps.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

WIDTH, N_EPOCHS, N_FOLDS = 128, 960, 3
STEPS = ("parquet", "npz", "epochs", "probe", "arrays", "batches")


def main() -> None:
    """Run each step of each size in a fresh process and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, nargs="+", default=[500, 1000, 2000, 4000, 6000])
    parser.add_argument("--folder", type=Path, help="of temporary files, 7 GB for 6,000 nights")
    parser.add_argument("--measure", nargs=3, metavar=("STEP", "N", "FOLDER"))
    options = parser.parse_args()
    if options.measure:
        step, n_nights, folder = options.measure
        print(json.dumps(measure(step, int(n_nights), Path(folder))))
        return
    print(f"{N_EPOCHS} epochs a night, {WIDTH} numbers an epoch")
    for n_nights in options.nights:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for step in STEPS:
                command = [sys.executable, "-m", "benchmarks.speed.scale"]
                command += ["--measure", step, str(n_nights), folder]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                report(n_nights, step, json.loads(done.stdout.splitlines()[-1]))


def report(n_nights: int, step: str, found: dict) -> None:
    """Print one step."""
    numbers = ", ".join(f"{name} {value}" for name, value in found.items())
    print(f"{n_nights:5} nights  {step:8} {numbers}", flush=True)


def measure(step: str, n_nights: int, folder: Path) -> dict:
    """Carry out one step; its time and memory."""
    prepare, work = {
        "parquet": (make_epochs, lambda X: embed(X, folder / "rows.parquet")),
        "npz": (make_epochs, lambda X: embed(X, folder / "rows.npz")),
        "epochs": (make_nights, index_epochs),
        "probe": (labels_of, lambda labels: probe(folder / "rows.npz", *labels)),
        "arrays": (labels_of, lambda labels: probe_arrays(folder / "rows.npy", *labels)),
        "batches": (labels_of, lambda labels: probe_in_batches(folder / "rows.npz", labels[1])),
    }[step]
    if step == "arrays":
        write_array(folder)
    prepared = prepare(n_nights)
    warm_up(step, folder)
    with peak_of_anonymous_memory() as peak:
        started, processor = time.perf_counter(), time.process_time()
        result = work(prepared) or {}
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": round(seconds, 1),
        "CPU ms per night": round(1000 * processor / n_nights, 2),
        "peak MiB": round(resident),
        "anonymous MiB": round(peak[0]),
        **result,
    }


def warm_up(step: str, folder: Path) -> None:
    """Import what the step needs, so that it is not part of its time and memory."""
    if step in ("parquet", "npz"):
        path = folder / f"one.{step}"
        embed(make_epochs(1), path)
        path.unlink()
    else:
        X, y, _ = labels_of(N_FOLDS)
        cross_validated(head(), np.zeros((len(X), 2), np.float32), y, X.recording_index)


@contextmanager
def peak_of_anonymous_memory():
    """A list whose item becomes the largest growth in MiB, sampled a hundred times a second."""
    before, ended, peak = anonymous_memory(), threading.Event(), [0.0]

    def watch() -> None:
        while not ended.wait(0.01):
            peak[0] = max(peak[0], anonymous_memory() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def anonymous_memory() -> float:
    """MiB of this process that are not pages of a file."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in s)
    return int(line.split()[1]) / 1024


def make_nights(n_nights: int) -> list:
    """Nights of one signal, the same in all but its first sample, each of its own subject."""
    from sleep2vec_sklearn import Recording

    rng = np.random.default_rng(0)
    nights = []
    for number in range(n_nights):
        counts = np.zeros(N_EPOCHS * 30, dtype=np.int8)
        counts[:4] = np.frombuffer(np.int32(number).tobytes(), dtype=np.uint8) & 127
        stages = np.repeat(rng.integers(0, 5, N_EPOCHS // 20), 20)
        name = f"{number:05d}"
        signals = {"actigraphy": (counts, 1)}
        nights.append(Recording(signals, id=f"n{name}", subject=f"s{name}", stages=stages))
    return nights


def make_epochs(n_nights: int):
    """All their epochs."""
    from sleep2vec_sklearn import EpochSequence

    return EpochSequence(make_nights(n_nights))


def labels_of(n_nights: int) -> tuple:
    """Keys, stages and subjects of the rows, without signals."""
    from sleep2vec_sklearn.encoding import RowKeys

    rng = np.random.default_rng(0)
    rows, epochs = np.divmod(np.arange(n_nights * N_EPOCHS, dtype=np.int32), N_EPOCHS)
    stages = rng.integers(0, 5, n_nights * N_EPOCHS // 20).repeat(20)
    numbers = [f"{number:05d}" for number in range(n_nights)]
    X = RowKeys([f"n{n}" for n in numbers], [f"s{n}" for n in numbers], rows, epochs, stages)
    return X, stages, rows


def embed(X, path: Path) -> dict:
    """``embed`` with an encoder that takes no time."""
    from sleep2vec_sklearn import Sleep2VecTransformer
    from sleep2vec_sklearn.model import Encoder

    class RandomRows(Encoder):
        def encode(self, recording, group):
            rng = np.random.default_rng(int(recording.id[1:]))
            shift = rng.standard_normal(WIDTH, dtype=np.float32)
            rows = shift + rng.standard_normal((recording.n_epochs, WIDTH), dtype=np.float32)
            rows[:, :5] += recording.stages[:, None] == np.arange(5)
            return rows

    digest = hashlib.sha256(b"random rows").hexdigest()
    groups = {"actigraphy": ("actigraphy",)}
    encoder = RandomRows("random", digest, groups, {"actigraphy": WIDTH}, centered=True)
    Sleep2VecTransformer(encoder, cache=None).fit(X).embed(X, path)
    return {"file MiB": round(path.stat().st_size / 2**20)}


def index_epochs(nights: list) -> dict:
    """What scikit-learn asks of an ``EpochSequence``; seconds of each."""
    from sklearn.model_selection import GroupKFold

    from sleep2vec_sklearn import EpochSequence

    times = {}

    def timed(name: str, call):
        started = time.perf_counter()
        result = call()
        times[f"{name}, s"] = round(time.perf_counter() - started, 2)
        return result

    X = timed("EpochSequence", lambda: EpochSequence(nights))
    stages, groups = timed("stages", lambda: X.stages), timed("groups", lambda: X.groups)
    timed("mask", lambda: X[stages > 0].stages)
    splits = timed("GroupKFold", lambda: list(GroupKFold(N_FOLDS).split(X, stages, groups)))
    timed("fold", lambda: X[splits[0][0]])
    return times


def head():
    """The probe: scaled rows, one pass of stochastic gradient descent."""
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), SGDClassifier(max_iter=1, tol=None, random_state=0))


def cross_validated(model, X, y, groups) -> dict:
    """The scikit-learn line of both probes."""
    from sklearn.model_selection import GroupKFold, cross_val_score

    scores = cross_val_score(model, X, y, groups=groups, cv=GroupKFold(N_FOLDS))
    return {"accuracy": round(float(scores.mean()), 4)}


def probe(path: Path, X, y, groups) -> dict:
    """On rows that are looked up in a mapped table."""
    from sklearn.pipeline import make_pipeline

    from sleep2vec_sklearn import PrecomputedEmbeddings

    return cross_validated(make_pipeline(PrecomputedEmbeddings(path), head()), X, y, groups)


def write_array(folder: Path) -> None:
    """The same numbers as an array."""
    from sleep2vec_sklearn import EmbeddingTable

    table = EmbeddingTable.load(folder / "rows.npz")
    path = folder / "rows.npy"
    array = np.lib.format.open_memmap(path, "w+", np.float32, table.values.shape)
    for start in range(0, len(table), N_EPOCHS * 10):
        rows = slice(start, start + N_EPOCHS * 10)
        array[rows] = table.rows(rows, center="night")


def probe_arrays(path: Path, X, y, groups) -> dict:
    """On an array that is mapped."""
    return cross_validated(head(), np.load(path, mmap_mode="r"), y, groups)


def probe_in_batches(path: Path, y) -> dict:
    """Fitted to two thirds of the nights, a hundred of them at a time; scored on the others."""
    from sklearn.linear_model import SGDClassifier
    from sklearn.preprocessing import StandardScaler

    from sleep2vec_sklearn import EmbeddingTable

    table = EmbeddingTable.load(path)
    size = 100 * N_EPOCHS
    n_train = len(table) * 2 // 3 // N_EPOCHS * N_EPOCHS
    scaler, model = StandardScaler(), SGDClassifier(random_state=0)
    for start in range(0, n_train, size):
        rows = slice(start, min(start + size, n_train))
        scaler.partial_fit(table.rows(rows, center="night"))
    for start in range(0, n_train, size):
        rows = slice(start, min(start + size, n_train))
        batch = scaler.transform(table.rows(rows, center="night"))
        model.partial_fit(batch, y[rows], classes=np.arange(5))
    n_right = 0
    for start in range(n_train, len(table), size):
        rows = slice(start, start + size)
        batch = scaler.transform(table.rows(rows, center="night"))
        n_right += int((model.predict(batch) == y[rows]).sum())
    return {"accuracy": round(n_right / (len(table) - n_train), 4)}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
