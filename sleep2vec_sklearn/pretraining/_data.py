# SPDX-License-Identifier: BSD-3-Clause
"""What a run trains on: the nights, who trains and who is held out, the pairs there are."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from .._files import canonical_json
from .._warnings import warn
from ..errors import InvalidRecordingError, TrainingError, TrainingWarning
from ..model.config import EncoderConfig
from ..nightstore.content import contents_of, describe_contents
from ..nightstore.store import NightStore
from ..recordings import MODALITIES, list_modalities
from ..recordings._demographics import COLUMNS, match_rows, name_recordings, read_text
from ..recordings.recording import as_recording
from ._distributed import rank
from ._module import build_config
from ._sampling import find_pools, resolve_shares
from .demography import Demography

__all__ = [
    "Material",
    "candidates",
    "gather",
    "open_for",
    "open_store",
    "split_subjects",
]


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
        people = self.demography
        known = [a.tolist() for a in (people.age, people.sex, people.site, people.subject)]
        samples = canonical_json([store.identify() for store in both.values()])
        parts["samples"] = f"sha256 {_sha256(samples)}"
        parts["demography"] = f"sha256 {_sha256(repr(known))}"
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
    if isinstance(X, str | os.PathLike):
        X = NightStore.open(X)
    names = candidates(pretrainer, X, begin)
    if len(names) < 2:
        asked = pretrainer.modalities is not None
        found = ("modalities names " if asked else "found ") + (", ".join(names) or "none")
        way_out = "Name another, or pass None for all" if asked else "Add another sensor's signals"
        raise InvalidRecordingError(
            f"training needs two modalities, of which nights have both; {found}. {way_out}."
        )
    if metadata is not None and not isinstance(metadata, pd.DataFrame):
        raise InvalidRecordingError(
            f"metadata must be a DataFrame with a row per recording, got {type(metadata).__name__}."
        )
    store, metadata = open_store(X, metadata, pretrainer, names, begin)
    if weights is not None:
        weights = _check_weights(weights, X, store)
    subjects = [read_text(subject) for subject in metadata["subject"]]
    train, held = split_subjects(store, subjects, pretrainer.validation, seed, names)
    if weights is not None:
        train = train[weights[train] > 0]
        weights = weights[train]
        if len(train) < 2:
            raise TrainingError(
                f"sample_weight leaves {len(train)} nights to train on beside {len(held)} that are "
                "held out; two at least need a weight above 0. Raise some, or lower validation."
            )
    pools = _usable_pools(find_pools(store.take(train), names))
    # what is never drawn would be read by an encoder that has not learned to
    shares = resolve_shares(list(pools), pretrainer.pair_shares)
    pools = dict(itertools.compress(pools.items(), shares.ever))
    used = [name for name in names if any(name in pair for pair in pools)]
    _tell_left_out(store, set(names) - set(used), pretrainer.modalities is not None)
    conditioning = {name: store.contents[name].conditioning for name in used}
    config = build_config(pretrainer, used, begin, conditioning)
    _check_contents(store, config, used)
    everyone = Demography.from_metadata(metadata, store.table.index.tolist(), subjects)
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
    if isinstance(X, NightStore):
        lacking = [name for name in names if name not in X.contents]
        if lacking:
            raise InvalidRecordingError(
                f"the store keeps {', '.join(X.contents)}, not {', '.join(lacking)}. Leave them "
                "out of modalities, or prepare the nights again with them."
            )
        return X, X.table if metadata is None else _filled(metadata, X.table)
    contents = _contents(build_config(pretrainer, names, begin, {}), names)
    store = NightStore.from_recordings(
        X, contents, metadata=metadata, verbose=int(pretrainer.verbose) if rank() == 0 else 0
    )
    return store, store.table


def _filled(metadata: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The store's table with the columns given in place of its own."""
    rows = match_rows(metadata, table.index.tolist())
    return table.assign(**{name: rows[name].tolist() for name in COLUMNS if name in rows})


def open_for(config: EncoderConfig, X) -> NightStore:
    """The nights of X as an encoder takes them.

    Raises
    ------
    InvalidRecordingError
        If X is no list of recordings, store or folder, or has less than two of its modalities.
    """
    if isinstance(X, str | os.PathLike):
        X = NightStore.open(X)
    names = [name for name in _found_in(X) if name in config.names]
    if len(names) < 2:
        raise InvalidRecordingError(
            f"retrieval needs nights with two modalities of the encoder "
            f"({', '.join(config.names)}); found {', '.join(names) or 'none'}."
        )
    if not isinstance(X, NightStore):
        return NightStore.from_recordings(X, _contents(config, names))
    _check_contents(X, config, names)
    return X


