# SPDX-License-Identifier: BSD-3-Clause
"""Band filter of one night: the package's blocks against ``scipy.signal.sosfiltfilt``.

``python -m benchmarks.speed.filtering [--hours 8] [--rate 256] [--rounds 7]``

Both filter the same noise in turns; peak memory is what a call allocates, by ``tracemalloc``.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from scipy.signal import butter, sosfiltfilt

from sleep2vec_sklearn.recordings._resampling import band_filter

BAND = (0.3, 35.0)


def main() -> None:
    """Print seconds and peak memory of both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=8)
    parser.add_argument("--rate", type=float, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    n_samples = round(options.hours * 3600 * options.rate)
    noise = np.random.default_rng(0).normal(size=n_samples).astype(np.float32)

    def in_blocks() -> None:
        band_filter(noise, BAND, options.rate)

    def with_scipy() -> None:
        sections = butter(2, BAND, "band", fs=options.rate, output="sos")
        noise[:] = sosfiltfilt(sections, noise)

    variants = {"in blocks": in_blocks, "sosfiltfilt": with_scipy}
    rounds = [[_time(call) for call in variants.values()] for _ in range(options.rounds + 1)]
    for name, seconds in zip(variants, np.median(rounds[1:], axis=0), strict=True):
        print(f"{name}: {seconds:.3f} s, {_peak_megabytes(variants[name]):.1f} MB")


def _time(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _peak_megabytes(call: Callable[[], None]) -> float:
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


if __name__ == "__main__":
    main()
