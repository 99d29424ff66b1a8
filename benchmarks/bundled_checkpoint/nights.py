# SPDX-License-Identifier: BSD-3-Clause
"""The nights that ``sleep2vec-mini`` is pretrained on; none that it is evaluated on."""

from __future__ import annotations

from pathlib import Path

from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.datasets.public import load_mmash
from sleep2vec_sklearn.signals import Recording

SITE_KINDS = ("full_laboratory", "watch_laboratory", "watch_laboratory", "laboratory", "wearable")
SEED = 20260214


def simulated_nights(n_subjects: int) -> list[Recording]:
    """One simulated night each, from twenty sites of four kinds."""
    return make_sleep_cohort(
        n_subjects, n_sites=20, site_kinds=SITE_KINDS, missing=0.1, random_state=SEED
    )


def real_nights(data: Path) -> dict[str, list[Recording]]:
    """Real recordings with at least two modalities, by data set."""
    return {"mmash": load_mmash(data / "mmash")}
