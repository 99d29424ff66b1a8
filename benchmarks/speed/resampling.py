# SPDX-License-Identifier: BSD-3-Clause
"""Resampling and filtering of one night: the package's block products against scipy's functions.

``python -m benchmarks.speed.resampling [--hours 8] [--rounds 7]``

Both variants condition the same simulated laboratory night of nine modalities in turns, first by
themselves, then within ``Sleep2VecTransformer.transform`` of the EDF+ file.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from unittest import mock

import numpy as np
from scipy.signal import butter, resample_poly, sosfiltfilt

from sleep2vec_sklearn import (
    Sleep2VecTransformer,
    load_checkpoint,
    make_sleep_cohort,
    read_recording,
)
from sleep2vec_sklearn.datasets import write_edf_cohort
from sleep2vec_sklearn.recordings import _conditioning, _resampling, get_modality


def main() -> None:
    """Print the seconds of both variants, and the share that the package's saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    checkpoint = load_checkpoint("sleep2vec-mini")
    cohort = make_sleep_cohort(
        1,
        hours=options.hours,
        n_sites=1,
        site_kinds=["laboratory"],
        missing=0,
        random_state=4,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = write_edf_cohort(cohort, folder)[0]
        signals = read_recording(path, derive=False).read()
        transformer = Sleep2VecTransformer(checkpoint, cache=None).fit(cohort)

        def condition() -> None:
            for entry in checkpoint.config.modalities:
                if entry.name in signals:
                    modality = get_modality(entry.name)
                    _conditioning.condition(
                        signals[entry.name], modality, entry.conditioning, cohort[0].n_epochs
                    )

        def transform() -> None:
            transformer.transform([read_recording(path, derive=False)])

        print({name: round(signal.rate, 1) for name, signal in signals.items()})
        _compare("conditioning", condition, options.rounds)
        _compare("transform", transform, options.rounds)


def _compare(what: str, work: Callable[[], None], rounds: int) -> None:
    """Time both variants in turns, after a round to warm up; CPU seconds are of all threads."""
    seconds = []
    for _ in range(rounds + 1):
        ours = _time(work)
        with _scipy_instead():
            seconds.append([ours, _time(work)])
    medians = np.median(seconds[1:], axis=0)
    for clock, (ours, scipys) in zip(("wall", "CPU"), medians.T, strict=True):
        saved = 1 - ours / scipys
        print(f"{what}, {clock}: {ours:.3f} s, with scipy {scipys:.3f} s, {saved:.1%} saved")


def _time(work: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


@contextmanager
def _scipy_instead():
    with (
        mock.patch.object(_resampling, "_polyphase", _polyphase),
        mock.patch.object(_conditioning, "band_filter", _band_filter),
    ):
        yield


def _polyphase(values: np.ndarray, up: int, down: int) -> np.ndarray:
    return resample_poly(values, up, down, padtype="line")


def _band_filter(values: np.ndarray, band: tuple, rate: float) -> None:
    low, high = band
    if (low, high) == (None, None):
        return
    kind = "band" if None not in band else "high" if high is None else "low"
    corners = band if kind == "band" else low if kind == "high" else high
    sections = butter(2, corners, kind, fs=rate, output="sos")
    values[:] = sosfiltfilt(sections, values)


if __name__ == "__main__":
    main()
