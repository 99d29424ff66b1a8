# SPDX-License-Identifier: BSD-3-Clause
"""Seconds and memory from an EDF file of 8 h and nine modalities to an embedding, by step.

``python -m benchmarks.speed.night [--checkpoint NAME_OR_PATH] [--runs 5]``

The night is simulated and written as EDF+ first. Every run is a process of its own, so the peak
memory is that of one night, with the interpreter and torch in it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HOURS = 8
SITE_SEED = 4


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
    for step in ("read", "condition", "encode", "whole transform", "peak MiB", "MiB before"):
        values = [run[step] for run in runs]
        print(f"{step:16s} {np.median(values):8.3f}  ({min(values):.3f} to {max(values):.3f})")


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
    from sleep2vec_sklearn import Sleep2VecTransformer, load_checkpoint, read_recording
    from sleep2vec_sklearn.encoding._sleep2vec import as_encoder
    from sleep2vec_sklearn.recordings import get_modality
    from sleep2vec_sklearn.recordings._conditioning import condition

    checkpoint = load_checkpoint(name)
    conditioning = {m.name: m.conditioning for m in checkpoint.config.modalities}
    encoder = as_encoder(checkpoint)
    transformer = Sleep2VecTransformer(checkpoint, cache=None).fit([{"ibi": np.ones(120)}])
    transformer.transform([{"ibi": (0.9 + 0.1 * np.random.default_rng(0).random(1200), 4)}])
    before = _peak_mib()
    seconds = {}
    started = time.perf_counter()
    recording = read_recording(edf, derive=False)
    signals = recording.read()
    seconds["read"] = time.perf_counter() - started
    started = time.perf_counter()
    conditioned = {
        modality: condition(
            signals[modality], get_modality(modality), conditioning[modality], recording.n_epochs
        )
        for modality in signals
    }
    seconds["condition"] = time.perf_counter() - started
    started = time.perf_counter()
    for modality, night in conditioned.items():
        encoder.encode_signal(modality, night)
    seconds["encode"] = time.perf_counter() - started
    del signals, conditioned
    started = time.perf_counter()
    transformer.transform([read_recording(edf, derive=False)])
    seconds["whole transform"] = time.perf_counter() - started
    rates = {modality: round(rate, 3) for modality, rate in recording.rates.items()}
    return {**seconds, "rates": rates, "peak MiB": _peak_mib(), "MiB before": before}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