def _contents(config: EncoderConfig, names: Sequence[str]):
    kept = [m for m in config.modalities if m.name in names]
    has_front_end = any(m.tokenizer.name == "spectral" for m in kept)
    return contents_of(config, "features" if has_front_end else "samples", list(names))


def _check_weights(weights, X, store: NightStore) -> np.ndarray:
    """One weight for every night of the store, which may lack some of X."""
    given = len(X)
    try:
        weights = np.asarray(weights, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"sample_weight must be {given} finite numbers, none below 0, one for each night "
            f"({error})."
        ) from error
    if weights.shape != (given,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"sample_weight must be {given} finite numbers, none below 0, one for each night; got "
            f"{_describe_numbers(weights)}."
        )
    if (weights > 0).sum() < 2:
        raise ValueError("sample_weight must be above 0 for two nights at least.")
    if given == len(store):
        return weights
    names = name_recordings([as_recording(r, place) for place, r in enumerate(X)])
    return weights[[names.index(name) for name in store.table.index]]


def _describe_numbers(values: np.ndarray) -> str:
    wrong = values[~(values >= 0) | np.isinf(values)].ravel()
    return f"shape {values.shape}" + (f" with {wrong[0]:g}" if len(wrong) else "")


def candidates(pretrainer, X, begin: EncoderConfig | None) -> list[str]:
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
        empty = "an empty " if hasattr(X, "__len__") and not len(X) else "of type "
        raise InvalidRecordingError(
            f"X is {empty}{type(X).__module__}.{type(X).__name__}; accepted are a list of "
            "recordings, not empty, a NightStore, or the folder of one."
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
        warn(
            f"{len(lonely)} pairs of modalities are in one recording only, which has nothing to "
            f"be told from, and are left out: {', '.join(lonely)}.",
            TrainingWarning,
        )
    return usable


def _tell_left_out(store: NightStore, unused: set[str], asked_for: bool) -> None:
    """Say which modalities will not be read, if they were asked for or a night has them."""
    told = [n for n in unused if asked_for or (store.table[f"coverage_{n}"] > 0).any()]
    if told:
        warn(
            f"{', '.join(_in_order(told))}: no two recordings to train on have it beside "
            "another modality, or pair_shares names no pair of it; it is not trained.",
            TrainingWarning,
        )


def _check_contents(store: NightStore, config: EncoderConfig, names: Sequence[str]) -> None:
    for name in names:
        modality = next(m for m in config.modalities if m.name == name)
        content = store.contents[name]
        if content.conditioning != modality.conditioning:
            there, wanted = asdict(content.conditioning), asdict(modality.conditioning)
            differences = ", ".join(
                f"{key} {there[key]!r} and not {wanted[key]!r}"
                for key in there
                if there[key] != wanted[key]
            )
            raise TrainingError(
                f"the store holds {name!r} conditioned otherwise than the encoder asks for: "
                f"{differences}. Prepare the nights for it, with prepare_cohort(nights, another_"
                "folder, encoder=...): what init is, or pretrainer.encoder_config_ of a fitted one."
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
    return f"{len(store)}, sha256 {_sha256(text)}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_SPLIT_STREAM = 1


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
        if not len(held):
            raise TrainingError(
                f"{len(subjects)} nights to train on; two at least are needed, as an epoch is told "
                "from those of other nights. Add nights."
            )
        raise TrainingError(
            f"validation={validation!r} holds out {len(held)} of {len(people)} subjects and "
            f"leaves {(~apart).sum()} nights to train on; two at least are needed. Lower it, or "
            "pass validation=0."
        )
    return np.flatnonzero(~apart), np.flatnonzero(apart)


def _held_out_people(people, measurable, validation, seed: int) -> np.ndarray:
    if validation is None:
        validation = 0
    if not np.isscalar(validation):
        named = np.array([str(name) for name in validation])
        missing = sorted(set(named) - set(people))
        if missing:
            raise ValueError(f"validation names subjects without a night: {', '.join(missing)}.")
        return named
    wanted = np.ceil(validation * len(people)) if validation < 1 else validation
    order = np.random.default_rng([seed, 0, _SPLIT_STREAM]).permutation(measurable)
    return order[: int(wanted)]
