# SPDX-License-Identifier: BSD-3-Clause
"""Training data: nights, who trains and who is held out, and the pairs of modalities there are."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._files import canonical_json, list_differences, sha256
from .._warnings import warn
from ..errors import InvalidRecordingError, TrainingError, TrainingWarning
from ..model.config import EncoderConfig
from ..nightstore.content import Content, describe_contents
from ..nightstore.store import NightStore, contents_of
from ..recordings._demographics import COLUMNS, match_rows, name_recordings, read_text
from ..recordings.modality import EPOCH_SECONDS, MODALITIES, list_modalities
from ..recordings.recording import as_recording
from ._sampling import Pair, find_pools, resolve_pair_weights
from .demography import Demography, check_table

if TYPE_CHECKING:
    from ._module import EncoderSource

_SPLIT_STREAM = 1


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Nights to train on, and nights held out, of which there may be none."""

    config: EncoderConfig
    store: NightStore
    held_out: NightStore
    demography: Demography
    held_out_demography: Demography
    # nights of ``store`` that have both modalities of a pair, two at least
    pools: dict[Pair, np.ndarray]
    night_weights: np.ndarray | None = None  # relative chances
    targets: list[np.ndarray] | None = None  # probabilities to learn, of each night [n_epochs, K]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those of any pair, in the order of the catalogue."""
        return tuple(_in_order({name for pair in self.pools for name in pair}))

    def identify(self) -> dict[str, Any]:
        """What tells these nights from others, ready for JSON."""
        stores = {"training": self.store, "held_out": self.held_out}
        parts = {name: _describe_shape(store) for name, store in stores.items()}
        subjects = self.demography
        known = [a.tolist() for a in (subjects.age, subjects.sex, subjects.site, subjects.subject)]
        samples = canonical_json([store.identify() for store in stores.values()])
        parts["samples"] = f"sha256 {sha256(samples)[:16]}"
        parts["demography"] = f"sha256 {sha256(repr(known))[:16]}"
        contents = {n: c for n, c in self.store.contents.items() if n in self.modalities}
        weights = None if self.night_weights is None else self.night_weights.tolist()
        found = {"nights": parts, "contents": describe_contents(contents), "weights": weights}
        if self.targets is not None:
            found["targets"] = f"sha256 {sha256(*(t.tobytes() for t in self.targets))[:16]}"
        return found

    def summarise(self) -> dict[str, Any]:
        """How much there was of what, in the nights that trained; no name of anybody."""
        table, demography = self.store.table, self.demography
        hours = {name: _hours(table[f"coverage_{name}"]) for name in self.modalities}
        known = demography.age[~np.isnan(demography.age)]
        mean_age = round(float(known.mean()), 1) if len(known) else None
        return {
            "recordings": len(table), "subjects": _count_known(demography.subject),
            "sites": _count_known(demography.site), "hours": _hours(table["n_epochs"]),
            "hours_by_modality": hours,
            "recordings_by_pair": {"-".join(p): len(pool) for p, pool in self.pools.items()},
            "age": {"known": len(known), "mean": mean_age},
            "female": int((demography.sex == 0).sum()), "male": int((demography.sex == 1).sum()),
            "held_out_recordings": len(self.held_out),
        }  # fmt: skip


def _describe_shape(store: NightStore) -> str:
    columns = ["n_epochs", *(f"coverage_{name}" for name in store.contents)]
    rows = store.table[columns].to_numpy().tolist()
    text = canonical_json([[str(name) for name in store.table.index], columns, rows])
    return f"{len(store)}, sha256 {sha256(text)[:16]}"


def _hours(n_epochs: pd.Series) -> float:
    return round(float(n_epochs.sum()) * EPOCH_SECONDS / 3600, 1)


def _count_known(codes: np.ndarray) -> int:
    return len(np.unique(codes[codes >= 0]))


