# SPDX-License-Identifier: BSD-3-Clause
"""The nights with stages that the bundled stager is trained on and measured with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sleep2vec_sklearn import make_sleep_cohort, read_recording
from sleep2vec_sklearn.datasets import load_dreams, load_sleep_accel, load_slpdb
from sleep2vec_sklearn.recordings import Recording

__all__ = ["REAL_SETS", "real_nights", "simulated_nights"]

SITE_KINDS = ("full_laboratory", "laboratory", "watch_laboratory", "home", "wearable")
# not that of the nights the encoder was pretrained on
SEED = 20261130
REAL_SETS = ("sleep-accel", "slpdb", "sleep-edf", "dreams")


def simulated_nights(n_subjects: int, *, hours: float = 8.0) -> list[Recording]:
    """One simulated night each, from twenty sites of all kinds."""
    return make_sleep_cohort(
        n_subjects,
        hours=hours,
        n_sites=20,
        site_kinds=SITE_KINDS,
        missing=0.1,
        random_state=SEED,
    )


def real_nights(data: Path) -> dict[str, Sequence[Recording]]:
    """Real nights with stages by data set; those that are not below ``data`` are left out.

    ucddb is none of them: what is public in one file of it has signal in W and N3 only, and a night
    without the rest has another mean.
    """
    found = {}
    for name in REAL_SETS:
        load, folder = _LOADERS[name]
        if (data / folder).is_dir():
            found[name] = load(data / folder)
    return found


def _sleep_edf(folder: Path) -> list[Recording]:
    nights = (read_recording(path, derive=False) for path in sorted(folder.glob("*-PSG.edf")))
    return [night.without(*(set(night) - {"eeg", "eog"})) for night in nights]


_LOADERS = {
    "sleep-accel": (load_sleep_accel, "sleep-accel"),
    "slpdb": (load_slpdb, "slpdb"),
    "sleep-edf": (_sleep_edf, "sleep-edfx/sleep-cassette"),
    "dreams": (load_dreams, "dreams"),
}
