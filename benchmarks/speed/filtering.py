# SPDX-License-Identifier: BSD-3-Clause
"""Band filter of one night: the package's blocks against ``scipy.signal.sosfiltfilt``.

``python -m benchmarks.speed.filtering [--rounds 7]``: eight hours of noise, filtered in turns; peak
memory is what a call allocates, by ``tracemalloc``.
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Callable
from timeit import timeit

import numpy as np
from scipy.signal import butter, sosfiltfilt

from sleep2vec_sklearn.recordings._resampling import band_filter

BAND, RATE = (0.3, 35.0), 256


def main() -> None:
    """Print seconds and peak memory of both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    noise = np.random.default_rng(0).normal(size=8 * 3600 * RATE).astype(np.float32)

    def in_blocks() -> None:
        band_filter(noise, BAND, RATE)

    def with_scipy() -> None:
        sections = butter(2, BAND, "band", fs=RATE, output="sos")
        noise[:] = sosfiltfilt(sections, noise)

    variants = {"in blocks": in_blocks, "sosfiltfilt": with_scipy}
    rounds = [[timeit(call, number=1) for call in variants.values()] for _ in range(options.rounds)]
    for name, seconds in zip(variants, np.median(rounds, axis=0), strict=True):
        print(f"{name}: {seconds:.3f} s, {_peak_megabytes(variants[name]):.1f} MB")


def _peak_megabytes(call: Callable[[], None]) -> float:
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


if __name__ == "__main__":
    main()
