# SPDX-License-Identifier: BSD-3-Clause
"""Which subjects train and which are held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import TrainingError
from .store import NightStore

__all__ = ["name_sleepers", "split_subjects"]

_SPLIT_STREAM = 1


def name_sleepers(store: NightStore, metadata) -> list:
    """Who slept each night, by the store or else by the table given."""
    subjects = store.table["subject"]
    if metadata is not store.table and "subject" in metadata:
        named = metadata["subject"].set_axis(metadata.index.map(str))
        subjects = subjects.where(subjects.notna(), named.reindex(subjects.index))
    return [None if pd.isna(subject) else subject for subject in subjects]


def split_subjects(
    store: NightStore, subjects: Sequence, validation, seed: int, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the nights that train, and of those held out with all nights of their subject.

    Parameters
    ----------
    store : NightStore
    subjects : sequence of str or None
        Of each night; a night of nobody stands alone.
    validation : float, int, sequence or None
        Share or number of the subjects, or their names. At least one is held out unless it is 0.
    seed : int
    names : sequence of str
        Modalities; subjects without two of them in a night are held out only by name.

    Raises
    ------
    ValueError
        If it is none of these.
    TrainingError
        If it leaves fewer than two nights.
    """
    subjects = np.array(
        [
            f"night {name}" if subject is None else str(subject)
            for name, subject in zip(store.table.index, subjects, strict=True)
        ]
    )
    people = np.unique(subjects)
    n_modalities = sum((store.table[f"coverage_{name}"].to_numpy() > 0) for name in names)
    measurable = np.unique(subjects[n_modalities >= 2])
    held = _held_out_people(people, measurable, validation, seed)
    apart = np.isin(subjects, held)
    if (~apart).sum() < 2:
        raise TrainingError(
            f"validation={validation!r} holds out {len(held)} of {len(people)} subjects and "
            f"leaves {(~apart).sum()} nights to train on; two at least are needed. Lower it, or "
            "pass validation=0."
        )
    return np.flatnonzero(~apart), np.flatnonzero(apart)


def _held_out_people(people, measurable, validation, seed: int) -> np.ndarray:
    if validation is None or isinstance(validation, bool):
        validation = 0
    if not np.isscalar(validation):
        named = np.array([str(name) for name in validation])
        missing = sorted(set(named) - set(people))
        if missing:
            raise ValueError(f"validation names subjects without a night: {', '.join(missing)}.")
        return named
    if isinstance(validation, str) or not validation >= 0 or not np.isfinite(validation):
        raise ValueError(
            "validation must be a share of the subjects, a number of them, or their names; got "
            f"{validation!r}."
        )
    wanted = np.ceil(validation * len(people)) if validation < 1 else validation
    order = np.random.default_rng([seed, 0, _SPLIT_STREAM]).permutation(measurable)
    return order[: int(wanted)]