def collect_data(
    X: Any, metadata: pd.DataFrame | None, sample_weight: Any, *, source: EncoderSource,
    modalities: Any, pair_weights: Any, validation: Any, seed: int, verbose: int,
    targets: Any = None, alone: bool = False,
) -> TrainingData:  # fmt: skip
    """Training data from X; the parameters are those of :class:`Sleep2VecPretrainer`.

    With ``alone`` nights that have one modality take part too.
    """
    X = open_folder(X)
    names = list_candidates(X, modalities, source.base)
    if len(names) < 2:
        have = "modalities names " if modalities is not None else "found "
        fix = "Name another, or pass None for all" if modalities is not None else "Add a sensor"
        raise InvalidRecordingError(
            f"training needs two modalities, of which nights have both; {have}"
            f"{', '.join(names) or 'none'}. {fix}."
        )
    check_table(metadata)
    store, metadata = open_store(X, metadata, names, source, verbose)
    weights = None if sample_weight is None else _check_weights(sample_weight, X, store)
    if targets is not None:
        targets = _check_targets(targets, X, store)
    subjects = [read_text(subject) for subject in metadata["subject"]]
    training, held_out = split_subjects(store, subjects, validation, seed, names)
    if weights is not None:
        training, weights = _drop_weightless(training, weights, len(held_out))
    pools = _usable_pools(find_pools(store.take(training), names, alone))
    # what is never drawn would be read by an encoder that has not learned to
    probabilities = resolve_pair_weights(list(pools), pair_weights)
    pools = dict(itertools.compress(pools.items(), probabilities.ever))
    used = [name for name in names if any(name in pair for pair in pools)]
    _warn_of_unused(store, set(names) - set(used), modalities is not None)
    config = source.build_config(used, {name: store.contents[name].conditioning for name in used})
    _check_contents(store, config, used)
    everyone = Demography.from_metadata(metadata, store.table.index.tolist(), subjects)
    stores = store.take(training), store.take(held_out)
    subjects_of = everyone.take(training), everyone.take(held_out)
    if targets is not None:
        targets = [targets[night] for night in training]
    return TrainingData(config, *stores, *subjects_of, pools, weights, targets)


def open_folder(X: Any) -> Any:
    """The store of a folder; anything else as it is."""
    return NightStore.open(X) if isinstance(X, str | os.PathLike) else X


def open_store(
    X: Any, metadata: pd.DataFrame | None, names: Sequence[str], source: EncoderSource,
    verbose: int = 0,
) -> tuple[NightStore, pd.DataFrame]:  # fmt: skip
    """The store of X, and the table of its subjects."""
    if isinstance(X, NightStore):
        lacking = [name for name in names if name not in X.contents]
        if lacking:
            raise InvalidRecordingError(
                f"the store keeps {', '.join(X.contents)}, not {', '.join(lacking)}. Leave them "
                "out of modalities, or prepare the nights again with them."
            )
        return X, X.table if metadata is None else _filled(metadata, X.table)
    contents = _contents(source.build_config(names, {}), names)
    store = NightStore.from_recordings(X, contents, metadata=metadata, verbose=verbose)
    return store, store.table


