# SPDX-License-Identifier: BSD-3-Clause
"""Seconds and memory from an EDF file of 8 h and nine modalities to an embedding, by step.

``python -m benchmarks.speed.night [--checkpoint NAME_OR_PATH] [--runs 5]``

The night is simulated and written as EDF+ first. Every run is a process of its own, so the peak
memory is that of one night, with the interpreter and torch in it. "condition / encode" is the ratio
of the two steps' processor time, which others who use the machine hardly change.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

HOURS = 8
SITE_SEED = 4
STEPS = (
    "read", "condition", "encode", "condition / encode", "whole transform", "peak MiB",
    "MiB before",
)  # fmt: skip


def main() -> None:
    """Write the night, run the steps in fresh processes, print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="sleep2vec-mini")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--edf", type=Path, help="measure this file, in this process, once")
    options = parser.parse_args()
    if options.edf is not None:
        print(json.dumps(measure(options.edf, options.checkpoint)))
        return
    with tempfile.TemporaryDirectory() as folder:
        edf = write_night(Path(folder))
        command = [sys.executable, "-m", "benchmarks.speed.night", "--edf", str(edf)]
        command += ["--checkpoint", options.checkpoint]
        runs = [
            json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
            for _ in range(options.runs)
        ]
        print(f"{edf.stat().st_size / 2**20:.0f} MiB EDF+, {runs[0]['rates']}")
    for step in STEPS:
        values = [run[step] for run in runs]
        print(f"{step:18s} {np.median(values):8.3f}  ({min(values):.3f} to {max(values):.3f})")


def write_night(folder: Path) -> Path:
    """One simulated laboratory night with every modality of the paper."""
    from sleep2vec_sklearn import make_sleep_cohort
    from sleep2vec_sklearn.datasets import write_edf_cohort

    cohort = make_sleep_cohort(
        1, hours=HOURS, n_sites=1, site_kinds=["laboratory"], missing=0, random_state=SITE_SEED
    )
    return write_edf_cohort(cohort, folder)[0]


def measure(edf: Path, name: str) -> dict:
    """Time each step on its own, then the transform that overlaps them, after one warm-up."""
    from sleep2vec_sklearn import (
        Sleep2VecTransformer,
        load_checkpoint,
        make_sleep_cohort,
        read_recording,
    )
    from sleep2vec_sklearn.encoding._sleep2vec import as_encoder
    from sleep2vec_sklearn.recordings import get_modality
    from sleep2vec_sklearn.recordings._conditioning import condition

    checkpoint = load_checkpoint(name)
    conditioning = {m.name: m.conditioning for m in checkpoint.config.modalities}
    encoder = as_encoder(checkpoint)
    # what finds heartbeats is imported with the first ECG
    short = make_sleep_cohort(1, hours=0.25, modalities=["ecg", "ibi"], missing=0, random_state=0)
    transformer = Sleep2VecTransformer(checkpoint, cache=None).fit(short)
    transformer.transform(short)
    before = _peak_mib()
    seconds, spent = {}, {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        started, cpu = time.perf_counter(), time.process_time()
        yield
        seconds[step], spent[step] = time.perf_counter() - started, time.process_time() - cpu

    with timed("read"):
        recording = read_recording(edf, derive=False)
        signals = recording.read()
    with timed("condition"):
        conditioned = {
            modality: condition(
                signals[modality],
                get_modality(modality),
                conditioning[modality],
                recording.n_epochs,
            )
            for modality in signals
        }
    with timed("encode"):
        for modality, night in conditioned.items():
            encoder.encode_signal(modality, night)
    del signals, conditioned
    with timed("whole transform"):
        transformer.transform([read_recording(edf, derive=False)])
    seconds["condition / encode"] = spent["condition"] / spent["encode"]
    rates = {modality: round(rate, 3) for modality, rate in recording.rates.items()}
    return {**seconds, "rates": rates, "peak MiB": _peak_mib(), "MiB before": before}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
