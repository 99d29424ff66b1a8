# SPDX-License-Identifier: BSD-3-Clause
"""The nights that ``sleep2vec-mini`` is pretrained on; none that it is evaluated on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.datasets import load_mmash
from sleep2vec_sklearn.recordings import Recording
from sleep2vec_sklearn.recordings.derivation import ibi_from_heart_rate

SITE_KINDS = ("full_laboratory", "watch_laboratory", "watch_laboratory", "laboratory", "wearable")
SEED = 20260214
WATCH_SECONDS = 5


def simulated_nights(n_subjects: int) -> list[Recording]:
    """One simulated night each, from twenty sites of four kinds."""
    return make_sleep_cohort(
        n_subjects, n_sites=20, site_kinds=SITE_KINDS, missing=0.1, random_state=SEED
    )


def real_nights(data: Path) -> dict[str, list[Recording]]:
    """Real recordings with at least two modalities, by data set."""
    nights = load_mmash(data / "mmash")
    return {"mmash": nights, "mmash_watch": [as_watch(night) for night in nights]}


def as_watch(night: Recording) -> Recording:
    """The same night as a watch would show its heart: a mean rate every five seconds."""
    beats, counts = night.signal("ibi"), night.signal("actigraphy")
    rate = WATCH_SECONDS * round(beats.rate)
    intervals = beats.values[: len(beats.values) // rate * rate].reshape(-1, rate)
    present = np.isfinite(intervals).any(axis=1)
    bpm = 60 / np.nanmean(intervals[present], axis=1)
    times = WATCH_SECONDS * (np.flatnonzero(present) + 0.5)
    return Recording(
        {
            "ibi": ibi_from_heart_rate(times, bpm, duration=night.duration),
            "actigraphy": (counts.values, counts.rate),
        },
        subject=night.subject,
        duration=night.duration,
        id=f"{night.id}-watch",
    )