def _filled(metadata: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The store's table with columns of the user's in place of its own."""
    rows = match_rows(metadata, table.index.tolist())
    return table.assign(**{name: rows[name].tolist() for name in COLUMNS if name in rows})


def open_for(config: EncoderConfig, X: Any) -> NightStore:
    """The nights of X as an encoder takes them."""
    X = open_folder(X)
    names = list_candidates(X, None, config)
    if len(names) < 2:
        raise InvalidRecordingError(
            f"retrieval needs nights with two modalities of the encoder "
            f"({', '.join(config.names)}); found {', '.join(names) or 'none'}."
        )
    if not isinstance(X, NightStore):
        return NightStore.from_recordings(X, _contents(config, names))
    _check_contents(X, config, names)
    return X


def _contents(config: EncoderConfig, names: Sequence[str]) -> dict[str, Content]:
    modalities = [m for m in config.modalities if m.name in names]
    has_front_end = any(m.tokenizer.has_front_end for m in modalities)
    return contents_of(config, "features" if has_front_end else "samples", list(names))


def _check_weights(weights: Any, X: Any, store: NightStore) -> np.ndarray:
    """One weight for every night of the store, which may lack some of X."""
    n_nights = len(X)
    accepted = f"sample_weight must be {n_nights} finite numbers, none below 0, one for each night"
    try:
        weights = np.asarray(weights, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{accepted} ({error}).") from error
    if weights.shape != (n_nights,) or not np.isfinite(weights).all() or (weights < 0).any():
        wrong = weights[~(weights >= 0) | np.isinf(weights)].ravel()
        example = f" with {wrong[0]:g}" if len(wrong) else ""
        raise ValueError(f"{accepted}; got shape {weights.shape}{example}.")
    if (weights > 0).sum() < 2:
        raise ValueError("sample_weight must be above 0 for two nights at least.")
    return weights[_places_in(X, store)]


def _places_in(X: Any, store: NightStore) -> list[int]:
    """Place in X of each night of the store, which may lack some."""
    if len(X) == len(store):
        return list(range(len(X)))
    names = name_recordings([as_recording(recording, i) for i, recording in enumerate(X)])
    return [names.index(name) for name in store.table.index]


def _check_targets(targets: Any, X: Any, store: NightStore) -> list[np.ndarray]:
    """Targets of every night of the store, float32 [n_epochs, K]."""
    if len(targets) != len(X):
        raise ValueError(
            f"targets must be one array for each of the {len(X)} nights, got {len(targets)}."
        )
    places = _places_in(X, store)
    arrays = [np.asarray(targets[place], dtype=np.float32) for place in places]
    n_epochs = store.table["n_epochs"].tolist()
    width = arrays[0].shape[1] if arrays[0].ndim == 2 else 0
    for place, array, n in zip(places, arrays, n_epochs, strict=True):
        found = f"shape {array.shape}"
        if array.shape == (n, width):
            known = array[np.isfinite(array).all(axis=1)]
            wrong = np.flatnonzero((np.abs(known.sum(axis=1) - 1) > 1e-2) | (known < 0).any(axis=1))
            if not len(wrong):
                continue
            found = f"a row {known[wrong[0]].round(3).tolist()}"
        raise ValueError(
            f"targets[{place}] has {found}; accepted are probabilities of shape ({n}, "
            f"{width or 'n_classes'}), whose rows sum to 1 or are NaN where nothing is known."
        )
    return arrays


def _drop_weightless(
    training: np.ndarray, weights: np.ndarray, n_held_out: int
) -> tuple[np.ndarray, np.ndarray]:
    training = training[weights[training] > 0]
    if len(training) < 2:
        raise TrainingError(
            f"sample_weight leaves {len(training)} nights to train on in addition to {n_held_out} "
            "that are held out; two at least need a weight above 0. Raise some, or lower "
            "validation."
        )
    return training, weights[training]


def list_candidates(X: Any, modalities: Any, base: EncoderConfig | None) -> list[str]:
    """Modalities that may be trained: the parameter, else those that X and the encoder have."""
    if modalities is not None:
        return _in_order(list_modalities(modalities))
    X = open_folder(X)
    names = set(X.contents if isinstance(X, NightStore) else _modalities_of(X))
    return _in_order(names if base is None else names & set(base.names))


def _modalities_of(X: Any) -> set[str]:
    if isinstance(X, Mapping) or not isinstance(X, Sequence | np.ndarray) or not len(X):
        empty = "an empty " if hasattr(X, "__len__") and not len(X) else "of type "
        raise InvalidRecordingError(
            f"X is {empty}{type(X).__module__}.{type(X).__name__}; accepted are a list of "
            "recordings, not empty, a NightStore, or the folder of one."
        )
    recordings = [as_recording(recording, i) for i, recording in enumerate(X)]
    return {name for recording in recordings for name in recording.modalities}


def _in_order(names: Iterable[str]) -> list[str]:
    names = set(names)
    return [name for name in MODALITIES if name in names]


def _usable_pools(pools: dict[Pair, np.ndarray]) -> dict[Pair, np.ndarray]:
    """Pools of two nights and more; warns of pairs that only one night has."""
    is_single = {pair: len(pool) < 2 and len(set(pair)) == 2 for pair, pool in pools.items()}
    single = ["-".join(pair) for pair in pools if is_single[pair]]
    usable = {pair: pool for pair, pool in pools.items() if not is_single[pair]}
    if all(len(set(pair)) == 1 for pair in usable):
        raise TrainingError(
            "no two recordings to train on share a pair of modalities; pairs that one has: "
            f"{', '.join(single) or 'none'}. Add nights that have the same two sensors."
        )
    if single:
        warn(
            f"{len(single)} pairs of modalities are in one recording only, which leaves no "
            f"negatives, and are left out: {', '.join(single)}.",
            TrainingWarning,
        )
    return usable


def _warn_of_unused(store: NightStore, unused: set[str], asked_for: bool) -> None:
    """Name modalities that will not be read, if they were asked for or a night has them."""
    named = [n for n in unused if asked_for or (store.table[f"coverage_{n}"] > 0).any()]
    if named:
        warn(
            f"{', '.join(_in_order(named))}: no two recordings to train on have it together with "
            "another modality, or pair_weights names no pair of it; it is not trained.",
            TrainingWarning,
        )


def _check_contents(store: NightStore, config: EncoderConfig, names: Sequence[str]) -> None:
    for name in names:
        modality = next(m for m in config.modalities if m.name == name)
        content = store.contents[name]
        if content.conditioning != modality.conditioning:
            stored, wanted = asdict(content.conditioning), asdict(modality.conditioning)
            raise TrainingError(
                f"the store holds {name!r} conditioned otherwise than the encoder asks for: "
                f"{', '.join(list_differences(stored, wanted))}. Prepare the nights for it, with "
                "prepare_cohort(nights, another_folder, encoder=...)."
            )
        if content.kind == "features" and not modality.tokenizer.has_front_end:
            raise TrainingError(
                f"the store holds features of {name!r}, and the tokenizer "
                f"{modality.tokenizer.name!r} reads samples. Prepare it with content='samples', "
                "or choose a tokenizer with a front end."
            )


def split_subjects(
    store: NightStore, subjects: Sequence, validation: Any, seed: int, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the nights that train and of those held out, subject by subject."""
    names_of = zip(store.table.index, subjects, strict=True)
    labels = np.array([f"night {i}" if name is None else str(name) for i, name in names_of])
    everyone = np.unique(labels)
    has = [store.table[f"coverage_{name}"].to_numpy() > 0 for name in names]
    # subjects without two modalities in a night are held out only by name
    measurable = np.unique(labels[np.sum(has, axis=0) >= 2])
    chosen = _choose_held_out(everyone, measurable, validation, seed)
    held_out = np.isin(labels, chosen)
    n_training = (~held_out).sum()
    if n_training < 2:
        taken = f"validation={validation!r} holds out {len(chosen)} of {len(everyone)} subjects; "
        fix = "Lower it, or pass validation=0." if len(chosen) else "Add nights."
        raise TrainingError(
            f"{taken if len(chosen) else ''}{n_training} nights to train on; two at least are "
            f"needed, as other nights are the negatives of an epoch. {fix}"
        )
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _choose_held_out(
    everyone: np.ndarray, measurable: np.ndarray, validation: Any, seed: int
) -> np.ndarray:
    if validation is None or np.isscalar(validation):
        size: Any = validation or 0
        n_chosen = int(np.ceil(size * len(everyone)) if size < 1 else size)
        order = np.random.default_rng([seed, 0, _SPLIT_STREAM]).permutation(measurable)
        return order[:n_chosen]
    named = np.array([str(name) for name in validation])
    missing = sorted(set(named) - set(everyone))
    if missing:
        raise ValueError(f"validation names subjects without a night: {', '.join(missing)}.")
    return named
