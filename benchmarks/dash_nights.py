# SPDX-License-Identifier: BSD-3-Clause
"""The simulated nights of :mod:`benchmarks.dash`, and what a frozen encoder makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.pretraining import NightStore, prepare_cohort
from sleep2vec_sklearn.pretraining._module import column_statistics
from sleep2vec_sklearn.pretraining._sampling import cut_valid, cut_view

MODALITIES = ("eeg", "ecg", "effort")
COHORT = {
    "n_subjects": 60,
    "nights_per_subject": 2,
    "hours": 3.0,
    "n_sites": 6,
    "site_kinds": "watch_laboratory",
    "modalities": MODALITIES,
    "missing": 0.0,
}
UNSEEN = ("site-5", "site-6")
HELD_OUT_PER_SITE = 2
UNSEEN_PER_SITE = 8


def describe() -> dict:
    """What two runs must have in common to be compared."""
    split = {"unseen": UNSEEN, "held_out": HELD_OUT_PER_SITE, "tested": UNSEEN_PER_SITE}
    return {"cohort": COHORT, "split": split}


@dataclass(frozen=True, eq=False)
class Split:
    """The nights of one seed.

    Attributes
    ----------
    train, held_out : NightStore
        Of the same four sites and of different people.
    unseen : tuple of NightStore
        One for each of the other sites.
    stages : mapping of str to int8 ndarray
        Of each recording, by its id.
    """

    train: NightStore
    held_out: NightStore
    unseen: tuple[NightStore, ...]
    stages: dict[str, np.ndarray]


@lru_cache(maxsize=1)
def make_split(seed: int, folder: Path) -> Split:
    """Simulate a cohort, or open what an earlier call wrote."""
    cohort = make_sleep_cohort(**COHORT, random_state=seed)
    table = cohort.metadata
    turn = table.groupby("site")["subject"].transform(lambda s: pd.factorize(s)[0])
    first_night, unseen = table["night"] == 1, table["site"].isin(UNSEEN)
    n_trained = COHORT["n_subjects"] // COHORT["n_sites"] - HELD_OUT_PER_SITE
    train = ~unseen & (turn < n_trained)
    held_out = ~unseen & (turn >= n_trained) & first_night
    away = unseen & (turn < UNSEEN_PER_SITE) & first_night
    used = np.flatnonzero(train | held_out | away)
    store = prepare_cohort(
        [cohort[k] for k in used], folder / f"cohort-{seed}", modalities=MODALITIES, n_jobs=1
    )
    parts = [train, held_out, *(away & (table["site"] == site) for site in UNSEEN)]
    train, held_out, *away = (store.take(part.to_numpy()[used]) for part in parts)
    return Split(train, held_out, tuple(away), {r.id: r.stages for r in cohort})


class MarkedStore(NightStore):
    """Nights to whose features their site adds constants, as a filter adds to a log spectrum.

    Parameters
    ----------
    store : NightStore
    marks : mapping of (str, str) to float32 ndarray of shape [width]
        By site and modality.
    """

    def __init__(self, store: NightStore, marks: Mapping[tuple[str, str], np.ndarray]):
        self.__dict__.update(vars(store))
        self.marks = marks
        self.sites = store.table["site"].to_numpy(str)

    def window(self, night: int, modality: str, start: int, length: int) -> np.ndarray:
        """As of the store, with the mark of the night's site."""
        rows = super().window(night, modality, start, length)
        return rows + self.marks[self.sites[night], modality]

    def take(self, nights) -> MarkedStore:
        """Some of the nights."""
        return MarkedStore(super().take(nights), self.marks)


def mark_sites(split: Split, strength: float, seed: int) -> Split:
    """The same nights with a mark of their site in every sensor.

    Its constants are normal, with ``strength`` of a feature's own deviation.
    """
    random = np.random.default_rng([seed, 2])
    deviation = {name: std for name, (_, std) in column_statistics(split.train, MODALITIES).items()}
    marks = {
        (f"site-{k + 1}", name): (strength * random.normal(size=len(std)) * std.numpy()).astype(
            "f4"
        )
        for k in range(COHORT["n_sites"])
        for name, std in deviation.items()
    }
    stores = (MarkedStore(store, marks) for store in (split.train, split.held_out, *split.unseen))
    train, held_out, *unseen = stores
    return Split(train, held_out, tuple(unseen), split.stages)


def known_metadata(table: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """The table with age, sex and site each known of this share of the people only."""
    table = table[["subject", "age", "sex", "site"]].copy()
    people = table["subject"].unique()
    random = np.random.default_rng([seed, 1])
    for name in ("age", "sex", "site"):
        kept = random.permutation(people)[: round(share * len(people))]
        table[name] = table[name].where(table["subject"].isin(kept))
    return table


@torch.no_grad()
def encode(network, store: NightStore, modalities=MODALITIES) -> list[np.ndarray]:
    """Rows [n_epochs, hidden size] of every night: the last layer, mean over modalities."""
    context = network.config.context_epochs
    nights = []
    for night, n_epochs in enumerate(store.table["n_epochs"]):
        starts = np.arange(0, n_epochs, context)
        places = np.full(len(starts), night), starts, context
        total, count = 0.0, 0
        for name in modalities:
            seen = torch.from_numpy(cut_valid(store, name, *places))
            values = torch.from_numpy(cut_view(store, name, *places))
            reads = store.contents[name].kind == "features"
            source = network.embed_features if reads else network.tokenize
            tokens = source(name, values, missing=~seen)
            total = total + network.encode(tokens, seen) * seen[..., None]
            count = count + seen[..., None].float()
        rows = (total / count.clamp_min(1)).flatten(0, 1)[:n_epochs]
        nights.append(rows.numpy())
    return nights
