# SPDX-License-Identifier: BSD-3-Clause
"""Nights and steps of pretraining per second on a GPU, their share of its peak, and differences.

``python -m benchmarks.speed.gpu [--layers 12] [--repeats 5] [--nights 8] [--device cuda]``

First the authors' dense size with random weights, from conditioned samples to hidden states; its
peak is the device's own large matrix product in the same precision, and the difference that to a
CPU in float32. Then the bundled encoder from EDF files to rows: simulated laboratory nights of 8 h
and nine modalities, which are read and conditioned by the processor. Last, a step of pretraining at
the dense size, see ``benchmarks.speed.pretraining``. Run the tests there too: ``pytest -m gpu``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sleep2vec_sklearn import Sleep2VecTransformer, read_cohort
from sleep2vec_sklearn.encoding._sleep2vec import as_encoder
from sleep2vec_sklearn.model.checkpoint import Checkpoint
from sleep2vec_sklearn.model.network import Sleep2Vec

from .cohort import write_nights
from .encoder import dense_config, flops, peak_flops, random_night
from .pretraining import measure_gpu

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--nights", type=int, default=8)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU here")
        return
    print(measure_dense(options).round(5).to_string(index=False))
    with tempfile.TemporaryDirectory() as folder:
        write_nights(Path(folder), options.nights)
        print(measure_files(Path(folder), options).round(5).to_string(index=False))
    if options.device == "cuda":
        print(measure_gpu(options))


def measure_dense(options) -> pd.DataFrame:
    """The dense size in either precision."""
    config = dense_config(options.layers)
    network = Sleep2Vec.from_seed(config, 0).eval()
    checkpoint = Checkpoint(config, network.state_dict(), {}, "random", "dense, random weights")
    night = random_night()
    expected = encode(as_encoder(checkpoint, "last", "float32", "cpu"), night)
    rows = []
    for precision, dtype in PRECISIONS.items():
        encoder = as_encoder(checkpoint, "last", precision, options.device)
        found = encode(encoder, night)
        seconds = []
        for _ in range(options.repeats):
            started = time.perf_counter()
            encode(encoder, night)
            seconds.append(time.perf_counter() - started)
        peak = peak_flops(dtype, options.device)
        rows.append(
            {
                "dense": precision,
                "nights per second": 1 / np.median(seconds),
                "share of peak": flops(network) / np.median(seconds) / peak,
                "peak, TFLOP/s": peak / 1e12,
                "largest difference": max(np.abs(found[n] - expected[n]).max() for n in night),
            }
        )
    return pd.DataFrame(rows)


def encode(encoder, night) -> dict[str, np.ndarray]:
    """Hidden states of each modality, one after the other, in this machine's memory."""
    return {name: encoder.encode_signal(name, signal).tokens for name, signal in night.items()}


def measure_files(folder: Path, options) -> pd.DataFrame:
    """The bundled encoder from files to rows, there and by the processor."""
    nights = read_cohort(folder, derive=False)
    rows, results = [], {}
    for device in ("cpu", options.device):
        transformer = Sleep2VecTransformer(device=device, cache=None).fit(nights)
        transformer.transform(nights[:1])
        started = time.perf_counter()
        results[device] = transformer.transform(nights)
        rate = len(nights) / (time.perf_counter() - started)
        difference = np.abs(results[device] - results["cpu"]).max()
        rows.append({"from files": device, "nights per second": rate, "difference": difference})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
