# SPDX-License-Identifier: BSD-3-Clause
"""What a run trains on: the nights, who trains and who is held out, the pairs there are."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidRecordingError, TrainingError, TrainingWarning
from ..model.config import EncoderConfig, canonical_json
from ..signals import MODALITIES, list_modalities
from ..signals.recording import as_recording
from .architecture import build_config
from .content import contents_of, describe_contents
from .demography import Demography
from .night_table import name_recordings
from .sampling import find_pools
from .store import NightStore

__all__ = ["Material", "gather", "open_for", "split_subjects"]

_SPLIT_STREAM = 1


@dataclass(frozen=True, eq=False)
class Material:
    """Nights to train on and nights held out.

    Attributes
    ----------
    config : EncoderConfig
    store, held_out : NightStore
        ``held_out`` may be empty.
    demography, held_out_demography : Demography
    pools : dict of (str, str) to int ndarray
        Nights of ``store`` that have both modalities, at least two.
    night_weights : float ndarray of shape [len(store)] or None
        Relative chances of the nights.
    """

    config: EncoderConfig
    store: NightStore
    held_out: NightStore
    demography: Demography
    held_out_demography: Demography
    pools: dict[tuple[str, str], np.ndarray]
    night_weights: np.ndarray | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those of any pair, in the order of the catalogue."""
        found = {name for pair in self.pools for name in pair}
        return tuple(name for name in MODALITIES if name in found)

    def describe(self) -> dict:
        """What tells these nights from others, ready for JSON."""
        both = {"training": self.store, "held_out": self.held_out}
        parts = {name: _digest(store) for name, store in both.items()}
        contents = {n: c for n, c in self.store.contents.items() if n in self.modalities}
        weights = None if self.night_weights is None else self.night_weights.tolist()
        return {"nights": parts, "contents": describe_contents(contents), "weights": weights}


def gather(pretrainer, X, metadata, weights, begin: EncoderConfig | None, seed: int) -> Material:
    """Bring what ``fit`` was given to one form.

    Raises
    ------
    InvalidRecordingError
        If X is no list of recordings, store or folder, metadata do not match, or the nights
        have less than two modalities in all.
    TrainingError
        If no pair of modalities is in two recordings.
    """
    names = _candidates(pretrainer, X, begin)
    if len(names) < 2:
        raise InvalidRecordingError(
            f"training needs two modalities, of which nights have both; found "
            f"{', '.join(names) or 'none'}. Add another sensor's signals."
        )
    store, metadata = open_store(X, metadata, pretrainer, names, begin)
    if weights is not None:
        weights = _check_weights(weights, X, store)
    train, held = split_subjects(store, pretrainer.validation, seed, names)
    if weights is not None:
        train = train[weights[train] > 0]
        weights = weights[train]
    pools = _usable_pools(find_pools(store.take(train), names))
    used = [name for name in names if any(name in pair for pair in pools)]
    _tell_left_out(pretrainer, set(names) - set(used))
    conditioning = {name: store.contents[name].conditioning for name in used}
    config = build_config(pretrainer, used, begin, conditioning)
    _check_contents(store, config, used)
    everyone = Demography.from_metadata(
        metadata, store.table.index.tolist(), store.table["subject"].tolist()
    )
    return Material(
        config,
        store.take(train),
        store.take(held),
        everyone.take(train),
        everyone.take(held),
        pools,
        weights,
    )


def open_store(X, metadata, pretrainer, names: Sequence[str], begin):
    """The store of X, and the table that tells who slept in it."""
    if isinstance(X, str | os.PathLike):
        X = NightStore.open(X)
    if isinstance(X, NightStore):
        return X, X.table if metadata is None else metadata
    contents = _contents(build_config(pretrainer, names, begin, {}), names)
    store = NightStore.from_recordings(
        X, contents, metadata=metadata, verbose=max(int(pretrainer.verbose) - 1, 0)
    )
    return store, store.table


def open_for(config: EncoderConfig, X) -> NightStore:
    """The nights of X as an encoder takes them.

    Raises
    ------
    InvalidRecordingError
        If X is no list of recordings, store or folder, or has less than two of its modalities.
    """
    names = [name for name in _found_in(X) if name in config.names]
    if len(names) < 2:
        raise InvalidRecordingError(
            f"retrieval needs nights with two modalities of the encoder "
            f"({', '.join(config.names)}); found {', '.join(names) or 'none'}."
        )
    if isinstance(X, str | os.PathLike):
        X = NightStore.open(X)
    if not isinstance(X, NightStore):
        return NightStore.from_recordings(X, _contents(config, names))
    _check_contents(X, config, names)
    return X


def _contents(config: EncoderConfig, names: Sequence[str]):
    kept = [m for m in config.modalities if m.name in names]
    has_front_end = any(m.tokenizer.name == "spectral" for m in kept)
    return contents_of(config, "features" if has_front_end else "samples", list(names))


def split_subjects(
    store: NightStore, validation, seed: int, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the nights that train, and of those held out with all nights of their subject.

    Parameters
    ----------
    store : NightStore
    validation : float, int, sequence or None
        Share or number of the subjects, or their names. At least one is held out unless it is 0.
    seed : int
    names : sequence of str
        Modalities; subjects without two of them in a night are held out only by name.

    Raises
    ------
    ValueError
        If it is none of these, or leaves fewer than two nights.
    """
    subjects = np.array(
        [
            f"night {name}" if subject is None or subject != subject else str(subject)
            for name, subject in store.table["subject"].items()
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


def _check_weights(weights, X, store: NightStore) -> np.ndarray:
    """One weight for every night of the store, which may lack some of X."""
    weights = np.asarray(weights, dtype=float)
    given = len(store) if isinstance(X, NightStore | str | os.PathLike) else len(X)
    if weights.shape != (given,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"sample_weight must be {given} finite numbers, none below 0, one for each night; got "
            f"shape {weights.shape}."
        )
    if (weights > 0).sum() < 2:
        raise ValueError("sample_weight must be above 0 for two nights at least.")
    if given == len(store):
        return weights
    names = name_recordings([as_recording(r, place) for place, r in enumerate(X)])
    return weights[[names.index(name) for name in store.table.index]]


def _candidates(pretrainer, X, begin: EncoderConfig | None) -> list[str]:
    """Modalities that may be trained: the parameter, else those that X and ``init`` have."""
    if pretrainer.modalities is not None:
        return _in_order(list_modalities(pretrainer.modalities))
    found = _found_in(X)
    return found if begin is None else [name for name in found if name in begin.names]


def _found_in(X) -> list[str]:
    if isinstance(X, str | os.PathLike):
        return _in_order(NightStore.open(X).contents)
    if isinstance(X, NightStore):
        return _in_order(X.contents)
    if isinstance(X, Mapping) or not isinstance(X, Sequence | np.ndarray) or not len(X):
        raise InvalidRecordingError(
            f"X is a {type(X).__name__}; accepted are a list of recordings, not empty, a "
            "NightStore, or the folder of one."
        )
    recordings = [as_recording(r, place) for place, r in enumerate(X)]
    return _in_order({name for recording in recordings for name in recording.modalities})


def _in_order(names) -> list[str]:
    return [name for name in MODALITIES if name in set(names)]


def _usable_pools(pools: dict) -> dict:
    """Pools of two nights and more; says which pairs only one night has."""
    lonely = ["-".join(pair) for pair, pool in pools.items() if len(pool) < 2]
    usable = {pair: pool for pair, pool in pools.items() if len(pool) >= 2}
    if not usable:
        raise TrainingError(
            "no two recordings to train on share a pair of modalities; pairs that one has: "
            f"{', '.join(lonely) or 'none'}. Add nights that have the same two sensors."
        )
    if lonely:
        warnings.warn(
            f"{len(lonely)} pairs of modalities are in one recording only, which has nothing to "
            f"be told from, and are left out: {', '.join(lonely)}.",
            TrainingWarning,
            stacklevel=6,
        )
    return usable


def _tell_left_out(pretrainer, missing: set[str]) -> None:
    if missing and pretrainer.modalities is not None:
        warnings.warn(
            f"{', '.join(_in_order(missing))}: no two recordings to train on have it beside "
            "another modality; the encoder will not read it.",
            TrainingWarning,
            stacklevel=6,
        )


def _check_contents(store: NightStore, config: EncoderConfig, names: Sequence[str]) -> None:
    for name in names:
        modality = next(m for m in config.modalities if m.name == name)
        content = store.contents[name]
        if content.conditioning != modality.conditioning:
            raise TrainingError(
                f"the store holds {name!r} conditioned otherwise than the encoder of init asks "
                "for. Prepare it with prepare_cohort(..., encoder=init)."
            )
        if content.kind == "features" and modality.tokenizer.name != "spectral":
            raise TrainingError(
                f"the store holds spectral features of {name!r}, and the tokenizer "
                f"{modality.tokenizer.name!r} reads samples. Prepare it with content='samples', "
                "or pass tokenizer='spectral'."
            )


def _digest(store: NightStore) -> str:
    columns = ["n_epochs", *(f"coverage_{name}" for name in store.contents)]
    rows = store.table[columns].to_numpy().tolist()
    text = canonical_json([[str(name) for name in store.table.index], columns, rows])
    return f"{len(store)}, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"
